"""A training's log as pictures and sentences: human names, three digits, no picture of what never changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ham.losses
from ham.report.history import History
from ham.report.training_figures import diagnostics, training


def history(**values: list[Any]) -> History:
    """Epochs 1, 2, ... with one value of each quantity; ``diag__a__b`` stands for ``diag/a/b``."""
    keys = {key: key.replace("__", "/") for key in values}
    count = len(next(iter(values.values())))
    return History(
        epochs=tuple({"epoch": at + 1, **{keys[k]: v[at] for k, v in values.items()}} for at in range(count))
    )


def test_what_changes_is_drawn_and_what_does_not_is_said() -> None:
    figures, sentences = training(history(loss=[10.78469, 0.42520], margin=[0.2, 0.2], valid_eer=[0.0747, 0.00203]))
    assert [figure.title for figure in figures] == ["Loss", "EER on training speakers kept aside"]
    assert figures[0].description.startswith("From 10.8 to 0.425 after epoch 2.")
    assert "From 7.47 to 0.203 % after epoch 2." in figures[1].description
    assert sentences == ["Margin: 0.2 throughout."]


def test_steps_are_averaged_until_they_fit_and_have_no_legend() -> None:
    steps = tuple({"epoch": 1, "step": at, "loss": float(at % 2)} for at in range(1000))
    (figure,), _ = training(History(steps, ({"epoch": 1, "step": 1000, "loss": 0.5},)))
    assert b"legend" not in figure.svg
    assert 300 < figure.svg.count(b"\nL ") < 420


def test_diagnostics_have_human_names() -> None:
    (figure,), sentences = diagnostics(
        history(
            diag__cosine__target=[0.5, 0.812345],
            diag__cosine__nearest_impostor=[0.6, 0.5],
            diag__on_shell__embeddings=[1.0, 1.0],
            diag__on_shell__centres=[0.0, 0.0],
            diag__curvature=[3.0, 3.0],
        )
    )
    assert figure.title == "Cosine with the centres"
    assert figure.label.endswith(
        "own speaker from 0.5 to 0.812 after epoch 2; nearest other from 0.6 to 0.5 after epoch 2"
    )
    assert [sentence.partition(" throughout")[0] for sentence in sentences] == [
        "Share on the shell, the furthest place that the ball allows: embeddings 100 %, centres 0 %"
    ]


def test_a_curvature_that_changes_is_drawn() -> None:
    (figure,), _ = diagnostics(history(diag__curvature=[1.0, 3.0]))
    assert (figure.title, figure.description) == ("Curvature", "From 1 to 3 after epoch 2.")


@pytest.mark.parametrize("name", list(ham.losses.LOSSES))
def test_no_name_of_the_log_reaches_the_reader(name: str) -> None:
    loss = ham.losses.build(name, 8, 5)
    x, labels = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 5
    found = {f"diag/{key}": [value, 2 * value + 1] for key, value in loss.diagnostics(x, labels).items()}
    figures, sentences = diagnostics(history(**found))
    words = " ".join([*(figure.label for figure in figures), *sentences])
    assert figures
    assert not [word for word in ("_", "q05", "q50", "impostor", "on_shell") if word in words]


def test_a_quantity_of_somebody_else_keeps_its_name() -> None:
    (figure,), _ = diagnostics(history(diag__my_gap__first_part=[1, 2], diag__my_gap__rest=[1234.5, 3]))
    assert figure.title == "My gap"
    assert "first part from 1 to 2" in figure.label
    assert "rest from 1,234 to 3" in figure.label
