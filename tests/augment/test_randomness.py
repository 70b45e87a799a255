from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ham.augment.randomness import check_range, distinct, integers, normal, uniform, weighted, within
from ham.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_uniform_covers_its_range_and_nothing_else() -> None:
    draw = uniform((10000,), (-2.0, 6.0), seeded())
    assert draw.min() >= -2.0
    assert draw.max() < 6.0
    assert draw.mean().item() == pytest.approx(2.0, abs=0.1)
    assert draw.std().item() == pytest.approx(8.0 / 12.0**0.5, abs=0.1)


def test_equal_bounds_are_a_constant() -> None:
    assert torch.equal(uniform((3, 2), (1.5, 1.5), seeded()), torch.full((3, 2), 1.5))


def test_integers_include_both_ends_equally() -> None:
    counts = torch.bincount(integers((6000,), 3, 8, seeded()), minlength=9)
    assert counts[:3].sum() == 0
    assert counts[3:].min() > 850
    assert len(counts) == 9


def test_normal_has_variance_one() -> None:
    draw = normal((100, 100), seeded())
    assert draw.mean().item() == pytest.approx(0.0, abs=0.05)
    assert draw.std().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda g: uniform((5,), (0.0, 1.0), g),
        lambda g: normal((5,), g),
        lambda g: integers((5,), 0, 1000, g),
    ],
)
def test_draws_depend_on_the_generator_alone(make: Callable[[torch.Generator], torch.Tensor]) -> None:
    torch.manual_seed(1)
    first = make(seeded(7))
    torch.manual_seed(2)
    assert torch.equal(first, make(seeded(7)))
    assert not torch.equal(first, make(seeded(8)))


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (0.5, 3.0), (float("nan"), 3.0), (1.0, float("nan"))])
def test_a_wrong_range_names_the_option(bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="snr_db"):
        check_range("snr_db", bounds, lowest=1.0)


def test_a_right_range_comes_back() -> None:
    assert check_range("snr_db", (-5.0, -5.0)) == (-5.0, -5.0)


@pytest.mark.parametrize(("count", "total"), [(1, 5), (2, 5), (5, 5), (8, 5), (1, 1), (3, 1)])
def test_distinct_numbers_never_repeat_in_a_row_and_all_orders_are_equally_likely(count: int, total: int) -> None:
    num, given = 6000, min(count, total)
    drawn = distinct(num, count, total, seeded())
    assert drawn.shape == (num, given)
    assert drawn.dtype == torch.int64
    assert all(len(set(row)) == given for row in drawn.tolist())
    shares = torch.stack([torch.bincount(column, minlength=total) for column in drawn.T]) / num
    assert torch.allclose(shares, torch.full((given, total), 1 / total), atol=0.025)
    if given > 1:
        steps = torch.bincount((drawn[:, 1] - drawn[:, 0]) % total, minlength=total)[1:] / num
        assert torch.allclose(steps, torch.full((total - 1,), 1 / (total - 1)), atol=0.025)
    assert torch.equal(drawn, distinct(num, count, total, seeded()))


def test_choices_are_drawn_in_proportion_to_their_weights() -> None:
    drawn = weighted(20000, [0, 3, 1, 0, 4, 0], seeded())
    assert drawn.dtype == torch.int64
    shares = torch.bincount(drawn, minlength=6) / 20000
    assert torch.allclose(shares, torch.tensor([0, 3, 1, 0, 4, 0]) / 8, atol=0.02)
    assert shares[[0, 3, 5]].sum() == 0
    last = weighted(20000, [1, 4, 3], seeded())
    assert torch.allclose(torch.bincount(last) / 20000, torch.tensor([1, 4, 3]) / 8, atol=0.02)
    assert torch.equal(drawn, weighted(20000, [0, 30, 10, 0, 40, 0], seeded()))


@pytest.mark.parametrize(("first", "end"), [(0, 9), (3, 6), (0, 1), (8, 9), (2, 2)])
def test_a_part_of_a_batch_is_a_part_of_its_ascending_numbers(first: int, end: int) -> None:
    numbers = torch.tensor([0, 2, 3, 5, 8])
    assert numbers[within(numbers, slice(first, end), 9)].tolist() == [n for n in numbers.tolist() if first <= n < end]
    assert numbers[within(numbers, slice(None), 9)].equal(numbers)
