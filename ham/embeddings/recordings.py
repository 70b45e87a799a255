"""What can be embedded: the recordings of an audio store, crops and pieces of them, several of them joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE
from ham.data.store import INT16_SCALE, ArrayStore
from ham.errors import DataError

ENROL = ("average", "concatenate")
"""What stands for a model of several recordings: the mean of their embeddings, or the embedding of all joined."""

NUM_CROPS, CROP_SAMPLES = 5, 48_240
"""Crops of the published VoxCeleb1-O protocol: 3 s and 15 ms at 16 kHz, 300 frames of the released front end."""


class Recordings(Protocol):
    """What :func:`ham.embeddings.extract.extract` reads: an audio store, or one of the classes here."""

    lengths: NDArray[np.int64]

    @property
    def utts(self) -> Sequence[str]:
        """The ids."""
        ...

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        ...

    def read(self, index: int) -> NDArray[Any]:
        """The samples of one recording, shape ``(N,)``: int16, or float32 on the same scale."""
        ...


class Waveforms:
    """Samples in memory as recordings.

    Args:
        utts: the ids.
        waveforms: float32 samples in [-1, 1] of each, shape ``(N,)``.
    """

    def __init__(self, utts: Sequence[str], waveforms: Sequence[NDArray[np.float32]]) -> None:
        self.utts, self.sample_rate, self._waveforms = tuple(utts), SAMPLE_RATE, waveforms
        self.lengths: NDArray[np.int64] = np.array([len(samples) for samples in waveforms], np.int64)

    def read(self, index: int) -> NDArray[Any]:
        """The samples of one recording on the scale of int16, shape ``(N,)``; float32 takes that without a loss."""
        return self._waveforms[index] * np.float32(INT16_SCALE)


class JoinedRecordings:
    """Enrolment models as recordings: those of a model end to end, in the model's order.

    Args:
        store: the audio store.
        models: the utterances of each model.

    Raises:
        DataError: if the store does not hold an utterance.
    """

    def __init__(self, store: ArrayStore, models: Mapping[str, Sequence[str]]) -> None:
        position = {utt: index for index, utt in enumerate(store.utts)}
        if missing := [utt for utts in models.values() for utt in utts if utt not in position]:
            raise DataError(f"{store.path}: expected the recording {missing[0]}, found none; run stage 3")
        self._store, self.sample_rate = store, store.sample_rate
        self._parts = [[position[utt] for utt in utts] for utts in models.values()]
        self.utts = tuple(models)
        self.lengths: NDArray[np.int64] = np.array([store.lengths[parts].sum() for parts in self._parts], np.int64)

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one model, shape ``(N,)``."""
        return np.concatenate([self._store.read(part) for part in self._parts[index]])


class SpacedCrops:
    """Crops of recordings, evenly spaced from the first to the last sample, as recordings ``<utt>/<number>``.

    Crop ``k`` of ``K`` begins at sample ``floor(k (N - n) / (K - 1))``. Speech that is shorter than a crop is repeated
    until it fills one; all its crops are then the same.

    Args:
        store: the audio store.
        num_crops: ``K``, at least 2.
        num_samples: ``n``.
    """

    def __init__(self, store: ArrayStore, num_crops: int = NUM_CROPS, num_samples: int = CROP_SAMPLES) -> None:
        self._store, self.sample_rate = store, store.sample_rate
        self._num_crops, self._num_samples = num_crops, num_samples
        self.utts = tuple(f"{utt}/{number + 1}" for utt in store.utts for number in range(num_crops))
        self.lengths: NDArray[np.int64] = np.full(len(self.utts), num_samples, np.int64)

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one crop, shape ``(n,)``."""
        utt, number = divmod(index, self._num_crops)
        spare = max(0, int(self._store.lengths[utt]) - self._num_samples)
        return self._store.read_wrapped(utt, spare * number // (self._num_crops - 1), self._num_samples)


class RandomChunks:
    """One piece of each recording, of the same length and at a place drawn uniformly, as recordings of the same ids.

    Speech that is shorter is repeated until it fills a piece. wespeaker embeds its training speech so.

    Args:
        store: the audio store.
        num_samples: length of a piece.
        seed: of the places; the same for the same store gives the same pieces.
    """

    def __init__(self, store: ArrayStore, num_samples: int, seed: int) -> None:
        self._store, self.sample_rate, self.utts = store, store.sample_rate, store.utts
        self._num_samples = num_samples
        spare = np.maximum(store.lengths - num_samples, 0)
        self._starts = np.random.default_rng(seed).integers(0, spare, endpoint=True)
        self.lengths: NDArray[np.int64] = np.full(len(spare), num_samples, np.int64)

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one piece, shape ``(num_samples,)``."""
        return self._store.read_wrapped(index, int(self._starts[index]), self._num_samples)


class Cuts:
    """One cut of each recording, at a place drawn uniformly, as recordings of the same ids; shorter ones stay whole.

    Recording i of N samples is cut from sample ``floor(u_i (N - n + 1))`` on, with u uniform in [0, 1) and the same for
    every n: a shorter cut lies within a longer one, so that two durations differ by their duration only.

    Args:
        store: the audio store.
        num_samples: ``n``.
        seed: of the places; the same for the same store gives the same cuts.
    """

    def __init__(self, store: ArrayStore, num_samples: int, seed: int) -> None:
        self._store, self.sample_rate, self.utts = store, store.sample_rate, store.utts
        self.lengths: NDArray[np.int64] = np.minimum(store.lengths, num_samples).astype(np.int64)
        spare = store.lengths - self.lengths
        self._starts = np.floor(np.random.default_rng(seed).random(len(spare)) * (spare + 1)).astype(np.int64)

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one cut, shape ``(n,)`` or, where the recording is shorter, all ``(N,)``."""
        return self._store.read(index, int(self._starts[index]), int(self.lengths[index]))
