"""The numbers behind the page: right for planted points, the same each time, with and without a known tree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

import ham.losses
from ham.analysis import picture as module
from ham.analysis.picture import Centres, Geometry
from ham.analysis.radius import CONDITIONS
from ham.errors import DataError
from ham.geometry.delta import chord_distances, gaussian_baseline, relative_delta

DIM = 6
LABELS = {f"s{at}": ("fm"[at % 2], f"a{at // 4}") for at in range(8)}


def clustered(num_utts: int = 5, spread: float = 0.2) -> dict[str, NDArray[np.float32]]:
    """Eight speakers around directions of their own; those of one sex share half of theirs."""
    generator = np.random.default_rng(0)
    sexes = generator.normal(size=(2, DIM))
    centres = {name: sexes["fm".index(labels[0])] + generator.normal(size=DIM) for name, labels in LABELS.items()}
    return {
        name: (centre + spread * generator.normal(size=(num_utts, DIM))).astype(np.float32)
        for name, centre in centres.items()
    }


def names(embeddings: dict[str, NDArray[np.float32]]) -> dict[str, list[str]]:
    return {speaker: [f"{speaker}-{at}" for at in range(len(x))] for speaker, x in embeddings.items()}


def whole(labels: module.Labels, loss_name: str = "ham_softmax") -> Geometry:
    """A page's worth of numbers, from made-up embeddings."""
    found = clustered()
    loss = ham.losses.build(loss_name, DIM, 4)
    distance = loss.distance if loss.has_distance else None
    rows, speakers = np.concatenate(list(found.values())), [name for name, x in found.items() for _ in x]
    generator = np.random.default_rng(1)
    durations = generator.uniform(2, 5, len(rows))
    radii = {name: generator.normal(10, 1, len(rows)) for name in CONDITIONS}
    bands = {"norm": module.measure_bands(radii, durations)}
    if distance is not None:
        flat = {name: np.full(len(rows), 1.3) for name in CONDITIONS}
        bands["hyperbolic radius"] = module.measure_bands(flat, durations)
    logged = dict.fromkeys(("q05", "q50", "q95"), (0.1, 0.2, 0.4))
    centres = Centres("centre_radius", {"p05": 0.3, "p50": 0.4, "p95": 0.5}, (1.0, 2.0, 3.0), logged)
    return Geometry(
        name="<b>made up</b>",
        seed=2,
        loss=loss_name,
        commit=None,
        versions={"ham": "0"},
        command="python -m ham.bin.geometry --exp_dir '<x>'",
        roots=("tiny",),
        picture=module.measure_picture(found, names(found), labels, distance, 1.0),
        tree=module.measure_tree(rows, speakers, labels),
        delta=module.measure_delta(rows),
        num_radius_utterances=len(rows),
        radii=bands,
        centres=centres,
        source="0123",
    )


def test_speakers_are_taken_evenly_from_the_ordered_list() -> None:
    every = [f"s{at}" for at in range(8)]
    assert module.choose_speakers([*every, "s0"], {}, 4) == ["s1", "s3", "s5", "s7"]
    assert module.choose_speakers(every, LABELS, 4) == ["s2", "s6", "s3", "s7"]  # f a0, f a1, m a0, m a1
    assert module.choose_speakers(every[::-1], {}, 99) == every
    assert module.spread(every, 3) == ["s0", "s2", "s5"]
    assert module.spread(every, 9) == every


@pytest.mark.parametrize("name", ["published", "poincare", "lorentz"])
def test_the_disk_shows_the_distance_of_the_loss(name: str) -> None:
    found = clustered()
    loss = ham.losses.build("ham_softmax", DIM, 4, geometry=name, curvature=2.0)
    curvature = 1.0 if name == "published" else 2.0
    picture = module.measure_picture(found, names(found), LABELS, loss.distance, curvature)
    rows = torch.from_numpy(np.concatenate(list(found.values()))).double()
    distances = np.array([[float(loss.distance(x[None], y[None]).detach()) for y in rows] for x in rows])
    first, nearest = picture.speakers[0], picture.speakers[0].nearest
    assert first.within == pytest.approx(np.median(distances[:5, :5][np.triu_indices(5, 1)]))
    at = list(found).index(nearest)
    blocks = [np.median(distances[:5, 5 * other : 5 * other + 5]) for other in range(1, 8)]
    assert first.nearest_distance == pytest.approx(min(blocks)) == pytest.approx(blocks[at - 1])
    places = np.array([point for speaker in picture.speakers for point in speaker.points])
    assert (np.linalg.norm(places, axis=1) < 1).all()
    square = ((places[:, None] - places[None]) ** 2).sum(-1)
    gap = 1 - (places**2).sum(-1)
    pictured = np.arccosh(1 + 2 * square / np.outer(gap, gap)) / np.sqrt(curvature)
    above = np.triu_indices(len(rows), 1)
    assert picture.ratio == pytest.approx(np.median(pictured[above] / distances[above]), rel=1e-5)
    assert 0.3 < picture.explained < 1
    assert picture.ratio <= 1
    assert picture.correlation is not None
    assert picture.correlation > 0.6
    assert picture.origin is not None


def test_without_a_distance_it_is_the_plane_of_directions() -> None:
    found = clustered()
    picture = module.measure_picture(found, names(found), {}, None, 0.0)
    rows = np.concatenate(list(found.values())).astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False) ** 2
    assert (picture.kind, picture.origin) == ("plane", None)
    assert picture.explained == pytest.approx(values[:2].sum() / values.sum())
    assert picture.speakers[0].labels == ()
    scaled = {name: x * 7 for name, x in found.items()}
    assert module.measure_picture(scaled, names(found), {}, None, 0.0).ratio == pytest.approx(picture.ratio)


def test_pictures_of_too_little() -> None:
    found = clustered(1)
    assert module.measure_picture(found, names(found), {}, None, 0.0).speakers[0].within is None
    one = {"s0": clustered()["s0"]}
    with pytest.raises(DataError, match="found 5 of 1"):
        module.measure_picture(one, names(one), {}, None, 0.0)


def test_tree_of_speakers_and_its_purity() -> None:
    found = clustered(spread=0.05)
    rows, speakers = np.concatenate(list(found.values())), [name for name, x in found.items() for _ in x]
    tree = module.measure_tree(rows, speakers, LABELS)
    assert set(tree.speakers) == set(LABELS)
    assert tree.labels[0] == LABELS[tree.speakers[0]]
    assert list(tree.purity) == ["sex", "sex and accent"]
    assert tree.purity["sex"].value > tree.purity["sex"].chance
    unit = {name: x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for name, x in found.items()}
    means = np.stack([unit[name].mean(axis=0) for name in tree.speakers])
    distances = squareform(pdist(means / np.linalg.norm(means, axis=1, keepdims=True)))
    left, right = tree.merges[0]
    np.fill_diagonal(distances, np.inf)
    assert (
        tree.heights[0] == pytest.approx(distances.min(), abs=1e-6) == pytest.approx(distances[left, right], abs=1e-6)
    )
    assert module.measure_tree(rows, speakers, {}).purity == {}


def test_many_speakers_are_drawn_in_part_and_measured_in_whole() -> None:
    generator = np.random.default_rng(2)
    count = module.MOST_LEAVES + 10
    speakers = [f"s{at:03d}" for at in range(count)]
    labels = {name: ("f" if at % 2 else "m",) for at, name in enumerate(speakers)}
    tree = module.measure_tree(generator.normal(size=(count, DIM)).astype(np.float32), speakers, labels)
    assert (len(tree.speakers), len(tree.merges), tree.num_speakers) == (count - 10, count - 11, count)
    assert "sex" in tree.purity


def test_delta_stands_beside_its_baseline() -> None:
    rows = np.random.default_rng(3).normal(size=(30, DIM)).astype(np.float32)
    found = module.measure_delta(rows)
    assert found.value == pytest.approx(relative_delta(chord_distances(torch.from_numpy(rows).double())))
    assert found.gaussian == gaussian_baseline(30, DIM)
    assert (found.num_utterances, found.embedding_dim) == (30, DIM)
    with pytest.raises(DataError, match="at least 4"):
        module.measure_delta(rows[:3])


def test_delta_of_many_is_that_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 20)
    rows = np.random.default_rng(3).normal(size=(30, DIM)).astype(np.float32)
    found = module.measure_delta(rows)
    assert found.num_utterances == 20
    assert found == module.measure_delta(rows)


def test_bands_are_quantiles() -> None:
    generator = np.random.default_rng(4)
    radii = {name: generator.normal(size=50) for name in CONDITIONS}
    found = module.measure_bands(radii, np.full(50, 3.0))
    assert found.quantiles["1 s"]["p25"] == np.quantile(radii["1 s"], 0.25)
    assert found.quantiles["0 dB"]["p50"] == found.trends.snr.median["0 dB"]
    assert list(found.quantiles["full"]) == ["p05", "p25", "p50", "p75", "p95"]
    assert not found.constant
    assert module.measure_bands({name: np.ones(50) for name in radii}, np.full(50, 3.0)).constant


def test_same_measures_same_file(tmp_path: Path) -> None:
    for name in "ab":
        module.write_geometry(tmp_path / name, whole(LABELS))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = json.loads((tmp_path / "a").read_text())
    assert len(found["picture"]["speakers"]) == 8
    assert found["tree"]["purity"]["sex"]["chance"] > 0
