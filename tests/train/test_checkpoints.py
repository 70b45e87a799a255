"""The state of a training on disk: when it is written, what stays, and that it is taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from ham.errors import CheckpointError
from ham.model import checkpoint
from ham.train.loop import Loop
from ham.train.step import TrainingStep

Make = Callable[..., TrainingStep]


@pytest.mark.parametrize(("every", "due"), [(0, []), (2, [2, 4, 8, 10]), (3, []), (4, [4, 8])])
def test_a_checkpoint_within_an_epoch_is_never_at_its_end(
    every: int, due: list[int], make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    loop = make_loop(make_step(), checkpoint_steps=every)
    assert loop.steps_per_epoch == 3
    assert [done for done in range(1, 12) if loop.checkpoints.is_due(done)] == due


def test_the_last_ones_stay(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    checkpoints = make_loop(make_step()).checkpoints
    for done in (3, 6):
        checkpoints.save(done)
    checkpoints.save_within(7, {"losses": [1.0]})
    checkpoints.save_within(8, {"losses": [1.0, 2.0]})
    assert checkpoint.saved_epochs(checkpoints.folder) == [1, 2]
    assert checkpoint.saved_steps(checkpoints.folder) == [(3, 8)]
    assert checkpoints.restore(3, 8) == (8, {"losses": [1.0, 2.0]})
    checkpoints.save(9)
    assert checkpoint.saved_epochs(checkpoints.folder) == [2, 3]
    assert checkpoint.saved_steps(checkpoints.folder) == []


def test_the_scale_of_the_loss_comes_back(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(precision=torch.float16), epochs=1)
    loop.step.scaler.scale(torch.ones(1))
    loop.step.scaler.update(4096.0)
    loop.checkpoints.save(3)
    other = make_loop(make_step(precision=torch.float16), epochs=1)
    other.checkpoints.restore(1)
    assert other.step.scaler.get_scale() == 4096.0


def test_weights_optimiser_and_random_numbers_come_back(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=1)
    loop.run()
    torch.manual_seed(11)
    loop.checkpoints.save(3)
    drawn = torch.rand(3)
    other = make_loop(make_step(), epochs=1)
    assert other.checkpoints.restore(1) == (3, {})
    assert torch.equal(torch.rand(3), drawn)
    for one, again in zip(loop.parameters, other.parameters, strict=True):
        assert torch.equal(one, again)
        state, copy = loop.optimiser.state[one], other.optimiser.state[again]
        assert all(torch.equal(torch.as_tensor(state[key]), torch.as_tensor(copy[key])) for key in state)


def test_minutes_count_from_the_last_checkpoint(
    make_step: Make, make_loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    checkpoints = make_loop(make_step(), checkpoint_minutes=2.5).checkpoints
    now[0] += 149
    assert not checkpoints.is_due(4)
    now[0] += 100
    assert checkpoints.is_due(4)
    assert not checkpoints.is_due(6)  # the end of an epoch has one anyway
    checkpoints.save_within(4, {})
    assert not checkpoints.is_due(5)
    assert checkpoints.is_due(5, asked=True)


def test_a_damaged_last_one_is_set_aside_and_the_training_ends_the_same(
    make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    loop = make_loop(make_step())
    loop.run()
    folder = loop.checkpoints.folder
    whole = checkpoint.load(checkpoint.epoch_path(folder, 3))
    path = checkpoint.epoch_path(folder, 3)
    path.write_bytes(path.read_bytes()[:-100])
    again = make_loop(make_step())
    again.resume(*checkpoint.newest(folder))
    assert again.done == 6
    assert (folder / "epoch_0003.pt.damaged").exists()
    again.run()
    torch.testing.assert_close(checkpoint.load(path)["backbone"], whole["backbone"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"loss": {"weight": torch.zeros(2, 2)}}, "size mismatch"),
        ({"seed": 6}, "its seed differ"),
        ({"rng": None}, "not subscriptable"),
        ({"optimiser": {"state": {}, "param_groups": []}}, "parameter group"),
    ],
)
def test_what_is_of_another_experiment_is_a_sentence(
    other: dict[str, object], said: str, make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    loop = make_loop(make_step(), epochs=1)
    loop.run()
    path = checkpoint.epoch_path(loop.checkpoints.folder, 1)
    state = checkpoint.load(path)
    checkpoint.save(path, {**state, **other})
    with pytest.raises(CheckpointError, match=f"epoch_0001.pt: can be read, but is not of this experiment .*{said}"):
        make_loop(make_step()).resume(1)
    for key in ("backbone", "optimiser", "rng", "step"):
        checkpoint.save(path, {k: v for k, v in state.items() if k != key})
        with pytest.raises(CheckpointError, match=f"it lacks '{key}'"):
            make_loop(make_step()).resume(1)
