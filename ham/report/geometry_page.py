"""The page about the geometry of a system's embeddings: one HTML file, no script, no external resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ham.analysis.picture import Centres, Geometry, Picture, RadiusBands, ShownSpeaker, SpeakerTree
from ham.report import figures as plots
from ham.report import geometry_figures
from ham.report.figures import Line
from ham.report.html import document, grid, inline_svg, preformatted

ENLARGED_BELOW = 0.7
"""A disk whose points stay within this radius is shown a second time, enlarged."""

_MORE_CSS = """
p{max-width:46rem}
details{margin:1rem 0}
summary{cursor:pointer;color:var(--muted);font-size:.875rem}
.plain td:nth-of-type(-n+2){grid-column:auto}
.plain{margin:1rem 0}
@media screen and (max-width:56rem){.plain tbody tr{grid-template-columns:1fr}}
@media screen and (min-width:56.01rem){.plain thead th:nth-child(4){display:table-cell}}
@media print{.plain thead th:nth-child(4){display:table-cell}}
"""
"""The pages' common style hides the fourth column of a narrow table of results; here it holds numbers."""

_RULES = {
    "disk": (
        "The picture is a principal component analysis in hyperbolic space: among all hyperbolic planes the one with "
        "the smallest mean sinh² of its distance to the points; each point goes to the nearest point of that plane. "
        "It is exact for points that lie in a plane, the same wherever the points lie in the ball, and no distance "
        "grows: what is apart here is at least as far apart in truth, but what overlaps here may be apart.",
        "The centre of the disk is the middle of the points, and the cross is the origin of the ball. Circles name "
        "hyperbolic distances from the centre in the unit of the loss.",
    ),
    "plane": (
        "This loss has no hyperbolic distance, so there is no disk: the picture is an ordinary principal component "
        "analysis of the directions of the embeddings, which are all that the cosine sees. No distance grows: what is "
        "apart here is at least as far apart in truth, but what overlaps here may be apart.",
    ),
}

_DELTA_NOTES = (
    "Relative Gromov delta of the four-point condition, twice delta over the diameter, in the chord metric between "
    "directions: 0 for a tree (also for a star, in which all points are equally far apart), at most 1.",
    "It depends on the metric, the number of points and of dimensions: compare it only with the baseline beside it and "
    "with other systems on the same utterances. Many independent dimensions alone come near a star, so that a delta "
    "above the baseline does not speak against a hierarchy, nor one below it for one.",
)


def render(geometry: Geometry) -> str:
    """Make the page.

    Args:
        geometry: what to show.

    Returns:
        A complete HTML document.
    """
    names = _names(geometry)
    title = "On the Poincaré disk" if geometry.picture.kind == "disk" else "In the plane"
    about = f"Geometry of the embeddings, {geometry.loss}, seed {geometry.seed}, {', '.join(geometry.roots)}"
    sections = {
        title: _picture(geometry.picture, names),
        "Tree of the speakers": _tree(geometry.tree, names),
        "Radius against duration and noise": _radii(geometry),
        "How tree-like": _delta(geometry),
        "Speaker centres": _centres(geometry.centres),
        "How this was made": _source(geometry),
    }
    return document(geometry.name, about, sections, links={"report.html": "Results"}, style=_MORE_CSS)


def _figure(key: str, svg: bytes, title: str, description: str) -> str:
    """A picture with its words; ``key`` keeps the ids of different pictures apart."""
    picture = inline_svg(svg.decode(), f"{key}-", f"{title}. {description}")
    caption = f"<strong>{escape(title)}</strong><span>{escape(description)}</span>"
    return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"


def _notes(sentences: Iterable[str]) -> str:
    return '<ul class="notes">' + "".join(f"<li>{escape(text)}</li>" for text in sentences) + "</ul>"


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], num_words: int = 1) -> str:
    """A table whose first column names the row; columns after the first ``num_words`` hold numbers."""
    kinds = ["" if at < num_words else "n" for at in range(len(heads))]
    head = "".join(f'<th scope="col" class="{kind}">{escape(h)}</th>' for kind, h in zip(kinds, heads, strict=True))
    body = []
    for first, *others in rows:
        cells = "".join(
            f'<td role="cell" class="{kind}" data-head="{escape(h)}">{escape(cell)}</td>'
            for kind, h, cell in zip(kinds[1:], heads[1:], others, strict=True)
        )
        body.append(f'<tr role="row"><th scope="row" role="rowheader">{escape(first)}</th>{cells}</tr>')
    return (
        f'<table role="table" class="plain"><caption hidden>{escape(caption)}</caption><thead role="rowgroup">'
        f'<tr role="row">{head}</tr></thead><tbody role="rowgroup">{"".join(body)}</tbody></table>'
    )


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _names(geometry: Geometry) -> dict[str, str]:
    """What speakers are called: without the corpus where there is only one, and with what is known of them."""
    prefix = f"{geometry.roots[0]}-" if len(geometry.roots) == 1 else ""
    labels = dict(zip(geometry.tree.speakers, geometry.tree.labels, strict=True))
    labels |= {speaker.speaker: speaker.labels for speaker in geometry.picture.speakers}
    return {name: " ".join([name.removeprefix(prefix), *known]) for name, known in labels.items()}


def _picture(picture: Picture, names: Mapping[str, str]) -> str:
    is_disk, legend = picture.kind == "disk", [names[speaker.speaker] for speaker in picture.speakers]
    order = "sex, accent and name" if picture.speakers[0].labels else "name"
    known = f"distance of the loss, curvature -{picture.curvature:.3g}" if is_disk else "chord between directions"
    figures = _disks(picture, legend) if is_disk else [_plane(picture, legend)]
    return (
        f"<p>{len(picture.speakers)} test speakers, taken evenly from the list ordered by {order} and not by how they "
        "come out. Each mark is an utterance.</p>"
        + grid(figures, "pairs")
        + _speakers(picture.speakers, known, names)
        + _notes([*_RULES[picture.kind], _lost(picture)])
    )


def _lost(picture: Picture) -> str:
    what = "mean sinh² of the distance from the centre" if picture.kind == "disk" else "variance"
    return (
        f"What is left of the truth: {100 * picture.explained:.0f} % of the {what}; the rank correlation of pictured "
        f"with true distances is {_number(picture.correlation, 2)}; the median pictured distance is "
        f"{picture.ratio:.2f} of the true one."
    )


def _described(picture: Picture) -> str:
    num_points = sum(len(speaker.points) for speaker in picture.speakers)
    return f"{num_points} utterances; the picture holds {100 * picture.explained:.0f} % of their spread"


def _disks(picture: Picture, legend: Sequence[str]) -> list[str]:
    """The whole disk and, where the points fill little of it, its middle."""
    text = _described(picture)
    whole = _figure("disk", geometry_figures.disk(picture, legend), "The whole disk", text)
    extent = geometry_figures.reach(picture)
    if extent >= ENLARGED_BELOW:
        return [whole]
    middle = geometry_figures.disk(picture, legend, whole=False)
    times = f"Enlarged {1 / (1.08 * extent or 1):.1f} times; the rim is outside"
    return [_figure("middle", middle, "Its middle", times), whole]


def _plane(picture: Picture, legend: Sequence[str]) -> str:
    return _figure("plane", geometry_figures.disk(picture, legend), "Directions", _described(picture))


def _speakers(speakers: Sequence[ShownSpeaker], known: str, names: Mapping[str, str]) -> str:
    heads = ["speaker", "utterances", "median distance within", "nearest shown speaker", "median distance to it"]
    rows = [
        (names[s.speaker], str(len(s.points)), _number(s.within), names[s.nearest], _number(s.nearest_distance))
        for s in speakers
    ]
    return _details(f"The same in numbers, in all dimensions ({known})", _table("Shown speakers", heads, rows))


def _tree(tree: SpeakerTree, names: Mapping[str, str]) -> str:
    leaves = [names[speaker] for speaker in tree.speakers]
    num_drawn = len(tree.speakers)
    shown = "" if num_drawn == tree.num_speakers else f", {num_drawn} of {tree.num_speakers} evenly taken"
    description = f"Average linkage of the speakers' mean directions{shown}; {_split(tree)}"
    known = "Square and branch: the known sex" if any(tree.labels) else ""
    figure = _figure("tree", geometry_figures.dendrogram(tree, leaves), "Test speakers", f"{description}. {known}")
    order = geometry_figures.leaf_order(tree)
    heights = ["-", *(_number(height) for height in _gaps(tree))]
    rows = [(leaves[leaf], height) for leaf, height in zip(order, heights, strict=True)]
    listed = _table("Leaves from top to bottom", ["speaker", "joins the one above at chord"], rows)
    return grid([figure, _purity(tree)], "pairs") + _details("The tree in words", listed)


def _split(tree: SpeakerTree) -> str:
    """What the two branches at the root hold."""
    below: list[list[int]] = [[leaf] for leaf in range(len(tree.speakers))]
    for left, right in tree.merges:
        below.append(below[left] + below[right])
    sides = []
    for side in tree.merges[-1]:
        kinds = [tree.labels[leaf][0] for leaf in below[side] if tree.labels[leaf]]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        sides.append(f"{len(below[side])}{f' ({counts})' if counts else ''}")
    return f"the root parts {' from '.join(sides)}"


def _gaps(tree: SpeakerTree) -> list[float]:
    """Height at which each leaf, from the second on, joins the one above it; with the order this is the whole tree."""
    place = {leaf: at for at, leaf in enumerate(geometry_figures.leaf_order(tree))}
    first, last = dict(place), dict(place)
    found = [0.0] * (len(place) - 1)
    for node, ((left, right), height) in enumerate(zip(tree.merges, tree.heights, strict=True), len(place)):
        found[last[left]] = height
        first[node], last[node] = first[left], last[right]
    return found


def _purity(tree: SpeakerTree) -> str:
    if not any(tree.labels):
        return "<div><p>The corpus has no speakers.tsv, so that no known tree can be set against this one.</p></div>"
    rows = [(level, _number(found.value), _number(found.chance)) for level, found in tree.purity.items()]
    note = (
        f"Dendrogram purity over all {tree.num_speakers} speakers: the mean share of a speaker's own class in the "
        "smallest branch that joins two of it; 1 if every class is a branch. Chance: the same tree with the labels "
        "shuffled."
    )
    return f"<div>{_table('Purity', ['purity', 'value', 'chance'], rows)}{_notes([note])}</div>"


def _radii(geometry: Geometry) -> str:
    if not geometry.radii:
        return "<p>No test utterance is long enough to be cropped, so that radii were not measured.</p>"
    figures, sentences, tables = [], [], []
    for at, (name, found) in enumerate(geometry.radii.items()):
        tables.append(_quantiles(name, found))
        if found.constant:
            value = found.quantiles["full"]["p50"]
            sentences.append(
                f"The {name} is {value:.4g} for every utterance in every condition: all embeddings are clipped to one "
                "shell, and how far out they lie says nothing."
            )
        else:
            figures += _trends(f"radius{at}", name, found)
    told = (
        f"{geometry.num_radius_utterances} test utterances, cropped around their middle, and with stationary noise of "
        "random colour added. Dot: median; thick: middle half; thin: 5 to 95 %."
    )
    words = "".join(f"<p>{escape(text)}</p>" for text in (told, *sentences))
    return words + grid(figures, "pairs") + _details("The same in numbers", "".join(tables))


def _trends(key: str, name: str, found: RadiusBands) -> list[str]:
    """Figures of a radius against duration and against noise."""
    crops = {kind: found.quantiles[kind] for kind in found.trends.duration.median}
    noisy = {kind: found.quantiles[kind] for kind in reversed(list(found.trends.snr.median))}
    noisy["none added"] = found.quantiles["full"]
    sides = (
        ("duration", crops, found.trends.duration.correlation, "duration"),
        ("noise", noisy, found.trends.snr.correlation, "signal-to-noise ratio"),
    )
    figures = []
    for side, quantiles, correlation, axis in sides:
        medians = ", ".join(f"{values['p50']:.4g} at {kind}" for kind, values in quantiles.items())
        text = f"Medians {medians}; rank correlation with the {axis} {_number(correlation, 2)}"
        svg = geometry_figures.bands(quantiles, axis, name)
        figures.append(_figure(f"{key}-{side}", svg, f"{name.capitalize()} against {side}", text))
    return figures


def _quantiles(name: str, found: RadiusBands) -> str:
    quantiles = list(next(iter(found.quantiles.values())))
    heads = [name, *(f"{int(quantile[1:])} %" for quantile in quantiles)]
    rows = [(kind, *(f"{values[q]:.4g}" for q in quantiles)) for kind, values in found.quantiles.items()]
    return _table(f"Quantiles of the {name}", heads, rows)


def _delta(geometry: Geometry) -> str:
    found = geometry.delta
    points = f"{found.num_utterances:,} points of {found.embedding_dim} dimensions"
    rows = [("test utterances", _number(found.value)), ("Gaussian points", _number(found.gaussian))]
    return _table("Delta", [points, "relative delta"], rows) + _notes(_DELTA_NOTES)


def _centres(centres: Centres) -> str:
    kind = "hyperbolic distance from the origin" if centres.kind == "centre_radius" else "norm"
    low, middle, high = (centres.final[name] for name in ("p05", "p50", "p95"))
    text = (
        f"How far out the training speakers' centres lie ({kind}); in the averaged model {low:.3f}, {middle:.3f}, "
        f"{high:.3f} (5, 50, 95 %)."
    )
    if not centres.epochs:
        missing = "The training log has no such values by epoch, so that there is no curve."
        return f"<p>{text}</p><p>{missing}</p>"
    lines = [Line(f"{int(name[1:])} %", centres.epochs, values) for name, values in centres.logged.items()]
    ends = "; ".join(f"{line.name} from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines)
    svg = plots.lines(lines, "epoch", "distance" if centres.kind == "centre_radius" else kind)
    return f"<p>{text}</p>" + grid([_figure("centres", svg, "Centres over epochs", ends)])


def _source(geometry: Geometry) -> str:
    facts = {
        "Seed": str(geometry.seed),
        "Commit": geometry.commit or "unknown (not run from a checkout)",
        "Versions": ", ".join(f"{name} {version}" for name, version in geometry.versions.items()),
        "Numbers": "geometry.json, beside this page",
    }
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<dl>{pairs}<dt>Command</dt><dd>{preformatted(geometry.command, 'Command')}</dd></dl>"
