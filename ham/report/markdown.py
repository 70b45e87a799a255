"""Several experiments side by side: one row each, one column for every list and back-end."""

from __future__ import annotations

from collections.abc import Sequence

from ham.errors import DataError
from ham.score.results import ListResult, Results, decimals, per_cent


def comparison(experiments: Sequence[Results]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table: EER in per cent with its 95 % interval, and minDCF at 0.01.

    Args:
        experiments: at least one, all scored on the same lists with the same numbers of trials.

    Returns:
        The head, and a row for each experiment; ``-`` where an experiment lacks a back-end, or the list non-targets.

    Raises:
        DataError: if two experiments were scored on different trials.
    """
    counts: dict[str, tuple[int, int]] = {}
    columns: dict[tuple[str, str], None] = {}
    for experiment in experiments:
        for result in experiment.results:
            count = (result.num_target, result.num_nontarget)
            if counts.setdefault(result.trial_list, count) != count:
                raise DataError(
                    f"{experiment.name}: {result.trial_list} has {count[0]} target and {count[1]} non-target trials, "
                    f"but {counts[result.trial_list]} in {experiments[0].name}; score both on the same list"
                )
            columns[result.trial_list, result.backend] = None
    head = ["experiment", *(f"{trial_list} {backend}" for trial_list, backend in columns)]
    rows = []
    for experiment in experiments:
        found = {(result.trial_list, result.backend): result for result in experiment.results}
        rows.append([experiment.name, *(_cell(found.get(column)) for column in columns)])
    return head, rows


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(result: ListResult | None) -> str:
    """EER, interval and minDCF in one cell."""
    if result is None or result.eer is None:
        return "-"
    eer, low, high = map(per_cent, (result.eer, result.eer_low, result.eer_high))
    return f"{eer} [{low}, {high}] / {decimals(result.min_dcf_p01, 3)}"
