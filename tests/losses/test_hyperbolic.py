"""The hyperbolic losses: how centres start, what pairs are exact, and what the published form implies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ham.losses import build
from ham.losses.hyperbolic import HSoftmax
from ham.losses.spaces import GEOMETRIES, Published
from tests.losses import oracle


@pytest.mark.parametrize("name", ["h_softmax", "ham_softmax", "eh_am_softmax"])
def test_centres_start_normal_with_the_published_deviation(name: str) -> None:
    torch.manual_seed(0)
    weight = build(name, 192, 500).weight
    assert weight.std().item() == pytest.approx(1e-3, rel=0.02)
    assert abs(weight.mean().item()) < 2e-5
    assert weight.abs().max() > 3.5e-3


def test_the_margin_is_a_hyperbolic_distance_on_the_target_alone() -> None:
    torch.manual_seed(0)
    loss, x, y = build("ham_softmax", 4, 3, margin=0.25, scale=8.0), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    shift = loss.logits(x, y) - loss.logits(x)
    torch.testing.assert_close(shift, -8.0 * 0.25 * torch.nn.functional.one_hot(y, 3).float(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["h_softmax", "ham_softmax"])
def test_target_pairs_keep_the_digits_that_the_matrix_product_loses(name: str) -> None:
    """Pairs 1e-3 apart in float32: the target logit is right to 1e-4, its own distance, not the floor."""
    torch.manual_seed(0)
    loss = build(name, 16, 8)
    with torch.no_grad():
        loss.weight.copy_(0.4 * torch.nn.functional.normalize(torch.randn(8, 16)))
    y = torch.arange(8)
    x = loss.weight.detach() + 1e-4 * torch.nn.functional.normalize(torch.randn(8, 16))
    wide = build(name, 16, 8).double()
    wide.load_state_dict(loss.state_dict())
    found, exact = (model(value, y) for model, value in ((loss.logits, x), (wide.logits, x.double())))
    own = torch.arange(8)
    shift = loss.scale * getattr(loss, "margin", 0.0)
    torch.testing.assert_close((found[own, y] + shift).double(), exact[own, y] + shift, rtol=2e-3, atol=0)
    assert (-(exact[own, y] + shift) / loss.scale < 1.2e-3).all()  # below the floor of the matrix form, 1.4e-3


def test_an_embedding_on_its_centre_has_distance_zero() -> None:
    loss = build("ham_softmax", 6, 4, margin=0.0)
    assert loss.logits(loss.weight.detach(), torch.arange(4)).diagonal().abs().max() == 0


def test_logits_depend_on_the_direction_alone_beyond_the_shell() -> None:
    torch.manual_seed(0)
    loss, x = build("ham_softmax", 6, 4), torch.randn(5, 6)
    long = x / x.norm(dim=1, keepdim=True)
    torch.testing.assert_close(loss.logits(long), loss.logits(long * 14))
    assert not torch.allclose(loss.logits(long * 0.3), loss.logits(long))


@pytest.mark.parametrize("curvature", [1.001, 3.0])
def test_published_geometry_is_the_published_distance(curvature: float) -> None:
    torch.manual_seed(0)
    space, x, y = Published(curvature), torch.randn(5, 6).double(), 0.2 * torch.randn(5, 6).double()
    a, b = space.embed(x), space.place(y)
    expected = oracle.distances(x, y, curvature)
    torch.testing.assert_close(space.pairwise(a, b), expected)
    torch.testing.assert_close(space.rowwise(a, b), expected.diagonal())
    assert space.can_fuse == (curvature > 1.0032)


@pytest.mark.parametrize("options", [{}, {"geometry": "lorentz", "curvature": 1.0, "learn_curvature": True}])
@pytest.mark.parametrize("way", [{"fused": False}, {"chunk": "off"}, {"chunk": 2}])
def test_every_way_of_computing_takes_the_margin_from_one_method(way: dict[str, Any], options: dict[str, Any]) -> None:
    """A margin that nobody wrote a fused form for, with a parameter that is learnt."""

    class Stretched(HSoftmax):
        name = "stretched"
        has_margin = True

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.stretch = torch.nn.Parameter(torch.tensor(1.5))

        def _with_margin(self, plain: Tensor, x: Tensor, w: Tensor) -> Tensor:
            return self.stretch * plain + 0.5 * (x * w)[:, 0]

    torch.manual_seed(0)
    loss, y = Stretched(4, 5, scale=4.0, **options, **way).double(), torch.arange(7) % 5
    x = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        loss.weight.normal_(std=0.2)
    found = torch.autograd.grad(loss(x, y).loss, [x, *loss.parameters()])
    own = torch.nn.functional.one_hot(y, 5).bool()
    plain = HSoftmax(4, 5, scale=4.0, **options, **way)  # the same without a margin
    plain.weight, plain.space = loss.weight, loss.space
    readable = plain.logits(x, y)
    logits = torch.where(own, loss.stretch * readable + 0.5 * x[:, :1] * loss.weight[:, 0], readable)
    expected = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, y), [x, *loss.parameters()])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_every_geometry_in_the_table_builds() -> None:
    for geometry in GEOMETRIES:
        out = build("ham_softmax", 4, 3, geometry=geometry)(torch.randn(2, 4), torch.arange(2))
        assert torch.isfinite(out.loss)
