"""The page: every part of it, from the numbers of made-up experiments."""

from __future__ import annotations

from dataclasses import replace

from ham.report.claims import Claims
from ham.report.claims_page import render
from tests.report.test_claims import claims, made

__all__ = ["claims", "made"]  # fixtures

RADIUS = {
    "duration": {"median": {"0.5 s": 1.0, "full": 2.0}, "correlation": 0.5},
    "snr": {"median": {"0 dB": 3.0}, "correlation": None},
}


def test_the_page_has_every_number_and_names_every_figure(claims: Claims) -> None:
    page = render(claims, "python -m x", "figures")
    assert page.text.startswith("## Results\n\nWritten by `python -m x`.\n")
    assert "6 trainings, 0.2 hours" in page.text
    assert set(page.figures) == {
        f"claims_{name}.svg" for name in ("error_rate", "tree", "sex", "accent", "convergence")
    }
    assert all(f"(figures/{name})" in page.text for name in page.figures)
    (sex,) = claims.effects["rank correlation sex"]
    assert f"| the tree | strong - plain | {sex.value:+.3f} " in page.text
    assert "- nothing: `plain` - `absent`" in page.text
    assert "holds that training fixed" not in page.text
    assert "mean of the seeds that all of these rows have" in page.text
    assert render(claims, "python -m x", "figures") == page


def test_a_single_training_is_said(claims: Claims) -> None:
    name = claims.lists[0].name
    once = [replace(effect, trainings=(3, 1)) for effect in claims.effects[name]]
    page = render(replace(claims, effects={**claims.effects, name: once}), "x", "figures")
    assert "Trained once on one side, so that its interval holds that training fixed: the tree." in page.text


def test_radii_are_shown_where_they_were_measured(claims: Claims) -> None:
    assert "radius carries" not in render(claims, "x", "figures").text
    found = {"norm": RADIUS, "hyperbolic_radius": None, "heard": -0.25}
    trained = {**claims.trained, "strong": replace(claims.trained["strong"], radii=[found])}
    text = render(replace(claims, trained=trained), "x", "figures").text
    assert "| strong | 1 | 1.00, 2.00 | +0.50 | 3.00 | - | -, - | -0.25 |" in text
