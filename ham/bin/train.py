"""Stage 4: train a system on the training data directory."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ham.bin._system_options import add_config, add_processes, read_config, top_n
from ham.cli import Parser, at_least, boolean, leave, run
from ham.config import Config
from ham.data.identity import write_sums
from ham.data.kaldi_dir import read_data_dir
from ham.errors import ConfigError
from ham.files import lock_folder
from ham.model.average import keep_start
from ham.score.backends import DEFAULT, fitting_backends, parse_backends
from ham.score.cohort import check_training
from ham.train import distributed
from ham.train.distill import read_teacher
from ham.train.experiment import build_loop, prepare
from ham.train.initial import asked_for
from ham.train.launch import launch, num_processes
from ham.train.memory import check_shared_memory, told_in_words
from ham.train.profile import profile
from ham.train.request import MATERIALS, describe, find_place, is_finished, write_request
from ham.words import count

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Train, or go on training, or say that it is done."""
    options = _parser().parse_args(argv)
    config = read_config(options)
    processes = num_processes(options.num_gpus, options.device)
    if distributed.launched() or processes * options.nnodes == 1:
        with distributed.joined(options.device) as device:
            distributed.check_batch(config.data.batch_size, distributed.world_size(), config.train.accumulate)
            _train(options, config, device)
        return
    if options.profile:
        raise ConfigError("--profile: shows one process, found several; leave --num_gpus and --nnodes out")
    distributed.check_batch(config.data.batch_size, processes * options.nnodes, config.train.accumulate)
    command = [sys.executable, "-m", "ham.bin.train", *argv]
    cure = "go on with --resume"
    launch(command, processes=processes, num_nodes=options.nnodes, rdzv=options.rdzv, cure=cure)


def _train(options: Any, config: Config, device: torch.device) -> None:
    """Do it, as one of the processes or as the only one."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.train.tf32
    torch.set_flush_denormal(True)  # gradients of easy examples get denormal, which costs a CPU a factor of 8
    prepared = prepare(options.data_dir, config, options.seed, [name for name in MATERIALS if getattr(options, name)])
    _check_backends(options, prepared.aside)
    stores = {"train": prepared.store, **prepared.materials}
    initial = asked_for(options.init_from, config.train)
    teacher = read_teacher(config.distill, device)
    request = describe(config, options.seed, prepared.fingerprint, prepared.materials, initial, teacher)
    folder = options.exp_dir
    build = partial(build_loop, prepared, config, folder, seed=options.seed, device=device, teacher=teacher)
    if options.profile:
        loop = build(command="")
        print(profile(loop, folder / "profile").table())
        return
    with told_in_words(folder), _claimed(folder) as is_ours:
        distributed.wait_for_all()  # nobody else writes there now
        place = find_place(folder, request, stores, options.resume)
        if is_finished(folder, place, config.train):
            logger.info("%s: trained already, %s; nothing to do", folder, count(place.epoch, "epoch"))
            return
        distributed.wait_for_all()  # all have read the folder
        if is_ours:
            write_sums(folder, stores)
            write_request(folder, request)
        torch.manual_seed(options.seed)
        command = options.command or shlex.join(["python", "-m", "ham.bin.train", *sys.argv[1:]])
        start = initial if not place.epoch else None  # what goes on has weights of its own
        loop = build(command=command, initial=start)
        if is_ours and start is not None:
            keep_start(folder, loop.step.backbone.state_dict(), config.train)
        if place.epoch:
            loop.resume(*place)
            logger.info("%s: going on %s", folder, place)
        check_shared_memory(loop.crops)
        with loop.stop.heeded():
            loop.run()


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether this process, the first one, is to write in the experiment's folder; nobody else does meanwhile."""
    if distributed.rank():
        yield False
        return
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder, "train"):
        for left in (*folder.glob(".*.part"), *(folder / "checkpoints").glob(".*.part")):  # of a killed run
            left.unlink()
        yield True


def _parser() -> Parser:
    """The options."""
    parser = Parser(prog="ham.bin.train", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds train/ and store/")
    parser.add_argument("--exp_dir", type=Path, required=True, help="the experiment's folder, made if missing")
    parser.add_argument(
        "--seed", type=at_least(0), default=1, help="of weights, order, augmentation, validation speakers"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--resume", type=boolean, default=False, help="true: go on after the last checkpoint")
    parser.add_argument(
        "--init_from",
        type=_path,
        help="start from these weights: an experiment's folder, a checkpoint, a model directory or an encoder",
    )
    parser.add_argument("--profile", type=boolean, default=False, help="true: only show where the time of a step goes")
    parser.add_argument("--command", default="", help="command that the results name; this one when missing")
    parser.add_argument("--musan", default="", help="not empty: use the MUSAN that stage 3 packed")
    parser.add_argument("--rirs", default="", help="not empty: use the room responses that stage 3 packed")
    parser.add_argument("--backends", nargs="+", default=[*DEFAULT], help="what will score it; checked before training")
    parser.add_argument("--top_n", type=top_n, default=0, help="cohort scores that as_norm will keep, likewise")
    add_processes(parser)
    add_config(parser)
    return parser


def _path(text: str) -> Path | None:
    """A path; None where the option is empty."""
    return Path(text) if text else None


def _check_backends(options: Any, aside: Sequence[str]) -> None:
    """Refuse back-ends that will not be able to score, before the training."""
    backends = parse_backends(options.backends)
    for models in sorted((options.data_dir / "test").glob("*/*/enrol")):
        fitting_backends(backends, str(models.parent), has_models=True)
    if any(backend.needs_training for backend in backends):
        check_training(backends, read_data_dir(options.data_dir / "train"), aside, top_n=options.top_n)


if __name__ == "__main__":
    sys.exit(leave(run(main), at_once=distributed.launched()))
