"""Stage 5: average the last checkpoints, embed every test utterance and what else the back-ends need."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ham.backbones.base import Backbone
from ham.cli import Parser, at_least, run
from ham.config import Config, from_dict
from ham.data.kaldi_dir import DataDir, all_models, read_data_dir, trial_dirs
from ham.data.store import ArrayStore, check_current
from ham.data.trials import Trials
from ham.embeddings.extract import (
    CROP_SAMPLES,
    ENROL,
    NUM_CROPS,
    Crops,
    JoinedRecordings,
    RandomChunks,
    Recordings,
    extract,
    read_source,
    write_ark,
    write_embeddings,
)
from ham.errors import CheckpointError
from ham.model import checkpoint
from ham.model.build import build_backbone, build_frontend, pick_device
from ham.score import cohort as training
from ham.score.backends import DEFAULT, parse_backends
from ham.words import count

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]
Embeddings = NDArray[np.float32]

LEAST_CHUNK_S = 0.1
"""Shortest piece of an utterance that is worth an embedding."""

BLOCK_UTTS = 512
"""Training utterances between two steps of the progress bar: 16 s of speech each make 260 MB of samples at most."""


@dataclass(frozen=True)
class System:
    """An averaged model, ready to embed.

    Attributes:
        exp_dir: its experiment.
        model: what ``average.pt`` holds.
        config: its configuration.
        backbone: with the averaged weights.
        device: where to compute.
        batch_size: most utterances of a batch.
    """

    exp_dir: Path
    model: Mapping[str, Any]
    config: Config
    backbone: Backbone
    device: torch.device
    batch_size: int

    @property
    def digest(self) -> str:
        """Of the weights: embeddings made with others are out of date."""
        return checkpoint.weights_digest(self.model)

    def embed(self, recordings: Recordings, indices: Rows | None = None, progress: str | None = "embed") -> Embeddings:
        """Embed recordings.

        Args:
            recordings: where they are.
            indices: which, all if None.
            progress: title of the progress bar.

        Returns:
            ``(N, D)``, in the order of ``indices``.
        """
        frontend = build_frontend(self.config).to(self.device)
        wanted = np.arange(len(recordings.utts)) if indices is None else indices
        return extract(
            self.backbone.to(self.device), frontend, recordings, wanted,
            device=self.device, batch_size=self.batch_size, progress=progress,
        )  # fmt: skip


def main(argv: Sequence[str]) -> None:
    """Average, then extract.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    backends = parse_backends(options.backends)
    needs_training = any(backend.needs_training for backend in backends)
    model = average_checkpoints(options.exp_dir)
    if needs_training:
        training.check_training(backends, read_data_dir(options.data_dir / "train"), model["valid_speakers"])
    config = from_dict(model["config"], f"{options.exp_dir}/average.pt")
    device = pick_device(options.device)
    backbone = build_backbone(config)
    backbone.load_state_dict(model["backbone"])
    system = System(options.exp_dir, model, config, backbone, device, options.batch_size)
    store = ArrayStore(options.data_dir / "store" / "test")
    check_current(store, test_durations(options.data_dir))
    _extract_test(system, store, options)
    plain = [folder for folder in trial_dirs(options.data_dir / "test") if not (folder / "enrol").exists()]
    if plain and any(backend.crops for backend in backends):
        _extract_crops(system, store)
    if needs_training:
        calibrated = any(backend.calibrated for backend in backends)
        _extract_training(system, options.data_dir, options.cohort_utts, options.train_chunk_s, calibrated)


def _parser() -> Parser:
    parser = Parser(prog="ham.bin.extract", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds store/")
    parser.add_argument("--exp_dir", type=Path, required=True, help="the experiment's folder")
    parser.add_argument("--batch_size", type=at_least(1), default=16, help="most utterances of a batch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--enrol", choices=ENROL, default=ENROL[0], help="concatenate: embed each model's recordings joined as well"
    )
    parser.add_argument("--format", choices=("npz", "ark"), default="npz", help="ark: Kaldi's format as well")
    parser.add_argument(
        "--backends", nargs="+", default=[*DEFAULT], help="what will be scored: crops and training speech as needed"
    )
    parser.add_argument(
        "--cohort_utts", type=at_least(0), default=0, help="utterances of each training speaker in its mean; 0: all"
    )
    parser.add_argument(
        "--train_chunk_s", type=_seconds, default=0.0, help="embed this much of each training utterance; 0: all of it"
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not (value == 0 or LEAST_CHUNK_S <= value < math.inf):
        raise argparse.ArgumentTypeError(f"expected 0 or at least {LEAST_CHUNK_S} seconds, found {text}")
    return value


def _extract_test(system: System, store: ArrayStore, options: Any) -> None:
    models = all_models(options.data_dir / "test") if options.enrol == "concatenate" else {}
    source = f"{system.digest} {store.digest}" + (f" {json.dumps(models)}" if models else "")
    target = system.exp_dir / "embeddings.npz"
    if options.format == "npz" and read_source(target) == source:
        logger.info("%s: up to date, %s", target, count(len(store), "utterance"))
        return
    started = time.perf_counter()
    recordings: list[Recordings] = [store, *([JoinedRecordings(store, models)] if models else [])]
    utts = [utt for one in recordings for utt in one.utts]
    embeddings = np.concatenate([system.embed(one) for one in recordings])
    write_embeddings(target, utts, embeddings, source)
    if options.format == "ark":
        write_ark(system.exp_dir / "embeddings.ark", utts, embeddings)
    took = time.perf_counter() - started
    speech = float(np.sum(store.lengths)) / store.sample_rate
    counts = count(len(store), "utterance")
    counts += f" and {count(len(models), 'model')} of joined recordings" if models else ""
    logger.info("%s: %s, %.0f s of speech in %.1f s", target, counts, speech, took)


def _extract_crops(system: System, store: ArrayStore) -> None:
    """Embed five crops of every test utterance into ``crops.npz``."""
    target, crops = system.exp_dir / "crops.npz", Crops(store)
    source = f"{system.digest} {store.digest} {NUM_CROPS} x {CROP_SAMPLES}"
    if read_source(target) == source:
        logger.info("%s: up to date, %s", target, count(len(crops.utts), "crop"))
        return
    started = time.perf_counter()
    write_embeddings(target, crops.utts, system.embed(crops, progress="embed crops"), source)
    logger.info("%s: %d crops in %.1f s", target, len(crops.utts), time.perf_counter() - started)


def _extract_training(system: System, data_dir: Path, num_per_speaker: int, chunk_s: float, calibrated: bool) -> None:
    """Embed training speech: ``training/cohort.npz``, and ``calibration.npz`` and ``trials`` where they are needed."""
    train, store = read_data_dir(data_dir / "train"), ArrayStore(data_dir / "store" / "train")
    check_current(store, train.utt2dur)
    folder, seed = system.exp_dir / training.FOLDER, int(system.model["seed"])
    source = f"{system.digest} {store.digest} {num_per_speaker} {chunk_s:g}"
    aside = list(system.model["valid_speakers"])
    cohort = training.choose_cohort(train.utt2spk, aside, num_per_speaker, str(train.path))
    needed = ["cohort.npz", *(["calibration.npz"] if calibrated else [])]
    made = {read_source(folder / name) for name in needed}
    if made == {source} and ((folder / "trials").exists() or not calibrated):
        logger.info("%s: up to date, %s", folder, count(len(cohort), "training speaker"))
        return
    started = time.perf_counter()
    trials, who = _calibration_trials(train, aside, seed) if calibrated else (None, "")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {*trials.enrol, *trials.test} if trials else set()
    sums = training.SpeakerSums(cohort, system.config.backbone.embedding_dim)
    recordings = RandomChunks(store, round(chunk_s * store.sample_rate), seed) if chunk_s else store
    kept = _embed_training(system, recordings, sums, {utt for utts in cohort.values() for utt in utts}, wanted)
    extra = {"mean": sums.mean(), "cohort_utts": np.array(num_per_speaker), "train_chunk_s": np.array(chunk_s)}
    write_embeddings(folder / "cohort.npz", sums.means().utts, sums.means().embeddings, source, extra)
    took = time.perf_counter() - started
    logger.info("%s: cohort of %s in %.1f s", folder, count(len(cohort), "speaker"), took)
    if trials:
        training.write_calibration_trials(system.exp_dir, trials)
        write_embeddings(folder / "calibration.npz", list(kept), np.stack(list(kept.values())), source)  # says done
        logger.info("%s: %s of %s", folder, count(len(trials), "calibration trial"), who)


def _calibration_trials(train: DataDir, aside: Sequence[str], seed: int) -> tuple[Trials, str]:
    """Trials to calibrate on, and whose they are."""
    speakers, who = training.calibration_speakers(train.utt2spk, aside)
    return training.make_calibration_trials(train, speakers, seed), who


def _embed_training(
    system: System, store: Recordings, sums: training.SpeakerSums, cohort: set[str], wanted: set[str]
) -> dict[str, NDArray[np.float32]]:
    """Sum up the cohort's embeddings, block by block, and keep those wanted."""
    chosen = np.array([index for index, utt in enumerate(store.utts) if utt in cohort or utt in wanted], np.int64)
    kept: dict[str, NDArray[np.float32]] = {}
    with tqdm(total=len(chosen), desc="embed training speech", unit="utt", delay=2) as bar:
        for start in range(0, len(chosen), BLOCK_UTTS):
            part = chosen[start : start + BLOCK_UTTS]
            utts, embeddings = [store.utts[index] for index in part], system.embed(store, part, None)
            sums.add(utts, embeddings)
            kept.update({utt: row.copy() for utt, row in zip(utts, embeddings, strict=True) if utt in wanted})
            bar.update(len(part))
    return kept


def average_checkpoints(exp_dir: Path) -> dict[str, Any]:
    """Average the last ``train.average_last`` epochs of a finished training into ``average.pt``.

    Returns:
        What ``average.pt`` holds: ``config``, ``seed``, ``fingerprint``, ``num_speakers``, ``speakers``, ``epochs``,
        and the averaged ``backbone`` and ``loss``.

    Raises:
        CheckpointError: if the training is not finished, or a checkpoint is missing or damaged.
    """
    folder = exp_dir / "checkpoints"
    epochs = checkpoint.saved_epochs(folder)
    if not epochs:
        raise CheckpointError(f"{folder}: expected checkpoints, found none; train first (stage 4)")
    last = checkpoint.load(checkpoint.epoch_path(folder, epochs[-1]))
    block = last["config"]["train"]
    if epochs[-1] < block["epochs"]:
        raise CheckpointError(
            f"{folder}: training stopped after epoch {epochs[-1]} of {block['epochs']}; go on with --stage 4 --resume"
        )
    wanted = list(range(block["epochs"] - block["average_last"] + 1, block["epochs"] + 1))
    states = [checkpoint.load(checkpoint.epoch_path(folder, epoch)) for epoch in wanted[:-1]] + [last]
    kept = (
        "config",
        "seed",
        "fingerprint",
        "num_speakers",
        "speakers",
        "valid_speakers",
        "versions",
        "schedules",
        "command",
    )
    model: dict[str, Any] = {key: last[key] for key in kept}
    model["epochs"] = wanted
    for part in ("backbone", "loss"):
        model[part] = checkpoint.average([state[part] for state in states])
    checkpoint.save(exp_dir / "average.pt", model)
    logger.info("%s/average.pt: mean of epochs %d to %d", exp_dir, wanted[0], wanted[-1])
    return model


def test_durations(data_dir: Path) -> dict[str, float]:
    """Duration in seconds of every utterance of the test lists together."""
    return {utt: s for folder in trial_dirs(data_dir / "test") for utt, s in read_data_dir(folder).utt2dur.items()}


if __name__ == "__main__":
    sys.exit(run(main))
