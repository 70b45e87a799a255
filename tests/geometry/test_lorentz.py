"""The hyperboloid against its algebraic laws and, through the isometry, against the ball."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ham.geometry import lorentz, poincare

CURVATURES = [0.1, 1.0, 3.0, 10.0]
DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-10}
UNARY = [lorentz.time, lorentz.expmap0, lorentz.to_poincare, lorentz.from_poincare]
BINARY = [lorentz.distance, lorentz.pairwise_distance]


def directions(num: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num, dim, generator=generator, dtype=torch.float64))


def tangents(num: int, dim: int, curvature: float, seed: int = 0, longest: float = 3.0) -> Tensor:
    """Vectors whose length is uniform in 0..longest in units of 1/sqrt(c)."""
    generator = torch.Generator().manual_seed(100 + seed)
    length = longest * torch.rand(num, 1, generator=generator, dtype=torch.float64) / math.sqrt(curvature)
    return directions(num, dim, seed) * length


def points(num: int, dim: int, curvature: float, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Points whose distance from the origin is uniform in 0..3 in units of 1/sqrt(c), by the definition of sinh."""
    v = tangents(num, dim, curvature, seed)
    rapidity = v.norm(dim=1, keepdim=True) * math.sqrt(curvature)
    return (v * torch.sinh(rapidity) / rapidity).to(dtype)


def naive_inner(x: Tensor, y: Tensor, curvature: float) -> Tensor:
    x_time, y_time = ((1 / curvature + point.square().sum(1)).sqrt() for point in (x, y))
    return (x[:, None] * y[None]).sum(-1) - x_time[:, None] * y_time[None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("curvature", CURVATURES)
def test_points_lie_on_the_hyperboloid(curvature: float, dtype: torch.dtype) -> None:
    x = lorentz.expmap0(tangents(50, 8, curvature).to(dtype), curvature=curvature)
    slack = 20 * torch.finfo(dtype).eps * x.square().sum(1).max().item()
    squares = lorentz.time(x, curvature=curvature)[:, 0].square() - x.square().sum(1)
    torch.testing.assert_close(squares, torch.full_like(squares, 1 / curvature), rtol=1e-6, atol=slack)
    assert lorentz.time(x, curvature=curvature).shape == (50, 1)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_distance_is_the_definition(curvature: float) -> None:
    x, y = points(30, 8, curvature), points(30, 8, curvature, seed=1)
    expected = torch.acosh(-curvature * naive_inner(x, y, curvature)) / math.sqrt(curvature)
    found = lorentz.pairwise_distance(x, y, curvature=curvature)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
    rows = lorentz.distance(x, y, curvature=curvature)
    assert rows.shape == (30,)
    torch.testing.assert_close(rows, expected.diagonal(), rtol=1e-11, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("curvature", CURVATURES)
def test_distance_is_a_metric(curvature: float, dtype: torch.dtype) -> None:
    x, y, z = (points(60, 8, curvature, dtype, seed=seed) for seed in range(3))
    xy = lorentz.distance(x, y, curvature=curvature)
    assert torch.equal(xy, lorentz.distance(y, x, curvature=curvature))
    around = lorentz.distance(x, z, curvature=curvature) + lorentz.distance(z, y, curvature=curvature)
    assert (xy <= around * (1 + TOLERANCE[dtype])).all()
    assert (xy > 0).all()
    assert lorentz.distance(x, x, curvature=curvature).abs().max() == 0
    pairs = lorentz.pairwise_distance(x, y, curvature=curvature)
    torch.testing.assert_close(pairs.diagonal(), xy, rtol=TOLERANCE[dtype], atol=0)
    torch.testing.assert_close(pairs, lorentz.pairwise_distance(y, x, curvature=curvature).T)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_triangle_is_flat_along_a_line_through_the_origin(curvature: float) -> None:
    v = tangents(1, 5, curvature, longest=2.0)
    steps = torch.linspace(-3, 3, 7, dtype=torch.float64)
    x = lorentz.expmap0(steps[:, None] * v, curvature=curvature)
    expected = (steps[:, None] - steps[None]).abs() * v.norm()
    index = torch.arange(7)
    left, right = x[index.repeat_interleave(7)], x[index.repeat(7)]
    found = lorentz.distance(left, right, curvature=curvature).view(7, 7)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_map_at_the_origin_keeps_directions_and_lengths(curvature: float, dtype: torch.dtype) -> None:
    v = tangents(50, 8, curvature, longest=8.0).to(dtype)
    x = lorentz.expmap0(v, curvature=curvature)
    torch.testing.assert_close(*(torch.nn.functional.normalize(rows) for rows in (x, v)))
    length = lorentz.distance(torch.zeros_like(x), x, curvature=curvature)
    torch.testing.assert_close(length, v.norm(dim=1), rtol=TOLERANCE[dtype], atol=0)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_projection_onto_the_ball_is_an_isometry(curvature: float) -> None:
    x, y = points(40, 8, curvature), points(40, 8, curvature, seed=1)
    z, w = lorentz.to_poincare(x, curvature=curvature), lorentz.to_poincare(y, curvature=curvature)
    assert (z.norm(dim=1) * math.sqrt(curvature) < 1).all()
    close = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(
        lorentz.distance(x, y, curvature=curvature), poincare.distance(z, w, curvature=curvature), **close
    )
    torch.testing.assert_close(
        lorentz.pairwise_distance(x, y, curvature=curvature),
        poincare.pairwise_distance(z, w, curvature=curvature),
        **close,
    )
    torch.testing.assert_close(lorentz.from_poincare(z, curvature=curvature), x, **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_ball_map_doubles_the_length(curvature: float, dtype: torch.dtype) -> None:
    v = tangents(40, 8, curvature, longest=1.5).to(dtype)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype] * 1e-2}
    there = lorentz.expmap0(2 * v, curvature=curvature)
    ball = poincare.expmap0(v, curvature=curvature)
    torch.testing.assert_close(lorentz.to_poincare(there, curvature=curvature), ball, **close)
    torch.testing.assert_close(lorentz.from_poincare(ball, curvature=curvature), there, **close)


def test_distance_of_curvature_minus_c_scales_from_minus_1() -> None:
    x, y = points(20, 4, 1.0), points(20, 4, 1.0, seed=1)
    d = lorentz.distance(x / math.sqrt(7.0), y / math.sqrt(7.0), curvature=7.0)
    torch.testing.assert_close(d, lorentz.distance(x, y, curvature=1.0) / math.sqrt(7.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("curvature", [0.1, 3.0])
@pytest.mark.parametrize("rapidity", [0.0, 0.5, 4.0])
def test_rowwise_distance_and_gradient_keep_their_digits(rapidity: float, curvature: float, dtype: torch.dtype) -> None:
    """Against float64 on the same rounded points, from separations of 1e-12 of the distance from the origin."""
    x = (directions(40, 5) * math.sinh(rapidity) / math.sqrt(curvature)).to(dtype)
    step = torch.logspace(-12, -0.3, 40, dtype=torch.float64)[:, None] * directions(40, 5, seed=3)
    y = (x.double() + step).to(dtype)
    keep = (x != y).any(dim=1)
    assert keep.sum() > 15
    x, y = x[keep].requires_grad_(), y[keep]
    d = lorentz.distance(x, y, curvature=curvature)
    wide, other = x.detach().double().requires_grad_(), y.double()
    difference = wide - other
    x_time, y_time = (lorentz.time(point, curvature=curvature)[:, 0] for point in (wide, other))
    time_difference = (difference * (wide + other)).sum(1) / (x_time + y_time)
    square = difference.square().sum(1) - time_difference.square()
    exact = 2 / math.sqrt(curvature) * torch.asinh(torch.sqrt(curvature * square) / 2)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(d.double(), exact, rtol=tolerance, atol=0)
    (found,) = torch.autograd.grad(d.sum(), x)
    (expected,) = torch.autograd.grad(exact.sum(), wide)
    error = (found.double() - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 10 * tolerance


def test_a_difference_of_squares_would_fail_where_distance_holds() -> None:
    """Two float32 points on a ray, 9 and 8 from the origin: |dx|^2 - dt^2 has lost every digit there."""
    v = torch.tensor([[0.6, 0.8]])
    x, y = lorentz.expmap0(9 * v, curvature=1.0), lorentz.expmap0(8 * v, curvature=1.0)
    assert lorentz.distance(x, y, curvature=1.0).item() == pytest.approx(1.0, rel=3e-3)
    x_time, y_time = lorentz.time(x, curvature=1.0), lorentz.time(y, curvature=1.0)
    square = (x - y).square().sum() - (x_time - y_time).square().sum()
    assert abs(square.item() / (4 * math.sinh(0.5) ** 2) - 1) > 0.1


@pytest.mark.parametrize("curvature", CURVATURES)
def test_pairwise_distance_keeps_digits_near_the_origin(curvature: float) -> None:
    x = (directions(20, 6) * 0.05 / math.sqrt(curvature)).float()
    y = (directions(20, 6, seed=1) * 0.05 / math.sqrt(curvature)).float()
    found = lorentz.pairwise_distance(x, y, curvature=curvature)
    expected = lorentz.pairwise_distance(x.double(), y.double(), curvature=curvature)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rapidity", [0.0, 1e-9, 1.0, 5.0])
def test_equal_points_have_distance_and_gradient_zero(rapidity: float, dtype: torch.dtype) -> None:
    base = (directions(10, 4) * math.sinh(rapidity)).to(dtype)
    x, y = base.clone().requires_grad_(), base.clone().requires_grad_()
    d = lorentz.distance(x, y, curvature=2.0)
    d.sum().backward()
    for tensor in (d, x.grad, y.grad):
        assert tensor is not None
        assert tensor.abs().max() == 0
    pairs = lorentz.pairwise_distance(x, y, curvature=2.0)
    (gradient,) = torch.autograd.grad(pairs.sum(), x)
    assert torch.isfinite(pairs).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients_at_the_origin_are_those_of_flat_space(dtype: torch.dtype) -> None:
    zero = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    slopes = {lorentz.expmap0: 1.0, lorentz.to_poincare: 0.5, lorentz.from_poincare: 2.0}
    for function, slope in slopes.items():
        value = function(zero, curvature=3.0)
        (gradient,) = torch.autograd.grad(value.sum(), zero)
        assert value.abs().max() == 0
        torch.testing.assert_close(gradient, torch.full_like(gradient, slope))
    end = directions(3, 4).to(dtype)
    d = lorentz.distance(zero, end, curvature=3.0)
    (gradient,) = torch.autograd.grad(d.sum(), zero)
    torch.testing.assert_close(d, torch.full_like(d, math.asinh(math.sqrt(3)) / math.sqrt(3)))
    torch.testing.assert_close(gradient, -end)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("curvature", CURVATURES)
def test_values_and_gradients_are_finite_on_log_uniform_inputs(curvature: float, dtype: torch.dtype) -> None:
    v = (directions(80, 6) * torch.logspace(-12, 6, 80, dtype=torch.float64)[:, None]).to(dtype)
    v[0] = 0
    v.requires_grad_()
    far = lorentz.expmap0(v, curvature=curvature)
    c = torch.tensor(curvature, dtype=dtype, requires_grad=True)
    results = [function(point, curvature=c) for function in UNARY for point in (v, far)]
    results += [function(v, v.flip(0), curvature=c) for function in BINARY]
    results += [function(far, -far.flip(0), curvature=c) for function in BINARY]
    for result in results:
        assert torch.isfinite(result).all()
        for gradient in torch.autograd.grad(result.mean(), (v, c), retain_graph=True):
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths_beyond_the_bound_are_taken_as_on_it(dtype: torch.dtype) -> None:
    bound = lorentz.max_rapidity(dtype)
    assert bound == pytest.approx(22.2 if dtype == torch.float32 else 177, rel=0.01)
    ends = torch.tensor([[0.6, 0.8], [-0.6, -0.8]], dtype=dtype) * 1e6
    ends.requires_grad_()
    x = lorentz.expmap0(ends, curvature=4.0)
    d = lorentz.pairwise_distance(x, x, curvature=4.0)[0, 1]
    assert d.item() == pytest.approx(bound, rel=1e-5)
    assert lorentz.distance(x[:1], x[1:], curvature=4.0).item() == pytest.approx(bound, rel=1e-5)
    (gradient,) = torch.autograd.grad(d, ends)
    assert gradient.abs().max() < 1e-4


def test_functions_pass_gradcheck_with_a_learnt_curvature() -> None:
    x, y = points(4, 3, 2.0).requires_grad_(), points(4, 3, 2.0, seed=1).requires_grad_()
    c = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    ball = lorentz.to_poincare(x.detach(), curvature=2.0).requires_grad_()
    for unary in UNARY:
        at = ball if unary is lorentz.from_poincare else x
        assert torch.autograd.gradcheck(lambda a, k, f=unary: f(a, curvature=k), (at, c))
    for binary in BINARY:
        assert torch.autograd.gradcheck(lambda a, b, k, f=binary: f(a, b, curvature=k), (x, y, c))


def test_a_tensor_curvature_gives_the_values_of_the_float() -> None:
    x, y = points(5, 3, 3.0), points(5, 3, 3.0, seed=1)
    c = torch.tensor(3.0, dtype=torch.float64)
    for unary in UNARY:
        torch.testing.assert_close(unary(0.1 * x, curvature=c), unary(0.1 * x, curvature=3.0))
    for binary in BINARY:
        torch.testing.assert_close(binary(x, y, curvature=c), binary(x, y, curvature=3.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_on_and_outside_the_boundary_of_the_ball_stay_finite(dtype: torch.dtype) -> None:
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [3.0, 4.0]], dtype=dtype).requires_grad_()
    x = lorentz.from_poincare(z, curvature=1.0)
    (gradient,) = torch.autograd.grad(x.sum(), z)
    assert torch.isfinite(x).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("curvature", [0.0, -1.0, math.nan, math.inf])
def test_a_curvature_without_meaning_is_refused(curvature: float) -> None:
    x = torch.zeros(2, 3)
    for unary in UNARY:
        with pytest.raises(ValueError, match="curvature must be positive and finite"):
            unary(x, curvature=curvature)
    for binary in BINARY:
        with pytest.raises(ValueError, match="curvature must be positive and finite"):
            binary(x, x, curvature=curvature)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_point_on_the_balls_boundary_comes_from_where_tangent_vectors_are_cut(dtype: torch.dtype) -> None:
    """The denominator is that of boundary_gap inside: the space component is 1 / (1 - r) nearly."""
    z = torch.tensor([[0.6, -0.8], [1.2, -1.6]], dtype=dtype)
    found = lorentz.from_poincare(z, curvature=1.0).norm(dim=1)
    edge = 1.0 - poincare.boundary_gap(dtype)
    expected = torch.tensor([2.0, 4.0], dtype=dtype) / (1.0 - edge**2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
