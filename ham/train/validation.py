"""Validation while training: training speakers kept aside, their trials, and the EER on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ham.data.store import ArrayStore
from ham.data.trial_generation import evenly_spaced
from ham.embeddings.extract import extract
from ham.model.encoder import Network
from ham.score.metrics import eer

MAX_UTTERANCES = 600
"""Utterances that are embedded each epoch: enough for 180,000 pairs, and a few seconds on two cores."""

SEED_SALT = 0x5EED
"""Keeps the choice of speakers apart from the order of the crops, which uses the same seed."""


@dataclass(frozen=True)
class ValidationSet:
    """Utterances of the speakers kept aside; every pair of them is a trial.

    Attributes:
        indices: positions in the store.
        speakers: number of each utterance's speaker.
        names: the speakers that were kept aside.
    """

    indices: NDArray[np.int64]
    speakers: NDArray[np.int64]
    names: tuple[str, ...]


def choose_speakers(utt2spk: Mapping[str, str], num_speakers: int, *, share: float = 0.0, seed: int) -> tuple[str, ...]:
    """Draw the training speakers that are kept aside, among those with at least two utterances.

    Args:
        utt2spk: the speaker of each training utterance.
        num_speakers: how many; 0 for none, whatever the share.
        share: of all training speakers, where that is more.
        seed: of the draw.

    Returns:
        Their names, sorted; fewer where there are no more.
    """
    counts: dict[str, int] = {}
    for spk in utt2spk.values():
        counts[spk] = counts.get(spk, 0) + 1
    eligible = sorted(spk for spk, count in counts.items() if count > 1)
    rng = np.random.default_rng(np.random.SeedSequence([seed, SEED_SALT]))
    wanted = max(num_speakers, int(share * len(counts))) if num_speakers else 0
    drawn = rng.permutation(len(eligible))[:wanted]
    return tuple(sorted(eligible[i] for i in drawn))


def validation_set(store: ArrayStore, utt2spk: Mapping[str, str], names: tuple[str, ...]) -> ValidationSet:
    """Collect utterances of the speakers kept aside, at most ``MAX_UTTERANCES``: as many of each, evenly spread.

    Each speaker that counts has at least two, so of very many speakers only the first ones count.
    """
    number = {spk: k for k, spk in enumerate(names[: MAX_UTTERANCES // 2])}
    quota = MAX_UTTERANCES // max(1, len(number))
    own: dict[str, list[int]] = {spk: [] for spk in number}
    for index, utt in enumerate(store.utts):
        if utt2spk[utt] in own:
            own[utt2spk[utt]].append(index)
    kept = [index for indices in own.values() for index in evenly_spaced(indices, quota)]
    speakers = [number[utt2spk[store.utts[index]]] for index in kept]
    return ValidationSet(np.array(kept, np.int64), np.array(speakers, np.int64), names)


def validation_eer(network: Network, store: ArrayStore, valid: ValidationSet, *, device: torch.device) -> float:
    """EER (a fraction) of the cosine over all pairs of the validation utterances."""
    embeddings = extract(network, store, valid.indices, device=device)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    rows, columns = np.triu_indices(len(unit), k=1)
    same = valid.speakers[rows] == valid.speakers[columns]
    return eer((unit @ unit.T)[rows, columns], same.astype(np.int8))
