"""docs/add_a_backbone.md does what it says: its file and two lines make a backbone that keeps the contract."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ham.backbones
from tests.backbones import test_base as contract
from tests.pages import code_blocks, load, with_entry

NAME = "tdnn"


@pytest.fixture(autouse=True)
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The backbone of the page, in the table."""
    module, imported, _ = code_blocks("add_a_backbone.md")
    (tmp_path / "tdnn.py").write_text(module, encoding="utf-8")
    (tmp_path / "table.py").write_text(with_entry(Path(ham.backbones.__file__), imported), encoding="utf-8")
    load("ham.backbones.tdnn", tmp_path / "tdnn.py")
    table = load("ham.backbones.table_of_the_page", tmp_path / "table.py")
    monkeypatch.setattr(ham.backbones, "BACKBONES", table.BACKBONES)
    yield
    for name in ("ham.backbones.tdnn", "ham.backbones.table_of_the_page"):
        del sys.modules[name]


def test_the_page_keeps_the_contract() -> None:
    tests = contract.TestEveryBackbone()
    for filling in (0.0, float("nan")):
        tests.test_padding_changes_nothing(NAME, filling)
    tests.test_frames_that_count_do_change_something(NAME)
    tests.test_full_lengths_are_no_lengths(NAME)
    tests.test_every_parameter_gets_a_finite_gradient(NAME)
    tests.test_bfloat16_is_near_float32(NAME)
    tests.test_constant_features_are_finite(NAME)
    tests.test_state_goes_from_one_to_another(NAME)
    tests.test_wrong_features_are_refused(NAME)
    tests.test_wrong_requests_are_refused(NAME)


def test_the_snippet_of_the_page_runs() -> None:
    found: dict[str, Any] = {}
    exec(code_blocks("add_a_backbone.md")[-1], found)
    assert found["embeddings"].shape == (4, 192)
    assert found["embeddings"].isfinite().all()


def test_it_trains() -> None:
    torch.manual_seed(0)
    backbone, head = ham.backbones.build(NAME, 20, 16, channels=16), torch.nn.Linear(16, 4)
    optimiser = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=0.01)
    y = torch.arange(32) % 4
    features = torch.randn(4, 1, 20)[y] + torch.randn(32, 30, 20)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(backbone(features)), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
