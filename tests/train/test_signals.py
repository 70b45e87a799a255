"""What ends a training: the step is done, a checkpoint of the moment written, and it goes on as if never ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from ham.files import lock_folder
from ham.model import checkpoint
from ham.train import signals
from ham.train.loop import Loop
from ham.train.signals import Stop, StoppedError, kept_from_workers, obey_parent
from ham.train.step import TrainingStep
from tests.kill_matrix import runs
from tests.killing import command
from tests.tiny_training import ENDLESS, events, start_when_at_work, write_data

pytestmark = pytest.mark.recipe

Make = Callable[..., TrainingStep]


def weights(loop: Loop) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in loop.parameters])


def end_within(loop: Loop, step: int, number: signal.Signals) -> None:
    """Run a training that is sent a signal within a step, as its whole group of processes is."""

    def send(*_: object) -> None:
        if loop.done == step - 1 and loop.stop.signal is None:
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            for pid in (*map(int, children), os.getpid()):
                os.kill(pid, number)

    loop.step.backbone.register_forward_pre_hook(send)
    said = f"stopped by {number.name} after step {step} of 27, with a checkpoint; go on with --resume"
    with pytest.raises(StoppedError, match=said) as caught, loop.stop.heeded():
        loop.run()
    assert caught.value.exit_status == 128 + number


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("number", "steps"), [(signal.SIGTERM, (2, 7, 8)), (signal.SIGINT, (9, 13)), (signal.SIGUSR1, (1, 26))]
)
def test_a_training_ended_and_resumed_again_and_again_is_the_one_that_was_not(
    num_workers: int, number: signal.Signals, steps: tuple[int, ...], make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    def make(folder: str) -> Loop:
        return make_loop(make_step(augment=True, speed=True), folder, crops_per_utterance=3, num_workers=num_workers)

    whole = make("whole")
    whole.run()
    for step in steps:
        loop = make("ended")
        if loop.checkpoints.folder.exists():
            loop.resume(*checkpoint.newest(loop.checkpoints.folder))
        end_within(loop, step, number)
        place = (step // 9, None) if step % 9 == 0 else (step // 9 + 1, step)
        assert checkpoint.newest(loop.checkpoints.folder) == place
    last = make("ended")
    torch.manual_seed(99)
    last.resume(*checkpoint.newest(last.checkpoints.folder))
    last.run()
    assert torch.equal(weights(last), weights(whole))
    assert events(last.folder) == events(whole.folder)


def test_at_the_last_step_there_is_nothing_to_end(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=1)
    loop.step.backbone.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    loop.done = 2  # of 3
    with loop.stop.heeded():
        loop.run()
    assert loop.stop.signal == signal.SIGTERM
    assert checkpoint.saved_epochs(loop.folder / "checkpoints") == [1]


def test_signals_mean_what_they_did_afterwards() -> None:
    before = {number: signal.getsignal(number) for number in signals.ENDING}
    with Stop().heeded():
        assert all(signal.getsignal(number) != handler for number, handler in before.items())
    assert {number: signal.getsignal(number) for number in signals.ENDING} == before


TWICE = """
import multiprocessing, os, sys, time
from ham.train import signals
signals.TOGETHER_S = float(sys.argv[1])
with signals.Stop().heeded():
    worker = multiprocessing.Process(target=time.sleep, args=(60,))
    worker.start()
    print(worker.pid, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize(("together_s", "status"), [(0.0, -signal.SIGTERM), (1000.0, 0)])
def test_a_second_signal_ends_at_once_with_the_workers_unless_it_is_the_same_one(
    together_s: float, status: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TWICE, str(together_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.2)  # so that they do not arrive in one
    if status == 0:
        os.kill(worker, signal.SIGKILL)
    process.communicate("\n")
    assert process.returncode == status
    while runs(worker):
        time.sleep(0.01)


class Numbers(torch.utils.data.Dataset[int]):
    """Tell which process a number comes from."""

    def __getitem__(self, index: int) -> int:
        return os.getpid()

    def __len__(self) -> int:
        return 50


@pytest.fixture
def workers() -> tuple[set[int], Iterator[int]]:
    loader = DataLoader(Numbers(), batch_size=None, num_workers=2, worker_init_fn=obey_parent)
    with kept_from_workers():
        numbers = iter(loader)
    return {next(numbers), next(numbers)}, numbers


def test_workers_end_with_the_loader_and_at_no_signal_of_others(workers: tuple[set[int], Iterator[int]]) -> None:
    pids, numbers = workers
    for number in signals.ENDING:
        for pid in pids:
            subprocess.run(["kill", f"-{int(number)}", str(pid)], check=True)
    assert {*numbers} == pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_worker_ends_when_its_parent_says_so(workers: tuple[set[int], Iterator[int]]) -> None:
    for worker in workers[1]._workers:  # type: ignore[attr-defined]
        worker.terminate()
        worker.join(60)
        assert worker.exitcode == 0
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


STUCK = """
import os, sys, time
from torch.utils.data import DataLoader
from ham.train.signals import obey_parent
class Large:
    def __len__(self):
        return 100
    def __getitem__(self, at):
        return bytes(2**20)  # more than the pipe of the answers holds
numbers = iter(DataLoader(Large(), batch_size=None, num_workers=2, worker_init_fn=obey_parent))
next(numbers)
print(*(worker.pid for worker in numbers._workers), flush=True)
time.sleep(1000)
"""


def test_workers_end_with_a_parent_that_is_killed_while_it_leaves_their_answers_unread() -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [Path(f"/proc/{pid}") for pid in parent.stdout.readline().split()]
        parent.kill()
    end = time.monotonic() + 60
    while any(worker.exists() and "\nState:\tZ" not in (worker / "status").read_text() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "group", "num_workers"),
    [(signal.SIGTERM, True, 2), (signal.SIGINT, True, 2), (signal.SIGUSR1, False, 2), (signal.SIGINT, False, 0)],
)
def test_the_command_says_one_line_and_its_status(
    num_workers: int, number: signal.Signals, group: bool, tmp_path: Path
) -> None:
    exp_dir = tmp_path / "exp"
    changes = (ENDLESS, f"data.num_workers={num_workers}")
    arguments = command("train", *write_data(tmp_path), "--exp_dir", exp_dir, "--set", *changes)
    process = start_when_at_work(arguments, exp_dir)
    (os.killpg if group else os.kill)(process.pid, number)
    _, said = process.communicate()
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if "--resume" in line)
    assert line.startswith(f"error: {exp_dir}: stopped by {number.name} after step ")
    with lock_folder(exp_dir, "test"):
        epoch, step = checkpoint.newest(exp_dir / "checkpoints")
    assert f"after step {step or 12 * epoch} of" in line
