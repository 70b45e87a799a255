"""Time and memory of the loss in a training step whose centres are split over processes on the CPU (gloo).

``python -m benchmarks.sharded`` prints a table in Markdown and writes JSON. A step is forward, backward and Adam's
update of the centres, for one batch of embeddings that all processes share; no backbone. The threads of all processes
together are the machine's cores: more processes bring room here, and no speed. MB are 10^6 bytes of the process that
has most: ``held`` between two steps (weights, gradients, moments), ``peak`` during them, and ``start`` before the first
one, since each process makes all centres and then keeps its own; what a step of 100 speakers holds is taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing

import ham.losses
from ham.provenance import git_commit, hardware

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS = ("step_s", "held_mb", "peak_mb", "start_mb")


def resident_mb(name: str) -> float:
    """Resident memory of this process: ``VmRSS`` now, ``VmHWM`` the most since :func:`forget_peak`."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) * 1.024e-3 if found else 0.0


def forget_peak() -> None:
    """Start the highest resident memory anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


class Steps:
    """The loss of one process, and its steps.

    Args:
        num_speakers: of all processes.
        options: of the command line.
    """

    def __init__(self, num_speakers: int, options: argparse.Namespace) -> None:
        torch.manual_seed(1)
        self.num_speakers, self.dim = num_speakers, options.embedding_dim
        self.rows = options.batch_size // dist.get_world_size()
        self.loss = ham.losses.build(options.loss, self.dim, num_speakers)
        self.loss.split(dist.get_rank(), dist.get_world_size())
        self.optimiser = torch.optim.Adam(self.loss.parameters(), lr=1e-3)

    def take(self) -> float:
        """Seconds of one, from when all processes are there until all have done it."""
        x = torch.randn(self.rows, self.dim, requires_grad=True)
        labels = torch.randint(self.num_speakers, (self.rows,))
        dist.barrier()
        began = time.perf_counter()
        self.optimiser.zero_grad()
        self.loss(x, labels).loss.backward()
        self.optimiser.step()
        dist.barrier()
        return time.perf_counter() - began


def measure(rank: int, num_processes: int, num_speakers: int, options: argparse.Namespace, folder: str) -> None:
    """Take steps as one of the processes, and write what they took into the folder."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // num_processes))
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=num_processes)
    Steps(100, options).take()  # libraries load more at the first one
    before = resident_mb("VmRSS")
    forget_peak()
    steps = Steps(num_speakers, options)
    start = resident_mb("VmHWM")
    steps.take()
    forget_peak()
    seconds = median(steps.take() for _ in range(options.steps))
    taken = [resident_mb(name) - before for name in ("VmRSS", "VmHWM")]
    Path(folder, f"{rank}.json").write_text(json.dumps([seconds, *taken, start - before]), encoding="utf-8")
    dist.destroy_process_group()


def one_row(num_processes: int, num_speakers: int, options: argparse.Namespace) -> dict[str, float]:
    """Start the processes; the largest of what each has taken."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (num_processes, num_speakers, options, folder)
        torch.multiprocessing.spawn(measure, arguments, nprocs=num_processes)  # type: ignore[no-untyped-call]
        taken = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")]
    row = dict(zip(COLUMNS, map(max, zip(*taken, strict=True)), strict=True))
    return {"speakers": num_speakers, "processes": num_processes, **row}


def main() -> None:
    """Measure every row and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", type=int, nargs="+", default=[111_284, 1_000_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--loss", default="ham_softmax")
    parser.add_argument("--batch_size", type=int, default=256, help="of all processes together")
    parser.add_argument("--embedding_dim", type=int, default=192)
    parser.add_argument("--steps", type=int, default=3, help="timed ones, after one that is not; the median counts")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/sharded.json"), help="JSON to write")
    options = parser.parse_args()
    print(f"**{options.loss}, batch {options.batch_size}, D = {options.embedding_dim}**\n")
    print("| speakers | processes | step s | held MB | peak MB | start MB |\n|---:|---:|---:|---:|---:|---:|")
    rows = []
    for num_speakers in options.speakers:
        for num_processes in options.processes:
            row = one_row(num_processes, num_speakers, options)
            sizes = " | ".join(f"{row[name]:,.0f}" for name in COLUMNS[1:])
            print(f"| {num_speakers:,} | {num_processes} | {row['step_s']:.2f} | {sizes} |", flush=True)
            rows.append(row)
    where = {"commit": git_commit(REPOSITORY / "ham"), "hardware": hardware(), "torch": torch.__version__}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**where, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
