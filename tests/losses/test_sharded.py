"""A loss whose centres are split over processes is the loss of all centres: value, accuracy, gradients, state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ham.errors import ConfigError
from ham.losses import LOSSES, build
from ham.losses.sharded import WHOLE, Shard
from tests.processes import together

pytestmark = pytest.mark.recipe

B, D, C = 8, 6, 11
NAMES = [name for name in LOSSES if "chunk" in LOSSES[name].options()]
SPACES: dict[str, dict[str, Any]] = {
    "published": {},
    "poincare": {"geometry": "poincare", "curvature": 1.0, "learn_curvature": True},
    "lorentz": {"geometry": "lorentz", "curvature": 2.0, "learn_curvature": True, "centres": "tangent"},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    f"{name}-{space}-{chunk}": (name, {**options, "chunk": chunk})
    for name in NAMES
    for space, options in (SPACES.items() if LOSSES[name].has_distance else [("euclidean", {})])
    for chunk in ("auto", 2)
}
WORLD_SIZES = (2, 4)


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(B, D, generator=generator, dtype=dtype)
    return x.requires_grad_(), torch.tensor([0, 10, 5, 5, 2, 7, 10, 1])


def split_and_plain(name: str, options: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Any]:
    """The same loss twice, one of them split; centres far enough from the origin to tell them apart."""
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        loss = build(name, D, C, **options).to(dtype)
        with torch.no_grad():
            for parameter in loss.parameters():
                parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.ndim else 0.1))
        losses.append(loss)
    losses[0].split(dist.get_rank(), dist.get_world_size())
    return losses[0], losses[1]


def compared(name: str, options: dict[str, Any], dtype: torch.dtype = torch.float64) -> dict[str, tuple[Any, Any]]:
    """What the split loss gives on this process, beside what must come."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    split, plain = split_and_plain(name, options, dtype)
    x, labels = batch(dtype)
    rows = slice(rank * B // world_size, (rank + 1) * B // world_size)
    own = x.detach()[rows].clone().requires_grad_()
    out, whole = split(own, labels[rows]), plain(x, labels)
    (3 * out.loss).backward()
    (3 * whole.loss).backward()
    assert x.grad is not None
    pairs: dict[str, tuple[Any, Any]] = {
        "loss": (out.loss.detach(), whole.loss.detach()),
        "accuracy": (out.accuracy, whole.accuracy),
        "embeddings": (own.grad, world_size * x.grad[rows]),
        "diagnostics": (split.diagnostics(own, labels[rows]), plain.diagnostics(own, labels[rows])),
    }
    shard = split.shard
    for (key, one), (_, other) in zip(split.named_parameters(), plain.named_parameters(), strict=True):
        pairs[key] = (one.grad, shard.cut(other.grad) if other.ndim else other.grad)
    state = {key: value.detach().clone() for key, value in split.state_dict().items()}
    pairs["state"] = (state, plain.state_dict() if rank == 0 else state)
    split.load_state_dict({key: value + 1 for key, value in plain.state_dict().items()})
    pairs["loaded"] = (split.weight.detach(), shard.cut(plain.weight.detach()) + 1)
    return pairs


def everything() -> dict[str, dict[str, tuple[Any, Any]]]:
    found = {case: compared(*arguments) for case, arguments in CASES.items()}
    return {**found, "float32": compared("ham_softmax", {}, torch.float32)}


@pytest.fixture(scope="module", params=WORLD_SIZES, ids=lambda number: f"{number} processes")
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return together(everything, request.param, tmp_path_factory.mktemp("meet"))


@pytest.mark.parametrize("case", CASES)
def test_a_split_loss_is_the_whole_one(found: list[Any], case: str) -> None:
    for results in found:
        for key, (one, other) in results[case].items():
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11, msg=lambda text, key=key: f"{key}: {text}")


def test_a_split_loss_is_the_whole_one_in_float32(found: list[Any]) -> None:
    for results in found:
        for one, other in results["float32"].values():
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_parts_cover_all_centres_once_and_differ_by_one_at_most() -> None:
    for num_speakers in (4, 5, 11, 1000):
        shards = [Shard(rank, 4, num_speakers) for rank in range(4)]
        parts = [shard.cut(torch.arange(num_speakers)) for shard in shards]
        assert torch.cat(parts).tolist() == list(range(num_speakers))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_exchanges_nothing() -> None:
    x, labels = batch(torch.float64)
    assert WHOLE.gather(x, labels) == (x, labels)
    assert WHOLE.places(labels) == (labels, None)
    assert WHOLE.sum_(x) is x
    assert WHOLE.largest(x) is x


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in NAMES])
def test_a_loss_that_needs_all_centres_is_not_split(name: str) -> None:
    with pytest.raises(ConfigError, match=f"train.shard_loss: loss {name} cannot be split"):
        build(name, D, C).split(0, 2)


def test_more_processes_than_speakers_and_a_form_without_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="a speaker or more for each of 12 processes, found 11"):
        build("am_softmax", D, C).split(0, 12)
    with pytest.raises(ConfigError, match="cannot be split with these options"):
        build("ham_softmax", D, C, fused=False).split(0, 2)
