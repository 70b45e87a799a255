"""Augmentation of a batch of crops from one generator: which kind of change each crop gets.

The kinds are the table ``KINDS``: noise, music, babble (noise.py), rooms (reverb.py), microphones (channel.py). A kind
is added there, by an effect and a function that makes it. With MUSAN and RIRS_NOISES in audio stores all four published
kinds exist; without any download ``reverb``, ``speech`` and ``noise`` do, from simulated rooms, from the batch's other
speakers and from coloured noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.augment import noise, reverb
from ham.augment.channel import Channel
from ham.augment.effect import Effect
from ham.augment.randomness import ALL, Range, integers, uniform, weighted, within
from ham.augment.waveforms import PUBLISHED_ADDED_POWER, normalise_peak
from ham.data.store import ArrayStore
from ham.errors import ConfigError, DataError

UNTOUCHED = -1
"""What ``Augmenter.kinds`` says of a row that keeps its samples."""


class Change(NamedTuple):
    """Own rows ``(R,)`` of a batch, the place of their kind among the effects, and what its effect drew for them."""

    kind: int
    rows: Tensor
    drawn: Any


class Augmenter:
    """Gives each row of a batch, with some probability, one kind of augmentation.

    The published recipe trains on the clean crop and on an augmented copy of it: call this with ``probability=1`` on
    the batch and use both. Others replace a crop with its augmented version: ``probability=0.6``.

    Args:
        kinds: names and effects, at least one; the order takes part in the draw.
        probability: that a row is augmented, from 0 to 1.
        weights: how often each kind is drawn, in proportion to the others; none for all equally often.
        peak_normalise: scale every augmented row to a peak of full scale, see ``normalise_peak``.

    Raises:
        ConfigError: if there is no kind, the probability is not one, or the weights do not fit.
    """

    def __init__(
        self,
        kinds: Mapping[str, Effect],
        *,
        probability: float,
        weights: Sequence[float] = (),
        peak_normalise: bool = False,
    ) -> None:
        if not kinds:
            raise ConfigError("augmentation: expected at least one kind, found none; switch it off instead")
        if not 0.0 <= probability <= 1.0:
            raise ConfigError(f"augmentation: probability must be from 0 to 1, found {probability:g}")
        check_weights(tuple(kinds), weights)
        self.names = tuple(kinds)
        self.probability = probability
        self.weights = tuple(weights)
        self.peak_normalise = peak_normalise
        self._effects = tuple(kinds.values())

    def kinds(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw what happens to each row: indices into ``names`` or ``UNTOUCHED``, int64, shape ``(num,)``."""
        if self.weights:
            kinds = weighted(num, self.weights, generator)
        else:
            kinds = integers((num,), 0, len(self.names) - 1, generator)
        touched = uniform((num,), (0.0, 1.0), generator) < self.probability
        return kinds.masked_fill(~touched, UNTOUCHED)

    def draw(self, labels: Tensor, num_samples: int, generator: torch.Generator, own: slice = ALL) -> list[Change]:
        """Draw everything that happens to a batch, and read the recordings of its own rows.

        Args:
            labels: speakers, shape ``(B,)``, int64.
            num_samples: N.
            generator: source of the randomness, on the central processor.
            own: the rows that this process changes; what happens to them does not depend on it.
        """
        kinds = self.kinds(len(labels), generator)
        changes = []
        for kind, effect in enumerate(self._effects):
            rows = torch.nonzero(kinds == kind).squeeze(1)
            if len(rows):
                mine = within(rows, own, len(labels))
                changes.append(Change(kind, rows[mine], effect.draw(labels, rows, num_samples, generator, mine)))
        return [change for change in changes if len(change.rows)]

    def among(self, changes: Sequence[Change], own: Tensor) -> tuple[Tensor, list[Change]]:
        """Which rows of the batch have to be there, and the changes of a batch of these alone.

        Args:
            changes: what was drawn.
            own: numbers of the own rows.

        Returns:
            Numbers of these and of the rows heard behind them ``(G,)``, ascending, and the changes by places in it.
        """
        present = torch.unique(torch.cat([own, *(self._effects[kind].heard(drawn) for kind, _, drawn in changes)]))
        return present, [
            Change(kind, torch.searchsorted(present, rows), self._effects[kind].among(drawn, present))
            for kind, rows, drawn in changes
        ]

    def apply(self, waveforms: Tensor, changes: Sequence[Change]) -> Tensor:
        """Change a batch as :meth:`draw`, or :meth:`among`, said.

        Babble is made of the rows as they came in. The result is not clipped: without ``peak_normalise`` its values
        may leave [-1, 1].

        Args:
            waveforms: shape ``(B, N)``, in [-1, 1]; not changed.
            changes: what was drawn, on the waveforms' device.

        Returns:
            Shape ``(B, N)``; untouched rows are bit-identical.
        """
        waveforms = waveforms.detach()
        result = waveforms.clone()
        for kind, rows, drawn in changes:
            changed = self._effects[kind].apply(waveforms, rows, drawn)
            result.index_copy_(0, rows, normalise_peak(changed) if self.peak_normalise else changed)
        return result

    def __call__(self, waveforms: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Draw and apply at once, on the central processor."""
        return self.apply(waveforms, self.draw(labels, waveforms.shape[1], generator))


@dataclass(frozen=True)
class Materials:
    """What effects are made of.

    Attributes:
        sample_rate: in Hz.
        noise_store: MUSAN, ids beginning with ``noise``, ``music`` and ``speech``; None to do without.
        room_store: room impulse responses; None to do without.
        snr: rule of the ratio to the recordings of ``noise_store``: ``published`` adds 1e-4 to both powers first, so
            that quiet noise ends quieter than asked; ``exact`` does not (see ``ham.augment.waveforms.snr_gain``). Noise
            that is made here and babble of the batch always have the exact ratio.
    """

    sample_rate: int = SAMPLE_RATE
    noise_store: ArrayStore | None = None
    room_store: ArrayStore | None = None
    snr: Literal["published", "exact"] = "published"


def _recordings(
    materials: Materials, store: ArrayStore, kind: str, snr_db: Range, num_files: tuple[int, int] = (1, 1)
) -> Effect:
    """Recordings of the noise store whose ids begin with ``kind``."""
    source = noise.StoreNoise(store, kind)
    added_power = PUBLISHED_ADDED_POWER if materials.snr == "published" else 0.0
    return noise.AddNoise(source, snr_db=snr_db, num_files=num_files, added_power=added_power)


def _reverb(materials: Materials) -> Effect:
    """Rooms of the store, or simulated ones."""
    if materials.room_store is None:
        return reverb.Reverberate(reverb.DecayingRooms(sample_rate=materials.sample_rate))
    rooms = reverb.StoreRooms(materials.room_store)
    return reverb.Reverberate(rooms)


def _music(materials: Materials) -> Effect:
    """Music of the store; there is no stand-in."""
    if materials.noise_store is None:
        raise ConfigError("augmentation: kind 'music' needs the MUSAN store; pack it or leave 'music' out")
    return _recordings(materials, materials.noise_store, "music", noise.MUSIC_SNR_DB)


def _speech(materials: Materials) -> Effect:
    """Voices of the store, or of the batch."""
    if materials.noise_store is None:
        return noise.BatchBabble()
    return _recordings(materials, materials.noise_store, "speech", noise.SPEECH_SNR_DB, noise.SPEECH_NUM_FILES)


def _voice(materials: Materials) -> Effect:
    """One voice of the store, or of the batch."""
    if materials.noise_store is None:
        return noise.BatchBabble(snr_db=noise.VOICE_SNR_DB, num_voices=(1, 1))
    return _recordings(materials, materials.noise_store, "speech", noise.VOICE_SNR_DB)


def _noise(materials: Materials) -> Effect:
    """Noises of the store, or coloured noise."""
    if materials.noise_store is None:
        return noise.AddNoise(noise.ColouredNoise(sample_rate=materials.sample_rate))
    return _recordings(materials, materials.noise_store, "noise", noise.NOISE_SNR_DB)


def _channel(materials: Materials) -> Effect:
    """Another microphone; not a published kind."""
    return Channel(sample_rate=materials.sample_rate)


KINDS: Mapping[str, Callable[[Materials], Effect]] = {
    "reverb": _reverb,
    "music": _music,
    "speech": _speech,
    "noise": _noise,
    "voice": _voice,
    "channel": _channel,
}
"""Every kind by its name; the first four are HAM-Softmax's, ``voice`` is wespeaker's, ``channel`` is ours."""


def available_kinds(materials: Materials) -> tuple[str, ...]:
    """HAM-Softmax's kinds that can be made: all four with a noise store, all but ``music`` without."""
    published = ("reverb", "music", "speech", "noise")
    return tuple(name for name in published if name != "music" or materials.noise_store is not None)


def check_kinds(names: Sequence[str]) -> None:
    """Check that each name is a key of ``KINDS`` and comes once.

    Raises:
        ConfigError: if one is unknown or repeated.
    """
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise ConfigError(f"augmentation: unknown kind '{unknown[0]}', choose from {', '.join(KINDS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"augmentation: every kind may be listed once, found {', '.join(names)}")


def check_weights(names: Sequence[str], weights: Sequence[float]) -> None:
    """Check that there are no weights, or one for each kind, at least 0 and not all 0.

    Raises:
        ConfigError: if they do not fit.
    """
    if weights and not (len(weights) == len(names) and min(weights) >= 0.0 and 0.0 < sum(weights) < math.inf):
        raise ConfigError(
            f"augmentation: weights: expected a number of at least 0 for each of {', '.join(names)}, not all 0, "
            f"found {', '.join(f'{weight:g}' for weight in weights)}"
        )


def build_kinds(names: Sequence[str], materials: Materials) -> dict[str, Effect]:
    """Make effects with the published settings.

    Args:
        names: keys of ``KINDS``, each once.
        materials: what they are made of.

    Returns:
        The effects by name, in the order of ``names``, as ``Augmenter`` wants them.

    Raises:
        ConfigError: if a name is unknown or repeated, or its material is missing.
        DataError: if a store lacks the recordings or has another sample rate.
    """
    check_kinds(names)
    for store in (materials.noise_store, materials.room_store):
        if store is not None and store.sample_rate != materials.sample_rate:
            place, rate = store.path, store.sample_rate
            raise DataError(f"{place}: expected {materials.sample_rate} Hz, found {rate} Hz; delete it and run stage 3")
    return {name: KINDS[name](materials) for name in names}
