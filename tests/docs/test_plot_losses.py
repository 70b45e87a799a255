from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor

import ham.losses
from docs.figures import plot_losses

CURVES = {curve.label: curve for curve in (*plot_losses.EUCLIDEAN, *plot_losses.HYPERBOLIC)}
CURVED = CURVES["ham_softmax, poincare"]


def cosines(*values: float) -> Tensor:
    return torch.tensor(values or (-0.9, -0.3, 0.2, 0.7, 0.95), dtype=torch.float64)


def test_pictures_are_whole_and_the_same_every_time(tmp_path: Path) -> None:
    first, second = plot_losses.write(tmp_path / "a"), plot_losses.write(tmp_path / "b")
    assert [path.name for path in first] == ["target_logit.svg", "target_slope.svg", "published_c.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(path.name for path in first)
    for path in first:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


@pytest.mark.parametrize("name", ["target_logit.svg", "target_slope.svg"])
def test_the_pictures_in_the_documents_name_every_curve(name: str) -> None:
    text = (plot_losses.FIGURES / name).read_text(encoding="utf-8")
    assert [label for label in CURVES if f">{label}</text>" not in text] == []


def test_every_loss_of_the_published_tables_is_drawn() -> None:
    assert {curve.loss for curve in CURVES.values()} == set(list(ham.losses.LOSSES)[:8])


@pytest.mark.parametrize(
    ("label", "slope"),
    [("softmax, |x| = |w| = 1", 1.0), ("scaled_softmax, |x| = |w| = 1", 30.0), ("am_softmax", 30.0)],
)
def test_lines_are_straight(label: str, slope: float) -> None:
    torch.testing.assert_close(plot_losses.target_slope(CURVES[label], cosines()), torch.full((5,), slope).double())


def test_the_slope_of_ham_softmax_on_the_shell_follows_the_closed_form() -> None:
    k, cos = 4 * 3 / (3 - 1) ** 2, cosines()
    u = k * (1 - cos)
    slope = plot_losses.target_slope(CURVES["ham_softmax"], cos)
    torch.testing.assert_close(slope, 30 * k / torch.sqrt(u * (u + 2)), rtol=1e-4, atol=0)
    assert plot_losses.target_slope(CURVES["ham_softmax"], cosines(0.5)).item() == pytest.approx(39.3, abs=0.1)


def test_a_centre_at_half_the_radius_is_nearer_to_the_other_side_and_flatter() -> None:
    r, cos = (1 - 1e-5) / math.sqrt(5), cosines()
    u = 2 * (r**2 + r**2 / 4 - r**2 * cos) / ((1 - r**2) * (1 - r**2 / 4))
    half = CURVES["h_softmax, w at r/2"]
    torch.testing.assert_close(plot_losses.target_logit(half, cos), -30 * torch.acosh(1 + u))
    assert (plot_losses.target_slope(half, cos) < plot_losses.target_slope(CURVES["h_softmax"], cos)).all()


def test_the_ensemble_is_the_weighted_sum() -> None:
    parts = {name: plot_losses.target_logit(CURVES[name], cosines()) for name in ("ham_softmax", "am_softmax")}
    expected = 0.7 * parts["ham_softmax"] + 0.3 * parts["am_softmax"]
    torch.testing.assert_close(plot_losses.target_logit(CURVES["eh_am_softmax"], cosines()), expected)
    torch.testing.assert_close(
        plot_losses.target_logit(CURVES["ram_softmax, the same"], cosines()), parts["am_softmax"], rtol=0, atol=1e-9
    )


def test_the_curved_one_has_tangent_norms_of_1_and_is_the_same_in_both_models() -> None:
    # Both points lie at a distance of 2 from the origin: hyperbolic law of cosines.
    cos = cosines()
    distance = torch.acosh(math.cosh(2) ** 2 - math.sinh(2) ** 2 * cos)
    torch.testing.assert_close(plot_losses.target_logit(CURVED, cos), -30 * (distance + 0.2), rtol=1e-9, atol=0)
    lorentz = replace(CURVED, options={**CURVED.options, "geometry": "lorentz"})
    torch.testing.assert_close(
        plot_losses.target_logit(lorentz, cos), plot_losses.target_logit(CURVED, cos), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_slopes_are_those_of_the_logits(curve: plot_losses.Curve) -> None:
    cos, step = cosines(), 1e-6
    numeric = (plot_losses.target_logit(curve, cos + step) - plot_losses.target_logit(curve, cos - step)) / (2 * step)
    torch.testing.assert_close(plot_losses.target_slope(curve, cos), numeric.detach(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("c", [1.5, 3.0, 5.0, 10.0])
def test_the_published_distance_on_the_shell(c: float) -> None:
    angle = torch.tensor([0.0, 0.4, 1.6, math.pi], dtype=torch.float64)
    expected = 2 * torch.asinh(2 * math.sqrt(c) / (c - 1) * torch.sin(angle / 2))
    torch.testing.assert_close(plot_losses.shell_distance(c, angle), expected, rtol=2e-4, atol=1e-6)
