"""Memory that runs out: refused before, or told in a sentence."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
import torch

from ham.errors import ConfigError, HamError
from ham.train import crops, distributed
from ham.train.loop import Loop
from ham.train.memory import check_shared_memory, told_in_words
from ham.train.step import TrainingStep
from tests.alike import leaves

Make = Callable[..., TrainingStep]


def allocate_on_the_host() -> None:
    torch.empty(2**55, dtype=torch.uint8)


def allocate_with_numpy() -> None:
    np.empty(2**55, np.uint8)


def allocate_on_an_accelerator() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def fork() -> None:
    raise OSError(12, "Cannot allocate memory")


def shared_memory() -> None:
    raise RuntimeError(
        "DataLoader worker (pid 1) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        "shared memory. Please try to raise your shared memory limit."
    )


def worker() -> None:
    raise RuntimeError(
        "Caught _ArrayMemoryError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "  File ...\nnumpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 TiB for an array\n"
    )


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (allocate_on_the_host, "out of memory; use fewer data.num_workers, then .*make data.batch_size or loss.chunk"),
        (allocate_with_numpy, "out of memory; use fewer data.num_workers"),
        (allocate_on_an_accelerator, r"out of memory on the accelerator; make data.batch_size .*\(CUDA out of memory"),
        (cublas, "out of memory on the accelerator"),
        (fork, "out of memory; use fewer"),
        (shared_memory, r"no shared memory left \(/dev/shm\); give it more or use fewer data.num_workers"),
        (worker, r"^exp: out of memory; .*\(numpy.*_ArrayMemoryError: Unable to allocate 8.00 TiB"),
    ],
)
def test_used_up_memory_is_a_sentence(fail: Callable[[], None], said: str) -> None:
    with pytest.raises(HamError, match=said) as caught, told_in_words(Path("exp")):
        fail()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 1


def test_other_errors_pass() -> None:
    for error in (RuntimeError("a bug"), OSError(28, "No space left on device"), ValueError("out of memory")):
        with pytest.raises(type(error)) as caught, told_in_words(Path("exp")):
            raise error
        assert caught.value is error


def test_a_killed_worker_is_a_sentence_that_names_memory(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=1000, num_workers=2)

    def kill(*_: object) -> None:
        if loop.done == 4:
            worker = multiprocessing.active_children()[0].pid
            assert worker is not None
            os.kill(worker, signal.SIGKILL)

    loop.step.backbone.register_forward_pre_hook(kill)
    said = r"crops was killed, as .* the memory is used up; use fewer data\.num_workers"
    with pytest.raises(HamError, match=said), told_in_words(loop.folder):
        loop.run()
    assert not multiprocessing.active_children()  # the other worker must not outlive the training


def test_a_worker_killed_with_a_lock_of_all_in_its_hands_does_not_stop_the_end(
    make_step: Make, make_loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of the loader's `done` is never given free again: the other worker, and torch's own end, wait for it."""
    events: list[Event] = []

    def killed(event: Event) -> bool:
        event._cond.acquire()  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGKILL)
        return False

    make = Event.__init__
    monkeypatch.setattr(Event, "__init__", lambda self, **options: [make(self, **options), events.append(self)][0])
    monkeypatch.setattr(Event, "is_set", killed)
    loop = make_loop(make_step(), num_workers=2)
    rescue = Timer(60, lambda: [event._cond.release() for event in events])  # type: ignore[attr-defined]
    rescue.start()
    with pytest.raises(HamError, match="crops was killed"), told_in_words(loop.folder):
        loop.run()
    assert rescue.is_alive()
    rescue.cancel()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("error", "dies"),
    [(ConnectionResetError(104, "Connection reset by peer"), True), (EOFError(), True), (OSError("half"), False)],
)
def test_a_worker_killed_while_it_hands_a_batch_over_is_the_same_sentence(
    error: Exception,
    dies: bool,
    make_step: Make,
    make_loop: Callable[..., Loop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the connection says comes before the system tells that a worker is dead; without a death it stays."""
    loop = make_loop(make_step(), num_workers=2)

    def broken(loaded: Iterable[object], *_: object) -> NoReturn:
        next(iter(loaded))
        worker = multiprocessing.active_children()[0].pid
        assert worker is not None
        if dies:  # after a while, and without torch's own notice, which would come first
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            Timer(0.2, os.kill, (worker, signal.SIGKILL)).start()
        raise error

    monkeypatch.setattr(crops, "cross", broken)
    handler = signal.getsignal(signal.SIGCHLD)
    said = r"crops was killed, as .* the memory is used up; use fewer data\.num_workers"
    expected = pytest.raises(HamError, match=said) if dies else pytest.raises(type(error), check=lambda e: e is error)
    with expected, told_in_words(loop.folder):
        loop.run()
    signal.signal(signal.SIGCHLD, handler)


@pytest.mark.parametrize(
    ("processes", "said"),
    [(1, r"of 3 workers, found \d MiB; give it more \(docker run --shm"), (4, "of 4 processes with 3 workers each, ")],
)
def test_too_little_shared_memory_is_refused(
    processes: int,
    said: str,
    make_step: Make,
    make_loop: Callable[..., Loop],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The noises that go with the crops count, and the machine's processes, as if all had the largest share."""
    monkeypatch.setattr(distributed, "local_world_size", lambda: processes)
    monkeypatch.setattr(distributed, "largest_of_all", lambda own: own * processes)
    batches = make_loop(make_step(augment=True), num_workers=3).crops
    tensors = [one for one in leaves(batches.gatherer[1, 0]) if isinstance(one, torch.Tensor)]
    assert sum(one.nbytes for one in tensors) > 1.5 * 8 * 4400 * 2
    for padding, refused in ((64, False), (0, True)):
        free = processes**2 * 7 * sum(one.nbytes + padding for one in tensors) - 1
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with pytest.raises(ConfigError, match=f"batches {said}") if refused else nullcontext():
            check_shared_memory(batches, tmp_path)
    check_shared_memory(batches, tmp_path / "not there")
    check_shared_memory(make_loop(make_step()).crops, tmp_path)
