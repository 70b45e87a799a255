"""Gromov's delta against its definitions, trees, a cycle and its laws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from ham.geometry import delta as module
from ham.geometry.delta import chord_distances, delta, gaussian_baseline, relative_delta
from tests.watch import LargestTensor

DTYPES = [torch.float32, torch.float64]


def random_points(num: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_delta(distances: Tensor, base: int) -> Tensor:
    """The definition, N x N x N."""
    product = (distances[base][:, None] + distances[base][None] - distances) / 2
    return (torch.minimum(product[:, :, None], product[None]).amax(dim=1) - product).max()


def four_point_delta(distances: Tensor) -> float:
    """Half the gap between the two largest of the three sums of opposite sides, the worst of all quadruples."""
    d, worst = distances.tolist(), 0.0
    for i, j, k, m in itertools.combinations(range(len(d)), 4):
        sums = sorted([d[i][j] + d[k][m], d[i][k] + d[j][m], d[i][m] + d[j][k]])
        worst = max(worst, (sums[2] - sums[1]) / 2)
    return worst


def tree_distances(num: int, seed: int) -> Tensor:
    """Path lengths of a random tree whose edges weigh whole numbers, so that no rounding happens."""
    generator = torch.Generator().manual_seed(seed)
    distances = torch.zeros(num, num, dtype=torch.float64)
    for node in range(1, num):
        parent = int(torch.randint(node, (), generator=generator))
        row = distances[parent, :node] + int(torch.randint(1, 9, (), generator=generator))
        distances[node, :node] = row
        distances[:node, node] = row
    return distances


def cycle_distances(num: int) -> Tensor:
    step = (torch.arange(num)[:, None] - torch.arange(num)[None]).abs()
    return torch.minimum(step, num - step).double()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num", [4, 17, 60])
def test_delta_is_the_definition(num: int, dtype: torch.dtype) -> None:
    distances = torch.cdist(random_points(num, 5), random_points(num, 5)).fill_diagonal_(0).to(dtype)
    for base in (0, num // 2, num - 1):
        found = delta(distances, base=base)
        assert found.shape == ()
        assert found.dtype == dtype
        torch.testing.assert_close(found, naive_delta(distances, base), rtol=1e-5, atol=0)


@pytest.mark.parametrize("block_numel", [1, 7, 64, 400])
def test_blocks_of_any_size_give_the_same_number(block_numel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    distances = chord_distances(random_points(41, 6))
    expected = [naive_delta(distances, base) for base in range(5)]
    monkeypatch.setattr(module, "BLOCK_NUMEL", block_numel)
    torch.testing.assert_close([delta(distances, base=base) for base in range(5)], expected)


@pytest.mark.parametrize("seed", range(4))
def test_over_all_base_points_it_is_the_four_point_condition(seed: int) -> None:
    distances = chord_distances(random_points(14, 3, seed))
    four = four_point_delta(distances)
    each = [delta(distances, base=base).item() for base in range(14)]
    assert four > 0.05
    assert max(each) == pytest.approx(four, rel=1e-12)
    assert all(four / 2 - 1e-12 <= one for one in each)
    relative = 2 * four / distances.max().item()
    assert relative_delta(distances, num_bases=14) == pytest.approx(relative, rel=1e-12)
    assert relative_delta(distances, num_bases=99) == pytest.approx(relative, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_has_delta_zero_and_a_shortcut_raises_it(seed: int) -> None:
    distances = tree_distances(50, seed)
    assert all(delta(distances, base=base) == 0 for base in range(50))
    assert relative_delta(distances) == 0
    far = int(distances.argmax())
    i, j = far // 50, far % 50
    through = distances[:, i, None] + 1 + distances[None, j]
    assert relative_delta(torch.minimum(distances, torch.minimum(through, through.T))) > 0.05


def test_points_on_a_line_have_delta_zero() -> None:
    x = torch.randint(0, 1000, (40,), generator=torch.Generator().manual_seed(0)).double()
    assert relative_delta((x[:, None] - x[None]).abs(), num_bases=40) == 0


@pytest.mark.parametrize(
    ("num", "expected"), [(4, 1.0), (5, 0.5), (6, 1.0), (7, 1.0), (8, 2.0), (9, 1.5), (12, 3.0), (16, 4.0), (17, 3.5)]
)
def test_a_cycle_has_about_a_quarter_of_its_length(num: int, expected: float) -> None:
    """Hyperbolicity of the cycle graph C_n: k for n = 4k, 4k + 2, 4k + 3 and k - 1/2 for n = 4k + 1."""
    distances = cycle_distances(num)
    assert delta(distances, base=0) == expected == four_point_delta(distances)


def test_relative_delta_does_not_depend_on_scale_or_order() -> None:
    distances = chord_distances(random_points(40, 8))
    expected = relative_delta(distances, num_bases=40)
    assert 0.1 < expected < 1
    assert relative_delta(7.3 * distances, num_bases=40) == pytest.approx(expected, rel=1e-12)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    assert relative_delta(distances[order][:, order], num_bases=40) == expected


def test_base_points_are_drawn_by_the_seed() -> None:
    distances = chord_distances(random_points(60, 8))
    values = {seed: relative_delta(distances, num_bases=1, seed=seed) for seed in range(6)}
    assert len(set(values.values())) > 1
    assert values == {seed: relative_delta(distances, num_bases=1, seed=seed) for seed in range(6)}
    few, more = (relative_delta(distances, num_bases=num, seed=1) for num in (1, 20))
    assert few <= more


@pytest.mark.parametrize("dtype", DTYPES)
def test_chord_distances_are_those_of_directions(dtype: torch.dtype) -> None:
    x = (random_points(30, 7) * torch.logspace(-8, 8, 30, dtype=torch.float64)[:, None]).to(dtype)
    found = chord_distances(x)
    unit = torch.nn.functional.normalize(x.double(), eps=0)
    expected = (unit[:, None] - unit[None]).norm(dim=-1)
    assert found.dtype == dtype
    assert torch.equal(found, found.T)
    assert found.diagonal().abs().max() == 0
    torch.testing.assert_close(found.double(), expected, rtol=1e-6 if dtype == torch.float32 else 1e-12, atol=1e-12)


def test_chord_distances_of_equal_and_opposite_rows() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [-1.0, -2.0, -3.0], [1.0, 2.0, 3.0 + 3e-6]])
    found = chord_distances(x)
    assert found[0, 1] < 3e-8
    assert found[0, 2] == 2
    exact = torch.nn.functional.normalize(x.double())
    assert found[0, 3].item() == pytest.approx((exact[0] - exact[3]).norm().item(), abs=3e-8)


def test_the_baseline_is_reproducible_and_that_of_flat_data() -> None:
    value = gaussian_baseline(500, 192, num_bases=3)
    assert 0.23 < value < 0.30
    assert value == gaussian_baseline(500, 192, num_bases=3)
    assert value != gaussian_baseline(500, 192, num_bases=3, seed=1)
    hierarchy = random_points(500, 192)
    for parts, weight in [(5, 8.0), (50, 3.0)]:
        hierarchy = hierarchy + weight * random_points(parts, 192, seed=parts).repeat_interleave(500 // parts, 0)
    assert relative_delta(chord_distances(hierarchy), num_bases=3) < 0.8 * value


@pytest.mark.parametrize("num", [30, 90])
def test_no_tensor_is_larger_than_the_distances(num: int) -> None:
    with LargestTensor() as watch:
        gaussian_baseline(num, 12, num_bases=2)
    assert num * num <= watch.numel <= 2 * num * num


def test_the_distances_are_left_alone() -> None:
    distances = chord_distances(random_points(20, 4))
    before = distances.clone()
    relative_delta(distances)
    delta(distances, base=3)
    assert torch.equal(distances, before)


def spoilt(row: int, column: int, value: float) -> Tensor:
    distances = chord_distances(random_points(6, 3))
    distances[row, column] = value
    return distances


@pytest.mark.parametrize(
    ("distances", "sentence"),
    [
        (torch.zeros(4, 5), r"square matrix, found shape \(4, 5\)"),
        (torch.zeros(5), r"square matrix, found shape \(5,\)"),
        (cycle_distances(3), "at least 4 points, found 3"),
        (spoilt(2, 3, math.nan), "must be finite"),
        (spoilt(2, 3, math.inf), "must be finite"),
        (spoilt(2, 3, 0.01), "must be symmetric"),
        (spoilt(3, 2, 1.99), "must be symmetric"),
        (spoilt(1, 1, 0.1), "a diagonal of 0"),
        (-cycle_distances(5), "at least 0"),
    ],
)
def test_what_is_no_matrix_of_distances_is_refused(distances: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        delta(distances, base=0)
    with pytest.raises(ValueError, match=sentence):
        relative_delta(distances)


def test_numbers_without_meaning_are_refused() -> None:
    distances = chord_distances(random_points(6, 3))
    for base in (-1, 6):
        with pytest.raises(ValueError, match=rf"a point in 0\.\.5, found {base}"):
            delta(distances, base=base)
    with pytest.raises(ValueError, match="diameter above 0"):
        relative_delta(torch.zeros(5, 5))
    with pytest.raises(ValueError, match="num_bases must be at least 1, found 0"):
        relative_delta(distances, num_bases=0)
    with pytest.raises(ValueError, match="at least 4 points, found 3"):
        gaussian_baseline(3, 5)


def test_rows_without_direction_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of a matrix"):
        chord_distances(torch.zeros(5))
    for value in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="every row must be finite and not zero"):
            chord_distances(torch.tensor([[1.0, 2.0], [value, 0.0]]))
