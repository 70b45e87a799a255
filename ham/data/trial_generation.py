"""Trial lists for a folder of speech that brings none, the same for the same files and seed on any machine.

Target trials pair two utterances of a speaker: of two sessions where the speaker has several, else any two. Every
speaker has the same share of them, ``max_trials / num_speakers``, or all its pairs if these are fewer. There are
as many non-target trials as target trials (fewer only where there are not so many pairs): two different speakers
are drawn uniformly, then an utterance of each. No pair comes twice.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, combinations, zip_longest
from typing import TypeVar

import numpy as np

from ham.data.trials import Trials
from ham.errors import DataError

MAX_TRIALS = 10_000
"""Trials of each kind at most: the binomial standard error of an EER of 2 % is then 0.14 %."""

MAX_UTTS_PER_SPEAKER = 100
"""Utterances of a speaker that are paired with each other, spread over its sessions: 4,950 pairs at most."""

Sessions = Mapping[str, Sequence[str]]
"""The utterances of each session of one speaker."""

Pair = tuple[str, str]
Item = TypeVar("Item")


def generate_trials(
    speakers: Mapping[str, Sessions],
    seed: int,
    sex: Mapping[str, str] | None = None,
    max_trials: int = MAX_TRIALS,
    num_nontarget: int | None = None,
) -> dict[str, Trials]:
    """Make the list ``all`` and, where it is possible, ``hard`` with the same targets and same-sex non-targets.

    Args:
        speakers: the sessions of each speaker.
        seed: seed of every choice.
        sex: any word for the sex of a speaker; a speaker without one is in no non-target trial of ``hard``.
        max_trials: target trials of a list at most.
        num_nontarget: non-target trials of a list where there are so many; None for as many as targets.

    Returns:
        The trials of each list, sorted; ``hard`` is missing where no two speakers have the same sex.

    Raises:
        DataError: if there are not two speakers, or if no speaker has two utterances.
    """
    utts = {spk: sorted(chain.from_iterable(speakers[spk].values())) for spk in sorted(speakers)}
    if len(utts) < 2:
        raise DataError(f"trials need at least 2 speakers, found {len(utts)}")
    targets = _draw_targets(speakers, max_trials, random.Random(f"targets {seed}"))
    if not targets:
        raise DataError("target trials need a speaker with at least 2 utterances, found one for every speaker")
    sexes = sorted({word for spk, word in (sex or {}).items() if spk in utts})
    groups = {"all": [list(utts)], "hard": [[spk for spk in utts if sex and sex.get(spk) == s] for s in sexes]}
    drawn = {
        name: _draw_nontargets(utts, members, num_nontarget or len(targets), random.Random(f"{name} {seed}"))
        for name, members in groups.items()
    }
    return {name: _as_trials(targets, nontargets) for name, nontargets in drawn.items() if nontargets}


def evenly_spaced(items: Sequence[Item], most: int) -> list[Item]:
    """Take at most so many items, evenly spaced from the first to the last.

    Args:
        items: the items.
        most: how many.

    Returns:
        Some of them in their order: all if there are no more, the first alone if ``most`` is 1.
    """
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[place] for place in places]


def _as_trials(targets: Collection[Pair], nontargets: Collection[Pair]) -> Trials:
    rows = sorted([(pair, 1) for pair in targets] + [(pair, 0) for pair in nontargets])
    return Trials(
        enrol=tuple(enrol for (enrol, _), _ in rows),
        test=tuple(test for (_, test), _ in rows),
        labels=np.array([label for _, label in rows], dtype=np.int8),
    )


def _draw_targets(speakers: Mapping[str, Sessions], max_trials: int, rng: random.Random) -> list[Pair]:
    pairs = [_same_speaker_pairs(speakers[spk], rng) for spk in sorted(speakers)]
    share = max(1, max_trials // max(1, sum(map(bool, pairs))))
    return [pair for own in pairs for pair in rng.sample(own, min(share, len(own)))][:max_trials]


def _same_speaker_pairs(sessions: Sessions, rng: random.Random) -> list[Pair]:
    """All pairs of at most ``MAX_UTTS_PER_SPEAKER`` utterances, taken from the sessions in turn."""
    shuffled = [
        [(utt, session) for utt in rng.sample(sorted(sessions[session]), len(sessions[session]))]
        for session in sorted(sessions)
    ]
    in_turn = [item for items in zip_longest(*shuffled) for item in items if item]
    several = len(shuffled) > 1
    return [
        (min(one, other), max(one, other))
        for (one, session), (other, other_session) in combinations(in_turn[:MAX_UTTS_PER_SPEAKER], 2)
        if session != other_session or not several
    ]


def _draw_nontargets(
    utts: Mapping[str, Sequence[str]], groups: Sequence[Sequence[str]], num_trials: int, rng: random.Random
) -> Collection[Pair]:
    """Pairs of utterances of two speakers of the same group."""
    groups = [group for group in groups if len(group) > 1]
    if sum(_num_pairs([len(utts[spk]) for spk in group]) for group in groups) <= 4 * num_trials:
        everything = list(_pairs_across(utts, groups))
        return rng.sample(everything, min(num_trials, len(everything)))
    members = [(spk, group) for group in groups for spk in group]
    drawn: dict[Pair, None] = {}  # a set whose order does not depend on the interpreter's hash seed
    while len(drawn) < num_trials:
        one, group = rng.choice(members)
        other = rng.choice(group)
        if one != other:
            pair = rng.choice(utts[one]), rng.choice(utts[other])
            drawn[min(pair), max(pair)] = None
    return list(drawn)


def _num_pairs(sizes: Sequence[int]) -> int:
    """Pairs of members of different sets: ((sum n)^2 - sum n^2) / 2."""
    return (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2


def _pairs_across(utts: Mapping[str, Sequence[str]], groups: Sequence[Sequence[str]]) -> Iterator[Pair]:
    for one, other in chain.from_iterable(combinations(group, 2) for group in groups):
        yield from ((min(a, b), max(a, b)) for a in utts[one] for b in utts[other])
