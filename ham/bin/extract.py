"""Stage 5: average the last checkpoints and embed every test utterance."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ham.backbones.base import Backbone
from ham.bin._cli import Parser, run
from ham.bin._system import build_backbone, build_frontend, check_current, pick_device
from ham.config import Config, from_dict
from ham.data.kaldi_dir import all_models, read_data_dir, trial_dirs
from ham.data.store import ArrayStore
from ham.errors import CheckpointError, ConfigError
from ham.score.embeddings import (
    ENROL,
    JoinedRecordings,
    Recordings,
    extract,
    read_source,
    write_ark,
    write_embeddings,
)
from ham.train import checkpoint

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Average, then extract."""
    parser = Parser(prog="ham.bin.extract", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds store/")
    parser.add_argument("--exp_dir", type=Path, required=True, help="the experiment's folder")
    parser.add_argument("--batch_size", type=int, default=16, help="most utterances of a batch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--enrol", choices=ENROL, default=ENROL[0], help="concatenate: embed each model's recordings joined as well"
    )
    parser.add_argument("--format", choices=("npz", "ark"), default="npz", help="ark: Kaldi's format as well")
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        raise ConfigError(f"--batch_size: expected at least 1, found {options.batch_size}")
    model = average_checkpoints(options.exp_dir)
    config = from_dict(model["config"], f"{options.exp_dir}/average.pt")
    device = pick_device(options.device)
    backbone = build_backbone(config)
    backbone.load_state_dict(model["backbone"])
    store = ArrayStore(options.data_dir / "store" / "test")
    check_current(store, test_durations(options.data_dir))
    models = all_models(options.data_dir / "test") if options.enrol == "concatenate" else {}
    source = f"{weights_digest(model)} {store.meta['files']}" + (f" {json.dumps(models)}" if models else "")
    target = options.exp_dir / "embeddings.npz"
    if options.format == "npz" and read_source(target) == source:
        logger.info("%s: up to date, %d utterances", target, len(store))
        return
    started = time.perf_counter()
    recordings: list[Recordings] = [store, *([JoinedRecordings(store, models)] if models else [])]
    utts = [utt for one in recordings for utt in one.utts]
    embeddings = np.concatenate([_embed(backbone, config, one, device, options.batch_size) for one in recordings])
    write_embeddings(target, utts, embeddings, source)
    if options.format == "ark":
        write_ark(options.exp_dir / "embeddings.ark", utts, embeddings)
    took = time.perf_counter() - started
    speech = float(np.sum(store.lengths)) / store.sample_rate
    counts = f"{len(store)} utterances" + (f" and {len(models)} models of joined recordings" if models else "")
    logger.info("%s: %s, %.0f s of speech in %.1f s", target, counts, speech, took)


def _embed(
    backbone: Backbone, config: Config, recordings: Recordings, device: torch.device, batch_size: int
) -> NDArray[np.float32]:
    """Embeddings of all recordings, ``(N, D)``."""
    everything = np.arange(len(recordings.utts))
    frontend = build_frontend(config).to(device)
    return extract(
        backbone.to(device), frontend, recordings, everything, device=device, batch_size=batch_size, progress="embed"
    )


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
        raise CheckpointError(f"{folder}: expected checkpoints, found none; run stage 4 first")
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


def weights_digest(model: dict[str, Any]) -> str:
    """A digest of the backbone's weights: embeddings made with other weights are out of date."""
    digest = hashlib.sha256()
    for key, value in model["backbone"].items():
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(run(main))
