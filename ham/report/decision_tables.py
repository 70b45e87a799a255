"""Tables of thresholds, of what they give on the test lists, of error rates by duration, and of searches (1:N)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ham.score.decisions import Decisions, OperatingPoint
from ham.score.intervals import few_speakers
from ham.score.results import ListRates, Results, decimals, per_cent, with_interval

POINTS = {
    "eer": "equal error rates",
    "min_dcf_p01": "minDCF 0.01",
    "min_dcf_p05": "minDCF 0.05",
    "far_1": "false alarms 1 %",
    "far_0_1": "false alarms 0.1 %",
    "far_0_01": "false alarms 0.01 %",
}
"""How the operating points are called in print."""


class Titled(NamedTuple):
    """A table with its words.

    Attributes:
        title: its heading.
        lead: a sentence before it.
        cells: heads of the columns, and the rows.
        num_left: columns that stand to the left.
        remarks: sentences after it.
    """

    title: str
    lead: str
    cells: tuple[list[str], list[list[str]]]
    num_left: int
    remarks: list[str]


def decision_tables(results: Results) -> list[Titled]:
    """All that an experiment has of these tables.

    Args:
        results: the numbers.

    Returns:
        The tables in the order in which a report shows them.
    """
    found = [_thresholds([*results.decisions.values()])] if results.decisions else []
    found += [_on_the_lists(results)] if results.at_thresholds else []
    found += [_durations(results)] if results.durations else []
    return found + ([_retrieval(results)] if results.retrieval else [])


def _thresholds(decisions: Sequence[Decisions]) -> Titled:
    known = [(one, point) for one in decisions for point in one.points if point.threshold is not None]
    rows = [
        [one.backend, POINTS[point.name], _with_interval(point), per_cent(point.miss), per_cent(point.false_alarm)]
        for one, point in known
    ]
    first = decisions[0]
    return Titled(
        "Thresholds",
        f"From which score on two recordings count as the same speaker's, chosen on {first.num_target:,} target and "
        f"{first.num_nontarget:,} non-target trials of {first.whose}.",
        (["back-end", "chosen for", "threshold [95 %]", "miss %", "false alarm %"], rows),
        2,
        [
            "[95 %]: interval over draws of these speakers (bootstrap); the rates are those of the same trials.",
            *([f"{text}."] if (text := few_speakers(first.num_speakers)) else []),
            *(f"{POINTS[point.name]}: {point.note}." for point in first.points if point.note),
            *(f"Log-likelihood ratio of {one.backend}: {_ratio(one)}." for one in decisions),
        ],
    )


def _with_interval(point: OperatingPoint) -> str:
    numbers = (decimals(value, 3) for value in (point.threshold, point.low, point.high))
    return "{} [{}, {}]".format(*numbers)


def _ratio(decisions: Decisions) -> str:
    return f"{decimals(decisions.scale, 2)} x score {decimals(decisions.offset, 2, '+')} (natural logarithm)"


def _on_the_lists(results: Results) -> Titled:
    """A row for each list and back-end, a column for each point."""
    found = {(one.trial_list, one.backend, one.point): one for one in results.at_thresholds}
    points = list(dict.fromkeys(point for _, _, point in found))
    rows = [
        [name, backend, *(_both(found.get((name, backend, point))) for point in points)]
        for name, backend in dict.fromkeys((name, backend) for name, backend, _ in found)
    ]
    return Titled(
        "Thresholds on the test lists",
        "What these thresholds give on speakers that they were not chosen on: miss rate and false-alarm rate, %.",
        (["list", "back-end", *(POINTS[point] for point in points)], rows),
        2,
        ["Where these rates are above those of the table before, expect these: a threshold is chosen on few speakers."],
    )


def _durations(results: Results) -> Titled:
    rows = [
        [
            one.trial_list,
            "whole" if one.seconds is None else f"{one.seconds:g} s",
            with_interval(one.eer, one.eer_low, one.eer_high),
            per_cent(one.miss),
            per_cent(one.false_alarm),
            "-" if one.seconds is None else f"{one.num_short:,} of {one.num_utts:,}",
        ]
        for one in results.durations
    ]
    return Titled(
        "Durations",
        "How the cosine does on short speech: every test utterance cut to so many seconds, on both sides of a trial.",
        (["list", "cut to", "EER % [95 %]", "miss %", "false alarm %", "shorter, left whole"], rows),
        2,
        ["Miss and false alarm are at the threshold for equal error rates, which was chosen on whole utterances."],
    )


def _retrieval(results: Results) -> Titled:
    rows = [
        [
            one.trial_list,
            f"{one.num_speakers:,} by {one.num_models:,} models",
            f"{one.num_enrolled:,} of {one.num_searches:,}",
            with_interval(one.p_at_1, one.p_at_1_low, one.p_at_1_high),
            with_interval(one.p_at_10, one.p_at_10_low, one.p_at_10_high),
            with_interval(one.fnir, one.fnir_low, one.fnir_high),
        ]
        for one in results.retrieval
    ]
    return Titled(
        "Retrieval",
        "Every test utterance searched for among all enrolled speakers of its list, by the cosine.",
        (["list", "enrolled", "tests of them", "P@1 % [95 %]", "P@10 % [95 %]", "FNIR % at FPIR 1 % [95 %]"], rows),
        1,
        [
            "P@1, P@10: tests of enrolled speakers whose speaker comes first, or is among the first ten.",
            "FNIR: those whose speaker does not come first with a score that 1 % of strangers reach; the strangers are "
            "the tests, searched for among all other speakers. Not given for fewer than 100 tests.",
        ],
    )


def _both(rates: ListRates | None) -> str:
    return "-" if rates is None else f"{per_cent(rates.miss)} / {per_cent(rates.false_alarm)}"
