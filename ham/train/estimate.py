"""How long a training would take, from steps timed here or a given speed, and the disk of its experiment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ham.config import Config
from ham.data.batches import Batch
from ham.data.kaldi_dir import read_data_dir, trial_dirs
from ham.embeddings.recordings import NUM_CROPS
from ham.train.crops import steps_per_epoch
from ham.train.crossing import pack
from ham.train.distill import read_teacher
from ham.train.experiment import build_speed, build_step
from ham.train.optimisers import build_optimiser
from ham.train.step import TrainingStep

FIRST_CROPS = 8
"""Crops of the first timed step; the batch is doubled while a step takes less than a second."""

NUM_STEPS = 3
"""Timed steps of the final batch; the fastest counts, since whatever else runs on the machine only slows them."""

SCORE_BYTES = 60
"""Of a line of a score file: two ids and a number."""


@dataclass(frozen=True)
class Sizes:
    """What is to be trained on and scored.

    Attributes:
        num_utts: training utterances.
        num_speakers: training speakers.
        num_test_utts: test utterances.
        num_trials: trials of all lists together.
    """

    num_utts: int
    num_speakers: int
    num_test_utts: int
    num_trials: int


@dataclass(frozen=True)
class Timing:
    """A timed step.

    Attributes:
        crops: of the data in the step; views come on top.
        seconds: of the step.
    """

    crops: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What an experiment costs.

    Attributes:
        seconds: of its training; validation, averaging and scoring come on top, and a teacher's pass over whole
            recordings.
        num_bytes: of its folder.
        words: what the seconds were computed from.
    """

    seconds: float
    num_bytes: float
    words: str

    @property
    def gigabytes(self) -> str:
        """The folder's size as it is printed, in units of 10^9 bytes."""
        return f"{self.num_bytes / 1e9:.3f}"


def read_sizes(data_dir: Path) -> Sizes | None:
    """Count what a data directory holds.

    Args:
        data_dir: folder that holds ``train/`` and ``test/``.

    Returns:
        The counts; None if nothing is prepared there.

    Raises:
        DataError: if a data directory is damaged.
    """
    if not (data_dir / "train" / "utt2spk").exists():
        return None
    train = read_data_dir(data_dir / "train")
    lists = [read_data_dir(path) for path in trial_dirs(data_dir / "test")] if (data_dir / "test").is_dir() else []
    test = {utt for one in lists for utt in one.utt2spk}
    trials = sum(len(one.trials) for one in lists if one.trials)
    return Sizes(len(train.utt2spk), len({*train.utt2spk.values()}), len(test), trials)


def estimate(
    config: Config,
    sizes: Sizes,
    device: torch.device,
    *,
    num_backends: int = 2,
    crops: bool = False,
    crops_per_s: float | None = None,
) -> Estimate:
    """Time a few training steps, or take their speed as given, and compute what the whole experiment needs.

    Args:
        config: the system.
        sizes: of the data.
        device: where to compute.
        num_backends: back-ends that write scores.
        crops: whether crops of each test utterance are embedded beside the whole.
        crops_per_s: crops of a training in a second, views counted as it shows them; None to time steps here.

    Returns:
        The estimate.
    """
    speed, num_classes = build_speed(config, sizes.num_speakers)
    step = build_step(config, num_classes, speed, device, teacher=read_teacher(config.distill, device))
    if step.distillation is not None and config.distill.hears == "recording":
        shape = config.data.batch_size, 1 + len(config.data.speed_perturb), step.distillation.teacher.embedding_dim
        step.distillation.recordings = torch.ones(shape, device=device)
    source = "--crops_per_s"
    if crops_per_s is None:
        timing = time_steps(step, config, num_classes, device)
        crops_per_s = timing.crops * step.views / timing.seconds
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        source = f"{NUM_STEPS} steps of {timing.crops} crops timed on {where}"
    steps, batch_size = epoch_steps(config, sizes.num_utts)
    shown = f"{crops_per_s:.0f}" if crops_per_s >= 100 else f"{crops_per_s:.3g}"
    return Estimate(
        config.train.epochs * steps * batch_size * step.views / crops_per_s,
        disk_bytes(config, step, sizes, num_backends, 1 + NUM_CROPS * crops),
        f"{config.train.epochs} epochs x {steps} steps x {batch_size} crops x {step.views} views at "
        f"{shown} crops/s ({source})",
    )


def epoch_steps(config: Config, num_utts: int) -> tuple[int, int]:
    """Steps of an epoch and crops of each, by the rule that the training follows.

    Args:
        config: the system.
        num_utts: training utterances.

    Returns:
        Both; fewer crops than ``data.batch_size`` where all of an epoch do not fill a batch.
    """
    crops = num_utts * config.data.crops_per_utterance
    return steps_per_epoch(config.data, num_utts), min(crops, config.data.batch_size)


def time_steps(step: TrainingStep, config: Config, num_classes: int, device: torch.device) -> Timing:
    """Time training steps on noise; what a step costs does not depend on what is said in it.

    Args:
        step: the forward pass.
        config: the system.
        num_classes: labels that there are.
        device: where to compute.

    Returns:
        The fastest of several steps with the largest batch that takes about a second, or the configuration's.
    """
    torch.set_flush_denormal(True)
    step.backbone.train()
    parameters = [*step.backbone.parameters(), *step.loss.parameters()]
    optimiser = build_optimiser(config.optimiser, parameters, fused=config.train.fused)
    generator = torch.Generator().manual_seed(0)
    samples = step.crop_samples if step.speed is None else step.speed.input_samples(step.crop_samples)
    classes = num_classes // (1 + len(config.data.speed_perturb))

    def timed(crops: int) -> float:
        """Seconds of a step of so many crops."""
        rows = torch.randn(crops, samples).mul(3000).to(torch.int16)
        batch = Batch(rows, torch.arange(crops) % classes, np.arange(crops))
        return _timed(lambda: step.backward(pack(step.draws(batch, generator)).to(device).unpack()), optimiser, device)

    crops = min(FIRST_CROPS, config.data.batch_size)
    timed(crops)  # the first step of a process takes memory and picks algorithms
    while crops < config.data.batch_size and timed(crops) < 1.0:
        crops = min(2 * crops, config.data.batch_size)
    return Timing(crops, min(timed(crops) for _ in range(NUM_STEPS)))


def _timed(backward: Callable[[], object], optimiser: torch.optim.Optimizer, device: torch.device) -> float:
    started = time.perf_counter()
    optimiser.zero_grad(set_to_none=True)
    backward()
    optimiser.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def disk_bytes(config: Config, step: TrainingStep, sizes: Sizes, num_backends: int, num_embeddings: int = 1) -> int:
    """Disk of an experiment: checkpoints with the optimiser's state, the averaged model, embeddings, scores.

    Args:
        config: the system.
        step: its parts.
        sizes: of the data.
        num_backends: back-ends that write scores.
        num_embeddings: of each test utterance, crops counted.

    Returns:
        Bytes.
    """
    weights = sum(p.numel() * p.element_size() for part in (step.backbone, step.loss) for p in part.parameters())
    moments = 1 if config.optimiser.name == "sgd" else 2
    averages = 1 if config.train.ema else 0
    last = config.train.average_last
    kept = {"last": last, "best": last + 1, "all": config.train.epochs}[config.train.keep]
    checkpoints = kept * (1 + moments + averages) * weights + weights
    embeddings = num_embeddings * sizes.num_test_utts * config.backbone.embedding_dim * 4
    return checkpoints + embeddings + sizes.num_trials * SCORE_BYTES * num_backends
