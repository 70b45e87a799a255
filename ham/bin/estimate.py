"""How long a training would take on this machine, and the disk that its experiment would need: steps are timed.

Prints one line: seconds, gigabytes, and what they were computed from.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ham.bin._system_options import add_config, read_config
from ham.cli import Parser, at_least, run
from ham.config import Config
from ham.data.batches import Batch
from ham.data.kaldi_dir import read_data_dir, trial_dirs
from ham.errors import ConfigError, DataError
from ham.model.build import pick_device
from ham.train.experiment import build_speed, build_step
from ham.train.optimisers import build_optimiser
from ham.train.step import TrainingStep

logger = logging.getLogger(__name__)

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


def main(argv: Sequence[str]) -> None:
    """Time steps and print the estimate.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    config = read_config(options)
    sizes = _sizes(options)
    device = pick_device(options.device)
    speed, num_classes = build_speed(config, sizes.num_speakers)
    step = build_step(config, num_classes, speed, device)
    timing = time_steps(step, config, num_classes, device)
    seconds, steps = training_seconds(config, sizes.num_utts, timing)
    disk = disk_bytes(config, step, sizes, options.num_backends, 6 if options.crops else 1)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(
        f"{seconds:.0f} s, {disk / 1e9:.3f} GB: "
        f"{config.train.epochs} epochs x {steps} steps x {config.data.batch_size} crops x {step.views} views at "
        f"{timing.crops / timing.seconds:.3g} crops/s ({NUM_STEPS} steps of {timing.crops} crops timed on {where})"
    )


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.estimate", description=__doc__)
    parser.add_argument("--data_dir", type=Path, default=None, help="prepared data; else the numbers below")
    parser.add_argument("--num_utts", type=at_least(1), default=None, help="training utterances")
    parser.add_argument("--num_speakers", type=at_least(2), default=None, help="training speakers")
    parser.add_argument("--num_test_utts", type=at_least(0), default=0, help="test utterances")
    parser.add_argument("--num_trials", type=at_least(0), default=0, help="trials of all lists")
    parser.add_argument("--num_backends", type=at_least(1), default=2, help="back-ends that write scores")
    parser.add_argument("--crops", action="store_true", help="five crops of every test utterance are embedded too")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_config(parser)
    return parser


def _sizes(options: Any) -> Sizes:
    """From the data directory where it is prepared, else from the options."""
    base = options.data_dir
    if base is not None and (base / "train" / "utt2spk").exists():
        train = read_data_dir(base / "train")
        lists = [read_data_dir(folder) for folder in trial_dirs(base / "test")] if (base / "test").is_dir() else []
        test = {utt for one in lists for utt in one.utt2spk}
        trials = sum(len(one.trials) for one in lists if one.trials)
        return Sizes(len(train.utt2spk), len({*train.utt2spk.values()}), len(test), trials)
    if options.num_utts is None or options.num_speakers is None:
        found = "neither" if base is None else f"no {base}/train"
        raise ConfigError(f"expected a prepared --data_dir, or --num_utts and --num_speakers; found {found}")
    return Sizes(options.num_utts, options.num_speakers, options.num_test_utts, options.num_trials)


def training_seconds(config: Config, num_utts: int, timing: Timing) -> tuple[float, int]:
    """Seconds of a whole training, and the steps of an epoch.

    Args:
        config: the system.
        num_utts: training utterances.
        timing: a timed step.

    Returns:
        Both. Validation, averaging and scoring are not in the seconds.

    Raises:
        DataError: if the utterances do not fill a batch.
    """
    steps = num_utts * config.data.crops_per_utterance // config.data.batch_size
    if not steps:
        found = f"{num_utts} utterances for a batch of {config.data.batch_size}"
        raise DataError(f"expected training utterances for a step at least, found {found}")
    return timing.seconds * config.data.batch_size / timing.crops * steps * config.train.epochs, steps


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
    optimiser = build_optimiser(config.optimiser, parameters)
    generator = torch.Generator(device=device).manual_seed(0)
    samples = step.crop_samples if step.speed is None else step.speed.input_samples(step.crop_samples)
    classes = num_classes // (1 + len(config.data.speed_perturb))

    def timed(crops: int) -> float:
        """Seconds of a step of so many crops."""
        rows = torch.randn(crops, samples).mul(3000).to(torch.int16)
        batch = Batch(rows, torch.arange(crops) % classes, torch.arange(crops))
        return _timed(lambda: step(batch, generator).loss, optimiser, device)

    crops = min(FIRST_CROPS, config.data.batch_size)
    timed(crops)  # the first step of a process takes memory and picks algorithms
    while crops < config.data.batch_size and timed(crops) < 1.0:
        crops = min(2 * crops, config.data.batch_size)
    return Timing(crops, min(timed(crops) for _ in range(NUM_STEPS)))


def _timed(forward: Callable[[], Tensor], optimiser: torch.optim.Optimizer, device: torch.device) -> float:
    started = time.perf_counter()
    optimiser.zero_grad(set_to_none=True)
    forward().backward()  # type: ignore[no-untyped-call]  # torch's stub has no types here
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
    checkpoints = config.train.average_last * (1 + moments) * weights + weights
    embeddings = num_embeddings * sizes.num_test_utts * config.backbone.embedding_dim * 4
    return checkpoints + embeddings + sizes.num_trials * SCORE_BYTES * num_backends


if __name__ == "__main__":
    sys.exit(run(main))
