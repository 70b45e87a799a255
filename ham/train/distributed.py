"""Work by several processes: what each takes of a batch, and what all of them bring together.

Processes meet through ``torch.distributed``, started by ``torchrun`` or by :mod:`ham.train.launch`. One process, which
never joins, finds every function here to be the identity. All processes follow one order of the epoch and draw the
random numbers of the whole batch: how many there are changes no crop and no augmentation.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
from torch.nn.parallel import DistributedDataParallel

from ham.errors import ConfigError
from ham.model.build import pick_device
from ham.train.signals import end_with_parent

WORDS = "HAM_LAST_WORDS"
"""The environment's variable with the folder where a silent process leaves what its libraries say."""

TIMEOUT = timedelta(minutes=30)
"""A process that waits longer for another one fails; validation by the first one is the longest wait."""


def launched() -> bool:
    """Whether ``torchrun`` started this process, as one of several or as the only one."""
    return dist.is_torchelastic_launched()


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_world_size() -> int:
    """How many of the processes are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1


def rank() -> int:
    """Which of the processes this is, from 0; the first one writes log, checkpoints and curves."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def joined(name: str) -> Iterator[torch.device]:
    """Join the other processes, if there are any, until the end.

    Only the first process talks. What ends a process with an error is left in the file that the launcher reads, which
    tells it once for all of them.

    Args:
        name: what ``--device`` says; ``auto`` and ``cuda`` give each process of a machine a GPU of its own.

    Yields:
        The device of this process.

    Raises:
        ConfigError: if there is no such device.
    """
    if not launched():
        yield pick_device(name)
        return
    if name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    end_with_parent(signal.SIGTERM)  # a launcher that is killed ends nobody
    handler = get_error_handler()
    handler.initialize()

    def _leave_word(_: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            handler.record_exception(error)
            _silence()

    with ExitStack() as work:
        work.push(_leave_word)
        device = pick_device(name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        if rank():
            _silence()
        yield device
        dist.destroy_process_group()


def _silence() -> None:
    """Take standard error away from this process and from those that it will start; its launcher can read it."""
    folder = os.environ.get(WORDS)
    place = Path(folder, os.environ["LOCAL_RANK"]) if folder else os.devnull
    os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)


def check_batch(batch_size: int, num_processes: int, accumulate: int = 1) -> None:
    """Refuse a batch that does not divide.

    Args:
        batch_size: crops of a step of all processes together.
        num_processes: of these.
        accumulate: parts in which each process takes its share.

    Raises:
        ConfigError: if it is no multiple, or a part has less than the two crops of batch normalisation.
    """
    parts = num_processes * accumulate
    if batch_size % parts or (parts > 1 and batch_size < 2 * parts):
        of = "the number of processes" + (f" times train.accumulate {accumulate}" if accumulate > 1 else "")
        raise ConfigError(
            f"data.batch_size: expected a multiple of {parts}, {of}, and at least 2 crops "
            f"for each, found {batch_size}; change --num_gpus or --set data.batch_size=N (another experiment)"
        )


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    if dist.is_initialized():
        dist.barrier()


def from_first(compute: Callable[[], float]) -> float:
    """A number that the first process computes, on all."""
    if world_size() == 1:
        return compute()
    value = torch.tensor(compute() if rank() == 0 else 0.0, dtype=torch.float64)
    dist.broadcast(value, src=0)
    return float(value)


def largest_of_all(value: int) -> int:
    """The largest of a number over the processes, on all."""
    if world_size() == 1:
        return value
    largest = torch.tensor(value)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def mean_of_all(*values: Tensor) -> tuple[Tensor, ...]:
    """Means over the processes of scalars, without gradients: of shares of a batch, those of the whole batch."""
    if world_size() == 1:
        return tuple(value.detach() for value in values)
    together = torch.stack([value.detach().float() for value in values])
    dist.all_reduce(together)
    return tuple((together / world_size()).unbind())


def sum_of_all(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum over the processes, element by element."""
    if world_size() > 1:
        dist.all_reduce(torch.from_numpy(values))
    return values


def replicated(module: nn.Module) -> nn.Module:
    """The module to call so that its gradients are means over the processes; itself where it has none."""
    if not any(p.requires_grad for p in module.parameters()):
        return module
    return DistributedDataParallel(module, broadcast_buffers=False)  # a buffer must not change between two views


def synchronise(module: nn.Module) -> None:
    """Let the batch normalisation within a module take the crops of all processes (``train.sync_batchnorm``).

    Raises:
        ConfigError: if the processes are on CPUs, for which torch has none.
    """
    if next(module.parameters()).device.type != "cuda":
        raise ConfigError("train.sync_batchnorm: torch has it for GPUs only, found processes on CPUs; set it to false")
    nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]


def clip_grad_norm(parameters: Sequence[nn.Parameter], split: Collection[nn.Parameter], most: float) -> None:
    """Shorten the gradient of all parameters together, those that are split over the processes whole.

    Args:
        parameters: all of them.
        split: those of which each process has a part.
        most: largest norm.
    """
    if not split:
        nn.utils.clip_grad_norm_(parameters, most)
        return
    parts, common = (
        [p.grad for p in parameters if (p in split) == one and p.grad is not None] for one in (True, False)
    )
    square = nn.utils.get_total_norm(parts).square()
    dist.all_reduce(square)
    total = torch.sqrt(square + nn.utils.get_total_norm(common).square())
    nn.utils.clip_grads_with_norm_(parameters, most, total)


def save_whole(optimiser: torch.optim.Optimizer, split: Mapping[nn.Parameter, Any]) -> None:
    """Have an optimiser's state hold whole what it keeps of split parameters, and take it from there.

    Args:
        optimiser: any whose state has tensors of the parameter's shape.
        split: the parameters that are split, and how (:class:`ham.losses.sharded.Shard`).
    """

    def _changed(state: dict[str, Any], change: Callable[[Any, Tensor], Tensor]) -> dict[str, Any]:
        own = [p for group in optimiser.param_groups for p in group["params"]]
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        kept = dict(state["state"])
        for parameter, number in zip(own, numbers, strict=True):
            if parameter in split and number in kept:
                shard, values = split[parameter], kept[number].items()
                kept[number] = {key: change(shard, v) if getattr(v, "ndim", 0) else v for key, v in values}
        return {**state, "state": kept}

    optimiser.register_state_dict_post_hook(lambda _, state: _changed(state, lambda shard, v: shard.saved(v)))
    optimiser.register_load_state_dict_pre_hook(lambda _, state: _changed(state, lambda shard, v: shard.cut(v)))
