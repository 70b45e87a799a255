"""The loop: it learns, resumes exactly, and stops where it must."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ham.errors import DataError
from ham.frontends import Spans
from ham.losses.base import LossOutput
from ham.model import checkpoint
from ham.train.loop import DivergedError, Loop
from ham.train.schedules import Schedules, constant_rate
from ham.train.step import TrainingStep
from ham.train.tally import Tally

Make = Callable[..., TrainingStep]


def weights(loop: Loop) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in loop.parameters])


def test_it_learns_and_tells(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=12)
    loop.run()
    log = [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()]
    epochs = [r for r in log if r["event"] == "epoch"]
    assert [r["epoch"] for r in epochs] == list(range(1, 13))
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    assert epochs[-1]["accuracy"] > 0.9
    assert {"lr", "crops_per_s", "data_wait", "seconds"} <= set(epochs[-1])
    assert checkpoint.saved_epochs(loop.folder / "checkpoints") == [11, 12]


def test_the_backbone_rests_in_the_first_epochs(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=3)
    loop.training = replace(loop.training, freeze_epochs=2, keep="all")
    loop.checkpoints.training = loop.training
    start = {name: value.clone() for name, value in loop.step.backbone.state_dict().items()}
    loop.run()
    states = [checkpoint.load(checkpoint.epoch_path(loop.folder / "checkpoints", epoch)) for epoch in (1, 2, 3)]
    same = [all(torch.equal(start[name], value) for name, value in one["backbone"].items()) for one in states]
    assert same == [True, True, False]
    assert not torch.equal(states[0]["loss"]["weight"], states[1]["loss"]["weight"])


def epoch_events(loop: Loop) -> list[dict[str, float]]:
    log = [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()]
    return [r for r in log if r["event"] == "epoch"]


@pytest.mark.parametrize("loss", ["softmax", "am_softmax", "ham_softmax", "eh_am_softmax"])
def test_every_epoch_tells_what_the_geometry_does(loss: str, make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(loss=loss), epochs=2)
    loop.run()
    events = epoch_events(loop)
    named = loop.step.diagnostics()
    found = {key: value for key, value in events[-1].items() if key.startswith("diag/")}
    assert set(found) == set(named)
    assert {"diag/embedding_norm/q50", "diag/cosine/target", "diag/effective_scale"} <= set(found)
    hyperbolic = {"diag/on_shell/embeddings", "diag/distance/target", "diag/centre_radius/q95", "diag/curvature"}
    assert (hyperbolic <= set(found)) == (loss in ("ham_softmax", "eh_am_softmax"))
    board = EventAccumulator(str(loop.folder / "tensorboard")).Reload()
    assert [e.value for e in board.Scalars("diag/cosine/target")] == pytest.approx(
        [e["diag/cosine/target"] for e in events]
    )


def test_the_curvature_follows_its_schedule(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    schedules = Schedules(constant_rate(1e-2, 3), curvature=lambda epoch: 2.0 + epoch)
    loop = make_loop(make_step(loss="ham_softmax"), schedules=schedules)
    loop.run()
    steps = loop.steps_per_epoch
    expected = [2.0 + (steps * epoch - 1) / steps for epoch in (1, 2, 3)]
    assert [e["curvature"] for e in epoch_events(loop)] == pytest.approx(expected)
    assert [e["diag/curvature"] for e in epoch_events(loop)] == pytest.approx(expected)
    assert loop.step.loss.curvature == pytest.approx(expected[-1])


def test_a_resumed_run_is_the_run_that_was_not_stopped(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    whole = make_loop(make_step(augment=True, speed=True), "whole")
    whole.run()
    stopped = make_loop(make_step(augment=True, speed=True), "stopped")
    stop_after(stopped, whole.steps_per_epoch + 1)
    resumed = make_loop(make_step(augment=True, speed=True), "stopped")
    torch.manual_seed(99)
    resumed.resume(1)
    resumed.run()
    assert torch.equal(weights(resumed), weights(whole))
    for loop in (whole, resumed):
        log = [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()]
        assert [r["epoch"] for r in log if r["event"] == "epoch"] == [1, 2, 3]


@pytest.mark.parametrize("joint", [False, True])
def test_crops_a_second_count_every_view_and_the_loss_is_that_of_a_crop(
    joint: bool, make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    """Of two equal views each has the loss of the single one, where the batch statistics are those of one view."""
    told = {}
    for name, options in (("one", {}), ("two", {"augment": True, "keep_clean": True, "joint_pass": joint})):
        step = make_step(**options)
        if step.augmenter is not None:
            step.augmenter.apply = lambda waveforms, changes: waveforms.clone()
        loop = make_loop(step, name, epochs=1)
        loop.run()
        told[name] = epoch_events(loop)[0]
        crops = loop.steps_per_epoch * 8 * step.views
        assert told[name]["crops_per_s"] * told[name]["seconds"] == pytest.approx(crops)
        first = next(json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()[1:])
        assert first["event"] == "step"
        assert first["loss"] == pytest.approx(told[name]["loss"])
    assert told["two"]["loss"] == pytest.approx(told["one"]["loss"], rel=0.02)
    assert told["two"]["accuracy"] == pytest.approx(told["one"]["accuracy"], abs=0.1)


class Recorder:
    """In the place of the masks: keeps of every step the crops, as features, and the numbers that are drawn then."""

    def __init__(self) -> None:
        self.crops: list[torch.Tensor] = []
        self.draws: list[torch.Tensor] = []

    def draw(self, batch: int, num_frames: int, num_bands: int, generator: torch.Generator) -> Spans:
        return Spans(*torch.rand(2, 2, batch, 1, generator=generator))

    def apply(self, features: torch.Tensor, drawn: Spans) -> torch.Tensor:
        self.crops.append(features.flatten(1).sort(dim=0).values)  # whatever their order in the batch
        self.draws.append(torch.stack(drawn))
        return features


@pytest.mark.parametrize("order", ["shuffle", "balanced"])
def test_randomness_is_a_function_of_seed_epoch_and_step(
    order: str, make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    """No two steps of any epoch, or of another seed, draw the same; the same seed and a resumed run do."""
    recorders = {}
    for name, seed in (("one", 5), ("again", 5), ("other", 6), ("zero", 0)):
        recorders[name] = Recorder()
        loop = make_loop(make_step(mask=recorders[name]), name, seed=seed, order=order)
        loop.run()
    one, again = recorders["one"], recorders["again"]
    resumed = Recorder()
    loop = make_loop(make_step(mask=resumed), "one", order=order)
    loop.resume(2)
    loop.run()
    steps = 3 * loop.steps_per_epoch
    for kind in ("draws", "crops"):
        seen = [getattr(recorders[name], kind) for name in ("one", "other", "zero")]
        every = [value for values in seen for value in values]
        assert len(every) == 3 * steps == len({value.numpy().tobytes() for value in every})
        torch.testing.assert_close(getattr(again, kind), getattr(one, kind), rtol=0, atol=0)
        torch.testing.assert_close(getattr(resumed, kind), getattr(one, kind)[-loop.steps_per_epoch :], rtol=0, atol=0)


class KilledError(Exception):
    """Stands for the end of the process."""


def stop_after(loop: Loop, step: int) -> None:
    """Run until ``step`` steps of the whole training are done."""

    def kill(*_: object) -> None:
        if loop.done == step:
            raise KilledError

    loop.step.backbone.register_forward_pre_hook(kill)
    with pytest.raises(KilledError):
        loop.run()


@pytest.mark.parametrize("order", ["shuffle", "balanced"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_resumed_within_an_epoch_is_the_run_that_was_not_stopped(
    order: str, num_workers: int, make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    def make(folder: str) -> Loop:
        sampling = {"order": order, "crops_per_utterance": 3, "num_workers": num_workers}
        return make_loop(make_step(augment=True, speed=True), folder, checkpoint_steps=5, **sampling)

    whole = make("whole")
    whole.run()
    stop_after(make("stopped"), 13)  # 10 steps have a checkpoint: the first one of epoch 2
    assert checkpoint.saved_steps(whole.folder.parent / "stopped/checkpoints") == [(2, 10)]
    resumed = make("stopped")
    torch.manual_seed(99)
    resumed.resume(2, 10)
    stop_after(resumed, 17)
    again = make("stopped")
    again.resume(2, 15)
    again.run()
    assert torch.equal(weights(again), weights(whole))
    assert checkpoint.saved_steps(again.folder / "checkpoints") == []
    times = {"crops_per_s", "seconds", "data_wait"}
    logs = [
        [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()] for loop in (again, whole)
    ]
    told = [[{k: v for k, v in r.items() if k not in times} for r in log if r["event"] != "start"] for log in logs]
    assert told[0] == told[1]


def test_within_an_epoch_only_the_last_checkpoint_stays(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), checkpoint_steps=2, crops_per_utterance=3)
    assert loop.steps_per_epoch == 9
    stop_after(loop, 7)
    assert checkpoint.saved_steps(loop.folder / "checkpoints") == [(1, 6)]


def test_the_rate_of_a_step_is_that_of_its_beginning_but_for_the_first_of_a_warm_up(
    make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    loop = make_loop(make_step(), epochs=2, schedules=Schedules(lambda epoch: epoch / 100))
    rates: list[float] = []
    loop.optimiser.register_step_pre_hook(lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"]))
    loop.run()
    assert loop.steps_per_epoch == 3
    assert rates == pytest.approx([step / 300 for step in (1, 1, 2, 3, 4, 5)])


class TestLossesReadAFewStepsAtATime:
    """As on an accelerator, which would have to be waited for."""

    @pytest.fixture
    def two_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def slow(self: Tally, device: torch.device, before: Mapping[str, object]) -> None:
            original(self, device, before)
            self.interval = 2

        original = Tally.__init__
        monkeypatch.setattr(Tally, "__init__", slow)

    @pytest.fixture
    def events_of_each(self, make_step: Make, make_loop: Callable[..., Loop]) -> list[dict[str, float]]:
        loop = make_loop(make_step(), "each")
        loop.run()
        return epoch_events(loop)

    def test_the_log_is_the_same(
        self,
        events_of_each: list[dict[str, float]],
        two_at_a_time: None,
        make_step: Make,
        make_loop: Callable[..., Loop],
    ) -> None:
        loop = make_loop(make_step(), "two")
        loop.run()
        assert [(e["loss"], e["accuracy"]) for e in epoch_events(loop)] == [
            (e["loss"], e["accuracy"]) for e in events_of_each
        ]

    def test_a_loss_that_is_not_finite_is_found_with_its_step(
        self, two_at_a_time: None, make_step: Make, make_loop: Callable[..., Loop]
    ) -> None:
        """After the second step of each two, and at the end of the epoch: before anything is saved."""
        for bad, seen in ((1, 2), (2, 2), (3, 3)):
            loop = make_loop(make_step(), f"bad{bad}")
            steps: list[int] = []

            def spoil(
                module: object, args: object, out: LossOutput, bad: int = bad, steps: list[int] = steps
            ) -> object:
                steps.append(len(steps) + 1)
                return LossOutput(out.loss * float("nan"), out.accuracy) if len(steps) == bad else out

            loop.step.loss.register_forward_hook(spoil)
            with pytest.raises(DivergedError, match=rf"at step {bad}, batch of"):
                loop.run()
            assert len(steps) == seen
            assert checkpoint.saved_epochs(loop.folder / "checkpoints") == []


def lose(loop: Loop, utts: list[str]) -> None:
    """Make the reads of some utterances fail."""
    original = loop.crops.store.read_wrapped

    def read(index: int, start: int, num_rows: int) -> object:
        if loop.crops.store.utts[index] in utts:
            raise DataError(f"{loop.crops.store.shard_path(index)}: {loop.crops.store.utts[index]} is lost")
        return original(index, start, num_rows)

    loop.crops.store.read_wrapped = read


def test_unreadable_crops_are_counted_up_to_the_budget(
    make_step: Make, make_loop: Callable[..., Loop], caplog: pytest.LogCaptureFixture
) -> None:
    loop = make_loop(make_step(), epochs=2, max_bad_crops=2)
    lost = [loop.crops.store.utts[3], loop.crops.store.utts[20]]
    lose(loop, lost)
    loop.run()
    assert [event["bad_crops"] for event in epoch_events(loop)] == [2, 2]
    assert caplog.text.count("crops that could not be read and were replaced: 2 problems: ") == 2
    assert f"{lost[0]} is lost" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 1])
def test_beyond_the_budget_the_run_stops_and_names_the_file(
    num_workers: int, make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    for budget, expected in (
        (0, r"^[^ ]*shard-00000\.npy: s0-u00 is lost$"),
        (1, r"epoch 1: expected at most 1 crops"),
    ):
        loop = make_loop(make_step(), max_bad_crops=budget, num_workers=num_workers)
        lose(loop, ["s0-u00", "s1-u01"][: budget + 1])
        with pytest.raises(DataError, match=expected) as caught:
            loop.run()
        assert "shard-00000.npy" in str(caught.value)
        assert "is lost" in str(caught.value)


def test_a_loss_that_is_not_finite_stops_it_and_names_the_batch(
    make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    loop = make_loop(make_step())
    with torch.no_grad():
        loop.step.loss.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"step 1, batch of s\d-u\d\d, .* and 5 more"):
        loop.run()


def test_a_checkpoint_holds_everything(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=1)
    loop.run()
    state = checkpoint.load(checkpoint.epoch_path(loop.folder / "checkpoints", 1))
    assert {"backbone", "loss", "optimiser", "schedules", "rng", "epoch", "step", "seed"} <= set(state)
    assert state["step"] == 3
