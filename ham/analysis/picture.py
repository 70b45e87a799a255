"""The numbers behind the page about the geometry of a system's embeddings: ``geometry.json``.

Which speakers are shown follows from their names (and their place in the tree where it is known), never from how they
come out. Where the loss has a distance the picture of the speakers uses it; otherwise it uses the chord between
directions, which is what a cosine sees. Tree and delta always use the chord, as in :mod:`ham.analysis.hierarchy`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

import ham
from ham.analysis.hierarchy import LEAST_POINTS
from ham.analysis.labels import TestSpeech
from ham.analysis.radius import Radius, centre_quantiles, measure_radii, measure_radius, quantiles
from ham.analysis.tree import SEED, Purity, average_tree, condensed, purity, speaker_means, spearman
from ham.data.kaldi_dir import invert
from ham.data.store import ArrayStore
from ham.embeddings.directions import unit_rows
from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.files import write_text
from ham.geometry import poincare
from ham.geometry.delta import chord_distances, gaussian_baseline, relative_delta
from ham.geometry.projection import project_to_disk, project_to_plane
from ham.losses.base import SpeakerLoss
from ham.model.encoder import SpeakerEncoder
from ham.provenance import git_commit, versions
from ham.score.measures import Distance
from ham.words import count

logger = logging.getLogger(__name__)

MOST_SHOWN = 20
"""Utterances of a speaker in the picture."""

MOST_LEAVES = 60
"""Speakers of the drawn tree, so that their names can be read."""

MOST_POINTS = 1000
"""Utterances behind delta, whose time grows with their third power: for 1,000 of them and the baseline, with ten base
points each, a few seconds on one core."""

RADIUS_SPEAKERS = 50
"""Most speakers whose utterances are embedded again, cropped and noisy: about a minute on a laptop."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of a radius in one condition."""

LEVELS = ("sex", "sex and accent")
"""What the labels of a speaker, one or two of them together, are called."""

Labels = Mapping[str, tuple[str, ...]]
"""Sex and accent by speaker; empty where they are not known."""


@dataclass(frozen=True)
class ShownSpeaker:
    """One speaker of the picture.

    Attributes:
        speaker: the name.
        labels: sex and accent; empty where they are not known.
        utts: utterances shown.
        points: where they are, in their order.
        within: median distance of two utterances of the speaker; None if only one is shown.
        nearest: the other shown speaker at the smallest median distance.
        nearest_distance: that distance.
    """

    speaker: str
    labels: tuple[str, ...]
    utts: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    within: float | None
    nearest: str
    nearest_distance: float


@dataclass(frozen=True)
class Picture:
    """Speakers in two dimensions, and what was lost on the way.

    Attributes:
        kind: ``disk`` or ``plane``, see :mod:`ham.geometry.projection`.
        curvature: of the space that the distances are from; 0 for the plane.
        explained: share of the spread around the centre that the picture holds.
        correlation: Spearman correlation of the distances in the picture with the true ones, over all pairs.
        ratio: median of the distance in the picture over the true one, at most 1.
        speakers: who is shown.
        origin: where an embedding of zeros is; None for the plane, where it has no direction.
    """

    kind: str
    curvature: float
    explained: float
    correlation: float | None
    ratio: float
    speakers: tuple[ShownSpeaker, ...]
    origin: tuple[float, float] | None


@dataclass(frozen=True)
class SpeakerTree:
    """Average-linkage tree of the speakers' mean directions.

    Attributes:
        speakers: the leaves.
        labels: sex and accent of each; empty where they are not known.
        merges: as :class:`ham.analysis.tree.Tree` has them.
        heights: chords of the merges.
        num_speakers: speakers behind ``purity``; more than the leaves where not all can be drawn.
        purity: dendrogram purity for each of ``LEVELS`` that is known and has two speakers in a class.
    """

    speakers: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    merges: tuple[tuple[int, int], ...]
    heights: tuple[float, ...]
    num_speakers: int
    purity: Mapping[str, Purity]


@dataclass(frozen=True)
class Delta:
    """Relative Gromov delta in the chord metric.

    Attributes:
        value: of the embeddings.
        gaussian: of as many standard normal points of as many dimensions.
        num_utterances: how many.
        embedding_dim: of how many dimensions.
    """

    value: float
    gaussian: float
    num_utterances: int
    embedding_dim: int


@dataclass(frozen=True)
class RadiusBands:
    """A radius in every condition.

    Attributes:
        quantiles: condition (of :data:`ham.analysis.radius.CONDITIONS`) to quantile (``p05`` to ``p95``) to value.
        trends: medians and rank correlations.
    """

    quantiles: Mapping[str, Mapping[str, float]]
    trends: Radius

    @property
    def constant(self) -> bool:
        """Whether the radius is the same for every utterance in every condition."""
        return self.trends.duration.correlation is None and self.trends.snr.correlation is None


@dataclass(frozen=True)
class Centres:
    """How far out the training speakers' centres lie.

    Attributes:
        kind: ``centre_radius``, the hyperbolic distance from the origin, or ``centre_norm``.
        final: 5, 50 and 95 % quantiles in the averaged model.
        epochs: epochs in which quantiles were logged; empty if none were.
        logged: ``q05``, ``q50``, ``q95`` to the value of each of these epochs.
    """

    kind: str
    final: Mapping[str, float]
    epochs: tuple[float, ...]
    logged: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Geometry:
    """Everything in ``geometry.json``.

    Attributes:
        name: the experiment's name.
        seed: the training's seed.
        loss: its loss.
        commit: of the source tree, ``-dirty`` appended where it had changes; None outside a checkout.
        versions: package name to version.
        command: the command that gives these numbers.
        roots: the test corpora.
        picture: the speakers.
        tree: the tree of all test speakers.
        delta: how tree-like the test utterances are.
        num_radius_utterances: utterances behind ``radii``.
        radii: ``norm`` and, if the loss has a distance, ``hyperbolic radius``; empty if no utterance is long enough.
        centres: the training speakers' centres.
        source: digest of all that it was made from: it is up to date while that is the same.
    """

    name: str
    seed: int
    loss: str
    commit: str | None
    versions: Mapping[str, str]
    command: str
    roots: tuple[str, ...]
    picture: Picture
    tree: SpeakerTree
    delta: Delta
    num_radius_utterances: int
    radii: Mapping[str, RadiusBands]
    centres: Centres
    source: str


def choose_speakers(speakers: Sequence[str], labels: Labels, num_speakers: int) -> list[str]:
    """Take speakers evenly from the list ordered by sex, accent and name.

    Args:
        speakers: all of them.
        labels: sex and accent by speaker, or nothing.
        num_speakers: how many are wanted.

    Returns:
        That many, or all if there are no more, in the list's order.
    """
    ordered = sorted(set(speakers), key=lambda speaker: (labels.get(speaker, ()), speaker))
    count = min(num_speakers, len(ordered))
    return [ordered[(2 * at + 1) * len(ordered) // (2 * count)] for at in range(count)]


def spread(items: Sequence[str], most: int) -> list[str]:
    """Take at most so many items, evenly from first to last.

    Args:
        items: the items.
        most: how many.

    Returns:
        Some of them in their order.
    """
    step = max(1.0, len(items) / most)
    return [items[int(at * step)] for at in range(min(most, len(items)))]


def measure_picture(
    embeddings: Mapping[str, NDArray[np.float32]],
    utts: Mapping[str, Sequence[str]],
    labels: Labels,
    distance: Distance | None,
    curvature: float,
) -> Picture:
    """Place the utterances of speakers in a picture.

    Args:
        embeddings: of each speaker to show, as they leave the backbone, shape ``(N, D)``; two speakers at least.
        utts: names of the rows.
        labels: sex and accent by speaker, or nothing.
        distance: the loss's distance, for the Poincaré disk; None for the plane.
        curvature: ``c`` of the space with this distance.

    Returns:
        The picture.

    Raises:
        DataError: if there are too few utterances or speakers.
    """
    rows = torch.from_numpy(np.concatenate(list(embeddings.values())).astype(np.float64))
    if len(embeddings) < 2 or len(rows) < LEAST_POINTS:
        found = f"{len(rows)} of {len(embeddings)}"
        raise DataError(f"geometry: expected {LEAST_POINTS} utterances of 2 speakers at least, found {found}")
    owner = np.repeat(np.arange(len(embeddings)), [len(x) for x in embeddings.values()])
    if distance is None:
        distances = chord_distances(torch.from_numpy(unit_rows(rows.numpy())))
        points, explained, others = project_to_plane(distances)
        shown = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        distances = all_distances(rows, distance)
        from_origin = distance(torch.zeros_like(rows), rows).detach()[None]
        points, explained, others = project_to_disk(distances, curvature=curvature, others=from_origin)
        shown = all_distances(points, lambda x, y: poincare.distance(x, y, curvature=1.0)) / curvature**0.5
    true, pictured = condensed(distances), condensed(shown)
    apart = true > 0
    return Picture(
        kind="plane" if distance is None else "disk",
        curvature=0.0 if distance is None else curvature,
        explained=explained,
        correlation=spearman(true, pictured),
        ratio=float(np.median(pictured[apart] / true[apart])) if apart.any() else 1.0,
        speakers=_shown(list(embeddings), utts, labels, points.numpy(), distances.numpy(), owner),
        origin=(float(others[0, 0]), float(others[0, 1])) if len(others) else None,
    )


@torch.no_grad()
def all_distances(x: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Distances of all pairs from a distance of rows: right also for points that nearly coincide.

    Args:
        x: points, shape ``(N, D)``.
        distance: row by row.

    Returns:
        Shape ``(N, N)``, float64, exactly symmetric with a diagonal of 0.
    """
    rows = torch.stack([distance(row.expand_as(x).contiguous(), x).double() for row in x])
    return ((rows + rows.T) / 2).fill_diagonal_(0.0)


def _shown(
    names: Sequence[str],
    utts: Mapping[str, Sequence[str]],
    labels: Labels,
    points: NDArray[np.float64],
    distances: NDArray[np.float64],
    owner: NDArray[np.int64],
) -> tuple[ShownSpeaker, ...]:
    found = []
    for at, name in enumerate(names):
        own = np.flatnonzero(owner == at)
        inside = distances[np.ix_(own, own)][np.triu_indices(len(own), k=1)]
        others = [other for other in range(len(names)) if other != at]
        medians = [float(np.median(distances[np.ix_(own, owner == other)])) for other in others]
        nearest = int(np.argmin(medians))
        places = tuple((float(x), float(y)) for x, y in points[own])
        within = float(np.median(inside)) if len(inside) else None
        known = labels.get(name, ())
        found.append(
            ShownSpeaker(name, known, tuple(utts[name]), places, within, names[others[nearest]], medians[nearest])
        )
    return tuple(found)


def measure_tree(embeddings: NDArray[np.float32], speakers: Sequence[str], labels: Labels) -> SpeakerTree:
    """Build the tree of the speakers, and measure how well the known one can be read off it.

    Args:
        embeddings: of all test utterances, shape ``(N, D)``.
        speakers: the speaker of each.
        labels: sex and accent by speaker, or nothing.

    Returns:
        The tree of all speakers, or of ``MOST_LEAVES`` evenly chosen ones; its purities are those of all.
    """
    names = list(dict.fromkeys(speakers))
    means = dict(zip(names, speaker_means(unit_rows(embeddings), speakers), strict=True))
    drawn = choose_speakers(names, labels, MOST_LEAVES)
    tree = average_tree(chord_distances(torch.from_numpy(np.stack([means[name] for name in drawn]))))
    return SpeakerTree(
        speakers=tuple(drawn),
        labels=tuple(labels.get(name, ()) for name in drawn),
        merges=tuple((int(left), int(right)) for left, right in tree.merges),
        heights=tuple(tree.heights.tolist()),
        num_speakers=len(names),
        purity=_purities(chord_distances(torch.from_numpy(np.stack(list(means.values())))), names, labels),
    )


def _purities(distances: Tensor, names: Sequence[str], labels: Labels) -> dict[str, Purity]:
    if not labels:
        return {}
    merges = average_tree(distances).merges
    classes = {level: [labels[name][: depth + 1] for name in names] for depth, level in enumerate(LEVELS)}
    return {level: purity(merges, found) for level, found in classes.items() if len(set(found)) < len(found)}


def measure_delta(embeddings: NDArray[np.float32]) -> Delta:
    """Measure delta and its baseline on the same number of points.

    Args:
        embeddings: of all test utterances, shape ``(N, D)``; of more than ``MOST_POINTS`` that many are drawn.

    Returns:
        Both.

    Raises:
        DataError: if there are fewer than 4.
    """
    if len(embeddings) < LEAST_POINTS:
        raise DataError(f"geometry: expected at least {LEAST_POINTS} test utterances, found {len(embeddings)}")
    if len(embeddings) > MOST_POINTS:
        drawn = np.random.default_rng(SEED).permutation(len(embeddings))[:MOST_POINTS]
        embeddings = embeddings[np.sort(drawn)]
    num_points, dim = embeddings.shape
    value = relative_delta(chord_distances(torch.from_numpy(unit_rows(embeddings))))
    return Delta(value, gaussian_baseline(num_points, dim), num_points, dim)


def measure_bands(radii: Mapping[str, NDArray[np.float64]], durations_s: NDArray[np.float64]) -> RadiusBands:
    """Quantiles of a radius in every condition.

    Args:
        radii: by condition, each shape ``(N,)``.
        durations_s: durations of the full utterances, shape ``(N,)``.

    Returns:
        Quantiles and trends.
    """
    bands = {name: quantiles(values, QUANTILES) for name, values in radii.items()}
    return RadiusBands(bands, measure_radius(radii, durations_s))


def write_geometry(path: Path, geometry: Geometry) -> None:
    """Write ``geometry.json``, whole or not at all; the same measures give the same bytes.

    Args:
        path: the file.
        geometry: what to write.
    """
    write_text(path, json.dumps(asdict(geometry), indent=1, ensure_ascii=False) + "\n")


def read_source(path: Path) -> str | None:
    """What a ``geometry.json`` was made from.

    Args:
        path: the file.

    Returns:
        Its ``source``; None if there is no file, or one that does not say.
    """
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def measure_geometry(
    encoder: SpeakerEncoder,
    table: EmbeddingTable,
    speech: TestSpeech,
    store: ArrayStore,
    *,
    curvature: float,
    num_speakers: int,
    logged: Callable[[str], tuple[list[float], list[float]]],
    command: str,
    source: str,
) -> Geometry:
    """Measure everything that the page shows.

    Args:
        encoder: what to measure.
        table: its embeddings of the test utterances.
        speech: the test utterances.
        store: their audio.
        curvature: ``c`` of the space that the loss's distance is of; 0 for a loss whose speakers are shown on a plane.
        num_speakers: speakers on the disk.
        logged: epochs and values of a quantity that the training logged.
        command: what gives these numbers.
        source: digest of all that they are made from.

    Returns:
        All measures.

    Raises:
        DataError: if table, lists and audio do not belong together, or are too small for a measure.
    """
    centres = _centres(encoder.loss, logged)  # first, as an imported model is refused here
    speakers = list(speech.utt2spk.values())
    embeddings = table.embeddings[table.rows(tuple(speech.utt2spk), "the test lists")]
    some = choose_speakers(speakers, speech.labels, RADIUS_SPEAKERS)
    utt2spk = {utt: spk for utt, spk in speech.utt2spk.items() if spk in some}
    radii, durations_s = measure_radii(encoder, table, utt2spk, store)
    logger.info(
        "measuring the tree of %s and delta of %s",
        *(count(len(set(speakers)), "speaker"), count(len(speakers), "utterance")),
    )
    return Geometry(
        name=encoder.folder.resolve().name,
        seed=encoder.seed,
        loss=encoder.loss.name,
        commit=git_commit(Path(ham.__file__).parent),
        versions={**versions(), "scipy": scipy.__version__},
        command=command,
        roots=speech.roots,
        picture=_picture(encoder.loss, table, speech, num_speakers, curvature),
        tree=measure_tree(embeddings, speakers, speech.labels),
        delta=measure_delta(embeddings),
        num_radius_utterances=len(durations_s),
        radii={name: measure_bands(values, durations_s) for name, values in radii.items()},
        centres=centres,
        source=source,
    )


def _picture(
    loss: SpeakerLoss, table: EmbeddingTable, speech: TestSpeech, num_speakers: int, curvature: float
) -> Picture:
    """Place the chosen speakers' utterances."""
    by_speaker = invert(speech.utt2spk)
    chosen = choose_speakers(list(by_speaker), speech.labels, num_speakers)
    utts = {name: spread(by_speaker[name], MOST_SHOWN) for name in chosen}
    rows = {name: table.embeddings[table.rows(utts[name], "the test lists")] for name in chosen}
    return measure_picture(rows, utts, speech.labels, loss.distance if curvature else None, curvature)


def _centres(loss: SpeakerLoss, logged: Callable[[str], tuple[list[float], list[float]]]) -> Centres:
    """Radii at the end, and those that the training logged."""
    kind = "centre_radius" if loss.has_distance else "centre_norm"
    found = {name: logged(f"diag/{kind}/{name}") for name in ("q05", "q50", "q95")}
    epochs = found["q50"][0]
    whole = all(places == epochs for places, _ in found.values())
    return Centres(
        kind=kind,
        final=centre_quantiles(loss),
        epochs=tuple(epochs) if whole else (),
        logged={name: tuple(values) for name, (_, values) in found.items()} if epochs and whole else {},
    )
