"""Generated trials follow their rules, depend on the seed alone, and use what there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ham.data.trial_generation import MAX_UTTS_PER_SPEAKER, evenly_spaced, generate_trials
from ham.data.trials import Trials
from ham.errors import DataError

Speakers = dict[str, dict[str, list[str]]]


def corpus(sizes: Iterable[Iterable[int]]) -> Speakers:
    """One speaker for each element, with sessions of the given sizes; ids tell the speaker and the session."""
    return {
        f"s{spk:02d}": {
            f"r{ses}": [f"s{spk:02d}-r{ses}-{utt:03d}" for utt in range(size)] for ses, size in enumerate(sizes)
        }
        for spk, sizes in enumerate(sizes)
    }


def rows(trials: Trials) -> list[tuple[str, str, int]]:
    return list(zip(trials.enrol, trials.test, trials.labels.tolist(), strict=True))


sizes = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(sizes=sizes, seed=st.integers(0, 99), max_trials=st.integers(1, 40))
def test_rules_hold(sizes: list[list[int]], seed: int, max_trials: int) -> None:
    speakers = corpus(sizes)
    sex = {spk: "fm"[int(spk[1:]) % 2] for spk in speakers}
    if all(sum(own) < 2 for own in sizes):
        with pytest.raises(DataError, match="2 utterances"):
            generate_trials(speakers, seed)
        return
    lists = generate_trials(speakers, seed, sex, max_trials)
    for name, trials in lists.items():
        assert len({frozenset(row[:2]) for row in rows(trials)}) == len(trials)
        assert rows(trials) == sorted(rows(trials))
        assert 1 <= trials.num_nontarget <= trials.num_target <= max_trials
        for enrol, test, label in rows(trials):
            assert enrol != test
            assert (enrol[:3] == test[:3]) == bool(label)
            if label and len(speakers[enrol[:3]]) > 1:
                assert enrol[:6] != test[:6]
            if not label and name == "hard":
                assert sex[enrol[:3]] == sex[test[:3]]
    assert lists.keys() == ({"all", "hard"} if len(sizes) > 2 else {"all"})


def test_the_seed_decides_and_the_order_of_the_input_does_not() -> None:
    speakers = corpus([[10, 10]] * 5)
    backwards = {
        spk: {ses: utts[::-1] for ses, utts in reversed(sessions.items())}
        for spk, sessions in reversed(speakers.items())
    }
    sex = dict.fromkeys(speakers, "f")
    one = generate_trials(speakers, 1, sex, 50)
    same = generate_trials(backwards, 1, dict(reversed(sex.items())), 50)
    other = generate_trials(speakers, 2, sex, 50)
    assert {name: rows(trials) for name, trials in one.items()} == {name: rows(trials) for name, trials in same.items()}
    assert rows(one["all"]) != rows(other["all"])


def test_the_lists_of_seed_1_stay_the_same() -> None:
    trials = generate_trials(corpus([[2, 1], [1, 2], [3]]), 1, max_trials=3)["all"]
    assert rows(trials) == [
        ("s00-r0-000", "s02-r0-001", 0),
        ("s00-r0-001", "s00-r1-000", 1),
        ("s00-r0-001", "s02-r0-001", 0),
        ("s01-r0-000", "s01-r1-001", 1),
        ("s01-r1-001", "s02-r0-001", 0),
        ("s02-r0-000", "s02-r0-001", 1),
    ]


def test_small_corpora_use_every_pair() -> None:
    speakers = corpus([[3], [2, 1]])
    found = rows(generate_trials(speakers, 7)["all"])
    assert sum(label for _, _, label in found) == 3 + 2
    many = generate_trials(corpus([[10], [1]]), 7)["all"]
    assert (many.num_target, many.num_nontarget) == (45, 10)


def test_both_lists_have_the_same_targets() -> None:
    speakers = corpus([[4, 4]] * 4)
    lists = generate_trials(speakers, 1, {"s00": "f", "s01": "f", "s02": "m"}, 20)
    targets = {name: [row for row in rows(trials) if row[2]] for name, trials in lists.items()}
    assert targets["all"] == targets["hard"]
    assert {enrol[:3] + test[:3] for enrol, test, label in rows(lists["hard"]) if not label} == {"s00s01"}


def test_there_is_no_hard_list_without_two_speakers_of_a_sex() -> None:
    for sex in (None, {}, {"s00": "f", "s01": "m"}, {"s00": "f", "stranger": "f"}):
        assert generate_trials(corpus([[2], [2], [2]]), 1, sex).keys() == {"all"}


def test_speakers_have_equal_shares_and_draws_are_even() -> None:
    trials = generate_trials(corpus([[30, 30]] * 4), 1, max_trials=1000)["all"]
    assert Counter(enrol[:3] for enrol, _, label in rows(trials) if label) == {f"s{spk:02d}": 250 for spk in range(4)}
    pairs = Counter((enrol[:3], test[:3]) for enrol, test, label in rows(trials) if not label)
    assert pairs.keys() == set(combinations(["s00", "s01", "s02", "s03"], 2))
    assert all(1000 / 6 - 60 < number < 1000 / 6 + 60 for number in pairs.values())  # 5 standard deviations


def test_a_speaker_with_many_utterances_still_has_targets_across_sessions() -> None:
    sessions = corpus([[3 * MAX_UTTS_PER_SPEAKER, 1], [2]])
    found = [row for row in rows(generate_trials(sessions, 1)["all"]) if row[2] and row[0].startswith("s00")]
    assert len(found) == MAX_UTTS_PER_SPEAKER - 1
    assert all((enrol[:6], test) == ("s00-r0", "s00-r1-000") for enrol, test, _ in found)


def test_one_speaker_is_not_enough() -> None:
    with pytest.raises(DataError, match="at least 2 speakers, found 1"):
        generate_trials(corpus([[5]]), 1)


@given(num_items=st.integers(1, 300), most=st.integers(2, 40))
def test_evenly_spaced_items_have_equal_gaps_from_first_to_last(num_items: int, most: int) -> None:
    chosen = evenly_spaced(range(num_items), most)
    assert len(chosen) == min(num_items, most)
    assert (chosen[0], chosen[-1]) == (0, num_items - 1)
    gaps = {after - before for before, after in pairwise(chosen)}
    assert max(gaps, default=1) - min(gaps, default=1) <= 1
    assert evenly_spaced(range(num_items), 1) == [0]
