"""docs/add_a_loss.md does what it says: its file and its two lines make a loss that keeps the contract and trains."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ham.losses
from tests.losses import test_losses as contract
from tests.pages import code_blocks, load, with_entry

NAME = "power_softmax"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[ham.losses.SpeakerLoss]]:
    """The loss of the page, in the table."""
    module, imported, _ = code_blocks("add_a_loss.md")
    (tmp_path / "power.py").write_text(module, encoding="utf-8")
    (tmp_path / "table.py").write_text(with_entry(Path(ham.losses.__file__), imported), encoding="utf-8")
    load("ham.losses.power", tmp_path / "power.py")
    table = load("ham.losses.table_of_the_page", tmp_path / "table.py")
    monkeypatch.setattr(ham.losses, "LOSSES", table.LOSSES)
    monkeypatch.setattr(contract, "LOSSES", table.LOSSES)
    yield table.LOSSES[NAME]
    for name in ("ham.losses.power", "ham.losses.table_of_the_page"):
        del sys.modules[name]


@pytest.mark.usefixtures("added")
def test_the_page_keeps_the_contract() -> None:
    contract.test_shapes_types_and_accuracy(NAME)
    contract.test_gradcheck(NAME)
    contract.test_margin_zero_is_the_form_without_margin(NAME)
    contract.test_loss_grows_with_the_margin(NAME)
    contract.test_set_margin_is_the_same_as_building_with_it(NAME)
    contract.test_permuting_the_speakers_permutes_the_logits(NAME)
    contract.test_float32_is_close_to_float64(NAME)
    contract.test_narrow_embeddings_and_autocast_are_computed_in_float32(NAME, torch.bfloat16)
    contract.test_state_dict_round_trip(NAME)
    contract.test_a_loss_without_distance_refuses_one(NAME)
    for case in contract.CASES:
        contract.test_hard_embeddings_have_finite_loss_and_gradients(NAME, case, torch.float32)
    for option, value, message in contract.BAD_OPTIONS:
        contract.test_values_without_meaning_are_refused(NAME, option, value, message)


@pytest.mark.parametrize("chunk", ["off", 2])
def test_its_margin_is_the_formula_in_every_way_of_computing(added: Any, chunk: Any) -> None:
    torch.manual_seed(0)
    loss = added(4, 5, scale=10.0, margin=0.3, power=3.0, chunk=chunk).double()
    x, y = torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 5
    cos = torch.nn.functional.cosine_similarity(x[:, None], loss.weight.detach()[None], dim=2)
    own = torch.nn.functional.one_hot(y, 5).bool()
    expected = 10 * torch.where(own, cos - 0.3 * ((1 + cos) / 2) ** 3, cos)
    torch.testing.assert_close(loss.logits(x, y), expected)
    torch.testing.assert_close(loss(x, y).loss, torch.nn.functional.cross_entropy(expected, y))


@pytest.mark.usefixtures("added")
def test_the_snippet_of_the_page_runs() -> None:
    found: dict[str, Any] = {}
    exec(code_blocks("add_a_loss.md")[-1], found)
    assert found["loss"].weight.grad.isfinite().all()
    assert found["loss"].power == 3.0


@pytest.mark.usefixtures("added")
def test_it_trains() -> None:
    torch.manual_seed(0)
    loss, mixing = ham.losses.build(NAME, 8, 6), torch.nn.Linear(8, 8)
    optimiser = torch.optim.Adam([*loss.parameters(), *mixing.parameters()], lr=0.05)
    y = torch.arange(60) % 6
    x = torch.randn(6, 8)[y] + 0.3 * torch.randn(60, 8)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        out = loss(mixing(x), y)
        out.loss.backward()
        optimiser.step()
        losses.append(out.loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert out.accuracy == 1
