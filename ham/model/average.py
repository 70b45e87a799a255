"""The mean of a training's last checkpoints: ``average.pt``, the model that embeds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ham.errors import CheckpointError
from ham.model import checkpoint

logger = logging.getLogger(__name__)

KEPT = (
    "config", "seed", "fingerprint", "num_speakers", "speakers", "valid_speakers", "versions", "schedules", "command",
)  # fmt: skip
"""What ``average.pt`` takes from the last checkpoint as it is."""


def average_checkpoints(exp_dir: Path) -> None:
    """Average the last ``train.average_last`` epochs of a finished training into ``average.pt``.

    It holds ``KEPT``, the ``epochs``, and the averaged ``backbone`` and ``loss``. One that is there already stays if it
    is the mean of the last epochs and younger than each of their checkpoints.

    Args:
        exp_dir: the experiment.

    Raises:
        CheckpointError: if the training is not finished, or a checkpoint is missing or damaged.
    """
    folder, path = exp_dir / "checkpoints", exp_dir / "average.pt"
    epochs = checkpoint.saved_epochs(folder)
    if not epochs:
        raise CheckpointError(f"{folder}: expected checkpoints, found none; train first (stage 4)")
    if _is_current(path, folder, epochs[-1]):
        logger.info("%s: up to date", path)
        return
    last = checkpoint.load(checkpoint.epoch_path(folder, epochs[-1]))
    block = last["config"]["train"]
    if epochs[-1] < block["epochs"]:
        raise CheckpointError(
            f"{folder}: training stopped after epoch {epochs[-1]} of {block['epochs']}; go on with --stage 4 --resume"
        )
    wanted = list(range(block["epochs"] - block["average_last"] + 1, block["epochs"] + 1))
    states = [checkpoint.load(checkpoint.epoch_path(folder, epoch)) for epoch in wanted[:-1]] + [last]
    model: dict[str, Any] = {key: last[key] for key in KEPT}
    model["epochs"] = wanted
    for part in ("backbone", "loss"):
        model[part] = checkpoint.average([state[part] for state in states])
    checkpoint.save(path, model)
    logger.info("%s: mean of epochs %d to %d", path, wanted[0], wanted[-1])


def _is_current(path: Path, folder: Path, last_epoch: int) -> bool:
    """Whether an average is that of the last epochs, and none of their checkpoints was written since."""
    try:
        epochs = checkpoint.load(path)["epochs"]
        written = [checkpoint.epoch_path(folder, epoch).stat().st_mtime_ns for epoch in epochs]
        return bool(epochs[-1] == last_epoch and max(written) < path.stat().st_mtime_ns)
    except (CheckpointError, OSError, KeyError):
        return False
