"""Schedules against their formulas at chosen moments, and against what the blocks of a configuration make of them."""

from __future__ import annotations

import pytest

from ham import losses
from ham.config import from_dict
from ham.errors import ConfigError
from ham.train.blocks import resolve
from ham.train.schedules import CURVATURES, MARGINS, RATES, build_schedules

OPTIONS = {
    "constant": {},
    "step": {"gamma": 0.5},
    "exponential": {"final_lr": 0.001},
    "cosine": {"final_lr": 0.001},
}


@pytest.mark.parametrize(
    ("name", "epoch", "expected"),
    [
        ("constant", 7.0, 0.1),
        ("step", 0.99, 0.1),
        ("step", 3.5, 0.1 * 0.5**3),
        ("exponential", 0.0, 0.1),
        ("exponential", 5.0, (0.1 * 0.001) ** 0.5),
        ("exponential", 10.0, 0.001),
        ("cosine", 0.0, 0.1),
        ("cosine", 5.0, (0.1 + 0.001) / 2),
        ("cosine", 10.0, 0.001),
    ],
)
def test_learning_rate(name: str, epoch: float, expected: float) -> None:
    assert RATES[name](0.1, 10, **OPTIONS[name])(epoch) == pytest.approx(expected)
    warm = RATES[name](0.1, 10, **OPTIONS[name], warmup_epochs=8)(epoch)
    assert warm == pytest.approx(expected * min(1.0, epoch / 8))


def test_warm_up_rises_from_zero() -> None:
    rate = RATES["constant"](0.1, 10, warmup_epochs=4)
    assert [rate(e) for e in (0, 1, 2, 4, 9)] == pytest.approx([0, 0.025, 0.05, 0.1, 0.1])


def test_margin() -> None:
    times = {"start_epoch": 2, "end_epoch": 6}
    linear = MARGINS["linear"](0.2, **times)
    assert [linear(e) for e in (0, 2, 4, 6, 9)] == pytest.approx([0, 0, 0.1, 0.2, 0.2])
    exponential = MARGINS["exponential"](0.2, **times)
    rising = [exponential(e / 4) for e in range(33)]
    assert rising == sorted(rising)
    assert rising[8] == 0
    assert rising[16] > 0.15
    assert rising[24] == pytest.approx(0.2)
    assert MARGINS["constant"](0.2)(0) == 0.2


def test_curvature() -> None:
    times = (0, 2, 4, 6, 9)
    linear = CURVATURES["linear"](4.0, 10, start=1.0, start_epoch=2, end_epoch=6)
    assert [linear(e) for e in times] == pytest.approx([1, 1, 2.5, 4, 4])
    falling = CURVATURES["exponential"](1.0, 10, start=4.0, start_epoch=2, end_epoch=6)
    assert [falling(e) for e in times] == pytest.approx([4, 4, 2, 1, 1])
    at_once = CURVATURES["linear"](4.0, 10, start=1.0, start_epoch=3, end_epoch=3)
    assert [at_once(e) for e in (0, 2.9, 3)] == [1, 1, 4]


def test_a_change_must_end_after_it_began_and_a_curvature_before_the_training_does() -> None:
    for table in (MARGINS, CURVATURES):
        with pytest.raises(ConfigError, match=r"end_epoch: expected at least .*start_epoch, found 2"):
            table["linear"](0.2, *([10] if table is CURVATURES else []), start_epoch=4, end_epoch=2)
    with pytest.raises(ConfigError, match=r"expected at most train\.epochs \(10\), .* found 11"):
        CURVATURES["linear"](0.2, 10, end_epoch=11)


def test_what_a_configuration_schedules() -> None:
    config = resolve(
        from_dict(
            {
                "loss": {"name": "ham_softmax", "curvature": 3, "margin": 0.4},
                "schedule": {"name": "cosine", "final_lr": 0.01},
                "margin": {"name": "linear", "end_epoch": 4},
                "curvature": {"name": "exponential", "start": 1, "end_epoch": 2},
                "train": {"epochs": 8},
            }
        )
    )
    loss = losses.build("ham_softmax", 4, 3, **config.loss.options)
    schedules = build_schedules(config, loss, 0.1)
    assert schedules.at(4) == pytest.approx({"lr": 0.055, "margin": 0.4, "curvature": 3})
    assert schedules.at(1) == pytest.approx({"lr": schedules.lr(1), "margin": 0.1, "curvature": 3**0.5})
    plain = build_schedules(resolve(from_dict({"loss": {"name": "softmax"}})), losses.build("softmax", 4, 3), 0.1)
    assert plain.at(0) == {"lr": 0.1, "margin": None, "curvature": None}
