"""Schedules against their formulas at chosen moments."""

from __future__ import annotations

import pytest

from ham.train.schedules import curvature_at, learning_rate, margin_at


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
    found = learning_rate(epoch, name=name, lr=0.1, num_epochs=10, gamma=0.5, final_lr=0.001)
    assert found == pytest.approx(expected)


def test_warm_up_rises_from_zero() -> None:
    rates = [learning_rate(e, name="constant", lr=0.1, num_epochs=10, warmup_epochs=4) for e in (0, 1, 2, 4, 9)]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.1, 0.1])


def test_margin() -> None:
    linear = [margin_at(e, name="linear", final=0.2, start_epoch=2, end_epoch=6) for e in (0, 2, 4, 6, 9)]
    assert linear == pytest.approx([0, 0, 0.1, 0.2, 0.2])
    rising = [margin_at(e / 4, name="exponential", final=0.2, start_epoch=2, end_epoch=6) for e in range(33)]
    assert rising == sorted(rising)
    assert rising[8] == 0
    assert rising[16] > 0.15
    assert rising[24] == pytest.approx(0.2)
    assert margin_at(0, name="constant", final=0.2, start_epoch=2, end_epoch=6) == 0.2


def test_curvature() -> None:
    times = (0, 2, 4, 6, 9)
    linear = [curvature_at(e, name="linear", start=1.0, final=4.0, start_epoch=2, end_epoch=6) for e in times]
    assert linear == pytest.approx([1, 1, 2.5, 4, 4])
    falling = [curvature_at(e, name="exponential", start=4.0, final=1.0, start_epoch=2, end_epoch=6) for e in times]
    assert falling == pytest.approx([4, 4, 2, 1, 1])
    assert curvature_at(0, name="constant", start=1.0, final=4.0, end_epoch=6) == 4.0
    assert curvature_at(3, name="linear", start=1.0, final=4.0, start_epoch=3, end_epoch=3) == 4.0
    with pytest.raises(ValueError, match="'cosine'"):
        curvature_at(0, name="cosine", start=1.0, final=4.0)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="'cosin'"):
        learning_rate(0, name="cosin", lr=1, num_epochs=1)
    with pytest.raises(ValueError, match="'cosine'"):
        margin_at(0, name="cosine", final=1)
