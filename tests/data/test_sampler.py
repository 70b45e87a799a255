"""The epoch's plan."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ham.data.sampler import num_batches, plan_balanced, plan_epoch


def test_every_utterance_comes_as_often_as_asked() -> None:
    plan = plan_epoch(50, seed=1, epoch=1, crops_per_utterance=3)
    assert len(plan) == 150
    assert np.bincount(plan.entries).tolist() == [3] * 50
    for part in np.split(plan.entries, 3):
        assert sorted(part) == list(range(50))
    assert ((plan.places >= 0) & (plan.places < 1)).all()


def test_a_plan_is_a_function_of_seed_and_epoch() -> None:
    one = plan_epoch(100, seed=1, epoch=4)
    again = plan_epoch(100, seed=1, epoch=4)
    np.testing.assert_array_equal(one.entries, again.entries)
    np.testing.assert_array_equal(one.places, again.places)
    for other in (plan_epoch(100, seed=2, epoch=4), plan_epoch(100, seed=1, epoch=5)):
        assert (one.entries != other.entries).any()


def test_only_full_batches_but_at_least_one() -> None:
    assert [num_batches(n, 8) for n in (3, 8, 15, 16)] == [1, 1, 1, 2]


def uneven_labels(num_speakers: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.permutation(np.repeat(np.arange(num_speakers), rng.integers(1, 30, num_speakers)))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 25), st.integers(2, 30), st.integers(1, 3), st.integers(0, 3))
def test_balanced_speakers_come_as_often_and_differ_within_a_batch(
    num_speakers: int, batch_size: int, passes: int, seed: int
) -> None:
    labels = uneven_labels(num_speakers, seed)
    plan = plan_balanced(labels, batch_size=batch_size, seed=seed, epoch=1, crops_per_utterance=passes)
    assert len(plan) == len(plan.places) == passes * len(labels)
    drawn = labels[plan.entries]
    counts = np.bincount(drawn, minlength=num_speakers)
    assert counts.max() - counts.min() <= 1
    batches = [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]
    most = [np.bincount(batch).max() for batch in batches]
    assert max(most) <= (1 if batch_size <= num_speakers else batch_size // num_speakers + 2)


def test_balanced_utterances_of_a_speaker_take_turns() -> None:
    labels = uneven_labels(12)
    plan = plan_balanced(labels, batch_size=5, seed=1, epoch=1, crops_per_utterance=2)
    for speaker in range(12):
        own = np.flatnonzero(labels == speaker)
        drawn = plan.entries[labels[plan.entries] == speaker]
        counts = np.bincount(drawn, minlength=len(labels))[own]
        assert counts.max() - counts.min() <= 1
        turn = drawn[: len(own)]
        assert len(set(turn.tolist())) == len(turn)


def test_a_balanced_plan_is_a_function_of_seed_and_epoch() -> None:
    labels = uneven_labels(40)

    def entries(seed: int, epoch: int) -> list[int]:
        return plan_balanced(labels, batch_size=16, seed=seed, epoch=epoch).entries.tolist()

    assert entries(1, 4) == entries(1, 4)
    assert entries(1, 4) != entries(2, 4)
    assert entries(1, 4) != entries(1, 5)


def test_a_plan_of_voxceleb_2_is_drawn_at_once() -> None:
    labels = np.arange(1_092_009) % 5994
    plan = plan_balanced(labels, batch_size=256, seed=1, epoch=1)
    batches = labels[plan.entries[: len(labels) // 256 * 256]].reshape(-1, 256)
    assert (np.diff(np.sort(batches, axis=1), axis=1) > 0).all()
