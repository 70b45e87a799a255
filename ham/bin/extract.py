"""Stage 5: average the last checkpoints, embed every test utterance and what else the back-ends need."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ham.bin._system_options import add_num_gpus
from ham.cli import Parser, at_least, leave, run
from ham.data.kaldi_dir import DataDir, all_models, read_data_dir, trial_dirs
from ham.data.store import ArrayStore, check_current
from ham.data.trials import Trials
from ham.embeddings.extract import own_share
from ham.embeddings.recordings import (
    CROP_SAMPLES,
    ENROL,
    NUM_CROPS,
    Cuts,
    JoinedRecordings,
    RandomChunks,
    Recordings,
    SpacedCrops,
)
from ham.embeddings.table import FORMATS, check_format, read_embeddings, read_source, write_embeddings, write_table
from ham.errors import DataError
from ham.files import lock_folder
from ham.model.average import average_checkpoints
from ham.model.checkpoint import fitting
from ham.model.directory import unpack
from ham.model.encoder import SpeakerEncoder
from ham.score.backends import DEFAULT, parse_backends
from ham.score.cohort import (
    FOLDER,
    SpeakerSums,
    calibration_speakers,
    check_training,
    choose_cohort,
    make_calibration_trials,
    write_calibration_trials,
)
from ham.score.durations import cuts_path, parse_durations
from ham.score.held_aside import FILE, choose_speakers, choose_targets, write_held_aside
from ham.train import distributed
from ham.train.launch import launch, num_processes
from ham.words import count

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]
Embeddings = NDArray[np.float32]

LEAST_CHUNK_S = 0.1
"""Shortest piece of an utterance that is worth an embedding."""

BLOCK_UTTS = 512
"""Training utterances of a process between two steps of the progress bar: 16 s each make 260 MB of samples at most."""


def main(argv: Sequence[str]) -> None:
    """Average, then extract.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    check_format(options.exp_dir / f"embeddings.{options.format}")
    parse_backends(options.backends)
    parse_durations(options.durations)
    processes = num_processes(options.num_gpus, options.device)
    if processes > 1 and not distributed.launched():
        launch([sys.executable, "-m", "ham.bin.extract", *argv], processes=processes, cure="run stage 5 again")
        return
    with distributed.joined(options.device) as device, ExitStack() as locks:
        if not distributed.rank():
            if options.model:
                options.exp_dir.mkdir(parents=True, exist_ok=True)
            locks.enter_context(lock_folder(options.exp_dir, "stage 5"))
        _extract(options, device)


def _extract(options: Any, device: torch.device) -> None:
    """Do it, as one of the processes or as the only one; the first one writes."""
    backends, durations = parse_backends(options.backends), parse_durations(options.durations)
    needs_training = any(backend.needs_training for backend in backends)
    if not distributed.rank():
        _find_model(options)
    distributed.wait_for_all()
    encoder = SpeakerEncoder.load(options.exp_dir, str(device))
    if needs_training:
        check_training(backends, read_data_dir(options.data_dir / "train"), encoder.valid_speakers)
    store = ArrayStore(options.data_dir / "store" / "test")
    check_current(store, test_durations(options.data_dir))
    _extract_test(encoder, store, options)
    plain = [folder for folder in trial_dirs(options.data_dir / "test") if not (folder / "enrol").exists()]
    if plain and any(backend.crops for backend in backends):
        _extract_crops(encoder, store, options.batch_size)
    for seconds in durations:
        _extract_cuts(encoder, store, seconds, options.batch_size)
    _extract_held_aside(encoder, options)
    if needs_training:
        calibrated = any(backend.calibrated for backend in backends)
        _extract_training(encoder, options, calibrated)


def _find_model(options: Any) -> None:
    """Write ``average.pt``, of a training's checkpoints or of the model directory that is named."""
    if options.model:
        unpack(options.model, options.exp_dir)
        return
    with fitting(options.exp_dir / "checkpoints"):
        average_checkpoints(options.exp_dir)


def _parser() -> Parser:
    parser = Parser(prog="ham.bin.extract", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds store/")
    parser.add_argument("--exp_dir", type=Path, required=True, help="the experiment's folder")
    parser.add_argument("--model", type=_folder, help="a model directory to measure, in place of a training of ours")
    parser.add_argument("--batch_size", type=at_least(1), default=16, help="most utterances of a batch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_num_gpus(parser)
    parser.add_argument(
        "--enrol", choices=ENROL, default=ENROL[0], help="concatenate: embed each model's recordings joined as well"
    )
    parser.add_argument("--format", choices=FORMATS, default="npz", help="others than npz are written as well")
    parser.add_argument(
        "--backends", nargs="+", default=[*DEFAULT], help="what will be scored: crops and training speech as needed"
    )
    parser.add_argument(
        "--cohort_utts", type=at_least(0), default=0, help="utterances of each training speaker in its mean; 0: all"
    )
    parser.add_argument(
        "--train_chunk_s", type=_seconds, default=0.0, help="embed this much of each training utterance; 0: all of it"
    )
    parser.add_argument(
        "--durations", nargs="*", default=[], metavar="SECONDS", help="embed cuts of the test utterances as well"
    )
    return parser


def _folder(text: str) -> Path | None:
    return Path(text) if text else None


def _seconds(text: str) -> float:
    value = float(text)
    if not (value == 0 or LEAST_CHUNK_S <= value < math.inf):
        raise argparse.ArgumentTypeError(f"expected 0 or at least {LEAST_CHUNK_S} seconds, found {text}")
    return value


def _embed(
    encoder: SpeakerEncoder, recordings: Recordings, batch_size: int, indices: Rows | None = None, **further: Any
) -> Embeddings:
    """Embed recordings, each process its share; all get all embeddings."""
    chosen = np.arange(len(recordings.utts)) if indices is None else indices
    own = own_share(recordings, chosen, batch_size, distributed.rank(), distributed.world_size())
    embeddings = np.zeros((len(chosen), encoder.config.backbone.embedding_dim), np.float32)
    if len(own):
        embeddings[own] = encoder.embed_recordings(recordings, chosen[own], batch_size=batch_size, **further)
    return distributed.sum_of_all(embeddings)


def _extract_test(encoder: SpeakerEncoder, store: ArrayStore, options: Any) -> None:
    models = all_models(options.data_dir / "test") if options.enrol == "concatenate" else {}
    source = f"{encoder.fingerprint} {store.digest}" + (f" {json.dumps(models)}" if models else "")
    target = encoder.folder / "embeddings.npz"
    other = encoder.folder / f"embeddings.{options.format}"
    if read_source(target) == source:
        logger.info("%s: up to date, %s", target, count(len(store), "utterance"))
        if other != target and not distributed.rank():
            table = read_embeddings(target)
            write_table(other, table.utts, table.embeddings)
        return
    started = time.perf_counter()
    recordings: list[Recordings] = [store, *([JoinedRecordings(store, models)] if models else [])]
    utts = [utt for one in recordings for utt in one.utts]
    embeddings = np.concatenate([_embed(encoder, one, options.batch_size, progress="embed") for one in recordings])
    if distributed.rank():
        return
    write_embeddings(target, utts, embeddings, source)
    for stale in (*FORMATS[1:], "scp"):  # they do not say whose they are
        (encoder.folder / f"embeddings.{stale}").unlink(missing_ok=True)
    if other != target:
        write_table(other, utts, embeddings)
    took = time.perf_counter() - started
    speech = float(np.sum(store.lengths)) / store.sample_rate
    counts = count(len(store), "utterance")
    counts += f" and {count(len(models), 'model')} of joined recordings" if models else ""
    logger.info("%s: %s, %.0f s of speech in %.1f s", target, counts, speech, took)


def _extract_crops(encoder: SpeakerEncoder, store: ArrayStore, batch_size: int) -> None:
    """Embed five crops of every test utterance into ``crops.npz``."""
    target, crops = encoder.folder / "crops.npz", SpacedCrops(store)
    source = f"{encoder.fingerprint} {store.digest} {NUM_CROPS} x {CROP_SAMPLES}"
    if read_source(target) == source:
        logger.info("%s: up to date, %s", target, count(len(crops.utts), "crop"))
        return
    started = time.perf_counter()
    embeddings = _embed(encoder, crops, batch_size, progress="embed crops")
    if distributed.rank():
        return
    write_embeddings(target, crops.utts, embeddings, source)
    logger.info("%s: %d crops in %.1f s", target, len(crops.utts), time.perf_counter() - started)


def _extract_cuts(encoder: SpeakerEncoder, store: ArrayStore, seconds: float, batch_size: int) -> None:
    """Embed cuts of every test utterance, those of one duration."""
    target, cuts = cuts_path(encoder.folder, seconds), Cuts(store, round(seconds * store.sample_rate), encoder.seed)
    source = f"{encoder.fingerprint} {store.digest} {encoder.seed}"
    if read_source(target) == source:
        logger.info("%s: up to date, %s", target, count(len(cuts.utts), "cut"))
        return
    distributed.wait_for_all()  # the first process may still write them
    table = read_embeddings(encoder.folder / "embeddings.npz")
    embeddings = table.embeddings[table.rows(cuts.utts)]  # right already for those that stay whole
    rows = np.flatnonzero(cuts.lengths < store.lengths)
    if len(rows):
        embeddings[rows] = _embed(encoder, cuts, batch_size, rows, progress=f"embed {seconds:g} s")
    if distributed.rank():
        return
    write_embeddings(target, cuts.utts, embeddings, source)
    logger.info("%s: %s cut, %s left whole", target, count(len(rows), "utterance"), len(cuts.utts) - len(rows))


def _extract_held_aside(encoder: SpeakerEncoder, options: Any) -> None:
    """Embed what thresholds are chosen on, ``thresholds.npz``; without training speech it says that there are none.

    What is there of this model stays: these data may be another corpus, to test on.
    """
    if (read_source(encoder.folder / FILE) or "").split()[:1] == [encoder.fingerprint]:
        logger.info("%s: up to date", encoder.folder / FILE)
        return
    try:
        train, store = read_data_dir(options.data_dir / "train"), ArrayStore(options.data_dir / "store" / "train")
        check_current(store, train.utt2dur)
    except DataError as error:
        logger.warning("no thresholds: %s", error)
        return
    speakers, whose = choose_speakers(train.utt2spk, encoder.speakers, encoder.valid_speakers)
    if len(speakers) < 2:
        logger.warning("no thresholds: %s: expected two speakers of two recordings, found fewer", train.path)
        return
    targets, chosen = choose_targets(train, speakers, encoder.seed)
    rows = np.array([row for row, utt in enumerate(store.utts) if utt in chosen], np.int64)
    embeddings = _embed(encoder, store, options.batch_size, rows, progress="embed for thresholds")
    if distributed.rank():
        return
    utts = [store.utts[row] for row in rows]
    source, found = f"{encoder.fingerprint} {store.digest}", dict(zip(utts, embeddings, strict=True))
    write_held_aside(encoder.folder, found, train.utt2spk, targets, whose, source)
    logger.info("%s: %s of %s", encoder.folder / FILE, count(len(utts), "utterance"), whose)


def _extract_training(encoder: SpeakerEncoder, options: Any, calibrated: bool) -> None:
    """Embed training speech: ``training/cohort.npz``, and ``calibration.npz`` and ``trials`` where they are needed."""
    train, store = read_data_dir(options.data_dir / "train"), ArrayStore(options.data_dir / "store" / "train")
    check_current(store, train.utt2dur)
    folder, num_per_speaker, chunk_s = encoder.folder / FOLDER, options.cohort_utts, options.train_chunk_s
    source = f"{encoder.fingerprint} {store.digest} {num_per_speaker} {chunk_s:g}"
    cohort = choose_cohort(train.utt2spk, encoder.valid_speakers, num_per_speaker, str(train.path))
    needed = ["cohort.npz", *(["calibration.npz"] if calibrated else [])]
    made = {read_source(folder / name) for name in needed}
    if made == {source} and ((folder / "trials").exists() or not calibrated):
        logger.info("%s: up to date, %s", folder, count(len(cohort), "training speaker"))
        return
    started = time.perf_counter()
    trials, who = _calibration_trials(train, encoder) if calibrated else (None, "")
    wanted = {*trials.enrol, *trials.test} if trials else set()
    sums = SpeakerSums(cohort, encoder.config.backbone.embedding_dim)
    pieces = RandomChunks(store, round(chunk_s * store.sample_rate), encoder.seed) if chunk_s else store
    embed = partial(_embed, encoder, pieces, options.batch_size)
    kept = _embed_training(embed, pieces.utts, sums, {utt for utts in cohort.values() for utt in utts}, wanted)
    if distributed.rank():
        return
    extra = {"mean": sums.mean(), "cohort_utts": np.array(num_per_speaker), "train_chunk_s": np.array(chunk_s)}
    write_embeddings(folder / "cohort.npz", sums.means().utts, sums.means().embeddings, source, extra)
    took = time.perf_counter() - started
    logger.info("%s: cohort of %s in %.1f s", folder, count(len(cohort), "speaker"), took)
    if trials:
        write_calibration_trials(encoder.folder, trials)
        write_embeddings(folder / "calibration.npz", list(kept), np.stack(list(kept.values())), source)  # says done
        logger.info("%s: %s of %s", folder, count(len(trials), "calibration trial"), who)


def _calibration_trials(train: DataDir, encoder: SpeakerEncoder) -> tuple[Trials, str]:
    """Trials to calibrate on, and whose they are."""
    speakers, who = calibration_speakers(train.utt2spk, encoder.valid_speakers)
    return make_calibration_trials(train, speakers, encoder.seed), who


def _embed_training(
    embed: Callable[[Rows], Embeddings], all_utts: Sequence[str], sums: SpeakerSums, cohort: set[str],
    wanted: set[str],
) -> dict[str, Embeddings]:  # fmt: skip
    """Sum up the cohort's embeddings, block by block, and keep those wanted."""
    chosen = np.array([index for index, utt in enumerate(all_utts) if utt in cohort or utt in wanted], np.int64)
    kept: dict[str, Embeddings] = {}
    with tqdm(total=len(chosen), desc="embed training speech", unit="utt", delay=2) as bar:
        block = BLOCK_UTTS * distributed.world_size()
        for start in range(0, len(chosen), block):
            part = chosen[start : start + block]
            utts, embeddings = [all_utts[index] for index in part], embed(part)
            sums.add(utts, embeddings)
            kept.update({utt: row.copy() for utt, row in zip(utts, embeddings, strict=True) if utt in wanted})
            bar.update(len(part))
    return kept


def test_durations(data_dir: Path) -> dict[str, float]:
    """Duration in seconds of every utterance of the test lists together."""
    return {utt: s for folder in trial_dirs(data_dir / "test") for utt, s in read_data_dir(folder).utt2dur.items()}


if __name__ == "__main__":
    sys.exit(leave(run(main), at_once=distributed.launched()))
