"""What a list cannot tell is counted, each count against a count by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ham.data.trial_remarks import FEW, NO_RATES, Recording, refusals, remarks
from ham.data.trials import Trials

SEXES = {"a": "f", "b": "f", "c": "m", "d": "m", "e": None}
RECORDINGS = {
    f"{spk}-{session}-{number}": Recording(spk, session, sex)
    for spk, sex in SEXES.items()
    for session in "xyz"
    for number in range(4)
}
UTTS = sorted(RECORDINGS)


def trials_of(rows: list[tuple[str, str, int]], models: dict[str, tuple[str, ...]] | None = None) -> Trials:
    enrol, test, labels = zip(*rows, strict=True)
    return Trials(enrol, test, np.array(labels, np.int8), models or {})


def session_of(utt: str) -> str:
    return utt[:3]


GOOD = [
    (one, other, int(one[0] == other[0]))
    for number, one in enumerate(UTTS)
    for other in UTTS[number + 1 :]
    if session_of(one) != session_of(other)
]
TARGETS = [row for row in GOOD if row[2]]
NONTARGETS = [row for row in GOOD if not row[2]]


def said(rows: list[tuple[str, str, int]], models: dict[str, tuple[str, ...]] | None = None) -> list[str]:
    trials = trials_of(rows, models)
    assert not refusals(trials, RECORDINGS)
    return remarks(trials, RECORDINGS)


def test_of_a_good_list_nothing_is_said() -> None:
    assert said(GOOD) == []


@pytest.mark.parametrize("count", [1, 7])
def test_trials_of_a_recording_with_itself_are_counted(count: int) -> None:
    (note,) = said([*GOOD, *((utt, utt, 1) for utt in UTTS[:count])])
    assert note == f"{count} of {len(GOOD) + count} trials compare a recording with itself, which is no test"


def test_a_test_recording_of_the_model_is_one_with_itself() -> None:
    models = {"m": ("a-x-0", "a-x-1"), "n": ("b-x-0",)}
    rows = [*GOOD, ("m", "a-x-1", 1), ("m", "a-y-1", 1), ("n", "a-x-0", 0), ("n", "b-x-0", 1)]
    (note,) = said(rows, models)
    assert note.startswith(f"2 of {len(rows)} trials compare a recording with itself")


@pytest.mark.parametrize(("same", "mirrored"), [(1, 0), (0, 3), (4, 5)])
def test_repeated_trials_are_counted_in_either_order(same: int, mirrored: int) -> None:
    rows = [*GOOD, *GOOD[:same], *((other, one, label) for one, other, label in GOOD[10 : 10 + mirrored])]
    naive = sum(count - 1 for count in Counter(frozenset(row[:2]) for row in rows).values())
    (note,) = said(rows)
    assert note.startswith(f"{naive} of {len(rows)} trials repeat another, in this or the other order")
    assert naive == same + mirrored


@pytest.mark.parametrize(("targets", "nontargets"), [(1, 0), (0, 2), (3, 4)])
def test_labels_against_the_folders_are_counted_by_kind(targets: int, nontargets: int) -> None:
    wrong = {row[:2] for row in (*NONTARGETS[:targets], *TARGETS[:nontargets])}
    rows = [(one, other, 1 - label if (one, other) in wrong else label) for one, other, label in GOOD]
    first = next(row for row in rows if row[:2] in wrong)
    (note,) = said(rows)
    assert note == (
        f"{targets + nontargets} of {len(rows)} labels disagree with the speakers' folders (target of two speakers: "
        f"{targets}, non-target of one: {nontargets}), the first for {first[0]} and {first[1]}"
    )


@pytest.mark.parametrize("share", [0.0, 0.4, 0.5, 1.0])
def test_targets_within_sessions_are_said_from_half_on(share: float) -> None:
    within = [(f"{s}-{x}-{i}", f"{s}-{x}-{j}", 1) for s in SEXES for x in "xyz" for j in range(4) for i in range(j)]
    across = TARGETS[: round(len(within) * (1 - share) / share) if share else len(TARGETS)] if share < 1 else []
    notes = said([*(within if share else []), *across, *NONTARGETS])
    assert len(notes) == (share >= 0.5)
    if notes:
        assert notes[0].startswith(f"{len(within)} of {len(within) + len(across)} targets are within a session")


def test_models_are_in_no_session() -> None:
    models = {spk: (f"{spk}-x-0", f"{spk}-x-1") for spk in SEXES}
    rows = [(spk, utt, int(utt[0] == spk)) for spk in SEXES for utt in UTTS if not utt.endswith(("x-0", "x-1"))]
    assert said(rows, models) == []


@pytest.mark.parametrize(
    ("speakers", "expected"), [("ac", True), ("acbd", False), ("ab", False), ("ae", False), ("ce", False)]
)
def test_nontargets_across_sexes_only_are_said(speakers: str, expected: bool) -> None:
    nontargets = [row for row in NONTARGETS if {row[0][0], row[1][0]} <= set(speakers)]
    notes = said([*TARGETS, *nontargets])
    note = f"all {len(nontargets)} non-targets compare speakers of two sexes, which is the easier part"
    assert notes == ([note] if expected else [])


def test_one_enrolled_speaker_is_said() -> None:
    rows = [row for row in GOOD if row[0].startswith("a")]
    (note,) = said(rows)
    assert note.startswith(f"all {len(rows)} trials enrol one speaker")


@pytest.mark.parametrize(("targets", "nontargets"), [(FEW, FEW), (FEW - 1, FEW), (FEW, 1), (3, 200)])
def test_few_trials_are_said_with_the_resolution(targets: int, nontargets: int) -> None:
    notes = said(
        [*TARGETS[:: len(TARGETS) // targets][:targets], *NONTARGETS[:: len(NONTARGETS) // nontargets][:nontargets]]
    )
    expected = f"{targets} target and {nontargets} non-target trials are few"
    assert [note.partition(":")[0] for note in notes] == ([expected] if min(targets, nontargets) < FEW else [])
    if notes:
        assert f" {100 / min(targets, nontargets):.1f} % " in notes[0]


@pytest.mark.parametrize("rows", [TARGETS, NONTARGETS, TARGETS[:1]])
def test_one_kind_is_said(rows: list[tuple[str, str, int]]) -> None:
    notes = said(rows)
    assert NO_RATES in notes[0]
    assert not any("few" in note for note in notes)


def test_what_tells_nothing_is_refused() -> None:
    itself = [*((utt, utt, 1) for utt in UTTS), *NONTARGETS]
    (problem,) = refusals(trials_of(itself), RECORDINGS)
    assert problem.startswith(f"all {len(UTTS)} targets compare a recording with itself; list pairs")
    swapped = [(one, other, 1 - label) for one, other, label in GOOD]
    (problem,) = refusals(trials_of(swapped), RECORDINGS)
    assert f"all {len(GOOD)} labels say the opposite" in problem
    assert problem.endswith("swap the labels")
    models = {"m": ("a-x-0",)}
    assert refusals(trials_of([("m", "a-x-0", 1), ("m", "b-x-0", 0)], models), RECORDINGS)


def test_remarks_stand_together() -> None:
    rows = [
        ("a-x-0", "a-x-0", 1),
        ("a-x-0", "a-x-1", 1),
        ("a-x-1", "a-x-0", 1),
        ("a-x-0", "b-x-0", 1),
        ("a-y-0", "c-x-0", 0),
    ]
    words = ("with itself", "repeat another", "labels disagree", "within a session", "two sexes", "enrol one", "few")
    assert all(word in note for word, note in zip(words, said(rows), strict=True))
