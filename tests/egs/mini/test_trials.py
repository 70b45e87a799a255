from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import trials
from trials import Block, make_trials, nontarget_blocks, sample, target_blocks

RECORDINGS = {
    speaker: [[f"{speaker}/s{s}/{u}" for u in range(2)] for s in range(3)] for speaker in ("a", "b", "c", "d")
}
CELLS = {"a": 0, "b": 1, "c": 0, "d": 1}
PATHS = [path for sessions in RECORDINGS.values() for session in sessions for path in session]


def spoken_by(path: str) -> str:
    return path.split("/")[0]


def session_of(path: str) -> str:
    return path.rsplit("/", 1)[0]


def expand(blocks: list[Block]) -> list[frozenset[str]]:
    return [frozenset(pair) for first, second in blocks for pair in product(first, second)]


def test_target_blocks_are_all_pairs_across_sessions() -> None:
    wanted = {
        frozenset(pair)
        for pair in combinations(PATHS, 2)
        if spoken_by(pair[0]) == spoken_by(pair[1]) and session_of(pair[0]) != session_of(pair[1])
    }
    got = expand(target_blocks(RECORDINGS))
    assert set(got) == wanted
    assert len(got) == len(wanted)


@pytest.mark.parametrize("cells", [None, CELLS])
def test_nontarget_blocks_are_all_pairs_of_speakers(cells: dict[str, int] | None) -> None:
    wanted = {
        frozenset((x, y))
        for x, y in combinations(PATHS, 2)
        if spoken_by(x) != spoken_by(y) and (cells is None or cells[spoken_by(x)] == cells[spoken_by(y)])
    }
    got = expand(nontarget_blocks(RECORDINGS, cells))
    assert set(got) == wanted
    assert len(got) == len(wanted)


def test_a_sample_has_no_pair_twice_and_can_be_all() -> None:
    blocks = nontarget_blocks(RECORDINGS)
    drawn = sample(blocks, 50, np.random.default_rng(0))
    assert len(set(drawn)) == len(drawn) == 50
    assert set(drawn) <= {pair for first, second in blocks for pair in product(first, second)}
    everything = sample(blocks, 10**6, np.random.default_rng(0))
    assert [frozenset(pair) for pair in everything] == expand(blocks)


def test_a_sample_is_even_over_blocks() -> None:
    blocks = nontarget_blocks(RECORDINGS)
    counts = np.zeros(len(blocks))
    for seed in range(200):
        for pair in sample(blocks, 30, np.random.default_rng(seed)):
            counts[[pair[0] in first and pair[1] in second for first, second in blocks].index(True)] += 1
    assert np.all(np.abs(counts / counts.mean() - 1) < 0.12)


@pytest.mark.parametrize(("most", "targets", "nontargets"), [(20, 10, 10), (100, 48, 52), (1000, 48, 216)])
def test_half_are_targets_where_there_are_enough(
    most: int, targets: int, nontargets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "NUM_TRIALS", most)
    made = make_trials(target_blocks(RECORDINGS), nontarget_blocks(RECORDINGS), np.random.default_rng(0))
    labels = [label for label, _, _ in made]
    assert (labels.count(1), labels.count(0)) == (targets, nontargets)
    assert all((spoken_by(x) == spoken_by(y)) == bool(label) for label, x, y in made)
