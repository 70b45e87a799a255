"""The report of a comparison: what is said beside the tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ham.report.comparison import Comparison, differences, markdown, notes, without_repeats
from ham.report.comparison_tables import Column, Entry, Table
from ham.report.experiment import Experiment
from ham.report.history import History
from ham.report.published import Published
from ham.report.wording import RANK_ALIKE, RULES_AGREE, RULES_DIFFER
from ham.score.intervals import Estimate, Interval
from ham.score.results import ListResult, Results
from ham.score.seeds import Difference, SeedSummary


def experiment(loss: str, seed: int, lr: float = 0.1, commit: str | None = "c0ffee" * 6) -> Experiment:
    numbers = ListResult("x/all", "cosine", 10, 90, 0.02, 0.01, 0.03, 0.2, 0.1)
    return Experiment(
        Results(f"{loss}{seed}", seed, commit, {"ham": "1"}, f"./run.sh --loss {loss} --seed {seed}", (numbers,)),
        history=History(epochs=({"epoch": 3},)),
        config={"loss": {"name": loss}, "seed": seed, "optimiser": {"lr": lr}},
        hardware="a | processor",
    )


@pytest.fixture
def comparison() -> Comparison:
    systems = {name: tuple(experiment(name, seed) for seed in (1, 2)) for name in ("a", "b")}
    entries = {}
    for name, members in systems.items():
        difference = None if name == "a" else Difference(0.001, Interval(-0.001, 0.003), Estimate(1.0, 1))
        results = tuple(member.results.results[0] for member in members)
        entries[name] = Entry(SeedSummary(name, (0.02, 0.02), Interval(0.01, 0.03), difference, 6), results)
    published = Published("c", "b", "x/all", "cosine", 0.01048, 0.119, None, "a released log", True, False)
    entries["b"] = replace(entries["b"], published=published)
    table = Table("cosine", "a", (Column("x/all", "cosine", entries),))
    return Comparison("Losses", (table,), systems, "a", "python -m ham.bin.compare --x", "published.yaml, big")


def test_everything_that_travels_with_the_numbers(comparison: Comparison) -> None:
    text = markdown(comparison)
    for part in (
        "# Losses",
        "| b | 2.00 \\[1.00, 3.00\\] (2.00 to 2.00) | 1.048 | +0.95 |",
        "### EER minus that of a, points",
        "| b | b2 | 2 | 3 | c0ffeec0ffee | a \\| processor |",
        "./run.sh --loss b --seed 2\npython -m ham.bin.compare --x",
        "2 trainings each",
        "over draws of the speakers",
        "a released log",
        "The experiments differ in nothing but loss and seed.",
    ):
        assert part in text
    rows = [line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| b")]
    assert rows == [5, 3, 4, 7, 7]


def as_backend(table: Table, backend: str, **changes: float) -> Table:
    """The same numbers, or others, by another back-end, of the system ``b`` alone."""
    (column,) = table.columns
    entry = column.entries["b"]
    results = tuple(replace(result, backend=backend, **changes) for result in entry.results)
    return Table(backend, "a", (Column("x/all", backend, {"b": replace(entry, results=results)}),))


def test_a_table_that_repeats_the_cosine_is_left_out_with_its_reason(comparison: Comparison) -> None:
    (cosine,) = comparison.tables
    repeats = as_backend(cosine, "hyperbolic")
    assert without_repeats([cosine, repeats]) == ((cosine,), ("hyperbolic",))
    for other in (as_backend(cosine, "hyperbolic", min_dcf_p01=0.3), as_backend(cosine, "cosine+mean")):
        assert without_repeats([cosine, other]) == ((cosine, other), ())
    assert without_repeats([repeats]) == ((repeats,), ())
    perfect = as_backend(cosine, "cosine", eer=0.0), as_backend(cosine, "hyperbolic", eer=0.0)
    assert without_repeats(perfect) == (perfect, ())
    (note,) = [note for note in notes(replace(comparison, repeated=("hyperbolic",))) if RANK_ALIKE in note]
    assert note.startswith("hyperbolic: no table")


def test_single_trainings_and_single_systems_claim_less(comparison: Comparison) -> None:
    one = replace(comparison, systems={"a": comparison.systems["a"][:1]})
    text = " ".join(notes(one))
    assert "1 training." in text
    assert "the EER over draws of the speakers" in text
    assert "lowest to highest" not in text
    assert "paired" not in text
    uneven = replace(comparison, systems={**comparison.systems, "a": comparison.systems["a"][:1]})
    assert any("a 1 training, b 2 trainings" in note for note in notes(uneven))


def test_the_rules_of_the_eer_are_compared(comparison: Comparison) -> None:
    (column,) = comparison.tables[0].columns

    def with_rule(rule: float) -> Comparison:
        entries = {
            name: replace(entry, results=tuple(replace(r, eer_published=rule) for r in entry.results))
            for name, entry in column.entries.items()
        }
        return replace(comparison, tables=(Table("cosine", "a", (replace(column, entries=entries),)),))

    assert not {RULES_AGREE, RULES_DIFFER} & set(notes(comparison))
    assert RULES_AGREE in notes(with_rule(0.02))
    assert RULES_DIFFER in notes(with_rule(0.0204))


def test_nothing_published_is_said(comparison: Comparison) -> None:
    (column,) = comparison.tables[0].columns
    entries = {name: replace(entry, published=None) for name, entry in column.entries.items()}
    table = Table("cosine", "a", (replace(column, entries=entries),))
    without = replace(comparison, tables=(table,))
    assert any("Nothing was published for these systems" in note for note in notes(without))
    assert not any("ublished" in note for note in notes(replace(without, published_from="")))


def test_missing_systems_and_lists_are_named(comparison: Comparison) -> None:
    table = replace(comparison.tables[0], unscored=("x/hard by cosine",))
    more = replace(comparison, tables=(table,), systems={**comparison.systems, "c": comparison.systems["a"]})
    assert "cosine: no such scores of c." in notes(more)
    assert "cosine: no scores of x/hard by cosine." in notes(more)


def test_what_the_experiments_differ_in(comparison: Comparison) -> None:
    other = experiment("b", 1, lr=0.2, commit="decade" * 6 + "-dirty")
    found = " ".join(differences(replace(comparison, systems={**comparison.systems, "b": (other, other)})))
    assert "optimiser.lr 0.1 or 0.2" in found
    assert "loss.name" not in found
    assert "decadedecade: b seed 1, b seed 1" in found
    assert "uncommitted changes (-dirty): b seed 1" in found
    assert "b: the seeds 1, 1 are not all different." in found
