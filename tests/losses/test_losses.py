"""The contract of every loss in the table, and each loss against its naive definition."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ham.errors import ConfigError, HamError
from ham.losses import LOSSES, SpeakerLoss, build
from tests.losses import oracle
from tests.watch import LargestTensor

B, C, D = 14, 9, 6
CASES = ["zero", "huge", "tiny", "own centre", "other centre", "equal centres", "zero centres"]
NAMES = list(LOSSES)
MARGIN_NAMES = [name for name in NAMES if LOSSES[name].has_margin]
EIGHT = [
    *("softmax", "scaled_softmax", "am_softmax", "aam_softmax", "ram_softmax"),
    *("h_softmax", "ham_softmax", "eh_am_softmax"),
]
"""The losses of the published tables, which come first. The contract holds for every loss of the table, the naive
definitions are of those that come with the recipe: a new loss needs none to pass."""
BUILT_IN = [*EIGHT, "subcenter_aam_softmax", "sphereface2"]
DISTANCE_NAMES = [name for name in BUILT_IN if LOSSES[name].has_distance]
BLOCK_NAMES = [name for name in BUILT_IN if "chunk" in LOSSES[name].options()]


def make(name: str, dtype: torch.dtype = torch.float64, seed: int = 0, **options: Any) -> SpeakerLoss:
    """A loss whose centres lie inside, on and across the shell of c = 3 (radius 0.577), or else inside the ball."""
    torch.manual_seed(seed)
    loss = build(name, D, C, **options)
    lengths = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.5773, 0.57736, 0.6, 2.0, 14.0])
    if options.get("geometry", "published") != "published":
        lengths = lengths.clamp_max(0.9 / math.sqrt(options["curvature"]))
    with torch.no_grad():
        for parameter in loss.parameters():
            if parameter.ndim >= 2 and (parameter.shape[0], parameter.shape[-1]) == (C, D):
                direction = torch.nn.functional.normalize(torch.randn(parameter.shape), dim=-1)
                parameter.copy_(direction * lengths.reshape(C, *[1] * (parameter.ndim - 1)))
    return loss.to(dtype)


def of_speakers(loss: SpeakerLoss) -> list[Tensor]:
    """Parameters and buffers with one entry a speaker."""
    return [t for t in (*loss.parameters(), *loss.buffers()) if t.ndim and t.shape[0] == C]


def first_centres(loss: SpeakerLoss) -> Tensor:
    """One centre of every speaker, shape ``(C, D)``."""
    return loss.weight.detach().reshape(C, -1, D)[:, 0]


def make_batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Embeddings inside, within 1e-5 of, and beyond the shells of c = 3 and c = 5, and labels."""
    generator = torch.Generator().manual_seed(1)
    x = torch.nn.functional.normalize(torch.randn(B, D, generator=generator))
    shells = [(1 - 1e-5) / math.sqrt(c) * factor for c in (3, 5) for factor in (1 - 1e-5, 1 + 1e-5)]
    lengths = torch.tensor([1e-3, 0.05, 0.2, 0.4, *shells, 0.6, 1.0, 3.0, 14.0, 14.0, 1e3])
    return (x * lengths[:, None]).to(dtype), torch.randint(C, (B,), generator=generator)


def parameters_of(loss: SpeakerLoss) -> dict[str, Tensor]:
    """The parameters as float64 leaves."""
    return {name: p.detach().double().clone().requires_grad_() for name, p in loss.named_parameters()}


def gradient_unit(name: str, x: Tensor) -> Tensor:
    """Size that a row's gradient goes by, so that rows of all lengths count alike: 1/|x| where direction counts."""
    length = x.norm(dim=1, keepdim=True)
    if name in ("softmax", "scaled_softmax"):
        return torch.ones_like(length)
    return 1 / (length.clamp_min(0.5) if name in ("h_softmax", "ham_softmax") else length)


def gap(found: Tensor, expected: Tensor) -> float:
    """Largest error in units of the largest expected value."""
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


CURVED: list[dict[str, Any]] = [
    {"geometry": geometry, "curvature": curvature, "scale": 8.0, **options}
    for geometry in ("poincare", "lorentz")
    for curvature in (0.3, 1.0, 3.0)
    for options in ({}, {"centres": "tangent"}, {"fix_radius": 0.6}, {"clip_radius": 0.5})
]

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in BUILT_IN),
    *(("ham_softmax", options) for options in CURVED),
    ("h_softmax", {"geometry": "poincare", "curvature": 1.0, "fused": False}),
    ("h_softmax", {"geometry": "lorentz", "curvature": 1.0, "chunk": 4}),
    ("eh_am_softmax", {"geometry": "lorentz", "curvature": 1.0, "chunk": 2}),
    ("ham_softmax", {"scale": 8.0, "fix_radius": 0.9}),
    *((name, {"chunk": chunk}) for name in BLOCK_NAMES for chunk in (1, 4, C, "off") if name != "h_softmax"),
    *((name, {"fused": False}) for name in DISTANCE_NAMES),
    ("scaled_softmax", {"scale": 2.0}),
    ("am_softmax", {"scale": 8.0, "margin": 0.0}),
    ("aam_softmax", {"scale": 8.0, "margin": 1.2}),
    ("ram_softmax", {"scale": 8.0, "margin": 0.5}),
    ("h_softmax", {"scale": 8.0, "curvature": 1.01}),
    ("h_softmax", {"scale": 8.0, "curvature": 1.0}),
    ("ham_softmax", {"scale": 8.0, "curvature": 1.5, "margin": 0.9}),
    ("eh_am_softmax", {"scale": 8.0, "curvature": 1.5, "margin": 0.4, "euclidean_share": 0.6}),
    ("subcenter_aam_softmax", {"sub_centres": 1}),
    ("subcenter_aam_softmax", {"scale": 8.0, "margin": 1.2, "sub_centres": 2, "top_k": 3, "penalty": 0.5}),
    ("subcenter_aam_softmax", {"top_k": 5}),
    ("subcenter_aam_softmax", {"top_k": 99, "penalty": 1.0}),
    ("sphereface2", {"margin_type": "A", "margin": 0.15}),
    ("sphereface2", {"margin_type": "A", "margin": 1.2, "scale": 8.0, "power": 1.5}),
    ("sphereface2", {"margin": 0.4, "scale": 8.0, "power": 2.0, "positive_share": 0.9}),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_loss_logits_and_gradients_are_the_definition(
    name: str, options: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    loss, (x, y) = make(name, dtype, **options), make_batch(dtype)
    wide, p = x.double().clone().requires_grad_(), parameters_of(loss)
    expected = oracle.loss(name, wide, p, y, **options)
    expected.backward()
    x.requires_grad_()
    out = loss(x, y)
    out.loss.backward()
    assert gap(out.loss.detach(), expected.detach()) < tolerance
    assert x.grad is not None
    assert wide.grad is not None
    unit = gradient_unit(name, wide.detach())
    assert gap(x.grad / unit.to(dtype), wide.grad / unit) < tolerance
    for key, parameter in loss.named_parameters():
        assert parameter.grad is not None
        assert gap(parameter.grad, p[key].grad) < tolerance
    assert gap(loss.logits(x, y).detach(), oracle.logits(name, wide, p, y, **options).detach()) < tolerance


@pytest.mark.parametrize("name", BUILT_IN)
def test_defaults_are_the_published_settings(name: str) -> None:
    defaults = LOSSES[name].options()
    assert {key: defaults[key] for key in oracle.PUBLISHED[name]} == oracle.PUBLISHED[name]
    others = {
        "geometry": "published",
        "chunk": "auto",
        "fused": True,
        "euclidean_share": 0.3,
        "init_scale": 1.0,
        "clip_radius": None,
        "centres": "ball",
        "learn_curvature": False,
        "embedding_scale": None,
        "fix_radius": None,
    }
    assert {key: defaults[key] for key in set(defaults) - set(oracle.PUBLISHED[name])}.items() <= others.items()


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name: str) -> None:
    loss, (x, y) = make(name), make_batch()
    keep = [0, 1, 2, 3, 8, 9, 10, 11]  # away from the shell, where the finite difference would step across it
    x, y = x[keep].requires_grad_(), y[keep]
    names, values = zip(*((n, p.detach()) for n, p in loss.named_parameters()), strict=True)
    away = [v.mul(torch.where(((v.norm(dim=-1, keepdim=True) - 0.577).abs() < 0.01), 0.9, 1.0)) for v in values]

    def function(x: Tensor, *values: Tensor) -> Tensor:
        out = torch.func.functional_call(loss, dict(zip(names, values, strict=True)), (x, y))
        return out.loss

    assert torch.autograd.gradcheck(function, (x, *(v.clone().requires_grad_() for v in away)))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_types_and_accuracy(name: str) -> None:
    loss, (x, y) = make(name, torch.float32), make_batch(torch.float32)
    assert (loss.weight.shape[0], loss.weight.shape[-1]) == (C, D)
    assert isinstance(loss.weight, torch.nn.Parameter)
    plain = loss.logits(x)
    assert plain.shape == loss.logits(x, y).shape == (B, C)
    out = loss(x, y)
    assert out.loss.shape == out.accuracy.shape == ()
    assert not out.accuracy.requires_grad
    assert out.accuracy == (plain.argmax(1) == y).float().mean()
    assert loss(x, plain.argmax(1)).accuracy == 1


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in ("eh_am_softmax", "sphereface2")])
def test_loss_is_the_mean_cross_entropy_of_its_logits(name: str) -> None:
    loss, (x, y) = make(name), make_batch()
    torch.testing.assert_close(loss(x, y).loss, torch.nn.functional.cross_entropy(loss.logits(x, y), y))


@pytest.mark.parametrize("name", NAMES)
def test_margin_zero_is_the_form_without_margin(name: str) -> None:
    loss, (x, y) = make(name), make_batch()
    if loss.has_margin:
        loss.set_margin(0.0)
    own = y[:, None]
    torch.testing.assert_close(loss.logits(x, y).gather(1, own), loss.logits(x).gather(1, own))
    # ram replaces the speakers below the target at any margin
    if name in BUILT_IN and name not in ("ram_softmax", "eh_am_softmax"):
        torch.testing.assert_close(loss.logits(x, y), loss.logits(x))


@pytest.mark.parametrize("name", MARGIN_NAMES)
def test_loss_grows_with_the_margin(name: str) -> None:
    loss, (_, y) = make(name), make_batch()
    with torch.no_grad():
        for parameter in loss.parameters():
            if parameter.shape == loss.weight.shape:
                parameter.copy_(loss.weight)
    # Near their own centre, so that the target's logit is positive in ram_softmax too.
    x = first_centres(loss)[y] + 0.02 * torch.randn(B, D, generator=torch.Generator().manual_seed(3))
    losses, accuracies = [], []
    for margin in (0.0, 0.1, 0.2, 0.35, 0.5):
        loss.set_margin(margin)
        assert loss.margin == margin
        out = loss(x, y)
        losses.append(out.loss.item())
        accuracies.append(out.accuracy.item())
    assert losses == sorted(losses)
    assert losses[0] < losses[1] < losses[-1]
    assert len(set(accuracies)) == 1


@pytest.mark.parametrize("name", MARGIN_NAMES)
def test_set_margin_is_the_same_as_building_with_it(name: str) -> None:
    loss, (x, y) = make(name), make_batch()
    loss.set_margin(0.37)
    assert torch.equal(loss(x, y).loss, make(name, margin=0.37)(x, y).loss)
    assert not torch.equal(loss(x, y).loss, make(name)(x, y).loss)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MARGIN_NAMES])
def test_a_loss_without_margin_refuses_one(name: str) -> None:
    loss = make(name)
    with pytest.raises(ConfigError, match=f"loss {name}: has no margin to set"):
        loss.set_margin(0.1)
    assert not hasattr(loss, "margin")


@pytest.mark.parametrize("name", MARGIN_NAMES)
@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf, "0.2", None, True])
def test_a_margin_without_meaning_is_refused_and_changes_nothing(name: str, margin: Any) -> None:
    loss = make(name)
    before = loss.margin
    with pytest.raises(ConfigError, match=f"loss {name}: margin: expected a finite number at least 0"):
        loss.set_margin(margin)
    assert loss.margin == before


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_speakers_permutes_the_logits(name: str) -> None:
    loss, (x, y) = make(name), make_batch()
    order = torch.randperm(C, generator=torch.Generator().manual_seed(4))
    other = copy.deepcopy(loss)
    with torch.no_grad():
        for tensor in of_speakers(other):
            tensor.copy_(tensor[order])
    torch.testing.assert_close(other.logits(x), loss.logits(x)[:, order])
    renamed = torch.argsort(order)[y]
    torch.testing.assert_close(other.logits(x, renamed), loss.logits(x, y)[:, order])
    torch.testing.assert_close(other(x, renamed).loss, loss(x, y).loss)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_close_to_float64(name: str) -> None:
    x, y = make_batch(torch.float32)
    narrow, wide = make(name, torch.float32), make(name, torch.float32).double()
    found, expected = narrow.logits(x, y), wide.logits(x.double(), y)
    assert found.dtype == torch.float32
    assert expected.dtype == torch.float64
    assert gap(found.detach(), expected.detach()) < 1e-4
    assert gap(narrow(x, y).loss.detach(), wide(x.double(), y).loss.detach()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_narrow_embeddings_and_autocast_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    loss, (x, y) = make(name, torch.float32), make_batch(torch.float32)
    x = x.to(dtype)
    expected = loss(x.float(), y).loss
    assert torch.equal(loss(x, y).loss, expected)
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, logits = loss(leaf, y), loss.logits(leaf, y)
    assert out.loss.dtype == logits.dtype == torch.float32
    assert torch.equal(out.loss, expected)
    out.loss.backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == dtype
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_hard_embeddings_have_finite_loss_and_gradients(name: str, case: str, dtype: torch.dtype) -> None:
    loss, (x, y) = make(name, dtype), make_batch(dtype)
    scale = {"zero": 0.0, "huge": 1e30, "tiny": 1e-30}.get(case, 1.0)
    with torch.no_grad():
        for tensor in of_speakers(loss):
            if "centres" in case:
                tensor.copy_(tensor[:1].expand_as(tensor) * (case != "zero centres"))
        centres = first_centres(loss)
        x = {"own centre": centres[y], "other centre": centres[(y + 1) % C]}.get(case, x * scale)
    x = x.detach().clone().requires_grad_()
    out = loss(x, y)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert torch.isfinite(out.accuracy)
    for gradient in (x.grad, *(p.grad for p in loss.parameters())):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", [name for name in BUILT_IN if "margin" in LOSSES[name].options()])
def test_a_huge_embedding_counts_by_its_direction(name: str) -> None:
    loss, (x, y) = make(name, torch.float32), make_batch(torch.float32)
    long = x / x.norm(dim=1, keepdim=True) * 10
    torch.testing.assert_close(loss.logits(long * 1e29, y), loss.logits(long, y))


@pytest.mark.parametrize(("num_speakers", "embedding_dim"), [(60, 48), (300, 20), (12, 100)])
@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_is_larger_than_the_logits_or_the_centres(name: str, num_speakers: int, embedding_dim: int) -> None:
    loss = build(name, embedding_dim, num_speakers)
    x = torch.randn(32, embedding_dim, requires_grad=True)
    with LargestTensor() as watch:
        loss(x, torch.randint(num_speakers, (32,))).loss.backward()
        loss.logits(x)
    sub_centres = loss.weight.numel() // (num_speakers * embedding_dim)
    assert 32 * num_speakers <= watch.numel
    assert watch.numel <= 3 * sub_centres * max(32 * num_speakers, num_speakers * embedding_dim)
    assert 3 * max(32 * num_speakers, num_speakers * embedding_dim) < 32 * num_speakers * embedding_dim


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(name: str) -> None:
    loss, other, (x, y) = make(name), make(name, seed=1), make_batch()
    assert not torch.equal(loss(x, y).loss, other(x, y).loss)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(loss(x, y).loss, other(x, y).loss)
    assert {"weight", *(key for key, _ in loss.named_parameters())} <= set(loss.state_dict())


@pytest.mark.parametrize("name", [name for name in NAMES if not LOSSES[name].has_distance])
def test_a_loss_without_distance_refuses_one(name: str) -> None:
    loss, (x, _) = make(name), make_batch()
    for function in (loss.distance, loss.pairwise_distance):
        with pytest.raises(ConfigError, match=f"loss {name}: has no hyperbolic distance"):
            function(x, x)


@pytest.mark.parametrize("name", DISTANCE_NAMES)
def test_the_distance_is_the_published_one(name: str) -> None:
    loss, (x, _) = make(name), make_batch()
    options = oracle.PUBLISHED[name]
    expected = oracle.distances(x, x.flip(0), options["curvature"]).diagonal()
    torch.testing.assert_close(loss.distance(x, x.flip(0)), expected, rtol=1e-9, atol=1e-12)
    assert loss.distance(x, x).abs().max() == 0
    pairs = loss.pairwise_distance(x, x[:3])
    torch.testing.assert_close(pairs, oracle.distances(x, x[:3], options["curvature"]), rtol=1e-7, atol=1e-6)
    with pytest.raises(HamError, match="expected shape"):
        loss.pairwise_distance(x, x[0])
    assert loss.distance(x.bfloat16(), x.bfloat16().flip(0)).dtype == torch.float64


def test_which_losses_have_what() -> None:
    assert NAMES[: len(EIGHT)] == EIGHT
    assert list(oracle.PUBLISHED) == BUILT_IN
    assert {name for name in BUILT_IN if name not in MARGIN_NAMES} == {"softmax", "scaled_softmax", "h_softmax"}
    assert DISTANCE_NAMES == ["h_softmax", "ham_softmax", "eh_am_softmax"]


BAD_BATCHES: list[tuple[str, Any, Any]] = [
    (r"labels: expected 0\.\.8, found 9", torch.zeros(2, D), torch.tensor([0, 9])),
    (r"labels: expected 0\.\.8, found -1", torch.zeros(2, D), torch.tensor([-1, 8])),
    ("labels: expected int64 speaker numbers, found torch.float32", torch.zeros(2, D), torch.zeros(2)),
    ("labels: expected int64 speaker numbers, found torch.int32", torch.zeros(2, D), torch.zeros(2).int()),
    (r"labels: expected shape \(2,\), one an embedding, found \(3,\)", torch.zeros(2, D), torch.zeros(3).long()),
    (r"labels: expected shape \(2,\), .* found \(2, 1\)", torch.zeros(2, D), torch.zeros(2, 1).long()),
    (r"embeddings: expected shape \(B, 6\) .* found \(2, 7\)", torch.zeros(2, D + 1), torch.zeros(2).long()),
    (r"embeddings: expected shape \(B, 6\) .* found \(6,\)", torch.zeros(D), torch.zeros(1).long()),
    (r"embeddings: expected shape \(B, 6\) .* found \(0, 6\)", torch.zeros(0, D), torch.zeros(0).long()),
    ("embeddings: expected a floating-point type, found torch.int64", torch.zeros(2, D).long(), torch.zeros(2).long()),
]


@pytest.mark.parametrize(("message", "x", "y"), BAD_BATCHES)
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_that_does_not_fit_is_refused_with_a_sentence(name: str, message: str, x: Tensor, y: Tensor) -> None:
    loss = make(name, torch.float32)
    for function in (loss, loss.logits):
        with pytest.raises(HamError, match=f"^loss {name}: {message}") as caught:
            function(x, y)
        assert isinstance(caught.value, ValueError)
        assert caught.value.exit_status == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("embedding_dim", "num_speakers", "message"),
    [
        (0, 5, "embedding_dim: expected a whole number of at least 1, found 0"),
        (2.0, 5, "embedding_dim: expected a whole number of at least 1, found 2.0"),
        (True, 5, "embedding_dim: .* found true"),
        (4, 1, "num_speakers: expected a whole number of at least 2 .*one speaker cannot be told from others"),
        (4, "5", "num_speakers: .* found '5'"),
    ],
)
def test_sizes_without_meaning_are_refused(name: str, embedding_dim: Any, num_speakers: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^loss {name}: {message}"):
        build(name, embedding_dim, num_speakers)


BAD_OPTIONS: list[tuple[str, Any, str]] = [
    ("scale", 0, "expected a finite number above 0, found 0"),
    ("scale", -1.0, "expected a finite number above 0, found -1.0"),
    ("scale", "30", "found '30'; write it without quotes"),
    ("scale", None, "found nothing"),
    ("scale", True, "found true"),
    ("margin", -0.1, "expected a finite number at least 0"),
    ("margin", math.inf, "found inf"),
    ("curvature", 0.5, r"\(geometry published\): expected a finite number at least 1, found 0.5"),
    ("curvature", 0, "found 0"),
    ("curvature", -1, "found -1"),
    ("curvature", math.nan, "found nan"),
    ("curvature", "3", "found '3'"),
    ("geometry", "lorenz", "expected one of published, poincare, lorentz, found 'lorenz'"),
    ("geometry", "publised", "did you mean 'published'"),
    ("geometry", 3, "found 3"),
    ("euclidean_share", 1.5, "expected a finite number at least 0 and at most 1, found 1.5"),
]


@pytest.mark.parametrize(("option", "value", "message"), BAD_OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_values_without_meaning_are_refused(name: str, option: str, value: Any, message: str) -> None:
    if option not in LOSSES[name].options():
        message = "expected one of the options" if LOSSES[name].options() else "has no options"
        message = f"^loss {name}: {message}.*found '{option}'"
    else:
        message = f"^loss {name}: {option}.*{message}"
    with pytest.raises(ConfigError, match=message) as caught:
        build(name, D, C, **{option: value})
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_other_kinds_are_taken(name: str) -> None:
    options = {key: torch.tensor(2.0).numpy()[()] for key in ("scale", "curvature") if key in LOSSES[name].options()}
    loss = build(name, D, C, **options)
    assert all(type(getattr(loss, key)) is float for key in options)


def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"^loss: expected one of softmax, .*; did you mean 'ham_softmax'"):
        build("ham_sofmax", D, C)
    for name in (None, 3, [], ""):
        with pytest.raises(ConfigError, match=r"^loss: expected one of softmax"):
            build(name, D, C)  # type: ignore[arg-type]


def test_an_unknown_option_is_refused_with_the_options() -> None:
    message = (
        r"options scale \(default 30.0\), margin \(default 0.2\), curvature \(default 3.0\).*did you mean 'curvature'"
    )
    with pytest.raises(ConfigError, match=message):
        build("ham_softmax", D, C, curvatre=3.0)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        LOSSES["other"] = LOSSES["softmax"]  # type: ignore[index]


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_the_gpu_gives_the_same_numbers(name: str) -> None:
    loss, (x, y) = make(name, torch.float32), make_batch(torch.float32)
    expected = loss(x, y)
    expected.loss.backward()
    device = copy.deepcopy(loss).cuda()
    device.zero_grad()
    for labels in (y, y.cuda()):
        out = device(x.cuda(), labels)
        torch.testing.assert_close(out.loss.cpu(), expected.loss, rtol=1e-4, atol=0)
        torch.testing.assert_close(out.accuracy.cpu(), expected.accuracy)
    out.loss.backward()
    assert gap(device.weight.grad.cpu(), loss.weight.grad.double()) < 2e-4
    assert device(x.cuda(), (y + C).cuda()).loss.isnan()
    with pytest.raises(HamError, match="labels: expected 0"):
        device(x.cuda(), y + C)


SPACES: list[dict[str, Any]] = [
    {"geometry": "published"},
    {"geometry": "published", "fix_radius": 0.9},
    *({"geometry": geometry, "curvature": 2.0} for geometry in ("poincare", "lorentz")),
    *({"geometry": geometry, "curvature": 0.5, "centres": "tangent"} for geometry in ("poincare", "lorentz")),
    {"geometry": "poincare", "curvature": 1.0, "clip_radius": 1.8, "learn_curvature": True},
    {"geometry": "lorentz", "curvature": 1.0, "fix_radius": 0.7},
]
STARTS = [(name, space) for name in NAMES for space in (SPACES if "geometry" in LOSSES[name].options() else [{}])]


def voices(seed: int = 3) -> tuple[Tensor, Tensor]:
    """Embeddings of speakers that are well apart, of various lengths, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C, (20 * C,), generator=generator)
    centres = torch.randn((C, D), generator=generator)
    x = torch.nn.functional.normalize(centres)[labels] + 0.1 * torch.randn((len(labels), D), generator=generator)
    return x * (2 + torch.rand((len(labels), 1), generator=generator)), labels


@pytest.mark.parametrize(("name", "space"), STARTS)
def test_centres_at_class_means_tell_the_speakers_apart(name: str, space: dict[str, Any]) -> None:
    torch.manual_seed(0)
    loss, (x, labels) = build(name, D, C, **space), voices()
    before = (loss.logits(x).argmax(1) == labels).float().mean()
    loss.start_at_means(x, labels)
    after = (loss.logits(x).argmax(1) == labels).float().mean()
    assert before < 0.5
    assert after > 0.9


@pytest.mark.parametrize("space", [space for space in SPACES if "fix_radius" not in space])
@pytest.mark.parametrize("name", ["h_softmax", "ham_softmax", "eh_am_softmax"])
def test_hyperbolic_centres_lie_where_the_mean_embedding_does(name: str, space: dict[str, Any]) -> None:
    loss, (x, labels) = build(name, D, C, **space).double(), voices()
    means = torch.stack([x[labels == speaker].double().mean(0) for speaker in range(C)])
    loss.start_at_means(x, labels)
    parameters = {key: value.detach() for key, value in loss.named_parameters()}
    curvature = loss.space.curvature
    if space["geometry"] == "published":
        away = oracle.distances(means, loss.weight.detach(), curvature)
    else:
        options = {"clip_radius": loss.space.clip_radius, **{k: space[k] for k in space if k == "centres"}}
        away = oracle.curved_distances(means, parameters, curvature, space["geometry"], **options)
    away = away.nan_to_num()  # acosh of a number that rounds to less than 1
    assert away.diagonal().max() < 1e-6
    assert (away + torch.eye(C) * 9).min() > 0.1


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in DISTANCE_NAMES] + ["eh_am_softmax"])
def test_euclidean_centres_point_to_the_mean_direction_as_long_as_before(name: str) -> None:
    torch.manual_seed(0)
    loss, (x, labels) = build(name, D, C).double(), voices()
    part = loss.euclidean if name == "eh_am_softmax" else loss
    length = part.weight.detach().norm(dim=-1).mean()
    loss.start_at_means(x, labels)
    slack = 0.3 if "subcenter" in name else 1e-9  # sub-centres lie about the mean
    for speaker in range(C):
        mean = torch.stack([row / row.norm() for row in x[labels == speaker].double()]).mean(0)
        for centre in part.weight[speaker].detach().reshape(-1, D):
            torch.testing.assert_close(centre.norm(), length)
            assert 1 - (centre @ mean) / (centre.norm() * mean.norm()) < slack
    if hasattr(part, "bias") and part.bias.ndim:
        assert not part.bias.any()


def test_sub_centres_start_apart_by_the_seed() -> None:
    (x, labels), found = voices(), []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        loss = build("subcenter_aam_softmax", D, C)
        loss.start_at_means(x, labels, seed=seed)
        found.append(loss.weight.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert (found[0][:, 0] != found[0][:, 1]).any(dim=1).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_speaker_without_embeddings_keeps_the_centre(name: str) -> None:
    loss, (x, labels) = build(name, D, C), voices()
    before = [t.clone() for t in of_speakers(loss)]
    loss.start_at_means(x[labels != 4], labels[labels != 4])
    for one, other in zip(before, of_speakers(loss), strict=True):
        assert torch.equal(one[4], other[4])
        assert not torch.equal(one[3], other[3])
