"""Memory that runs out under a training: seen before where it can be, and told in a sentence with what helps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ham.errors import ConfigError, HamError
from ham.train import distributed
from ham.train.crops import TrainingCrops
from ham.train.crossing import pack

READY = 2
"""Batches that a worker keeps ready, as torch's loader has it."""

SMALLER = "make data.batch_size or loss.chunk smaller, which makes another experiment: give it an --exp_name"
AGAIN = "then go on with --resume"
CAUSES = (
    (r"shared memory", f"no shared memory left (/dev/shm); give it more or use fewer data.num_workers, {AGAIN}"),
    (
        r"DataLoader worker.*(killed|exited)",
        "a process that gathers crops was killed, as the system does when the memory is used up; "
        f"use fewer data.num_workers, {AGAIN}",
    ),
    (r"(CUDA|HIP|MPS).*out of memory|ALLOC_FAILED", f"out of memory on the accelerator; {SMALLER}"),
    (
        r"MemoryError|[Cc]an(no|')t allocate memory|not enough memory",
        f"out of memory; use fewer data.num_workers, {AGAIN}, or {SMALLER}",
    ),
)
"""What errors of torch and of the system say, and the sentence that follows from it."""


@contextmanager
def told_in_words(folder: Path) -> Iterator[None]:
    """Turn the errors of used-up memory and of killed workers into one sentence; any other passes.

    Args:
        folder: the experiment's.

    Raises:
        HamError: naming the cause, what was found, and the cure.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        found = f"{type(error).__name__}: {error}"
        for pattern, sentence in CAUSES:
            if re.search(pattern, found):
                raise HamError(f"{folder}: {sentence} ({_shown(str(error))})") from None
        raise


def _shown(said: str) -> str:
    """The line of an error that counts: the first, or the last of a worker's traceback."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no more was said"]
    return lines[-1 if lines[0].startswith("Caught ") else 0]


def check_shared_memory(crops: TrainingCrops, place: Path = Path("/dev/shm")) -> None:
    """Refuse workers whose batches do not fit into the shared memory, in which they hand them over.

    A worker that finds no room there waits for ever, or is killed. The first batch tells how large they are, noises and
    rooms included; of several processes, whose shares differ, the largest counts.

    Args:
        crops: batches, and the number of workers.
        place: where the system has its shared memory; nothing is checked where there is none.

    Raises:
        ConfigError: if there is too little for all processes of this machine.
        DataError: if a crop of the first batch cannot be read.
    """
    workers = crops.sampling.num_workers
    if not workers or not place.is_dir():
        return
    processes = distributed.local_world_size()
    largest = distributed.largest_of_all(pack(crops.gatherer[1, 0]).buffer.nbytes)
    needed = processes * (READY * workers + 1) * largest
    free = shutil.disk_usage(place).free
    if needed > free:
        shared = f"{processes} processes with {workers} workers each" if processes > 1 else f"{workers} workers"
        raise ConfigError(
            f"{place}: expected {needed / 2**20:.0f} MiB free for the batches of {shared}, found "
            f"{free / 2**20:.0f} MiB; give it more (docker run --shm-size=1g, or --ipc=host), or use fewer "
            "data.num_workers: 0 needs none"
        )
    distributed.wait_for_all()  # or the workers of one process take what another one still counts as free
