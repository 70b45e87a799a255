"""The page about the geometry of a system's embeddings: one HTML file, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ham.analysis.picture import Centres, Geometry, Picture, RadiusBands, ShownSpeaker, SpeakerTree
from ham.report import figures, geometry_figures, html
from ham.report.figures import Line
from ham.report.html import Figure
from ham.score.results import decimals

ENLARGED_BELOW = 0.7
"""A disk whose points stay within this radius is shown a second time, enlarged."""

_RADII = {"norm": "length"}
"""What a radius is called here; another keeps its name."""

_Cells: TypeAlias = tuple[list[str], list[list[str]]]
"""Heads of a table's columns, and its rows."""


def render(geometry: Geometry) -> str:
    """Make the page.

    Args:
        geometry: what to show.

    Returns:
        A complete HTML document.
    """
    picture, tree = geometry.picture, geometry.tree
    names = _names(geometry)
    return html.render(
        "geometry.html",
        title=geometry.name,
        subtitle=f"Geometry of the embeddings, {geometry.loss}, seed {geometry.seed}, {', '.join(geometry.roots)}",
        links=[("report.html", "Results")],
        geometry=geometry,
        pictures=_pictures(picture, [names[speaker.speaker] for speaker in picture.speakers]),
        speakers=_speakers(picture.speakers, names),
        tree_figure=_tree(tree, [names[speaker] for speaker in tree.speakers]),
        purity=[[level, decimals(p.value, 3), decimals(p.chance, 3)] for level, p in tree.purity.items()],
        leaves=_leaves(tree, names),
        trends=[figure for name, found in geometry.radii.items() for figure in _trends(name, found)],
        quantiles=[_quantiles(name, found) for name, found in geometry.radii.items() if not found.constant],
        delta=_delta(geometry),
        centre_measure=_centre_measure(geometry.centres),
        centres_at_the_end=_reach(geometry.centres),
        centre_figures=_centres(geometry.centres),
        facts=_facts(geometry),
    )


def _names(geometry: Geometry) -> dict[str, str]:
    """What speakers are called: without the corpus where there is only one, and with what is known of them."""
    prefix = f"{geometry.roots[0]}-" if len(geometry.roots) == 1 else ""
    labels = dict(zip(geometry.tree.speakers, geometry.tree.labels, strict=True))
    labels |= {speaker.speaker: speaker.labels for speaker in geometry.picture.speakers}
    return {name: " ".join([name.removeprefix(prefix), *known]) for name, known in labels.items()}


def _pictures(picture: Picture, legend: Sequence[str]) -> list[Figure]:
    """The plane or the whole disk and, where the points fill little of the disk, its middle before it; one legend."""
    num_points = sum(len(speaker.points) for speaker in picture.speakers)
    described = f"{num_points} utterances; the picture holds {100 * picture.explained:.0f} % of their spread"
    is_disk = picture.kind == "disk"
    extent = geometry_figures.reach(picture)
    enlarged = is_disk and extent < ENLARGED_BELOW
    drawn = geometry_figures.disk(picture, () if enlarged else legend)
    whole = Figure(drawn, "The whole disk" if is_disk else "Directions", described)
    if not enlarged:
        return [whole]
    middle = geometry_figures.disk(picture, legend, whole=False)
    times = f"Enlarged {1 / (1.08 * extent or 1):.1f} times; the rim is outside"
    return [Figure(middle, "Its middle", times), whole]


def _speakers(speakers: Sequence[ShownSpeaker], names: Mapping[str, str]) -> _Cells:
    head = ["speaker", "utterances", "median distance within", "nearest shown speaker", "median distance to it"]
    return head, [
        [names[s.speaker], str(len(s.points)), decimals(s.within, 3), names[s.nearest], decimals(s.nearest_distance, 3)]
        for s in speakers
    ]


def _tree(tree: SpeakerTree, leaves: Sequence[str]) -> Figure:
    num_drawn = len(tree.speakers)
    shown = "" if num_drawn == tree.num_speakers else f", {num_drawn} of {tree.num_speakers} evenly taken"
    known = " Square and branch: the known sex" if any(tree.labels) else ""
    description = f"Average linkage of the speakers' mean directions{shown}; {_split(tree)}.{known}"
    return Figure(geometry_figures.dendrogram(tree, leaves), "Test speakers", description)


def _split(tree: SpeakerTree) -> str:
    """What the two branches at the root hold."""
    sides = []
    for side in tree.merges[-1]:
        leaves = geometry_figures.leaves_below(tree)[side]
        kinds = [tree.labels[leaf][0] for leaf in leaves if tree.labels[leaf]]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        sides.append(f"{len(leaves)}{f' ({counts})' if counts else ''}")
    return f"the root parts {' from '.join(sides)}"


def _leaves(tree: SpeakerTree, names: Mapping[str, str]) -> list[list[str]]:
    """The leaves from top to bottom, each with the height at which it joins the one above: the whole tree in words."""
    order = geometry_figures.leaf_order(tree)
    heights = [None, *_gaps(tree, order)]
    return [[names[tree.speakers[leaf]], decimals(height, 3)] for leaf, height in zip(order, heights, strict=True)]


def _gaps(tree: SpeakerTree, order: Sequence[int]) -> list[float]:
    """Height at which each leaf, from the second on, joins the one above it."""
    place = {leaf: at for at, leaf in enumerate(order)}
    first, last = dict(place), dict(place)
    found = [0.0] * (len(place) - 1)
    for node, ((left, right), height) in enumerate(zip(tree.merges, tree.heights, strict=True), len(place)):
        found[last[left]] = height
        first[node], last[node] = first[left], last[right]
    return found


def _trends(name: str, found: RadiusBands) -> list[Figure]:
    """A radius against duration and against noise; nothing where it is the same everywhere."""
    if found.constant:
        return []
    name = _RADII.get(name, name)
    duration, snr = found.trends.duration, found.trends.snr
    crops = {kind: found.quantiles[kind] for kind in duration.median}
    noisy = {kind: found.quantiles[kind] for kind in reversed(list(snr.median))}
    noisy["none added"] = found.quantiles["full"]
    sides = (
        ("duration", "duration", crops, duration.correlation),
        ("noise", "signal-to-noise ratio", noisy, snr.correlation),
    )
    drawn = []
    for side, axis, quantiles, correlation in sides:
        medians = ", ".join(f"{values['p50']:.3g} at {kind}" for kind, values in quantiles.items())
        description = f"Medians {medians}; rank correlation with the {axis} {decimals(correlation, 2)}"
        picture = geometry_figures.bands(quantiles, axis, name)
        drawn.append(Figure(picture, f"{name.capitalize()} against {side}", description))
    return drawn


def _quantiles(name: str, found: RadiusBands) -> _Cells:
    shares = list(next(iter(found.quantiles.values())))
    rows = [[kind, *(f"{values[share]:.3g}" for share in shares)] for kind, values in found.quantiles.items()]
    return [_RADII.get(name, name), *map(_share, shares)], rows


def _share(name: str) -> str:
    """``5 %`` for ``p05``, and ``median``."""
    return "median" if int(name[1:]) == 50 else f"{int(name[1:])} %"


def _delta(geometry: Geometry) -> _Cells:
    found = geometry.delta
    points = f"{found.num_utterances:,} points of {found.embedding_dim} dimensions"
    rows = [["test utterances", decimals(found.value, 3)], ["Gaussian points", decimals(found.gaussian, 3)]]
    return [points, "relative delta"], rows


def _reach(centres: Centres) -> str:
    """``5 % are below 0.767, half below 0.810, 95 % below 0.865``."""
    low, middle, high = (decimals(value, 3) for value in centres.final.values())
    return f"5 % are below {low}, half below {middle}, 95 % below {high}"


def _centre_measure(centres: Centres) -> str:
    return "hyperbolic distance from the origin" if centres.kind == "centre_radius" else "length"


def _centres(centres: Centres) -> list[Figure]:
    """The centres over the epochs, or nothing where the training logged none."""
    if not centres.epochs:
        return []
    lines = [Line(_share(name), centres.epochs, values) for name, values in centres.logged.items()]
    ends = "; ".join(f"{line.name} from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines)
    unit = "distance" if centres.kind == "centre_radius" else "length"
    described = "How far out 5 %, half and 95 % of them are at most"
    return [Figure(figures.lines(lines, "epoch", unit), "Centres over epochs", described, ends)]


def _facts(geometry: Geometry) -> list[tuple[str, str]]:
    return [
        ("Seed", str(geometry.seed)),
        ("Commit", geometry.commit or "unknown (not run from a checkout)"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in geometry.versions.items())),
        ("Numbers", "geometry.json, beside this page"),
    ]
