"""Fused, streamed and readable computation give the same numbers, and memory follows the block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ham.errors import ConfigError
from ham.losses import LOSSES, build
from ham.losses import streamed as module
from ham.losses.base import SpeakerLoss
from tests.losses.test_losses import C, gap, make, make_batch
from tests.watch import LargestTensor

NAMES = [name for name in LOSSES if "chunk" in LOSSES[name].options()]
HYPERBOLIC = [name for name in NAMES if LOSSES[name].has_distance]
SPACES: list[dict[str, Any]] = [
    {},
    {"geometry": "poincare", "curvature": 1.0},
    {"geometry": "lorentz", "curvature": 2.0, "learn_curvature": True, "centres": "tangent"},
]


class Made(TorchDispatchMode):
    """Watches every operation: the names of those that make a tensor of one shape, and where these tensors lie."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape, self.operations, self.places = shape, set(), set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.shape == self.shape:
            self.operations.add(str(func))
            self.places.add(result.data_ptr())
        return result


def blocks(loss: SpeakerLoss, x: Tensor) -> set[int]:
    """For how many speakers at a time logits are made, of 7, 8 and all 50."""
    found = set()
    for width in (7, 8, 50):
        with Made(torch.Size((len(x), width))) as made:
            loss(x, torch.arange(len(x)))
        if made.operations:
            found.add(width)
    return found


def all_numbers(name: str, dtype: torch.dtype, **options: Any) -> list[Tensor]:
    """Loss, accuracy and every gradient."""
    loss, (x, y) = make(name, dtype, **options), make_batch(dtype)
    x.requires_grad_()
    out = loss(x, y)
    (3.0 * out.loss).backward()
    return [out.loss.detach(), 1.0 + out.accuracy, x.grad, *(p.grad for p in loss.parameters())]


def test_which_losses_have_blocks() -> None:
    assert NAMES[:6] == ["am_softmax", "aam_softmax", "ram_softmax", "h_softmax", "ham_softmax", "eh_am_softmax"]
    assert HYPERBOLIC[:3] == ["h_softmax", "ham_softmax", "eh_am_softmax"]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize("options", SPACES)
@pytest.mark.parametrize("name", HYPERBOLIC)
def test_fused_streamed_and_readable_are_one(
    name: str, options: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    readable = all_numbers(name, dtype, fused=False, **options)
    for chunk in ("auto", "off", 1, 2, 4, C - 1, C, 1000):
        for expected, found in zip(readable, all_numbers(name, dtype, chunk=chunk, **options), strict=True):
            assert gap(found, expected.double()) < tolerance


@pytest.mark.parametrize("name", [name for name in NAMES if name not in HYPERBOLIC])
def test_euclidean_blocks_are_the_readable_form(name: str) -> None:
    readable = all_numbers(name, torch.float64, chunk="off")
    for chunk in (1, 4, C):
        for expected, found in zip(readable, all_numbers(name, torch.float64, chunk=chunk), strict=True):
            assert gap(found, expected) < 1e-11


@pytest.mark.parametrize("name", NAMES)
def test_auto_streams_above_the_limit_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, x = build(name, 4, 50), torch.randn(10, 4)
    assert blocks(loss, x) == {50}
    monkeypatch.setattr(module, "LARGE_BYTES", 10 * 50 * 4 - 1)
    monkeypatch.setattr(module, "AUTO_CHUNK", 8)
    assert blocks(loss, x) == {8}
    assert blocks(build(name, 4, 50, chunk="off"), x) == {50}
    assert blocks(build(name, 4, 50, chunk=7), x) == {7}
    for options in ({"fused": False}, {"curvature": 1.0}) if name in HYPERBOLIC else ():
        assert blocks(build(name, 4, 50, **options), x) == {50}
    monkeypatch.setattr(module, "LARGE_BYTES", 10 * 50 * 4)
    assert blocks(loss, x) == {50}
    assert blocks(loss, x.double()) == {8}


def test_blocks_are_refused_when_the_curvature_comes_to_where_they_cannot_be() -> None:
    loss = build("ham_softmax", 4, 50, chunk=8)
    with pytest.raises(ConfigError, match=r"chunk: expected auto or off where curvature is below 1\.0032"):
        loss.set_curvature(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_streamed_step_makes_nothing_of_the_size_of_the_logits(name: str) -> None:
    count, dim, batch = 4000, 3, 64
    loss = build(name, dim, count, chunk=100)
    x = torch.randn(batch, dim, requires_grad=True)
    with LargestTensor() as watch:
        loss(x, torch.randint(count, (batch,))).loss.backward()
    assert watch.numel <= max(count * (dim + 2), 100 * batch)
    assert watch.numel < count * batch / 10


@pytest.mark.parametrize("name", NAMES)
def test_gradients_go_where_they_are_wanted_only(name: str) -> None:
    loss, (x, y) = make(name, chunk=4), make_batch()
    reference = all_numbers(name, torch.float64, chunk=4)
    loss(x, y).loss.backward()  # embeddings that need none
    assert gap(3.0 * loss.weight.grad, reference[3]) < 1e-11
    loss.requires_grad_(False)
    x.requires_grad_()
    loss(x, y).loss.backward()
    assert gap(3.0 * x.grad, reference[2]) < 1e-11
    with torch.no_grad():
        assert gap(loss(x, y).loss, reference[0]) < 1e-11


@pytest.mark.parametrize("chunk", [4, "off"])
def test_the_gradient_of_the_centres_is_handed_over_and_not_copied(chunk: Any) -> None:
    """Autograd copies a gradient that somebody else still holds: two tensors of the size of the centres, not one."""
    loss, (x, y) = make("ham_softmax", chunk=chunk), make_batch()
    out = loss(x, y)
    with Made(loss.weight.shape) as made:
        out.loss.backward()
    assert loss.weight.grad.data_ptr() in made.places
    assert "aten.clone.default" not in made.operations


@pytest.mark.parametrize("chunk", [4, "off"])
def test_a_second_backward_pass_gives_the_same_and_needs_the_graph(chunk: Any) -> None:
    loss, (x, y) = make("ham_softmax", chunk=chunk), make_batch()
    out = loss(x, y)
    first = torch.autograd.grad(out.loss, loss.weight, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(out.loss, loss.weight)[0], first)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        out.loss.backward()


@pytest.mark.parametrize("chunk", [4, "off"])
@pytest.mark.parametrize("name", ["ham_softmax", "eh_am_softmax"])
def test_centres_changed_between_the_passes_are_an_error(name: str, chunk: Any) -> None:
    loss, (x, y) = make(name, chunk=chunk), make_batch()
    out = loss(x, y)
    with torch.no_grad():
        loss.weight.mul_(1.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.loss.backward()


def test_nothing_but_saved_tensors_holds_the_matrix_or_the_centres() -> None:
    """What autograd saves it frees after the backward pass; what hangs on the graph node would stay with the loss."""
    loss, x, y = build("eh_am_softmax", 4, 3000), torch.randn(64, 4, requires_grad=True), torch.randint(3000, (64,))
    out = loss(x, y)
    for _ in range(2):
        held = [value for softmax in out.loss.grad_fn.softmaxes for value in vars(softmax).values()]
        assert held
        assert not [value for value in held if isinstance(value, Tensor) and value.numel() >= 4 * 3000]
        out.loss.backward(retain_graph=True)


@pytest.mark.parametrize("chunk", [4, "off"])
def test_a_backward_pass_under_autocast_is_in_float32_too(chunk: Any) -> None:
    results = []
    for enabled in (False, True):
        loss, (x, y) = make("ham_softmax", torch.float32, chunk=chunk), make_batch(torch.float32)
        x.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss(x, y).loss.backward()
        results.append((x.grad, loss.weight.grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("options", SPACES)
def test_frozen_centres_cost_no_gradient_of_theirs(options: dict[str, Any]) -> None:
    expected, (x, y) = make("ham_softmax", **options), make_batch()
    frozen = make("ham_softmax", **options)
    frozen.weight.requires_grad_(False)
    gradients = []
    for loss in (expected, frozen):
        leaf = x.clone().requires_grad_()
        loss(leaf, y).loss.backward()
        gradients.append([leaf.grad, *(p.grad for p in loss.space.parameters())])
    assert frozen.weight.grad is None
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_a_tie_with_another_speaker_counts_as_wrong() -> None:
    loss = build("ham_softmax", 4, 3, margin=0.0)
    with torch.no_grad():
        loss.weight.copy_(torch.ones(3, 4) * 0.1)
    assert loss(torch.zeros(2, 4), torch.tensor([0, 1])).accuracy == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -5, 2.5, "big", None, True])
def test_a_chunk_without_meaning_is_refused(name: str, value: Any) -> None:
    message = f"^loss {name}: chunk: expected auto, off or a whole number of centres of at least 1, found"
    with pytest.raises(ConfigError, match=message):
        build(name, 4, 3, chunk=value)


@pytest.mark.parametrize("name", HYPERBOLIC)
def test_blocks_of_the_readable_form_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="chunk: expected auto or off where fused is false, found 4"):
        build(name, 4, 3, chunk=4, fused=False)
    with pytest.raises(ConfigError, match="fused: expected true or false, found 1"):
        build(name, 4, 3, fused=1)
    assert build(name, 4, 3, chunk=False).chunk == "off"
