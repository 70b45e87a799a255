"""``results.json``: the numbers of an experiment and what they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ham.errors import DataError
from ham.files import write_text
from ham.score.decisions import Decisions
from ham.score.intervals import Speakers, eer_interval
from ham.score.metrics import Numbers, act_dcf, cllr, eer, min_cllr, min_dcf
from ham.score.retrieval import ListRetrieval


@dataclass(frozen=True)
class ListResult:
    """The numbers of one trial list under one back-end; ``eer`` and its interval are fractions.

    Attributes:
        trial_list: ``<root>/<list>``; the key ``list`` of the file.
        backend: ``cosine``, ``hyperbolic``, ...
        num_target: number of target trials.
        num_nontarget: number of non-target trials.
        eer: interpolated equal error rate; it and all other rates and costs are None for trials of one kind only.
        eer_low: low end of its 95 % interval (over draws of the speakers).
        eer_high: high end of it.
        min_dcf_p01: normalised minimum detection cost at ``p_target`` 0.01, costs 1.
        min_dcf_p05: the same at 0.05.
        eer_published: EER by the rule of the released HAM-Softmax code.
        act_dcf_p01: normalised actual detection cost at 0.01, of log-likelihood ratios only.
        act_dcf_p05: the same at 0.05.
        cllr: cost of log-likelihood ratios in bits, of these only.
        min_cllr: the least that a monotonic map of the scores reaches, bits.
    """

    trial_list: str
    backend: str
    num_target: int
    num_nontarget: int
    eer: float | None = None
    eer_low: float | None = None
    eer_high: float | None = None
    min_dcf_p01: float | None = None
    min_dcf_p05: float | None = None
    eer_published: float | None = None
    act_dcf_p01: float | None = None
    act_dcf_p05: float | None = None
    cllr: float | None = None
    min_cllr: float | None = None


@dataclass(frozen=True)
class ListRates:
    """What a threshold that was chosen elsewhere gives on a trial list.

    Attributes:
        trial_list: ``<root>/<list>``; the key ``list`` of the file.
        backend: ``cosine``, ``hyperbolic``, ...
        point: name of the operating point.
        miss: miss rate there, a fraction.
        false_alarm: false-alarm rate there, a fraction.
    """

    trial_list: str
    backend: str
    point: str
    miss: float
    false_alarm: float


@dataclass(frozen=True)
class DurationRates:
    """Error rates of a trial list by the cosine, its utterances cut to some seconds.

    Attributes:
        trial_list: ``<root>/<list>``; the key ``list`` of the file.
        seconds: of a cut; None for whole utterances.
        num_utts: utterances of the list.
        num_short: those of them that are shorter and stayed whole.
        eer: interpolated equal error rate, a fraction.
        eer_low: low end of its 95 % interval.
        eer_high: high end of it.
        miss: miss rate at the default threshold, which was chosen on whole utterances; None where there is none.
        false_alarm: false-alarm rate there.
    """

    trial_list: str
    seconds: float | None
    num_utts: int
    num_short: int
    eer: float
    eer_low: float
    eer_high: float
    miss: float | None = None
    false_alarm: float | None = None


@dataclass(frozen=True)
class Results:
    """Everything in ``results.json``.

    Attributes:
        name: the experiment's name.
        seed: the training's seed.
        commit: of the source tree, ``-dirty`` appended where it had changes; None outside a checkout.
        versions: package name to version.
        command: the command that gives these numbers.
        results: one entry a trial list and back-end.
        settings: options of stages 5 and 6 that the scores depend on.
        notes: what the numbers cannot tell, by list.
        decisions: thresholds and calibrations, by back-end.
        at_thresholds: what these thresholds give on the lists.
        durations: error rates of cut utterances, where they were asked for.
        retrieval: rates of searches among enrolled speakers, of the lists that enrol models.
        fingerprint: digest of the backbone's weights that all of it belongs to; empty where the file does not say.
    """

    name: str
    seed: int
    commit: str | None
    versions: Mapping[str, str]
    command: str
    results: tuple[ListResult, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    decisions: Mapping[str, Decisions] = field(default_factory=dict)
    at_thresholds: tuple[ListRates, ...] = ()
    durations: tuple[DurationRates, ...] = ()
    retrieval: tuple[ListRetrieval, ...] = ()
    fingerprint: str = ""


def evaluate(
    trial_list: str,
    backend: str,
    scores: Numbers,
    labels: Numbers,
    enrol_speakers: Speakers,
    test_speakers: Speakers,
    *,
    calibrated: bool = False,
) -> ListResult:
    """Compute the numbers of one trial list under one back-end.

    Args:
        trial_list: ``<root>/<list>``.
        backend: what made the scores.
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side.
        test_speakers: the speaker of each trial's test side.
        calibrated: whether the scores are natural logarithms of likelihood ratios, which actDCF and Cllr judge.

    Returns:
        The numbers; only the counts where all trials are targets, or none is.

    Raises:
        DataError: if scores, labels and speakers do not fit each other.
    """
    num_target = int(np.count_nonzero(np.asarray(labels)))
    num_nontarget = len(labels) - num_target
    if not num_target or not num_nontarget:
        return ListResult(trial_list, backend, num_target, num_nontarget)
    interval = eer_interval(scores, labels, enrol_speakers, test_speakers)
    return ListResult(
        trial_list=trial_list,
        backend=backend,
        num_target=num_target,
        num_nontarget=num_nontarget,
        eer=eer(scores, labels),
        eer_low=interval.low,
        eer_high=interval.high,
        min_dcf_p01=min_dcf(scores, labels, p_target=0.01),
        min_dcf_p05=min_dcf(scores, labels, p_target=0.05),
        eer_published=eer(scores, labels, "published"),
        act_dcf_p01=act_dcf(scores, labels, p_target=0.01) if calibrated else None,
        act_dcf_p05=act_dcf(scores, labels, p_target=0.05) if calibrated else None,
        cllr=cllr(scores, labels) if calibrated else None,
        min_cllr=min_cllr(scores, labels),
    )


def decimals(value: float | None, count: int, sign: str = "") -> str:
    """A number with so many decimals; what rounds to zero has no minus before it.

    Args:
        value: the number; None where there is none.
        count: decimals.
        sign: ``+`` puts a plus before what is not negative.

    Returns:
        The text; ``-`` for None.
    """
    if value is None:
        return "-"
    return f"{round(value, count) + 0.0:{sign}.{count}f}"  # -0.0 + 0.0 is 0.0


def per_cent(rate: float | None) -> str:
    """A rate as the tables print it: in per cent, two decimals.

    Args:
        rate: a fraction, or None.

    Returns:
        The text; ``-`` for None.
    """
    return "-" if rate is None else decimals(100 * rate, 2)


def with_interval(rate: float | None, low: float | None, high: float | None) -> str:
    """A rate and its interval as the tables print them, in per cent: ``1.52 [0.80, 3.83]``.

    Args:
        rate: a fraction, or None.
        low: low end of the interval, or None where there is none.
        high: high end.

    Returns:
        The text; ``-`` for None.
    """
    return per_cent(rate) + ("" if rate is None or low is None else f" [{per_cent(low)}, {per_cent(high)}]")


def write_results(path: Path, results: Results) -> None:
    """Write ``results.json``, whole or not at all; the same results give the same bytes.

    Args:
        path: the file.
        results: what to write.
    """
    content = asdict(results)
    for name in ("versions", "settings", "notes", "decisions"):
        content[name] = dict(content[name])
    for name in _ENTRIES:
        content[name] = [{"list": entry.pop("trial_list"), **entry} for entry in content[name]]
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_results(path: Path) -> Results:
    """Read ``results.json``.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        DataError: if the file is missing or lacks a field.
    """
    cure = "score the trials again (stage 6)"
    try:
        content = {**_NOT_ALWAYS, **json.loads(path.read_text(encoding="utf-8"))}
        for name, kind in _ENTRIES.items():
            content[name] = tuple(_entry(dict(entry), kind) for entry in content[name])
        content["decisions"] = {name: Decisions.from_dict(one, f"{path}") for name, one in content["decisions"].items()}
        return Results(**content)
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected results, found nothing; {cure}") from error
    except KeyError as error:
        raise DataError(f"{path}: expected the field {error}, found none; {cure}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected results as stage 6 writes them, found something else; {cure}") from error


_NOT_ALWAYS: Mapping[str, Any] = {
    "at_thresholds": (), "durations": (), "retrieval": (), "decisions": {}, "fingerprint": "",
}  # fmt: skip
"""Keys of the file that it may lack."""

_ENTRIES: Mapping[str, type[ListResult | ListRates | DurationRates | ListRetrieval]] = {
    "results": ListResult,
    "at_thresholds": ListRates,
    "durations": DurationRates,
    "retrieval": ListRetrieval,
}
"""Keys of the file that hold numbers of lists."""


def _entry(entry: dict[str, Any], kind: type[Any]) -> Any:
    found = kind(trial_list=entry.pop("list"), **entry)
    numbers = {key: value for key, value in entry.items() if key not in ("backend", "point")}
    if not all(value is None or isinstance(value, int | float) for value in numbers.values()):
        raise ValueError("expected numbers")
    return found
