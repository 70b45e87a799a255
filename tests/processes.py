"""Several processes of one training, started as a test's own: gloo on the CPU, one thread each."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

LONGEST_S = 600
"""Of work that takes seconds, on a machine that does much else; later it hangs."""

PRELOADED = ["ham.train.experiment", "ham.losses", "torch._dynamo", "pytest"]  # the losses load dynamo late


def together(work: Callable[..., Any], world_size: int, folder: Path, *arguments: Any) -> list[Any]:
    """Call a function in several processes that have joined.

    Args:
        work: a function of a module; it gets the arguments and gives what ``torch.save`` takes.
        world_size: how many processes.
        folder: an empty one, where they meet.
        arguments: of the function.

    Returns:
        What it has given in each.
    """
    context = multiprocessing.get_context("forkserver")  # not a fork: autograd's threads do not outlive one
    context.set_forkserver_preload(PRELOADED)
    given = (work, world_size, folder, arguments)
    processes = [context.Process(target=_one, args=(rank, *given)) for rank in range(world_size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONGEST_S)
        process.kill()
    errors = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]
    assert not errors, "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world_size)]


def _one(rank: int, work: Callable[..., Any], world_size: int, folder: Path, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    place = f"file://{folder}/meet"
    try:
        dist.init_process_group(
            "gloo", init_method=place, rank=rank, world_size=world_size, timeout=timedelta(seconds=LONGEST_S)
        )
        torch.save(work(*arguments), folder / f"{rank}.pt")
        dist.destroy_process_group()
    except Exception:
        (folder / f"{rank}.txt").write_text(f"process {rank}: {traceback.format_exc()}", encoding="utf-8")
        raise
