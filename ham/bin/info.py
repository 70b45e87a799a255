"""What a model is: network, numbers with their intervals, thresholds, licence, where it comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ham.audio import SAMPLE_RATE
from ham.bin._use_options import add_json, answer
from ham.cli import Parser
from ham.errors import ConfigError
from ham.model.card import NOT_STATED, eer_of, origin, shown, threshold_rows, training_of
from ham.model.contents import Contents, of_experiment
from ham.model.directory import MODEL, read_directory
from ham.model.load import find
from ham.report.text_tables import text_table
from ham.score.results import ListResult


def main(argv: Sequence[str]) -> None:
    """Print it.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    if not options.model:
        raise ConfigError("ham info: expected a model, found none; name one, or set the variable HAM_MODEL")
    folder = find(options.model)
    contents = read_directory(folder) if (folder / MODEL).exists() else of_experiment(folder)
    answer(options, document(contents), in_words(contents))


def _parser() -> Parser:
    parser = Parser(prog="ham info", description=__doc__)
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        default=os.environ.get("HAM_MODEL"),
        help="an experiment's folder, a model directory, or owner/name at the hub; else what HAM_MODEL names",
    )
    add_json(parser)
    return parser


def document(contents: Contents) -> dict[str, Any]:
    """What ``--json`` prints; every result is in it, whatever its back-end."""
    results = contents.results.results if contents.results else ()
    return {
        **_plain(contents),
        "licence": contents.licence or None,
        "folder": str(contents.folder),
        "results": [_as_in_the_file(entry) for entry in results],
        "decisions": contents.decisions.to_dict() if contents.decisions else None,
        "num_cohort": 0 if contents.cohort is None else len(contents.cohort),
        "provenance": origin(contents),
    }


def _as_in_the_file(entry: ListResult) -> dict[str, Any]:
    """A result with the keys of ``results.json``."""
    values = asdict(entry)
    return {"list": values.pop("trial_list"), **values}


def _plain(contents: Contents) -> Mapping[str, Any]:
    """The system in single values."""
    training = training_of(contents)
    return {
        "name": contents.name,
        "backbone": contents.config.backbone.name,
        "loss": contents.config.loss.name,
        "parameters": contents.parameters,
        "embedding_dim": contents.config.backbone.embedding_dim,
        "sample_rate": SAMPLE_RATE,
        "training": training.speech,
        "data_licence": training.licence,
        "licence": contents.licence or NOT_STATED,
    }


def in_words(contents: Contents) -> str:
    """The answer for people."""
    lines = [f"{key.replace('_', ' '):16} {value}" for key, value in _plain(contents).items()]
    lines += [f"{key:16} {value}" for key, value in origin(contents).items()]
    found = shown(contents.results) if contents.results else []
    results = [[entry.trial_list, entry.backend, eer_of(entry)] for entry in found]
    lines += ["", text_table(["list", "back-end", "EER % [95 %]"], results) if results else "no results: not tested"]
    if contents.decisions:
        head = ["threshold", "cosine [95 %]", "misses %", "false alarms %"]
        lines += ["", text_table(head, [*threshold_rows(contents.decisions)]), f"chosen on {contents.decisions.whose}"]
    else:
        lines += ["no thresholds: stage 6 chooses them"]
    return "\n".join(lines)
