"""The epoch's plan."""

from __future__ import annotations

import numpy as np

from ham.data.sampler import num_batches, plan_epoch


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
