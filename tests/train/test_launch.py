"""A job of several processes ends with the reason of the one that failed, its exit status, and no hang."""

from __future__ import annotations

import sys

import pytest
import torch

from ham.errors import ConfigError
from ham.train.launch import ProcessError, launch, num_processes
from tests.killing import TOP

JOIN = """
import os, signal, sys, torch
import torch.distributed as dist
from ham.cli import run
from ham.errors import ConfigError, DataError
from ham.train import distributed
def main(argv):
    with distributed.joined(torch.device("cpu")):
        dist.all_reduce(torch.ones(1))
        if distributed.rank() == 1:
            {trouble}
        dist.all_reduce(torch.ones(1))  # waits for the one that will not come
sys.exit(run(main, []))
"""


@pytest.mark.parametrize(
    ("trouble", "status", "text"),
    [
        ("raise ConfigError('--loss x: no such loss')", 2, r"^--loss x: no such loss$"),
        ("raise OSError(28, 'No space left on device')", 1, r"No space left on device"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, r"^process 1 was ended by SIGKILL \(.*memory is short\)"),
        ("os._exit(7)", 7, r"^process 1 ended with status 7$"),
        ("{}['key']", 1, r"^process 1: KeyError: 'key'$"),
    ],
)
def test_a_process_that_fails_ends_the_job_with_its_reason(
    trouble: str, status: int, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    with pytest.raises(ProcessError, match=text) as caught:
        launch([sys.executable, "-c", JOIN.format(trouble=trouble)], processes=2)
    assert caught.value.exit_status == status
    assert capfd.readouterr().err == ""  # the command that launches them tells it, once


def test_a_job_that_works_returns(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    launch([sys.executable, "-c", JOIN.format(trouble="print('two', file=sys.stderr)")], processes=2)
    assert capfd.readouterr().err == ""  # only the first process talks


def test_how_many_processes_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [num_processes(wanted, "auto") for wanted in ("1", "4", "auto")] == [1, 4, 4]
    assert [num_processes(wanted, "cpu") for wanted in ("1", "8", "auto")] == [1, 8, 1]
    assert num_processes("1", "cuda:1") == 1
    with pytest.raises(ConfigError, match="--num_gpus 5: expected at most the GPUs of this machine, found 4"):
        num_processes("5", "auto")
    with pytest.raises(ConfigError, match="--device cuda:1: is one GPU"):
        num_processes("2", "cuda:1")
    for wrong in ("0", "-1", "two", ""):
        with pytest.raises(ConfigError, match="--num_gpus: expected a whole number of at least 1, or auto"):
            num_processes(wrong, "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert num_processes("auto", "auto") == 1
