"""The three geometries: what their options mean, that they are one space, what scoring by them ranks."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ham.embeddings.table import EmbeddingTable
from ham.errors import ConfigError
from ham.losses import base, build
from ham.losses.spaces import GEOMETRIES, LEARNT_RANGE, build_space
from ham.score.measures import cosine_scores, distance_scores
from tests.losses import oracle
from tests.losses.test_losses import CASES, C, D, gap, make, make_batch
from tests.watch import LargestTensor

VARIANTS: list[dict[str, Any]] = [
    {"geometry": "poincare", "curvature": 1.0},
    {"geometry": "poincare", "curvature": 0.5, "centres": "tangent", "learn_curvature": True},
    {"geometry": "lorentz", "curvature": 1.0},
    {"geometry": "lorentz", "curvature": 2.0, "centres": "tangent"},
    {"geometry": "lorentz", "curvature": 2.0, "learn_curvature": True},
    {"fix_radius": True},
    {"geometry": "lorentz", "curvature": 1.0, "fix_radius": 0.5},
    {"geometry": "poincare", "curvature": 1.0, "fix_radius": 0.5, "learn_curvature": True},
]
NAMES = ["h_softmax", "ham_softmax", pytest.param("eh_am_softmax", marks=pytest.mark.long)]


def inside(x: Tensor) -> Tensor:
    """Embeddings whose tangent vectors are shorter than the clip."""
    return torch.nn.functional.normalize(x) * torch.linspace(0.1, 1.4, len(x), dtype=x.dtype)[:, None]


@pytest.mark.parametrize("chunk", ["off", 4])
@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck_with_all_that_is_learnt(name: str, options: dict[str, Any], chunk: int | str) -> None:
    """With embeddings inside the clip and beyond."""
    loss, (x, y) = make(name, scale=6.0, chunk=chunk, **options), make_batch()
    x = inside(x)
    x[::3] *= 20.0
    x.requires_grad_()
    names, values = zip(*((n, p.detach().clone().requires_grad_()) for n, p in loss.named_parameters()), strict=True)

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(loss, dict(zip(names, values, strict=True)), (x, y)).loss

    assert ("space.curvature_shift" in names) == options.get("learn_curvature", False)
    assert torch.autograd.gradcheck(function, (x, *values))


LONG = 60.0
"""Far beyond the boundary of the ball of curvature 1."""

RADII = {
    "inside": (0.3, 0.6, 0.9),
    "at the boundary": (0.995, 1.0, 1.005),
    "beyond": (1.5, 4.0, LONG),
    "anywhere": (0.0, 0.2, 0.97, 1.0, 2.0, LONG),
}
"""Lengths of the centres, times the root of the curvature."""


def ball_loss(curvature: float, x: Any, w: Any, y: Any, scale: float, margin: float, **options: Any) -> float:
    """The definition in float64: every point by its direction and its norm in the unit ball, all pairs one by one."""
    root, edge = math.sqrt(curvature), 1.0 - float(np.finfo(np.float32).eps) ** 0.75
    clip = options.get("clip_radius") or 1.5 / root
    share, is_hyperboloid = options.get("fix_radius"), options["geometry"] == "lorentz"

    def norm(row: Any, is_centre: bool) -> float:
        length = float(np.sqrt(np.square(row).sum()))
        if not is_centre or share:
            return math.tanh(root * (share * clip if is_centre else min(length, clip)))
        if options.get("centres") == "tangent":
            return math.tanh(root * length if is_hyperboloid else min(root * length, math.atanh(edge)))
        length *= root
        return length / (1.0 + math.sqrt(1.0 + length**2)) if is_hyperboloid else min(length, edge)

    def place(row: Any, is_centre: bool) -> Any:
        length = float(np.sqrt(np.square(row).sum()))
        return row * (norm(row, is_centre) / length if length else 0.0)

    points, centres = [place(row, False) for row in x], [place(row, True) for row in w]
    total = 0.0
    for z, label in zip(points, y, strict=True):
        ratio = [2 * np.square(z - p).sum() / ((1 - np.square(z).sum()) * (1 - np.square(p).sum())) for p in centres]
        logits = [-scale * (math.acosh(1 + u) / root + margin * (k == label)) for k, u in enumerate(ratio)]
        total += np.logaddexp.reduce(logits) - logits[label]
    return total / len(points)


@pytest.mark.parametrize("kind", [{"fused": False}, {"chunk": "off"}, {"chunk": 3}], ids=str)
@pytest.mark.parametrize("radii", RADII)
@pytest.mark.parametrize("clip_radius", [None, 0.8])
@pytest.mark.parametrize(
    "options",
    [
        {"geometry": "poincare"},
        {"geometry": "poincare", "centres": "tangent"},
        {"geometry": "poincare", "fix_radius": 0.7},
        {"geometry": "lorentz"},
        {"geometry": "lorentz", "fix_radius": 0.7},
    ],
    ids=str,
)
def test_the_learnt_curvatures_gradient_in_float32(
    options: dict[str, Any], clip_radius: float | None, radii: str, kind: dict[str, Any]
) -> None:
    """Against the slope of the definition, for embeddings inside the clip and on it, centres wherever they can be."""
    curvature, options = 1.7, {**options, "clip_radius": clip_radius}
    x, y = make_batch(torch.float32)
    loss = make("ham_softmax", torch.float32, curvature=curvature, learn_curvature=True, **options, **kind)
    lengths = torch.tensor(RADII[radii])[torch.arange(C) % len(RADII[radii])] / math.sqrt(curvature)
    embeddings = torch.linspace(0.2, 6.0, len(x)) / loss.space.embedding_scale / math.sqrt(curvature)
    with torch.no_grad():
        loss.weight.copy_(torch.nn.functional.normalize(loss.weight) * lengths[:, None])
        x = torch.nn.functional.normalize(x) * embeddings[:, None]
    scaled = x.double().numpy() * math.exp(float(loss.space.log_embedding_scale.detach()))
    w = loss.weight.detach().double().numpy()

    def value(shift: float) -> float:
        c = curvature * math.exp(shift)  # the bound of the logarithm has slope 1 at the start
        return ball_loss(c, scaled, w, y.tolist(), loss.scale, loss.margin, **options)

    out = loss(x, y)
    out.loss.backward()
    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    assert out.loss.item() == pytest.approx(value(0.0), rel=1e-3)
    assert loss.space.curvature_shift.grad.item() == pytest.approx(slope, rel=5e-3, abs=1e-3)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_embeddings_and_centres_stay_finite(options: dict[str, Any], case: str, dtype: torch.dtype) -> None:
    loss, (x, y) = make("ham_softmax", dtype, **options), make_batch(dtype)
    with torch.no_grad():
        if "centres" in case:
            loss.weight.copy_(loss.weight[:1].expand_as(loss.weight) * (case != "zero centres"))
        scale = {"zero": 0.0, "huge": 1e30, "tiny": 1e-30}.get(case, 1.0)
        x = {"own centre": loss.weight[y], "other centre": loss.weight[(y + 1) % C]}.get(case, x * scale)
    x = x.detach().clone().requires_grad_()
    out = loss(x, y)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    for gradient in (x.grad, *(p.grad for p in loss.parameters())):
        assert torch.isfinite(gradient).all()
    values = loss.diagnostics(x.detach(), y)
    if case in ("zero", "own centre", "zero centres"):
        values.pop("effective_scale")  # no embedding has a direction across its centre's
    assert all(math.isfinite(value) for value in values.values())


@pytest.mark.parametrize("options", VARIANTS)
def test_no_tensor_is_larger_than_three_logits_or_centres(options: dict[str, Any]) -> None:
    for count, dim in ((60, 48), (300, 20), (12, 100)):
        loss = build("ham_softmax", dim, count, **options)
        x = torch.randn(32, dim, requires_grad=True)
        with LargestTensor() as watch:
            loss(x, torch.randint(count, (32,))).loss.backward()
        assert 32 * count <= watch.numel <= 3 * max(32 * count, count * dim)


@pytest.mark.parametrize("options", [v for v in VARIANTS if v.get("centres") == "tangent" or "fix_radius" in v])
def test_poincare_and_lorentz_are_one_space(options: dict[str, Any]) -> None:
    """With centres that do not depend on the model's coordinates all numbers agree."""
    shared = {"curvature": 1.0, **{k: v for k, v in options.items() if k != "geometry"}}
    results = []
    for geometry in ("poincare", "lorentz"):
        loss, (x, y) = make("ham_softmax", **{**shared, "geometry": geometry}), make_batch()
        x.requires_grad_()
        out = loss(x, y)
        out.loss.backward()
        results.append((out.loss.detach(), x.grad, *(p.grad for p in loss.parameters())))
    for a, b in zip(*results, strict=True):
        assert gap(a, b) < 1e-10


@pytest.mark.parametrize(("geometry", "clipped"), [("poincare", 3), ("lorentz", 3), ("published", 4)])
def test_the_embedding_is_scaled_clipped_and_mapped(geometry: str, clipped: int) -> None:
    loss = build("ham_softmax", 16, 3, geometry=geometry, curvature=1.0 if geometry != "published" else 4.0)
    lengths = torch.tensor([0.4, 4.0, 6.5, 40.0, 4e3])
    x = torch.nn.functional.normalize(torch.randn(5, 16)) * lengths[:, None]
    assert loss.space.on_shell(x).tolist() == [n >= 5 - clipped for n in range(5)]
    radii = {"published": 2 * torch.atanh(lengths.clamp_max(0.5 * (1 - 1e-5)))}
    expected = radii.get(geometry, 2.0 * (lengths * 0.25).clamp_max(1.5))  # e = 1 / sqrt(16)
    torch.testing.assert_close(loss.distance(x, torch.zeros(5, 16)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("geometry", ["poincare", "lorentz"])
def test_the_scale_gets_no_gradient_from_clipped_embeddings(geometry: str) -> None:
    loss, (x, y) = make("ham_softmax", torch.float32, geometry=geometry, curvature=1.0), make_batch(torch.float32)
    far = torch.nn.functional.normalize(x) * 40
    loss(far, y).loss.backward()
    assert loss.space.log_embedding_scale.grad == 0
    loss(torch.cat([far, x[:4]]), torch.cat([y, y[:4]])).loss.backward()
    assert loss.space.log_embedding_scale.grad != 0


def test_the_scale_stays_a_number_whatever_the_optimiser_does() -> None:
    for value in (-1e4, 1e4):
        loss, (x, y) = make("ham_softmax", torch.float32, geometry="lorentz", curvature=1.0), make_batch(torch.float32)
        with torch.no_grad():
            loss.space.log_embedding_scale.fill_(value)
        assert torch.isfinite(loss(x, y).loss)


def test_the_embedding_scale_starts_inside_the_clip_at_any_curvature() -> None:
    for curvature in (0.1, 1.0, 3.0, 9.0):
        space = build_space("loss x", 64, curvature=curvature, geometry="poincare")
        assert space.clip_radius == pytest.approx(1.5 / math.sqrt(curvature))
        start = 8.0 * space.embedding_scale  # of an embedding of norm sqrt(D)
        assert start == pytest.approx(min(1.0, space.clip_radius / 1.5))
        assert start < space.clip_radius
    assert build_space("x", 64, curvature=3.0, geometry="lorentz", embedding_scale=0.3).embedding_scale == (
        pytest.approx(0.3)
    )


def test_a_learnt_curvature_is_bounded_and_moves() -> None:
    loss, (x, y) = make("ham_softmax", geometry="lorentz", curvature=2.0, learn_curvature=True), make_batch()
    assert loss.curvature == pytest.approx(2.0)
    for shift, expected in ((1e6, 2.0 * LEARNT_RANGE), (-1e6, 2.0 / LEARNT_RANGE)):
        with torch.no_grad():
            loss.space.curvature_shift.fill_(shift)
        assert loss.curvature == pytest.approx(expected)
    with torch.no_grad():
        loss.space.curvature_shift.zero_()
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(5):
        optimiser.zero_grad()
        loss(x, y).loss.backward()
        optimiser.step()
    assert abs(loss.curvature - 2.0) > 0.05
    with pytest.raises(ConfigError, match="curvature: is learnt and cannot be set"):
        loss.set_curvature(1.0)


@pytest.mark.parametrize(
    ("geometry", "options"),
    [
        ("published", {}),
        ("poincare", {"embedding_scale": 0.5}),
        ("lorentz", {"embedding_scale": 0.5}),
        ("lorentz", {"clip_radius": 0.8, "embedding_scale": 0.5}),
    ],
)
def test_set_curvature_is_the_same_as_building_with_it(geometry: str, options: dict[str, Any]) -> None:
    loss, (x, y) = make("ham_softmax", geometry=geometry, curvature=4.0, **options), make_batch()
    other = make("ham_softmax", geometry=geometry, curvature=2.0, **options)
    other.load_state_dict(loss.state_dict())
    loss.set_curvature(2.0)
    assert loss.curvature == 2.0
    torch.testing.assert_close(loss(x, y).loss, other(x, y).loss)
    assert loss.space.clip_radius == other.space.clip_radius
    for bad in (0.0, -1.0, math.nan, "2"):
        with pytest.raises(ConfigError, match=r"loss ham_softmax: curvature .*expected a finite number"):
            loss.set_curvature(bad)
    assert loss.curvature == 2.0


def test_a_clip_is_checked_against_every_curvature_that_it_meets() -> None:
    options: dict[str, Any] = {"geometry": "lorentz", "curvature": 1.0, "clip_radius": 3.0}
    loss = build("ham_softmax", D, C, **options)
    message = r"^loss ham_softmax: clip_radius \(at curvature 9\): expected a finite number .* at most 2, found 3.0"
    with pytest.raises(ConfigError, match=message):
        loss.set_curvature(9.0)
    assert loss.curvature == 1.0
    with pytest.raises(ConfigError, match="at curvature 10"):
        build("ham_softmax", D, C, learn_curvature=True, **options)


def test_losses_without_curvature_refuse_one() -> None:
    with pytest.raises(ConfigError, match="loss am_softmax: has no curvature to set"):
        build("am_softmax", D, C).set_curvature(1.0)


def test_fixed_radius_leaves_the_direction_of_centres_alone() -> None:
    for options in ({}, {"geometry": "poincare", "curvature": 1.0}, {"geometry": "lorentz", "curvature": 1.0}):
        loss, (x, y) = make("ham_softmax", fix_radius=0.5, **options), make_batch()
        longer = copy.deepcopy(loss)
        with torch.no_grad():
            longer.weight.mul_(torch.linspace(0.5, 7.0, C)[:, None])
        torch.testing.assert_close(loss(x, y).loss, longer(x, y).loss)
        assert loss.space.radii(loss.weight).std() < 1e-6
        out = loss(x, y).loss
        out.backward()
        radial = (loss.weight.grad * loss.weight).sum(dim=1)
        assert radial.abs().max() < 1e-10 * loss.weight.grad.abs().max()


@pytest.mark.parametrize("options", VARIANTS)
def test_state_dict_holds_what_is_learnt(options: dict[str, Any]) -> None:
    loss, other, (x, y) = make("ham_softmax", **options), make("ham_softmax", seed=1, **options), make_batch()
    with torch.no_grad():
        for parameter in loss.space.parameters():
            parameter.add_(0.3)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(loss(x, y).loss, other(x, y).loss)
    assert torch.equal(loss.distance(x, x.flip(0)), other.distance(x, x.flip(0)))


def spread_embeddings(num: int = 60) -> EmbeddingTable:
    """Embeddings of lengths from 0.2 to 5 times sqrt(D), far enough apart that no two scores tie."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, 12)) * np.geomspace(0.2, 5.0, num)[:, None]
    return EmbeddingTable(tuple(f"u{i}" for i in range(num)), x.astype(np.float32))


def ranking_errors(loss: Any, table: EmbeddingTable, rows: np.ndarray) -> int:
    """How many neighbours of the cosine's order stand in the other order by the distance."""
    enrol, test = (side.ravel() for side in np.meshgrid(rows, rows))
    keep = enrol < test
    enrol, test = enrol[keep], test[keep]
    order = np.argsort(cosine_scores(table, enrol, test))
    return int((np.diff(distance_scores(table, enrol, test, loss.distance)[order]) < -1e-6).sum())


@pytest.mark.parametrize("geometry", list(GEOMETRIES))
def test_beyond_the_shell_the_distance_ranks_trials_as_the_cosine_does_and_inside_it_does_not(geometry: str) -> None:
    loss = build("ham_softmax", 12, 5, geometry=geometry, curvature=3.0)
    table = spread_embeddings()
    clipped = loss.space.on_shell(torch.from_numpy(table.embeddings)).numpy()
    beyond = np.flatnonzero(clipped)
    assert len(beyond) >= 10
    assert ranking_errors(loss, table, beyond) == 0
    short = EmbeddingTable(table.utts, table.embeddings / 40)
    assert not loss.space.on_shell(torch.from_numpy(short.embeddings)).all()
    assert ranking_errors(loss, short, np.arange(len(short.utts))) > 10


@pytest.mark.parametrize("options", CURVED := [v for v in VARIANTS if "geometry" in v])
def test_scoring_distance_is_the_naive_one(options: dict[str, Any]) -> None:
    loss, (x, _) = make("ham_softmax", **options), make_batch()
    e, c = loss.space.embedding_scale, options["curvature"]
    v = x * e
    v = v * (loss.space.clip_radius / v.norm(dim=1, keepdim=True)).clamp_max(1)
    z = oracle.expmap0(v, math.sqrt(c))
    expected = 2 / math.sqrt(c) * torch.atanh(math.sqrt(c) * oracle.mobius_norm(z, z.flip(0), c).diagonal())
    torch.testing.assert_close(loss.distance(x, x.flip(0)), expected, rtol=1e-8, atol=1e-10)
    assert loss.distance(x, x).abs().max() == 0


BAD: list[tuple[dict[str, Any], str]] = [
    ({"geometry": "poincare", "curvature": 0}, r"curvature \(geometry poincare\): expected a finite number above 0"),
    ({"geometry": "lorentz", "curvature": -1.0}, r"curvature \(geometry lorentz\): .*above 0, found -1.0"),
    ({"geometry": "lorentz", "curvature": math.nan}, "curvature .*found nan"),
    ({"geometry": "poincare", "curvature": "1"}, "curvature .*found '1'; write it without quotes"),
    ({"curvature": 0.5}, "curvature .*at least 1, found 0.5; there 1/sqrt.c. caps the norm .*no meaning"),
    ({"geometry": "poincare", "clip_radius": 0}, "clip_radius .*expected a finite number above 0"),
    ({"geometry": "poincare", "embedding_scale": -2}, "embedding_scale: expected a finite number above 0"),
    ({"geometry": "poincare", "centres": "sphere"}, "centres: expected one of ball, tangent, found 'sphere'"),
    ({"geometry": "poincare", "learn_curvature": "yes"}, "learn_curvature: expected true or false, found 'yes'"),
    ({"fix_radius": 1.5}, "fix_radius: expected a finite number at least 0 and at most 1, found 1.5"),
    ({"geometry": "lorentz", "curvature": 1e-7}, "curvature .*at least 0.0001"),
    ({"geometry": "poincare", "curvature": 1.0, "clip_radius": 7.0}, "clip_radius .*at most 6, found 7.0"),
    ({"geometry": "poincare", "embedding_scale": 1e39}, "embedding_scale: .*at most"),
    ({"clip_radius": 0}, "clip_radius: expected null in geometry published, .*found 0; choose"),
    ({"clip_radius": 1.0}, "clip_radius: expected null in geometry published.*choose geometry poincare or lorentz"),
    ({"centres": "tangent"}, "centres: expected ball in geometry published"),
    ({"learn_curvature": True}, "learn_curvature: expected false in geometry published"),
    ({"embedding_scale": 0.1}, "embedding_scale: expected null in geometry published"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
@pytest.mark.parametrize("name", NAMES)
def test_values_without_meaning_are_refused_in_one_line(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^loss {name}: {message}") as caught:
        build(name, D, C, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_point_of_the_published_form_that_nothing_fuses_is_still_right() -> None:
    """Below 1.0032 the floor of the denominator may act: the readable form computes it, blocks are refused."""
    loss, (x, y) = make("ham_softmax", curvature=1.001, scale=8.0), make_batch()
    assert not loss.fuses
    p = {key: value.detach() for key, value in loss.named_parameters()}
    expected = oracle.loss("ham_softmax", x, p, y, curvature=1.001, scale=8.0)
    torch.testing.assert_close(loss(x, y).loss, expected)
    with pytest.raises(ConfigError, match=r"chunk: expected auto or off where curvature is below 1.0032"):
        build("ham_softmax", D, C, curvature=1.001, chunk=4)


def test_diagnostics_of_a_case_known_by_hand() -> None:
    loss = build("ham_softmax", 2, 3, geometry="poincare", curvature=1.0, embedding_scale=1.0)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[0.5, 0.0], [0.0, 0.5], [0.0, math.tanh(1.5)]]))
    x, y = torch.tensor([[1.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 2])
    found = loss.diagnostics(x, y)
    # Collinear points: distances are differences of radii, 2|v| of an embedding and 2 artanh|w| of a centre.
    assert found["distance/target"] == pytest.approx((2.0 - 2 * math.atanh(0.5)) / 2, rel=1e-4)
    assert found["on_shell/embeddings"] == 0.5
    assert found["on_shell/centres"] == pytest.approx(1 / 3)
    assert found["centre_radius/q95"] == pytest.approx(3.0, rel=1e-4)
    assert found["centre_norm/q05"] == pytest.approx(0.5)
    assert found["embedding_norm/q05"] == 1.0
    assert found["cosine/target"] == pytest.approx(1.0)
    assert found["cosine/nearest_impostor"] == pytest.approx(0.0 + 0.5)
    assert found["curvature"] == 1.0
    assert found["embedding_scale"] == pytest.approx(1.0)


@pytest.mark.parametrize("centres", ["ball", "tangent"])
@pytest.mark.parametrize("geometry", ["poincare", "lorentz"])
def test_a_centre_is_on_the_shell_where_an_embedding_would_be_clipped(geometry: str, centres: str) -> None:
    c, clip = 2.5, 0.7
    loss = build("ham_softmax", 2, 3, geometry=geometry, curvature=c, clip_radius=clip, centres=centres)
    lengths = clip * torch.tensor([0.98, 1.02, 1.5])
    if centres == "ball":
        far = c**0.5 * lengths
        lengths = (torch.tanh(far) if geometry == "poincare" else torch.sinh(2 * far)) / c**0.5
    w = torch.tensor([[0.6, -0.8]]) * lengths[:, None]
    assert loss.space.centres_on_shell(w).tolist() == [False, True, True]


@pytest.mark.parametrize("name", ["softmax", "scaled_softmax", "am_softmax", "ram_softmax", "ham_softmax"])
def test_the_effective_scale_is_the_slope_against_the_cosine(name: str) -> None:
    """By finite differences: each embedding is turned towards its own centre at unchanged length."""
    torch.manual_seed(0)
    loss = build(name, 5, 4).double()
    with torch.no_grad():
        loss.weight.normal_(std=0.4)
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(4, (6,))
    towards = torch.nn.functional.normalize(loss.weight.detach()[y])
    ahead = torch.nn.functional.normalize(x)
    across = torch.nn.functional.normalize(towards - (towards * ahead).sum(1, keepdim=True) * ahead)
    step = 1e-5
    z, cos = [], []
    for angle in (-step, step):
        turned = (math.cos(angle) * ahead + math.sin(angle) * across) * x.norm(dim=1, keepdim=True)
        z.append(loss.logits(turned, y).gather(1, y[:, None])[:, 0])
        cos.append((torch.nn.functional.normalize(turned) * towards).sum(1))
    expected = ((z[1] - z[0]) / (cos[1] - cos[0])).mean().item()
    assert loss.diagnostics(x, y)["effective_scale"] == pytest.approx(expected, rel=1e-5)
    if name in ("am_softmax", "ram_softmax"):
        assert expected == pytest.approx(30.0, rel=1e-6)


@pytest.mark.parametrize("name", ["softmax", "scaled_softmax", "aam_softmax", "eh_am_softmax"])
def test_own_logits_are_those_of_the_matrix(name: str) -> None:
    loss, (x, y) = make(name), make_batch()
    expected = loss.logits(x, y).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(loss._own_logits(x, y), expected)


@pytest.mark.parametrize("name", ["softmax", "am_softmax", "ham_softmax", "eh_am_softmax"])
def test_diagnostics_of_very_many_speakers_look_at_a_sample(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, x, y = build(name, 4, 5000), torch.randn(64, 4), torch.randint(5000, (64,))
    whole = loss.diagnostics(x, y)
    monkeypatch.setattr(base, "DIAGNOSTIC_CENTRES", 1250)
    monkeypatch.setattr(base, "DIAGNOSTIC_PAIRS", 1250 * 64)
    with LargestTensor() as watch:
        sampled = loss.diagnostics(x, y)
    assert sampled.keys() == whole.keys()
    assert sampled["cosine/target"] == pytest.approx(whole["cosine/target"])
    assert sampled["effective_scale"] == pytest.approx(whole["effective_scale"])
    assert sampled["centre_norm/q50"] == pytest.approx(whole["centre_norm/q50"], rel=0.1)
    assert sampled["cosine/nearest_impostor"] < whole["cosine/nearest_impostor"]
    assert watch.numel <= 1250 * 64
    with torch.inference_mode():
        again = loss.diagnostics(x, y)
    assert again == sampled


def test_half_precision_parameters_keep_the_curvature() -> None:
    loss = build("ham_softmax", D, C, geometry="lorentz", curvature=4.3, learn_curvature=True)
    assert loss.bfloat16().curvature == pytest.approx(4.3, rel=1e-6)
