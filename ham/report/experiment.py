"""The report of an experiment: what is shown, and ``RESULTS.md``; experiment_page.py makes the HTML page."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ham.errors import DataError
from ham.provenance import hardware
from ham.score.backends import DEFAULT, parse_backend
from ham.score.curves import Curves, read_curves
from ham.score.results import PUBLISHED_RULE, ListResult, Results, read_results, rules_differ, table
from ham.words import count

logger = logging.getLogger(__name__)

EER_RULE = (
    "EER: the point where miss and false-alarm rate are equal, by linear interpolation between neighbouring "
    "operating points."
)
"""Which definition every printed EER follows."""

RULES_AGREE = (
    "By the published rule (the larger of the two rates at the operating point where they are nearest) every EER of "
    "this table has the same printed digits."
)
RULES_DIFFER = (
    f"{PUBLISHED_RULE}: the larger of the two rates at the operating point where they are nearest; shown because it "
    "differs in a printed digit."
)
INTERVAL = (
    "[95 %]: interval over draws of the speakers, on the logit scale with Student's quantile. It covers the choice of "
    "speakers and not another training run, of which one seed says nothing."
)
MIN_DCF = "minDCF: normalised minimum detection cost at a target prior of 0.01 and 0.05, costs 1."
"""How the other numbers are to be read."""

ACT_DCF = (
    "actDCF: the same cost at the threshold that Bayes' rule gives for log-likelihood ratios, so that calibration "
    "counts too; for calibrated back-ends only."
)
CLLR = (
    "Cllr: cost of the log-likelihood ratios over all priors, in bits (1: they say nothing); minCllr: the least that "
    "a monotonic map of the scores reaches, which is what discrimination alone costs."
)
MIN_CLLR = (
    "minCllr: cost over all priors, in bits (1: the scores say nothing), after the best monotonic map of the scores "
    "to log-likelihood ratios."
)
"""Added where the columns are."""

BACKENDS = {
    "cosine": "cosine of the two embeddings, each of a full utterance",
    "hyperbolic": "negative hyperbolic distance of the two embeddings, each of a full utterance",
    "fusion": "cosine and hyperbolic scores joined by logistic regression into log-likelihood ratios",
    "crops": "mean of the full-utterance cosine and of the 5 x 5 cosines between five 3-s crops of each side "
    "(the protocol published for VoxCeleb1-O)",
    "mean": "the mean embedding of the training speech subtracted first",
    "s_norm": "normalised by each side's scores against the mean embeddings of all training speakers (S-norm)",
    "as_norm": "normalised by each side's highest scores against the mean embeddings of the training speakers "
    "(adaptive S-norm)",
    "llr": "calibrated on training speakers into log-likelihood ratios, which keeps the order of the trials and so "
    "EER, minDCF and minCllr",
    "qmf": "calibrated on training speakers together with quality measures of both sides",
    "qmf_wespeaker": "the same with wespeaker's quality measures, for a prior of 0.5",
}
"""What the parts of a back-end's name mean; the protocol is full utterances wherever no ``crops`` stands."""

SAME_RANKING = (
    "Where cosine and hyperbolic agree in every digit, all embeddings lie outside the ball and are clipped to its "
    "shell; there the hyperbolic distance is a function of the cosine, and both rank the trials alike."
)
"""Added where it applies: what looks like a mistake is a property of the published geometry."""

DIAGNOSTIC = "diag/"
"""Epoch values whose name begins with this are drawn in a section of their own."""


@dataclass(frozen=True)
class History:
    """What a training run logged.

    Attributes:
        steps: the step events, oldest first.
        epochs: the epoch events, oldest first.
        facts: what all other events say, such as the hardware.
    """

    steps: tuple[Mapping[str, Any], ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def values(self, name: str, *, of_steps: bool = False, scale: float = 1.0) -> tuple[list[float], list[float]]:
        """Positions, counted in epochs, and values of one logged quantity.

        Args:
            name: its key.
            of_steps: the steps' values, not the epochs'.
            scale: factor on the values, 100 for per cent.

        Returns:
            Two lists of one length; events without the key, and values that are no finite number, are left out.
        """
        events = [event for event in (self.steps if of_steps else self.epochs) if is_number(event.get(name))]
        return [self._position(event, of_steps) for event in events], [scale * float(event[name]) for event in events]

    def _position(self, event: Mapping[str, Any], of_steps: bool) -> float:
        last = self.epochs[-1] if self.epochs else {}
        if of_steps and is_number(event.get("step")) and is_number(last.get("step")) and last["step"] > 0:
            return float(event["step"] * last["epoch"] / last["step"])
        return float(event["epoch"])

    def diagnostics(self) -> dict[str, list[str]]:
        """Names of the diagnostics, grouped: ``diag/radius/q05`` and ``diag/radius/q95`` share the group ``radius``.

        Returns:
            Group to the full names in it, in the order in which they were logged.
        """
        groups: dict[str, list[str]] = {}
        for name in dict.fromkeys(key for event in self.epochs for key in event if key.startswith(DIAGNOSTIC)):
            if self.values(name)[0]:
                short = name.removeprefix(DIAGNOSTIC)
                groups.setdefault(short.rpartition("/")[0] or short, []).append(name)
        return groups


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
    text = _text(exp_dir / "config.yaml")
    return Experiment(
        results=results,
        curves=tuple(curves),
        history=history,
        config=_parsed(text, exp_dir / "config.yaml"),
        config_text=text,
        parameters=parameters or {},
        hardware=str(history.facts.get("hardware") or hardware()),
    )


def read_history(path: Path) -> History:
    """Read ``train.jsonl``; a line that is no JSON object (a run was killed while writing it) is left out and counted.

    Args:
        path: the file; if it is missing the history is empty.

    Returns:
        The events. Where an epoch or a step was logged twice, by a resumed run, the later one counts.
    """
    steps: dict[Any, Mapping[str, Any]] = {}
    epochs: dict[Any, Mapping[str, Any]] = {}
    facts: dict[str, Any] = {}
    for event in _events(_text(path).splitlines(), path):
        if event.get("event") == "step" and is_number(event.get("epoch")):
            steps[event.get("step", len(steps))] = event
        elif event.get("event") == "epoch" and is_number(event.get("epoch")):
            epochs[event["epoch"]] = event
        else:
            facts.update(event)
    return History(tuple(steps.values()), tuple(epochs.values()), facts)


def _events(lines: Iterable[str], path: Path) -> list[dict[str, Any]]:
    events, damaged = [], 0
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            events.append(event)
        else:
            damaged += 1
    if damaged:
        logger.warning("%s: left out, since no JSON object: %s", path, count(damaged, "line"))
    return events


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, found other bytes") from error


def _parsed(text: str, path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: expected YAML, found something else; delete it to report without") from error
    return content if isinstance(content, dict) else {}


def is_number(value: object) -> bool:
    """Whether a logged value can be drawn.

    Args:
        value: anything that JSON can hold.

    Returns:
        True for a finite number that is no truth value.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def facts(experiment: Experiment) -> list[tuple[str, str]]:
    """The lines that travel with the numbers, command apart.

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
    """How the command, which is the training's, is continued to get the back-ends that it does not give by itself."""
    names = list(dict.fromkeys(result.backend for result in results.results))
    return "" if set(names) <= set(DEFAULT) else f'the same with --stage 5 --backends "{" ".join(names)}"'


def notes(results: Results) -> list[str]:
    """How the numbers are to be read.

    Args:
        results: the numbers.

    Returns:
        Sentences to show beside the table.
    """
    rates = {
        (entry.trial_list, entry.backend): (entry.eer, entry.min_dcf_p01, entry.min_dcf_p05)
        for entry in results.results
        if entry.eer is not None
    }
    same = any(rates.get((name, "cosine")) == found for (name, kind), found in rates.items() if kind == "hyperbolic")
    return [
        *eer_notes(results.results),
        INTERVAL,
        *cost_notes(results.results),
        *backend_notes(entry.backend for entry in results.results),
        *([SAME_RANKING] if same else []),
        *(f"{name}: {note}." for name, found in results.notes.items() for note in found),
    ]


def eer_notes(results: Sequence[ListResult]) -> list[str]:
    """Which definition of the EER is printed, and whether the other one agrees.

    Args:
        results: the numbers.

    Returns:
        One or two sentences; nothing is claimed of files that lack the published definition.
    """
    results = [result for result in results if result.eer is not None]
    if any(map(rules_differ, results)):
        return [EER_RULE, RULES_DIFFER]
    known = bool(results) and all(result.eer_published is not None for result in results)
    return [EER_RULE, RULES_AGREE] if known else [EER_RULE]


def cost_notes(results: Sequence[ListResult]) -> list[str]:
    """What the detection costs are, of those that the table shows.

    Args:
        results: the numbers.

    Returns:
        One sentence a kind of cost.
    """
    actual = any(result.act_dcf_p01 is not None for result in results)
    cllr = any(result.cllr is not None for result in results)
    least = any(result.min_cllr is not None for result in results)
    return [MIN_DCF, *([ACT_DCF] if actual else []), *([CLLR] if cllr else [MIN_CLLR] if least else [])]


def is_calibrated(backend: str) -> bool:
    """Whether a back-end's scores are log-likelihood ratios.

    Args:
        backend: its name.

    Returns:
        True for ``...+llr``, ``...+qmf``, ``...+qmf_wespeaker`` and every ``fusion``.
    """
    return parse_backend(backend).calibrated


def backend_notes(backends: Iterable[str]) -> list[str]:
    """What the names of back-ends mean.

    Args:
        backends: names as in ``results.json``, ``cosine+as_norm`` for one.

    Returns:
        One sentence for each part that occurs in some name, in the order of :data:`BACKENDS`.
    """
    parts = {part for backend in backends for part in backend.split("+")}
    whole = ("cosine", "hyperbolic", "fusion")
    return [
        f"{part if part in whole else '+' + part}: {meaning}." for part, meaning in BACKENDS.items() if part in parts
    ]


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
    head, rows = table(results.results)
    command = fenced(results.command)
    return "\n".join(
        [
            f"# Results of {escape_markdown(results.name)}",
            "",
            *markdown_table(head, rows, num_left=2),
            "",
            "Command:",
            "",
            *command,
            "",
            *(f"- {name}: {escape_markdown(text)}" for name, text in facts(experiment)),
            "",
            *(f"- {escape_markdown(note)}" for note in notes(results)),
            "",
        ]
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, num_left: int = 1) -> list[str]:
    """Lines of a Markdown table.

    Args:
        head: heads of the columns.
        rows: as many cells each.
        num_left: number of columns set to the left, the first ones; numbers go to the right.

    Returns:
        One line for the head, one for the rule, one a row; the cells are escaped.
    """
    rule = ["---"] * num_left + ["---:"] * (len(head) - num_left)
    cells = [[escape_markdown(cell) for cell in row] for row in (head, *rows)]
    return ["| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:])]


def escape_markdown(text: str) -> str:
    """Escape whatever Markdown or its embedded HTML would interpret; an underscore within a word is left alone.

    Args:
        text: any text.

    Returns:
        One line that Markdown shows as ``text``.
    """
    one_line = " ".join(text.split())
    escaped = re.sub(r"([\\`*{}\[\]<>|#&~$])", r"\\\1", one_line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


def fenced(text: str) -> Sequence[str]:
    """A code block whose fence is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}sh", *text.splitlines(), fence]
