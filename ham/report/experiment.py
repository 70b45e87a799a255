"""What the report of an experiment shows, read from its folder, and ``RESULTS.md``; the page: experiment_page.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ham.errors import DataError
from ham.markdown import bullets, escape_markdown, fenced, markdown_table
from ham.provenance import hardware
from ham.report.decision_tables import Titled, decision_tables
from ham.report.history import History, read_history, read_if_there
from ham.report.text_tables import table
from ham.report.wording import notes
from ham.score.backends import DEFAULT
from ham.score.curves import Curves, read_curves
from ham.score.results import Results, read_results


@dataclass(frozen=True)
class Experiment:
    """Everything that a report shows.

    Attributes:
        results: the numbers and what they came from.
        curves: what the DET curves and histograms are drawn from.
        history: the training log.
        config: the resolved configuration, parsed.
        config_text: the same as it stands in the file.
        parameters: number of learnt parameters of the ``backbone`` and the ``loss``, where known.
        hardware: processor, cores, accelerator.
    """

    results: Results
    curves: tuple[Curves, ...] = ()
    history: History = field(default_factory=History)
    config: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ""
    parameters: Mapping[str, int] = field(default_factory=dict)
    hardware: str = ""


def read_experiment(exp_dir: Path, parameters: Mapping[str, int] | None = None) -> Experiment:
    """Collect what an experiment's folder holds; only ``results.json`` must be there.

    Args:
        exp_dir: the experiment's folder.
        parameters: number of learnt parameters of the ``backbone`` and the ``loss``, where known.

    Returns:
        The content; the hardware is what the training logged, or else this machine.

    Raises:
        DataError: if ``results.json`` is missing or a file is damaged.
    """
    results = read_results(exp_dir / "results.json")
    curves = read_curves(exp_dir / "curves.json") if (exp_dir / "curves.json").exists() else []
    history = read_history(exp_dir / "train.jsonl")
    text = read_if_there(exp_dir / "config.yaml")
    return Experiment(
        results=results,
        curves=tuple(curves),
        history=history,
        config=_parsed(text, exp_dir / "config.yaml"),
        config_text=text,
        parameters=parameters or {},
        hardware=str(history.facts.get("hardware") or hardware()),
    )


def _parsed(text: str, path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: expected YAML, found something else; delete it to report without") from error
    return content if isinstance(content, dict) else {}


def facts(experiment: Experiment) -> list[tuple[str, str]]:
    """What has to be known of the numbers beside the command: the system, its training, where they were made.

    Args:
        experiment: the experiment.

    Returns:
        Pairs of a name and a text; what is unknown is left out.
    """
    results, last = experiment.results, experiment.history.epochs[-1:]
    pairs = [
        ("Loss", _part(experiment.config.get("loss"))),
        ("Backbone", _part(experiment.config.get("backbone"))),
        ("Parameters", ", ".join(f"{part} {_count(number)}" for part, number in experiment.parameters.items())),
        ("Epochs", str(last[0]["epoch"]) if last else ""),
        ("Seed", str(results.seed)),
        ("Back-ends", _further_backends(results)),
        ("Scoring", ", ".join(f"{name} {value}" for name, value in results.settings.items())),
        ("Commit", results.commit or "unknown (not run from a checkout)"),
        ("Hardware", experiment.hardware),
        ("Versions", ", ".join(f"{name} {version}" for name, version in results.versions.items())),
    ]
    return [(name, text) for name, text in pairs if text]


def _further_backends(results: Results) -> str:
    """How the training's command goes on to give the back-ends that it does not give by itself."""
    names = list(dict.fromkeys(result.backend for result in results.results))
    return "" if set(names) <= set(DEFAULT) else f'the same with --stage 5 --backends "{" ".join(names)}"'


def _part(block: object) -> str:
    """``ham_softmax (curvature 3.0, margin 0.2)`` for a configuration's block."""
    if not isinstance(block, Mapping) or "name" not in block:
        return ""
    options = ", ".join(f"{key} {value}" for key, value in block.items() if key != "name" and value is not None)
    return f"{block['name']} ({options})" if options else str(block["name"])


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e5 else f"{number:,}"


def markdown(experiment: Experiment) -> str:
    """``RESULTS.md``: the table, and what is needed to get it again.

    Args:
        experiment: what to show.

    Returns:
        The file's text.
    """
    results = experiment.results
    return "\n".join(
        [
            f"# Results of {escape_markdown(results.name)}",
            "",
            *markdown_table(*table(results.results), num_left=2),
            "",
            "Command:",
            "",
            *fenced(results.command),
            "",
            *bullets(f"{name}: {text}" for name, text in facts(experiment)),
            "",
            *bullets(notes(results)),
            *(line for shown in decision_tables(results) for line in _titled(shown)),
            "",
        ]
    )


def _titled(shown: Titled) -> list[str]:
    """Lines of one of the further tables."""
    return [
        "",
        f"## {shown.title}",
        "",
        escape_markdown(shown.lead),
        "",
        *markdown_table(*shown.cells, num_left=shown.num_left),
        "",
        *bullets(shown.remarks),
    ]
