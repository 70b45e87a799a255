"""The ball against its algebraic laws and against the naive published distance in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ham.geometry import poincare

CURVATURES = [0.05, 1.0, 3.0, 10.0]
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}


def ball_points(num: int, dim: int, curvature: float, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Points whose radius is uniform in 0..0.9 of the ball's."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(num, dim, generator=generator, dtype=torch.float64))
    radius = 0.9 * torch.rand(num, 1, generator=generator, dtype=torch.float64) / math.sqrt(curvature)
    return (direction * radius).to(dtype)


def naive_published(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    """The published distance of all pairs, B x C x D, as the definition reads; u is returned."""
    radius = (1 - 1e-5) / math.sqrt(curvature)
    z = x * (radius / x.norm(dim=1, keepdim=True)).clamp_max(1)
    w = y * (radius / y.norm(dim=1, keepdim=True)).clamp_max(1)
    square = (z[:, None] - w[None]).square().sum(-1)
    gaps = (1 - z.square().sum(-1))[:, None] * (1 - w.square().sum(-1))[None]
    return 2 * square / gaps.clamp_min(1e-5)


def published_pairwise(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    """The published distance of all pairs as the losses compute it."""
    a, b = (poincare.published_points(rows, curvature=curvature) for rows in (x, y))
    return poincare.pairwise_points_distance(a, b, least_product=poincare.published_least_product(curvature=curvature))


def published_rowwise(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    """The published distance row by row as the losses compute it."""
    a, b = (poincare.published_points(rows, curvature=curvature) for rows in (x, y))
    return poincare.points_distance(a, b, least_product=poincare.published_least_product(curvature=curvature))


@pytest.mark.parametrize("curvature", [1.0, 1.002, 1.01, 3.0, 5.0])
def test_published_distance_is_the_definition(curvature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 7, dtype=torch.float64, generator=generator) * torch.logspace(-2, 1, 12)[:, None]
    y = torch.randn(9, 7, dtype=torch.float64, generator=generator) * torch.logspace(-2, 1, 9)[:, None]
    expected = torch.acosh(1 + naive_published(x, y, curvature))
    torch.testing.assert_close(published_pairwise(x, y, curvature), expected)
    rows = published_rowwise(x[:9], y, curvature)
    torch.testing.assert_close(rows, expected[:9].diagonal())


def test_published_distance_reaches_the_published_maxima() -> None:
    ends = torch.tensor([[9.0, 0.0], [-9.0, 0.0]])
    for curvature, largest in [(1.0, 14.3), (3.0, 2.634), (5.0, 1.925)]:
        found = published_pairwise(ends, ends, curvature).max().item()
        assert found == pytest.approx(largest, abs=0.06 if curvature == 1.0 else 5e-4)


def test_on_the_shell_the_distance_is_a_function_of_the_cosine() -> None:
    curvature, theta = 3.0, torch.linspace(0.1, 3.0, 20, dtype=torch.float64)
    points = 14.0 * torch.stack([theta.cos(), theta.sin()], dim=1)
    d = published_rowwise(points, torch.tensor([[14.0, 0.0]], dtype=torch.float64), curvature)
    k = 4 * curvature / (curvature - 1) ** 2
    # The relation of losses.md holds for a radius of exactly 1/sqrt(c); the shell is 1e-5 inside.
    torch.testing.assert_close(torch.sinh(d / 2), math.sqrt(k) * torch.sin(theta / 2), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", [1.0, 3.0])
def test_published_points_are_clipped_and_measured(curvature: float, dtype: torch.dtype) -> None:
    radius = poincare.published_radius(curvature=curvature)
    lengths = torch.tensor([0.0, 1e-30, 0.3, 0.999 * radius, 1.001 * radius, 14.0, 1e30, 3e38]).to(dtype)
    x = lengths[:, None] * torch.tensor([[0.6, 0.8]], dtype=dtype)
    found = poincare.published_points(x, curvature=curvature)
    norm = lengths.double().clamp_max(radius)[:, None]
    torch.testing.assert_close(found.points.double().norm(dim=1, keepdim=True), norm, rtol=3e-7, atol=0)
    torch.testing.assert_close(found.square.double(), norm.square(), rtol=3e-7, atol=1e-40)
    torch.testing.assert_close(found.gap[4:].double(), 1 - norm[4:].square(), rtol=3e-7, atol=0)
    torch.testing.assert_close(found.gap.double(), 1 - norm.square(), rtol=2e-4, atol=0)
    assert torch.equal(found.points[:4], x[:4])


def test_a_clipped_point_has_no_radial_gradient() -> None:
    x = (3.0 * torch.randn(5, 6, generator=torch.Generator().manual_seed(0))).requires_grad_()
    y = ball_points(5, 6, 3.0, torch.float32)
    published_rowwise(x, y, 3.0).sum().backward()
    assert x.grad is not None
    assert x.grad.norm() > 0.01
    assert (x.grad * x.detach()).sum(1).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clip_norm_shortens_what_is_too_long_and_nothing_else(dtype: torch.dtype) -> None:
    x = torch.tensor([[0.0, 0.0], [0.3, 0.4], [3.0, 4.0], [3e30, -4e30]], dtype=dtype)
    expected = torch.tensor([[0.0, 0.0], [0.3, 0.4], [1.2, 1.6], [1.2, -1.6]], dtype=dtype)
    torch.testing.assert_close(poincare.clip_norm(x, 2.0), expected)
    assert torch.equal(poincare.clip_norm(x, 2.0)[:2], x[:2])
    leaf = x[1:].clone().requires_grad_()
    poincare.clip_norm(leaf, 2.0).sum().backward()
    assert torch.equal(leaf.grad[0], torch.ones(2, dtype=dtype))
    assert abs(float((leaf.grad[1] * x[2]).sum())) < 1e-6


@pytest.mark.parametrize("row", [[3.0, 4.0], [5.0, 0.0], [0.0, -7.0], [2.0, 1e-30]])
def test_what_clip_norm_shortens_follows_the_radius_alone(row: list[float]) -> None:
    x = torch.tensor([row, [0.3, 0.1]], requires_grad=True)
    radius = torch.tensor(1.7, requires_grad=True)
    clipped = poincare.clip_norm(x, radius)
    assert torch.equal(clipped.detach(), poincare.clip_norm(x, 1.7).detach())
    torch.testing.assert_close(clipped.norm(dim=1).detach(), torch.tensor([1.7, 0.1**0.5]))
    clipped.norm(dim=1).sum().backward()
    assert radius.grad.item() == pytest.approx(1.0)
    assert x.grad[0].abs().max() < 1e-6
    assert x.grad[1].norm().item() == pytest.approx(1.0)


@pytest.mark.parametrize("curvature", [0.2, 1.0, 3.0])
def test_tangent_points_are_those_of_the_exponential_map(curvature: float) -> None:
    direction = torch.nn.functional.normalize(torch.randn(9, 4, dtype=torch.float64), dim=1)
    lengths = torch.tensor([0.0, 1e-200, 1e-3, 0.3, 1.0, 2.0, 5.0, 40.0, 1e9], dtype=torch.float64)[:, None]
    v = direction * lengths / curvature**0.5
    expected = poincare.unit_points(poincare.expmap0(v, curvature=curvature), curvature=curvature)
    found = poincare.tangent_points(v, curvature=curvature)
    torch.testing.assert_close(found.points, expected.points, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.square, expected.square, rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(found.gap, expected.gap, rtol=1e-3, atol=0)  # there the difference from 1 has few digits


@pytest.mark.parametrize(("dtype", "furthest"), [(torch.float32, 25.3), (torch.float64, 55.5)])
def test_points_on_the_boundary_are_as_far_apart_as_the_gap_leaves(dtype: torch.dtype, furthest: float) -> None:
    """Twice the distance from the origin at which tangent vectors are cut, for points given either way."""
    x = torch.tensor([[1.0, 0.0]], dtype=dtype)
    expected = 4 * math.atanh(1 - poincare.boundary_gap(dtype))
    assert expected == pytest.approx(furthest, abs=0.1)
    a, b = (poincare.tangent_points(sign * 99 * x, curvature=1.0) for sign in (1, -1))
    for found in (poincare.distance(x, -x, curvature=1.0), poincare.points_distance(a, b)):
        assert found.item() == pytest.approx(expected, rel=1e-4)


def test_tangent_points_keep_the_digits_of_the_gap_in_float32() -> None:
    lengths = torch.linspace(0.1, 6.2, 40, dtype=torch.float64)
    v = torch.stack([0.6 * lengths, 0.8 * lengths], dim=1)
    found = poincare.tangent_points(v.float(), curvature=1.0)
    torch.testing.assert_close(found.gap[:, 0].double(), torch.cosh(lengths) ** -2, rtol=4e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tangent_vector_that_is_cut_moves_neither_with_its_length_nor_with_the_curvature(dtype: torch.dtype) -> None:
    v = torch.tensor([[30.0, 40.0]], dtype=dtype, requires_grad=True)
    c = torch.tensor(2.0, dtype=dtype, requires_grad=True)
    points = poincare.tangent_points(v, curvature=c)
    (points.points.sum() + points.square.sum() + points.gap.sum()).backward()
    assert c.grad.item() == 0.0
    assert abs((v.grad * v.detach()).sum().item()) < 1e-5


def test_functions_of_points_take_any_leading_dimensions() -> None:
    x = 0.4 * torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tanh()
    flat = x.reshape(6, 4)
    found = poincare.expmap0(x, curvature=1.3).reshape(6, 4)
    torch.testing.assert_close(found, poincare.expmap0(flat, curvature=1.3))
    found = poincare.mobius_add(x, x.flip(0), curvature=1.3).reshape(6, 4)
    torch.testing.assert_close(found, poincare.mobius_add(flat, x.flip(0).reshape(6, 4), curvature=1.3))


def test_shrink_keeps_direction_and_short_rows() -> None:
    x = torch.tensor([[0.5, -0.25], [3e38, -1.5e38], [0.0, 0.0]])
    assert torch.equal(poincare.shrink(x), torch.tensor([[0.5, -0.25], [1.0, -0.5], [0.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arcosh1p_keeps_the_digits_of_small_ratios(dtype: torch.dtype) -> None:
    ratio = torch.logspace(-6, 8, 57, dtype=torch.float64)[1:].to(dtype).requires_grad_()
    value = poincare.arcosh1p(ratio)
    wide = ratio.detach().double()
    exact = 2 * torch.asinh(torch.sqrt(wide / 2))
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(value.double(), exact, rtol=tolerance, atol=0)
    value.sum().backward()
    assert ratio.grad is not None
    torch.testing.assert_close(ratio.grad.double(), 1 / torch.sqrt(wide * (wide + 2)), rtol=tolerance, atol=0)


@pytest.mark.parametrize(("dtype", "floor"), [(torch.float32, 1e-6), (torch.float64, 1e-6 * 2.0**-29)])
def test_arcosh1p_is_flat_below_its_floor(dtype: torch.dtype, floor: float) -> None:
    assert poincare.least_ratio(dtype) == pytest.approx(floor)
    ratio = torch.tensor([-1e-3, 0.0, 0.9 * floor, 1.1 * floor], dtype=dtype, requires_grad=True)
    value = poincare.arcosh1p(ratio)
    torch.testing.assert_close(value[:3], torch.full((3,), (2 * floor) ** 0.5, dtype=dtype), rtol=1e-6, atol=0)
    value.sum().backward()
    assert torch.equal(ratio.grad[:3], torch.zeros(3, dtype=dtype))
    assert ratio.grad[3] > 0


def test_arcosh1p_passes_gradcheck_and_refuses_a_second_derivative() -> None:
    ratio = torch.logspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(poincare.arcosh1p, ratio)
    (first,) = torch.autograd.grad(poincare.arcosh1p(ratio).sum(), ratio, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["published", "curvature"])
def test_rowwise_gradients_are_right_on_log_uniform_separations(form: str, dtype: torch.dtype) -> None:
    """The gradient of d(x, y) is the unit vector of the metric: its hyperbolic length is 1 at every separation."""
    step = torch.logspace(-6, -0.7, 40, dtype=torch.float64)[:, None]
    base = ball_points(40, 5, 4.0, torch.float64)
    direction = torch.nn.functional.normalize(
        torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    )
    x = (0.5 * base).to(dtype).requires_grad_()
    y = (0.5 * base + 0.3 * step * direction).to(dtype)
    curvature = 3.0
    if form == "published":
        distances, bend = published_rowwise(x, y, curvature), 1.0
    else:
        distances, bend = poincare.distance(x, y, curvature=curvature), curvature
    distances.sum().backward()
    assert x.grad is not None
    length = x.grad.double().norm(dim=1) * (1 - bend * x.detach().double().square().sum(1)) / 2
    torch.testing.assert_close(length, torch.ones_like(length), rtol=1e-5 if dtype == torch.float32 else 1e-9, atol=0)


def test_pairwise_gradients_are_right_down_to_the_floor() -> None:
    curvature = 3.0
    x = ball_points(30, 6, 4.0, torch.float64).requires_grad_()
    y = x.detach() + torch.logspace(-3, -0.5, 30, dtype=torch.float64)[:, None] * ball_points(
        30, 6, 4.0, torch.float64, seed=3
    )
    keep = naive_published(x, y, curvature).diagonal().detach() > 1.1e-6
    (expected,) = torch.autograd.grad(torch.acosh(1 + naive_published(x, y, curvature)).diagonal()[keep].sum(), x)
    distances = published_pairwise(x, y, curvature)
    (found,) = torch.autograd.grad(distances.diagonal()[keep].sum(), x)
    assert keep.sum() > 20
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", [1.0, 3.0])
def test_equal_points_at_any_radius_have_finite_gradients(curvature: float, dtype: torch.dtype) -> None:
    base = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)))
    base = (base * torch.tensor([0.0, 1e-20, 0.4, 1.0, 13.0, 1e30])[:, None]).to(dtype)
    for function in (published_rowwise, published_pairwise):
        x, y = base.clone().requires_grad_(), base.clone().requires_grad_()
        distances = function(x, y, curvature)
        distances.sum().backward()
        for tensor in (distances, x.grad, y.grad):
            assert tensor is not None
            assert torch.isfinite(tensor).all()
    assert published_rowwise(base, base, curvature).abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_map_at_the_origin_keeps_directions_and_doubles_lengths(curvature: float, dtype: torch.dtype) -> None:
    """The geodesic from the origin to exp_0(v) has the length 2 |v|, as the metric's factor at the origin is 2."""
    v = ball_points(50, 8, curvature, dtype)
    for there in (v, 1e-6 * v):
        x = poincare.expmap0(there, curvature=curvature)
        torch.testing.assert_close(*(torch.nn.functional.normalize(rows) for rows in (x, there)))
        length = poincare.distance(torch.zeros_like(x), x, curvature=curvature)
        torch.testing.assert_close(length, 2 * there.norm(dim=1), rtol=TOLERANCE[dtype], atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_mobius_addition_obeys_its_laws(curvature: float, dtype: torch.dtype) -> None:
    x, y = ball_points(50, 8, curvature, dtype), ball_points(50, 8, curvature, dtype, seed=1)
    close = {"rtol": 10 * TOLERANCE[dtype], "atol": TOLERANCE[dtype] / math.sqrt(curvature)}
    moved = poincare.mobius_add(x, y, curvature=curvature)
    assert (moved.norm(dim=1) * math.sqrt(curvature) < 1).all()
    torch.testing.assert_close(poincare.mobius_add(-x, moved, curvature=curvature), y, **close)
    torch.testing.assert_close(poincare.mobius_add(x, torch.zeros_like(x), curvature=curvature), x, **close)
    torch.testing.assert_close(poincare.mobius_add(-x, x, curvature=curvature), torch.zeros_like(x), **close)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_mobius_addition_tends_to_the_sum_in_flat_space(curvature: float) -> None:
    x, y = ball_points(9, 4, curvature, torch.float64), ball_points(9, 4, curvature, torch.float64, seed=1)
    found = poincare.mobius_add(1e-4 * x, 1e-4 * y, curvature=curvature)
    torch.testing.assert_close(found, 1e-4 * (x + y), rtol=0, atol=1e-11 / math.sqrt(curvature))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_distance_is_a_metric_and_invariant(curvature: float, dtype: torch.dtype) -> None:
    x, y, z = (ball_points(60, 8, curvature, dtype, seed=seed) for seed in range(3))
    d = {pair: poincare.distance(*pair_, curvature=curvature) for pair, pair_ in
         {"xy": (x, y), "yx": (y, x), "xz": (x, z), "zy": (z, y)}.items()}  # fmt: skip
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(d["xy"], d["yx"])
    assert (d["xy"] <= (d["xz"] + d["zy"]) * (1 + TOLERANCE[dtype])).all()
    assert poincare.distance(x, x, curvature=curvature).abs().max() == 0
    moved = (poincare.mobius_add(z, point, curvature=curvature) for point in (x, y))
    torch.testing.assert_close(poincare.distance(*moved, curvature=curvature), d["xy"], **close)
    chord = poincare.mobius_add(-x, y, curvature=curvature).norm(dim=1) * math.sqrt(curvature)
    torch.testing.assert_close(2 / math.sqrt(curvature) * torch.atanh(chord), d["xy"], **close)
    pairs = poincare.pairwise_distance(x, y, curvature=curvature)
    torch.testing.assert_close(pairs.diagonal(), d["xy"], **close)
    torch.testing.assert_close(pairs, poincare.pairwise_distance(y, x, curvature=curvature).T, **close)


def test_distance_of_curvature_minus_c_scales_from_the_unit_ball() -> None:
    x, y = ball_points(20, 4, 1.0, torch.float64), ball_points(20, 4, 1.0, torch.float64, seed=1)
    d = poincare.distance(x / math.sqrt(7.0), y / math.sqrt(7.0), curvature=7.0)
    torch.testing.assert_close(d, poincare.distance(x, y, curvature=1.0) / math.sqrt(7.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", [0.1, 1.0, 5.0])
def test_values_and_gradients_are_finite_on_log_uniform_inputs(curvature: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    direction = torch.nn.functional.normalize(torch.randn(80, 6, generator=generator, dtype=torch.float64))
    v = (direction * torch.logspace(-18, 4, 80, dtype=torch.float64)[:, None]).to(dtype)
    v[0] = 0
    v.requires_grad_()
    z = poincare.expmap0(v, curvature=curvature)
    assert (z.norm(dim=1) * math.sqrt(curvature) < 1).all()
    results = [
        z.sum(),
        poincare.mobius_add(z, z.flip(0), curvature=curvature).sum(),
        poincare.distance(z, z.flip(0), curvature=curvature).sum(),
        poincare.pairwise_distance(z, z, curvature=curvature).sum(),
    ]
    for result in results:
        (gradient,) = torch.autograd.grad(result, v, retain_graph=True)
        assert torch.isfinite(result)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_on_and_outside_the_boundary_stay_finite(dtype: torch.dtype) -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [3.0, 4.0]], dtype=dtype).requires_grad_()
    opposite = -x.detach()
    results = [
        poincare.mobius_add(x, opposite, curvature=1.0)[:3],
        poincare.distance(x, opposite, curvature=1.0),
        poincare.pairwise_distance(x, opposite, curvature=1.0),
    ]
    for result in results:
        (gradient,) = torch.autograd.grad(result.sum(), x)
        assert torch.isfinite(result).all()
        assert torch.isfinite(gradient).all()


def test_functions_pass_gradcheck() -> None:
    x, y = ball_points(4, 3, 2.0, torch.float64), ball_points(4, 3, 2.0, torch.float64, seed=1)
    x, y = x.requires_grad_(), y.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: poincare.expmap0(a, curvature=2.0), x)
    for function in (poincare.mobius_add, poincare.distance, poincare.pairwise_distance):
        assert torch.autograd.gradcheck(lambda a, b, f=function: f(a, b, curvature=2.0), (x, y))
    for function in (published_rowwise, published_pairwise):
        assert torch.autograd.gradcheck(lambda a, b, f=function: f(a, b, 2.0), (x, y))


@pytest.mark.parametrize("curvature", [0.0, -1.0, math.nan, math.inf])
def test_a_curvature_without_meaning_is_refused(curvature: float) -> None:
    x = torch.zeros(2, 3)
    for unary in (poincare.expmap0, poincare.tangent_points, poincare.unit_points, poincare.published_points):
        with pytest.raises(ValueError, match="curvature must be"):
            unary(x, curvature=curvature)
    for function in (poincare.mobius_add, poincare.distance, poincare.pairwise_distance):
        with pytest.raises(ValueError, match="curvature must be"):
            function(x, x, curvature=curvature)


def test_the_published_form_refuses_a_curvature_below_1() -> None:
    with pytest.raises(ValueError, match=r"at least 1 in the published form, found 0\.5"):
        poincare.published_radius(curvature=0.5)


def test_the_floor_of_the_denominator_is_kept_only_where_it_can_act() -> None:
    assert poincare.published_least_product(curvature=1.003) == 1e-5
    assert poincare.published_least_product(curvature=1.01) == 0
    assert poincare.boundary_gap(torch.float32) > poincare.boundary_gap(torch.float64) > 0
