"""How far out embeddings lie, and what happens to that when an utterance gets shorter or noisier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.analysis.tree import SEED, spearman
from ham.augment.noise import ColouredNoise
from ham.augment.waveforms import mix_at_snr
from ham.data.kaldi_dir import invert
from ham.data.store import INT16_SCALE, ArrayStore
from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.losses.base import SpeakerLoss
from ham.model.encoder import SpeakerEncoder

CROPS = {"0.5 s": 0.5, "1 s": 1.0, "2 s": 2.0}
"""Durations in seconds that utterances are cropped to, beside their full one."""

FULL = "full"

RATIOS = {"20 dB": 20.0, "10 dB": 10.0, "0 dB": 0.0}
"""Ratios in dB at which noise is added to full utterances."""

CONDITIONS = (*CROPS, FULL, *RATIOS)
"""The versions of an utterance in which it is embedded."""

NUM_PER_SPEAKER = 4
"""Most utterances of a speaker that are embedded again in every version."""

QUANTILES = (0.05, 0.5, 0.95)

RADIUS_DECIMALS = 8
"""Radii are ranked after rounding: points clipped onto one shell differ by rounding errors only, and must tie."""

NORM, HYPERBOLIC_RADIUS = "norm", "hyperbolic radius"
"""The two ways of saying how far out an embedding lies."""

TOLERANCE = 0.01
"""Relative difference that another device's arithmetic explains; other weights differ by about 1."""


@dataclass(frozen=True)
class Trend:
    """A radius under several conditions.

    Attributes:
        median: median over utterances for each condition.
        correlation: Spearman correlation with the condition's value over all utterances and conditions together; None
            where it is not defined because all radii are the same.
    """

    median: Mapping[str, float]
    correlation: float | None


@dataclass(frozen=True)
class Radius:
    """What a radius does when an utterance gets shorter or noisier."""

    duration: Trend
    snr: Trend


class Versions:
    """Utterances in each of ``CONDITIONS`` as recordings: all of them in the first one, then all in the next.

    Crops are cut around the middle, so that a shorter one lies inside a longer one. The noise is stationary and of
    a random colour for each utterance, the same for its three ratios, and covers the whole utterance; the ratio is
    to the mean power of the recording with its own pauses and its own noise, and the level of the sum is left alone.

    Args:
        store: the audio store.
        chosen: positions of utterances that are at least as long as the longest crop.
    """

    def __init__(self, store: ArrayStore, chosen: Sequence[int]) -> None:
        self._store, self._chosen, self.sample_rate = store, chosen, store.sample_rate
        self.utts = tuple(f"{store.utts[index]}/{name}" for name in CONDITIONS for index in chosen)
        full = store.lengths[np.asarray(chosen)]
        lengths = [np.full(len(full), self._crop_samples(name)) if name in CROPS else full for name in CONDITIONS]
        self.lengths: NDArray[np.int64] = np.concatenate(lengths)
        generator = torch.Generator().manual_seed(SEED)
        source = ColouredNoise(modulation_db=0.0, sample_rate=self.sample_rate)
        self._noises = [source.sample(1, length, generator) for length in full.tolist()]

    def read(self, index: int) -> NDArray[Any]:
        """The samples of one version of an utterance, shape ``(N,)``."""
        condition, at = divmod(index, len(self._chosen))
        name, samples = CONDITIONS[condition], self._store.read(self._chosen[at])
        if name in CROPS:
            start = (len(samples) - self._crop_samples(name)) // 2
            return samples[start : start + self._crop_samples(name)]
        if name in RATIOS:
            clean = torch.from_numpy(samples).float()[None] / INT16_SCALE
            noisy = mix_at_snr(clean, self._noises[at], torch.tensor([RATIOS[name]]))[0] * INT16_SCALE
            return np.asarray(noisy.numpy())
        return samples

    def _crop_samples(self, name: str) -> int:
        return round(CROPS[name] * self.sample_rate)


def measure_radius(radii: Mapping[str, NDArray[np.float64]], durations_s: NDArray[np.float64]) -> Radius:
    """Medians of a radius for every condition, and its rank correlation with duration and with the noise ratio.

    Args:
        radii: one a version of an utterance, each shape ``(N,)``, by ``CONDITIONS``.
        durations_s: durations of the full utterances, shape ``(N,)``.

    Returns:
        The trends; noisy versions do not count for the duration, nor versions without added noise for the ratio.
    """
    crops, ratios = (
        {name: np.full(len(durations_s), value) for name, value in values.items()} for values in (CROPS, RATIOS)
    )
    return Radius(duration=_trend(radii, {**crops, FULL: durations_s}), snr=_trend(radii, ratios))


def _trend(radii: Mapping[str, NDArray[np.float64]], values: Mapping[str, NDArray[np.float64]]) -> Trend:
    """Medians and correlation over the conditions of ``values``."""
    rounded = np.concatenate([radii[name] for name in values]).round(RADIUS_DECIMALS)
    correlation = spearman(rounded, np.concatenate(list(values.values())))
    return Trend(median={name: float(np.median(radii[name])) for name in values}, correlation=correlation)


def quantiles(values: NDArray[np.floating], shares: Sequence[float] = QUANTILES) -> dict[str, float]:
    """Quantiles of any values.

    Args:
        values: shape ``(N,)``.
        shares: which quantiles, between 0 and 1.

    Returns:
        Each under its name in per cent: ``p05``, ``p50``, ``p95``.
    """
    return {f"p{100 * share:02.0f}": float(np.quantile(values, share)) for share in shares}


def centre_quantiles(loss: SpeakerLoss) -> dict[str, float]:
    """Quantiles of how far out the training speakers' centres lie.

    Args:
        loss: with its trained centres.

    Returns:
        Radii under ``p05``, ``p50`` and ``p95``.
    """
    return quantiles(loss.centre_radii().detach().double().numpy())


def heard_correlation(encoder: SpeakerEncoder, counts: Mapping[str, int]) -> float | None:
    """Whether a centre's radius follows how often its speaker was heard.

    Args:
        encoder: with its trained centres, one a speaker.
        counts: training utterances of each speaker.

    Returns:
        Spearman's correlation over the speakers that were counted; None where there are none, where all were heard
        equally often, or where speakers have several centres.
    """
    radii = encoder.loss.centre_radii().detach().double().numpy().round(RADIUS_DECIMALS)
    known = [at for at, speaker in enumerate(encoder.speakers) if speaker in counts]
    if len(radii) != len(encoder.speakers) or not known:
        return None
    return spearman(radii[known], np.array([counts[encoder.speakers[at]] for at in known], np.float64))


def choose_utterances(utt2spk: Mapping[str, str], store: ArrayStore) -> list[int]:
    """Draw at most ``NUM_PER_SPEAKER`` utterances of each speaker, among those long enough for every crop.

    Args:
        utt2spk: the test utterances and their speakers.
        store: their audio.

    Returns:
        Positions in the store; the same for every system.

    Raises:
        DataError: if the store lacks an utterance.
    """
    position = {utt: index for index, utt in enumerate(store.utts)}
    missing = [utt for utt in utt2spk if utt not in position]
    if missing:
        raise DataError(f"{store.path}: expected the audio of {missing[0]}, found none; pack it (stage 3)")
    least = max(CROPS.values()) * store.sample_rate
    generator = np.random.default_rng(SEED)
    chosen: list[int] = []
    for utts in invert(utt2spk).values():
        long = [position[utt] for utt in utts if store.lengths[position[utt]] >= least]
        chosen += sorted(generator.permutation(long)[:NUM_PER_SPEAKER].tolist())
    return chosen


def measure_radii(
    encoder: SpeakerEncoder, table: EmbeddingTable, utt2spk: Mapping[str, str], store: ArrayStore
) -> tuple[dict[str, dict[str, NDArray[np.float64]]], NDArray[np.float64]]:
    """How far out utterances lie in every condition; checks on the way that the stored embeddings are those.

    Args:
        encoder: what embeds.
        table: its embeddings of the utterances.
        utt2spk: the utterances and their speakers; :func:`choose_utterances` takes some of them.
        store: their audio.

    Returns:
        Under ``NORM`` the norms and, if the loss has a distance, under ``HYPERBOLIC_RADIUS`` the distances from the
        origin, by condition, each shape ``(N,)``; and the durations in seconds, shape ``(N,)``. Nothing where no
        utterance is long enough.

    Raises:
        DataError: if the table was made with other weights or from other audio, or an embedding is not finite.
    """
    chosen = choose_utterances(utt2spk, store)
    durations_s = store.lengths[np.array(chosen, np.int64)] / store.sample_rate
    if not chosen:
        return {}, durations_s
    found = torch.from_numpy(
        encoder.embed_recordings(Versions(store, chosen), progress=f"embed versions {encoder.folder.name}")
    )
    by_version = dict(zip(CONDITIONS, torch.split(found.double(), len(chosen)), strict=True))
    _check_same(table, [store.utts[index] for index in chosen], by_version[FULL])
    with torch.inference_mode():
        radii = {NORM: {name: x.norm(dim=1).numpy() for name, x in by_version.items()}}
        if encoder.loss.has_distance:
            origin = torch.zeros_like(by_version[FULL])
            distance = encoder.loss.distance
            radii[HYPERBOLIC_RADIUS] = {name: distance(x, origin).numpy() for name, x in by_version.items()}
    return radii, durations_s


def _check_same(table: EmbeddingTable, utts: Sequence[str], embeddings: Tensor) -> None:
    """Refuse a table that was made with other weights or from other audio than what is embedded here."""
    stored = torch.from_numpy(table.embeddings[table.rows(utts, "the test speech")]).double()
    error = (stored - embeddings).norm(dim=1) / embeddings.norm(dim=1)
    worst = int(error.argmax())
    if not error[worst] <= TOLERANCE:
        raise DataError(
            f"{table.place}: expected what average.pt and the store give now, found {utts[worst]} differing by "
            f"{100 * float(error[worst]):.0f} %; extract the embeddings again (stage 5)"
        )
