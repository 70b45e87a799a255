"""Starts the processes of a command and tells, in one line, why it ended when one of them failed.

The work is ``torchrun``'s: its agent starts the processes, lets them meet, and ends all when one has ended.
"""

from __future__ import annotations

import builtins
import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ham.errors import ConfigError, HamError
from ham.train.distributed import WORDS

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 900
"""Machines that come later than this do not take part, and the work does not begin."""

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""Signals that are handed on to the processes; one that still runs after 30 seconds is killed."""

VICTIMS = ("RuntimeError", "DistBackendError", "DistNetworkError", "DistStoreError")
"""What a process says when another one has gone away."""


class ProcessError(HamError):
    """A process has failed.

    Args:
        message: why.
        exit_status: its own.
    """

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def num_processes(wanted: str, device: str) -> int:
    """How many processes this machine starts.

    Args:
        wanted: a whole number, or ``auto`` for one a GPU that ``CUDA_VISIBLE_DEVICES`` leaves.
        device: what ``--device`` says.

    Raises:
        ConfigError: if it is no number, or there are not as many GPUs.
    """
    gpus = torch.cuda.device_count()
    if wanted == "auto":
        return max(1, gpus) if device in ("auto", "cuda") else 1
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ConfigError(f"--num_gpus: expected a whole number of at least 1, or auto, found '{wanted}'")
    number = int(wanted)
    if number > 1 and device != "cpu":
        if device not in ("auto", "cuda"):
            raise ConfigError(f"--device {device}: is one GPU, but --num_gpus asks for {number}; use --device cuda")
        if number > gpus:
            cure = "give a smaller number, or --device cpu for processes on the CPU"
            raise ConfigError(f"--num_gpus {number}: expected at most the GPUs of this machine, found {gpus}; {cure}")
    return number


def launch(command: Sequence[str], *, processes: int, num_nodes: int = 1, rdzv: str = "", cure: str) -> None:
    """Run a command in several processes, to its end.

    Args:
        command: what each runs; it learns from the environment which one it is, as ``torchrun`` has it.
        processes: on this machine.
        num_nodes: machines, each of which launches the same.
        rdzv: ``HOST:PORT`` of one of them where they meet.
        cure: what to do when a signal has stopped it.

    Raises:
        ProcessError: if one of them fails, with its reason and its exit status; the others are ended.
    """
    # Otherwise every process would take all cores for itself.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))
    for name in ("elastic", "elastic.agent.server.api"):  # the one line is ours
        logging.getLogger(f"torch.distributed.{name}").setLevel(logging.CRITICAL)
    heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]  # `nohup` has one ignored
    with tempfile.TemporaryDirectory(prefix="ham_") as reasons:
        os.environ[WORDS] = reasons
        config = LaunchConfig(
            min_nodes=num_nodes,
            max_nodes=num_nodes,
            nproc_per_node=processes,
            run_id=os.environ.get("SLURM_JOB_ID", "ham") if rdzv else uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=rdzv or "localhost:0",
            rdzv_configs={"timeout": LONGEST_WAIT_S},
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=reasons),
            signals_to_handle=",".join(number.name for number in heard),
        )
        handlers = {number: signal.getsignal(number) for number in heard}
        try:
            elastic_launch(config, command[0])(*command[1:])
        except ChildFailedError as error:
            raise reason(error.failures, Path(reasons)) from None
        except SignalException as error:
            name = signal.Signals(error.sigval).name
            raise ProcessError(f"stopped by {name}; {cure}", 128 + error.sigval) from None
        finally:
            del os.environ[WORDS]
            for number, handler in handlers.items():  # the agent leaves its own
                signal.signal(number, handler)


def reason(failures: Mapping[int, ProcessFailure], words: Path) -> ProcessError:
    """The failure that the others follow from, as an error.

    Args:
        failures: by the number of the process: those that had ended when the first one was found.
        words: folder of what silent processes have said, by their numbers on this machine.
    """
    rank, first = min(failures.items(), key=lambda item: (_order(item[1]), item[1].timestamp, item[0]))
    kind, text, trace = _told(first)
    if not trace and first.exitcode < 0:
        killed = first.exitcode == -signal.SIGKILL
        cure = "the system does that when memory is short" if killed else _last_line(words / str(first.local_rank))
        return ProcessError(f"process {rank} was ended by {first.signal_name()} ({cure}); the others were stopped")
    if trace and not (kind.startswith("ham.") or issubclass(getattr(builtins, kind, Exception), OSError)):
        logger.error("process %d: %s", rank, trace)  # a bug
        text = f"process {rank}: {kind}: {text}"
    # A process that has told its reason may still stumble over its threads when it goes.
    status = first.exitcode if first.exitcode > 0 else 1 + kind.endswith(".ConfigError")
    return ProcessError(text or f"process {rank} ended with status {status}", status)


def _last_line(words: Path) -> str:
    """What a process has said last, before Python's account of the end; the first one says it on the terminal."""
    told = words.read_text(errors="replace") if words.exists() else ""
    lines = [line.strip() for line in told.partition("Fatal Python error")[0].splitlines() if line.strip()]
    return lines[-1] if lines else "see above"


def _order(failure: ProcessFailure) -> int:
    """How likely it is that a failure follows from another one."""
    kind, _, trace = _told(failure)
    if trace:
        return 2 if kind.rpartition(".")[2] in VICTIMS else 0
    return 3 if failure.exitcode == -signal.SIGTERM else 1


def _told(failure: ProcessFailure) -> tuple[str, str, str]:
    """The error's class and text, and its traceback; nothing where the process has left no word."""
    told: object = failure.message
    if not isinstance(told, dict):
        return "", "", ""
    name, _, text = str(told["message"]).partition(": ")
    trace = str(told["extraInfo"]["py_callstack"]).strip()
    ends = (line.partition(":")[0] for line in trace.splitlines())
    return next((kind for kind in ends if kind.rpartition(".")[2] == name), name), text, trace
