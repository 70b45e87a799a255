"""The rows of the matrix product against the distances of the two models, and their closed-form derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ham.geometry import gram, lorentz, poincare
from tests.geometry.test_poincare import published_pairwise

CURVATURES = [0.3, 1.0, 3.0]


def vectors(count: int, longest: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 5, generator=generator, dtype=torch.float64))
    return direction * torch.linspace(1e-3, longest, count, dtype=torch.float64)[:, None]


def squares(w: Tensor) -> Tensor:
    return w.square().sum(dim=1)


def distances(left: Tensor, w: Tensor, radial: gram.Radial) -> Tensor:
    return torch.acosh(1.0 + left @ gram.right_rows(w, *radial).T)


@pytest.mark.parametrize("c", [1.5, 3.0, 5.0])
def test_clipped_points_of_the_ball(c: float) -> None:
    x, w = vectors(6, 2.0, 1), vectors(9, 2.0, 2)
    left = gram.left_rows(poincare.published_points(x, curvature=c))
    radial = gram.ball_radial(squares(w), scale=1.0, radius=poincare.published_radius(curvature=c))
    expected = published_pairwise(x, w, c)
    torch.testing.assert_close(distances(left, w, radial), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("c", CURVATURES)
def test_points_tangent_vectors_and_space_components_of_both_models(c: float) -> None:
    root = math.sqrt(c)
    x, w = vectors(6, 0.9 / root, 1), vectors(9, 0.9 / root, 2)
    ball = gram.left_rows(poincare.unit_points(x, curvature=c))
    space = gram.hyperboloid_left_rows(lorentz.from_poincare(x, curvature=c) * root)
    cases = [
        (gram.ball_radial(squares(w), scale=root, radius=1 - 1e-9), w),
        (gram.tangent_radial(squares(w), scale=root, limit=9.0), poincare.expmap0(w, curvature=c)),
        (gram.hyperboloid_radial(squares(w), scale=root), lorentz.to_poincare(w, curvature=c)),
        (gram.shell_radial(squares(w), half=0.7, limit=9.0), math.tanh(0.7) / root * torch.nn.functional.normalize(w)),
    ]
    for radial, points in cases:
        expected = poincare.pairwise_distance(x, points, curvature=c) * root
        torch.testing.assert_close(distances(ball, w, radial), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(distances(space, w, radial), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["ball", "tangent", "hyperboloid", "shell"])
def test_beta_is_gamma_plus_one_and_alpha_its_root(form: str) -> None:
    """alpha^2 |w|^2 = beta gamma: sinh(a)/2 = sinh(a/2) cosh(a/2)."""
    square = torch.logspace(-6, 1, 40, dtype=torch.float64)
    radial = {
        "ball": lambda: gram.ball_radial(square, scale=0.7, radius=0.9),
        "tangent": lambda: gram.tangent_radial(square, scale=0.7, limit=1.5),
        "hyperboloid": lambda: gram.hyperboloid_radial(square, scale=0.7),
        "shell": lambda: gram.shell_radial(square, half=0.8, limit=9.0),
    }[form]()
    torch.testing.assert_close(radial.beta, radial.gamma + 1.0)
    torch.testing.assert_close(radial.alpha.square() * square, radial.beta * radial.gamma)
    assert (radial.gamma.diff() >= -1e-12).all()


def test_what_is_clipped_moves_neither_with_its_length_nor_with_the_factor() -> None:
    """Near the boundary its numbers are 1e5, and so would be their rounding in the factor's gradient."""
    square, scale = torch.tensor([1.3, 2.7, 90.0], requires_grad=True), torch.tensor(1.1, requires_grad=True)
    radial = gram.ball_radial(square, scale=scale, radius=1 - 6e-6)
    (radial.beta.sum() + radial.gamma.sum() + (radial.alpha * square.detach().sqrt()).sum()).backward()
    assert scale.grad.item() == 0.0
    length = radial.alpha * square.sqrt()  # alpha |w| is a constant, and alpha falls with 1 / |w|
    torch.testing.assert_close(square.grad, (-0.5 * length / square).detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_origin_has_finite_values_and_gradients(dtype: torch.dtype) -> None:
    for build in (
        lambda s: gram.ball_radial(s, scale=1.0, radius=0.5),
        lambda s: gram.tangent_radial(s, scale=1.0, limit=1.0),
        lambda s: gram.hyperboloid_radial(s, scale=1.0),
        lambda s: gram.shell_radial(s, half=1.0, limit=9.0),
    ):
        square = torch.zeros(3, dtype=dtype, requires_grad=True)
        radial = build(square)
        sum(part.sum() for part in radial).backward()
        assert all(torch.isfinite(part).all() for part in radial)
        assert torch.isfinite(square.grad).all()
        torch.testing.assert_close(radial.gamma, torch.zeros(3, dtype=dtype))


def test_a_vector_without_direction_lies_at_the_origin_of_the_shell() -> None:
    square = torch.tensor([0.0, 1e-26, 1e-20], dtype=torch.float64)
    gamma = gram.shell_radial(square, half=1.0, limit=9.0).gamma
    torch.testing.assert_close(gamma, torch.tensor([0.0, 0.0, math.sinh(1.0) ** 2], dtype=torch.float64))
