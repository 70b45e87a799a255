"""A job of several processes ends with the reason of the one that failed, its exit status, and no hang."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure, get_error_handler

from ham.errors import ConfigError
from ham.train.launch import ProcessError, launch, num_processes, reason
from tests.kill_matrix import descendants, runs
from tests.killing import TOP

pytestmark = pytest.mark.recipe

JOIN = """
import atexit, os, signal, sys, time, torch
import torch.distributed as dist
from ham.cli import leave, run
from ham.errors import ConfigError, DataError
from ham.train import distributed
def main(argv):
    with distributed.joined("cpu"):
        dist.all_reduce(torch.ones(1))
        if distributed.rank() == 1:
            {trouble}
        dist.all_reduce(torch.ones(1))  # waits for the one that will not come
sys.exit(leave(run(main, []), at_once=distributed.launched()))
"""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize(
    ("trouble", "status", "text"),
    [
        ("raise ConfigError('--loss x: no such loss')", 2, r"^--loss x: no such loss$"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, r"^process 1 was ended by SIGKILL \(.*memory is short\)"),
        ("print('worse', file=sys.stderr); sys.stderr.flush(); os.abort()", 1, r"^process 1 was .* SIGABRT \(worse\)"),
        ("{}['key']", 1, r"^process 1: KeyError: 'key'$"),
    ],
)
def test_a_process_that_fails_ends_the_job_with_its_reason(
    trouble: str, status: int, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ProcessError, match=text) as caught:
        launch([sys.executable, "-c", JOIN.format(trouble=trouble)], processes=2, cure="again")
    assert caught.value.exit_status == status
    assert capfd.readouterr().err == ""  # the command that launches them tells it, once


def test_a_job_that_works_returns(capfd: pytest.CaptureFixture[str]) -> None:
    launch([sys.executable, "-c", JOIN.format(trouble="print('two', file=sys.stderr)")], processes=2, cure="again")
    assert capfd.readouterr().err == ""  # only the first process talks


def test_a_signal_that_the_caller_ignores_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        launch(
            [sys.executable, "-c", JOIN.format(trouble="os.kill(os.getppid(), signal.SIGHUP)")], processes=2, cure=""
        )
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_aborts_a_process_after_its_work_is_no_failure() -> None:
    launch([sys.executable, "-c", JOIN.format(trouble="atexit.register(os.abort)")], processes=2, cure="again")


def test_processes_end_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    work = JOIN.format(trouble=f"open({str(tmp_path / 'here')!r}, 'w').close(); time.sleep(1000)")
    code = f"from ham.train.launch import launch\nlaunch([{sys.executable!r}, '-c', {work!r}], processes=2, cure='')"
    launcher = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (tmp_path / "here").exists():
        assert launcher.poll() is None
        time.sleep(0.02)
    both = descendants(launcher.pid)
    assert len(both) == 2
    launcher.kill()
    launcher.wait()
    end = time.monotonic() + 60
    while any(map(runs, both)):
        assert time.monotonic() < end
        time.sleep(0.02)


def failed(folder: Path, rank: int, exitcode: int, error: Exception | None = None) -> ProcessFailure:
    """A process that has ended, with the word that it has left."""
    path = folder / f"{rank}.json"
    if error is not None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
            try:
                raise error
            except type(error) as raised:
                get_error_handler().record_exception(raised)
    return ProcessFailure(local_rank=rank, pid=1, exitcode=exitcode, error_file=str(path))


LOST = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")


@pytest.mark.parametrize(
    ("ends", "text", "status"),
    [
        ([(-15, LOST), (2, ConfigError("--x: wrong"))], "--x: wrong", 2),
        ([(1, dist.DistBackendError("NCCL: lost")), (-9, None)], "process 1 was ended by SIGKILL", 1),
        ([(1, LOST), (7, None)], "process 1 ended with status 7", 7),
        ([(-15, None), (1, LOST)], "process 1: RuntimeError: [gloo", 1),
        ([(-15, None), (-11, None)], "process 1 was ended by SIGSEGV (see above)", 1),
        ([(-6, ConfigError("--x: wrong")), (-15, None)], "--x: wrong", 2),
        ([(1, OSError(28, "No space left on device", "/x")), (1, LOST)], "[Errno 28] No space left on device: '/x'", 1),
        ([(1, torch.OutOfMemoryError("CUDA out of memory")), (1, LOST)], "process 0: torch.OutOfMemoryError: CUDA", 1),
    ],
)
def test_the_failure_that_the_others_follow_from_is_told(
    tmp_path: Path, ends: list[tuple[int, Exception | None]], text: str, status: int
) -> None:
    told = reason({rank: failed(tmp_path, rank, *end) for rank, end in enumerate(ends)}, tmp_path)
    assert str(told).startswith(text)
    assert told.exit_status == status


def test_how_many_processes_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [num_processes(wanted, "auto") for wanted in ("1", "4", "auto")] == [1, 4, 4]
    assert [num_processes(wanted, "cpu") for wanted in ("1", "8", "auto")] == [1, 8, 1]
    assert [num_processes(wanted, "cuda:1") for wanted in ("1", "auto")] == [1, 1]
    with pytest.raises(ConfigError, match="--num_gpus 5: expected at most the GPUs of this machine, found 4"):
        num_processes("5", "auto")
    with pytest.raises(ConfigError, match="--device cuda:1: is one GPU"):
        num_processes("2", "cuda:1")
    for wrong in ("0", "-1", "two", ""):
        with pytest.raises(ConfigError, match="--num_gpus: expected a whole number of at least 1, or auto"):
            num_processes(wrong, "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert num_processes("auto", "auto") == 1
