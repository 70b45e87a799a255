"""The model card: ``README.md`` of a model directory, written from the experiment's results and configuration.

What is not known is said to be unknown. Its first lines, between two rules, are what the Hugging Face hub reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ham.audio import SAMPLE_RATE
from ham.markdown import escape_markdown, markdown_table
from ham.model.contents import Contents
from ham.score.decisions import Decisions
from ham.score.results import DurationRates, ListResult, Results, decimals, per_cent, with_interval

TAGS = ["speaker-verification", "speaker-recognition", "speaker-embedding", "audio"]
LIBRARY = "ham-speaker"
HUB_LICENCES = {
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0",
}  # fmt: skip
"""Names that the hub knows; any other licence is ``other`` there, with its name."""

IN_USE = ("cosine", "cosine+as_norm")
"""Back-ends by which `ham verify` and `ham identify` compare."""

NOT_STATED = "not stated; ask whoever packed this model, who can state it with `ham pack --licence`."
DATA_NOT_STATED = "not stated; ask whoever packed this model, who can state it with `ham pack --data_licence`."
_NOISE = "MUSAN and RIRS_NOISES, or noise and rooms made for the purpose, were added to it."


@dataclass(frozen=True)
class Training:
    """What a model was trained on, as sentences of Markdown.

    Attributes:
        speech: what it is.
        licence: what is known of its licence.
    """

    speech: str
    licence: str


UNKNOWN = Training("What it was trained on is not recorded.", DATA_NOT_STATED)
OWN = Training("Speech that does not belong to the recipe: a collection of whoever trained it.", DATA_NOT_STATED)
CORPORA = {
    "mini": Training(
        "The recipe's corpus `mini`: synthetic voices, made by espeak-ng. It serves to try the recipe out, and is no "
        "model of human speakers.",
        "no person's speech is in it.",
    ),
    "voxceleb": Training(
        f"VoxCeleb: speech of celebrities from videos in the web. {_NOISE}",
        "VoxCeleb is given for research, and the copyright of the speech remains with the owners of the videos. Read "
        "its terms before any other use of these weights.",
    ),
    "cnceleb": Training(
        f"CN-Celeb: speech of Chinese celebrities from media in the web. {_NOISE}",
        "CN-Celeb is given for research. Read its terms before any other use of these weights.",
    ),
    "folder": OWN,
}
"""By the name of the corpus (``--corpus``); any other is unknown."""


def training_of(contents: Contents) -> Training:
    """What a model was trained on, by the command that trained it, and what whoever packed it says of that."""
    command = contents.command
    if contents.imported:
        return Training(_imported(contents.imported), contents.data_licence or DATA_NOT_STATED)
    own = command.get("train_roots") or command.get("csv")
    found = OWN if own else CORPORA.get(command.get("corpus", ""), UNKNOWN)
    return Training(found.speech, contents.data_licence or found.licence)


def _imported(origin: Mapping[str, str]) -> str:
    """What is known of the training of an imported model."""
    file = escape_markdown(origin["file"])
    return f"Imported from {file}, a file of {origin['source']}; its training data is not stated there."


def card(contents: Contents) -> str:
    """Write the model card.

    Args:
        contents: of the model directory.

    Returns:
        Markdown.
    """
    config, results, training = contents.config, contents.results, training_of(contents)
    return _TEMPLATES.get_template("model_card.md").render(
        front=yaml.safe_dump(front_matter(contents), sort_keys=False, allow_unicode=True),
        name=contents.name,
        dim=config.backbone.embedding_dim,
        backbone=config.backbone.name,
        loss="" if contents.imported else config.loss.name,
        parameters=f"{contents.parameters:,}",
        rate=f"{SAMPLE_RATE:,}",
        speech=training.speech,
        data_licence=escape_markdown(contents.data_licence) if contents.data_licence else training.licence,
        classes=_classes(contents),
        init_from=contents.init_from,
        licence=escape_markdown(contents.licence) if contents.licence else NOT_STATED,
        rows=results_table(results) if results else [],
        durations=durations_table(results) if results else [],
        notes=[f"{name}: {note}." for name, found in (results.notes if results else {}).items() for note in found],
        thresholds=thresholds_table(contents.decisions) if contents.decisions else [],
        whose=contents.decisions.whose if contents.decisions else "",
        origin=[f"| {escape_markdown(key)} | {escape_markdown(value)} |" for key, value in origin(contents).items()],
    )


def _classes(contents: Contents) -> str:
    """How many speakers were told apart, in a sentence."""
    if contents.imported:
        return ""
    number, speeds = contents.state["num_speakers"], 1 + len(contents.config.data.speed_perturb)
    each = f", each at {speeds} speeds which count as different speakers" if speeds > 1 else ""
    return f"{number // speeds:,} speakers were told apart{each}."


def front_matter(contents: Contents) -> dict[str, Any]:
    """What the hub reads: licence, tags, library, and the EERs as its ``model-index``."""
    licence = {"license": contents.licence.lower() or "unknown"}
    if contents.licence and licence["license"] not in HUB_LICENCES:
        licence = {"license": "other", "license_name": contents.licence}
    measured = [entry for entry in shown(contents.results) if entry.eer is not None] if contents.results else []
    index = [{"name": contents.name, "results": [_measured(entry) for entry in measured]}]
    return {**licence, "library_name": LIBRARY, "tags": TAGS, **({"model-index": index} if measured else {})}


def _measured(entry: ListResult) -> dict[str, Any]:
    """One result as the hub's ``model-index`` has it."""
    value = round(100 * (entry.eer or 0), 4)
    return {
        "task": {"type": "speaker-verification", "name": "Speaker verification"},
        "dataset": {"type": entry.trial_list, "name": entry.trial_list},
        "metrics": [{"type": "eer", "name": f"EER in per cent, {entry.backend}", "value": value}],
    }


def shown(results: Results) -> list[ListResult]:
    """The results of the back-ends in use; all where these were not measured."""
    return [entry for entry in results.results if entry.backend in IN_USE] or [*results.results]


def results_table(results: Results) -> list[str]:
    """Lines of the table of EERs with their intervals."""
    head = ["trial list", "back-end", "EER % [95 %]", "minDCF 0.01", "targets", "non-targets"]
    rows = [
        [entry.trial_list, entry.backend, eer_of(entry), decimals(entry.min_dcf_p01, 3),
         f"{entry.num_target:,}", f"{entry.num_nontarget:,}"]
        for entry in shown(results)
    ]  # fmt: skip
    return markdown_table(head, rows, num_left=2)


def durations_table(results: Results) -> list[str]:
    """Lines of the table of EERs by duration; none where it was not measured."""
    rows = [
        [entry.trial_list, "whole" if entry.seconds is None else f"{entry.seconds:g} s", eer_of(entry)]
        for entry in results.durations
    ]
    return markdown_table(["trial list", "length", "EER % [95 %]"], rows, num_left=2) if rows else []


def eer_of(entry: ListResult | DurationRates) -> str:
    """An EER with its interval, in per cent: ``1.52 [0.80, 3.83]``."""
    return with_interval(entry.eer, entry.eer_low, entry.eer_high)


def thresholds_table(decisions: Decisions) -> list[str]:
    """Lines of the table of thresholds."""
    head = ["name", "threshold [95 %]", "misses %", "false alarms %"]
    return markdown_table(head, threshold_rows(decisions))


def threshold_rows(decisions: Decisions) -> Iterator[list[str]]:
    """One row an operating point: name, threshold with interval, miss and false-alarm rate in per cent."""
    for point in decisions.points:
        if point.threshold is None:
            yield [point.name, f"none: {point.note}", "-", "-"]
        else:
            interval = f" [{decimals(point.low, 3)}, {decimals(point.high, 3)}]"
            value = decimals(point.threshold, 3) + (interval if point.low is not None else "")
            yield [point.name, value, per_cent(point.miss), per_cent(point.false_alarm)]


def origin(contents: Contents) -> Mapping[str, str]:
    """Where a model comes from, in words: command, seed, commit, versions, epochs, fingerprint."""
    state, results = contents.state, contents.results
    versions = state.get("versions") or (results.versions if results else {})
    epochs, imported = state.get("epochs") or [], contents.imported
    file = "{file}, layout {layout}, SHA-256 {sha256}".format_map(imported) if imported else ""
    return {
        **({"imported from": file} if file else {}),
        "command": state["command"] or "not recorded",
        "seed": str(state["seed"]),
        "commit": contents.commit or "not recorded",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded",
        "epochs averaged": ", ".join(map(str, epochs)) or "not recorded",
        "fingerprint": contents.fingerprint,
    }


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=False,  # Markdown: what may hold anything goes through the filter
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["md"] = escape_markdown
