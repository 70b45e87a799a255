"""The mean of a training's last or best checkpoints: ``average.pt``, the model that embeds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ham.config import TrainConfig, from_dict
from ham.errors import CheckpointError
from ham.model import checkpoint

logger = logging.getLogger(__name__)

KEPT = (
    "config", "seed", "fingerprint", "num_speakers", "speakers", "valid_speakers", "versions", "schedules", "command",
)  # fmt: skip
"""What ``average.pt`` takes from the last checkpoint as it is."""

START = "start.pt"
"""File of an experiment's folder with the backbone that the training started from, where ``train.interpolate`` asks."""


def weights_in_use(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``backbone`` and ``loss`` of a checkpoint that stand for it: their moving average where there is one."""
    found: Mapping[str, Any] = state.get("ema", state)
    return found


def stopped_early(training: TrainConfig, eers: Mapping[int, float]) -> bool:
    """Whether the last ``train.early_stop`` epochs gave no lower validation EER than the best one before them.

    Epochs in which the backbone rests cannot lower it and do not count.

    Args:
        training: of which ``early_stop`` and ``freeze_epochs`` count.
        eers: the EER of each epoch so far.
    """
    if not training.early_stop or not eers:
        return False
    best = min(eers, key=lambda epoch: (eers[epoch], epoch))
    return max(eers) - max(best, training.freeze_epochs) >= training.early_stop


def averaged_epochs(training: TrainConfig, eers: Mapping[int, float], last: int) -> list[int]:
    """The epochs that are averaged, in rising order.

    Args:
        training: of which ``keep`` and ``average_last`` count.
        eers: the validation EER of each epoch, for ``keep: best``; of equal ones the later counts.
        last: the last epoch.
    """
    if training.keep == "best":
        return sorted(sorted(eers, key=lambda epoch: (eers[epoch], -epoch))[: training.average_last])
    return list(range(max(1, last - training.average_last + 1), last + 1))


def keep_start(exp_dir: Path, backbone: Mapping[str, Tensor], training: TrainConfig) -> None:
    """Keep what :func:`average_checkpoints` will interpolate with, if it will.

    Args:
        exp_dir: the experiment.
        backbone: weights before the first step.
        training: of which ``interpolate`` counts.
    """
    if training.interpolate:
        checkpoint.save(exp_dir / START, {"backbone": dict(backbone)})


def interpolated(start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    r"""Weights on the line between two: :math:`a\,\theta_0 + (1 - a)\,\theta_1` (WiSE-FT: Wortsman et al., CVPR 2022).

    Their :math:`\alpha` is :math:`1 - a`. Batch normalisation's statistics are interpolated too; counters are the
    trained ones.

    Args:
        start: weights that a fine-tuning started from, :math:`\theta_0`.
        trained: weights that it came to, :math:`\theta_1`.
        share: :math:`a`, 0 to 1.
    """
    return {
        name: torch.lerp(value.double(), start[name].double(), share).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in trained.items()
    }


def average_checkpoints(exp_dir: Path) -> None:
    """Average the epochs of a finished training that ``train.keep`` and ``train.average_last`` say into ``average.pt``.

    With ``train.interpolate`` the backbone is then moved towards where the training started; the centres are not.

    It holds ``KEPT``, the ``epochs``, the last ``epoch``, and the averaged ``backbone`` and ``loss``. One that is there
    already stays if it was made after the last epoch, and is younger than its checkpoint and those that it averages.

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
    training, eers = from_dict(last["config"]).train, last.get("valid_eers", {})
    if epochs[-1] < training.epochs and not stopped_early(training, eers):
        raise CheckpointError(
            f"{folder}: training stopped after epoch {epochs[-1]} of {training.epochs}; go on with --stage 4 --resume"
        )
    wanted = averaged_epochs(training, eers, epochs[-1])
    loaded = {epochs[-1]: last}
    loaded |= {epoch: checkpoint.load(checkpoint.epoch_path(folder, epoch)) for epoch in wanted if epoch not in loaded}
    states = [weights_in_use(loaded[epoch]) for epoch in wanted]
    model: dict[str, Any] = {key: last[key] for key in KEPT}
    model["epochs"], model["epoch"] = wanted, epochs[-1]
    for part in ("backbone", "loss"):
        model[part] = checkpoint.average([state[part] for state in states])
    if training.interpolate:
        with checkpoint.fitting(exp_dir / START):
            start = checkpoint.load(exp_dir / START)["backbone"]
            model["backbone"] = interpolated(start, model["backbone"], training.interpolate)
    checkpoint.save(path, model)
    moved = f", moved by {training.interpolate:g} towards the start" if training.interpolate else ""
    logger.info("%s: mean of epochs %s%s", path, ", ".join(map(str, wanted)), moved)


def _is_current(path: Path, folder: Path, last_epoch: int) -> bool:
    """Whether an average was made after the last epoch, and none of the checkpoints that count was written since."""
    try:
        model = checkpoint.load(path)
        written = [checkpoint.epoch_path(folder, epoch).stat().st_mtime_ns for epoch in {last_epoch, *model["epochs"]}]
        return bool(model["epoch"] == last_epoch and max(written) < path.stat().st_mtime_ns)
    except (CheckpointError, OSError, KeyError):
        return False
