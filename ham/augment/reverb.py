"""Reverberation: rooms to put speech into, recorded or simulated ones of a store or made on the spot, and the effect.

A room is known by its impulse response, what a microphone in it records of a single click. :class:`StoreRooms` takes
responses from a store (``--rirs``), :class:`DecayingRooms` makes some where there is none, and :class:`Reverberate`
convolves speech with what either gives. Which of them a kind of augmentation uses says ``_reverb`` in augmenter.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.augment.effect import Effect
from ham.augment.randomness import ALL, Range, check_range, integers, normal, uniform
from ham.augment.waveforms import convolve, normalise_energy
from ham.data.store import ArrayStore
from ham.errors import ConfigError, DataError

DIRECT_PATH_S = 0.003
"""Time of flight of the direct sound, that is of a talker at 1 m; it sets how dense the first reflections are."""


class RoomSource(Protocol):
    """Anything that can be asked for a number of room responses of energy 1, or for the own ones of them."""

    def draw(self, num: int, num_taps: int, generator: torch.Generator, own: slice = ALL) -> Any:
        """Read or draw what the own ones of ``num`` responses are made of, depending on the generator only."""

    def make(self, drawn: Any, num_taps: int) -> Tensor:
        """Give their first taps, shape ``(R, L)``, L <= ``num_taps``, on the device where ``drawn`` is by now."""


class Recorded(NamedTuple):
    """The first taps of responses of a store, int16 ``(R, L)``, and the energy of each whole one ``(R,)``."""

    responses: Tensor
    energy: Tensor


class StoreRooms:
    """Room impulse responses of an audio store, for instance the simulated ones of RIRS_NOISES.

    Args:
        store: where the responses are.
        prefix: only responses whose id begins with it.

    Raises:
        DataError: if the store holds no such response.
    """

    def __init__(self, store: ArrayStore, prefix: str = "") -> None:
        self._store = store
        self._indices = [i for i, utt in enumerate(store.utts) if utt.startswith(prefix) and store.lengths[i] > 0]
        if not self._indices:
            raise DataError(
                f"room store: expected responses named '{prefix}*', found none; mend --rirs and run stage 3"
            )
        self._longest = int(store.lengths[self._indices].max())

    def draw(self, num: int, num_taps: int, generator: torch.Generator, own: slice = ALL) -> Recorded:
        """Draw responses, which may repeat, and read the own ones.

        Args:
            num: how many.
            num_taps: taps that are wanted; what comes later still counts in the energy.
            generator: source of the randomness.
            own: which of them are read.

        Returns:
            L is the longest of the store but at most ``num_taps``; shorter ones are filled up with zeros.
        """
        picks = integers((num,), 0, len(self._indices) - 1, generator)[own].tolist()
        responses = np.zeros((len(picks), min(self._longest, num_taps)), np.int16)
        energy = np.zeros(len(picks), np.float32)
        # Only the taps wanted are kept, so that one long response does not make the whole batch as long.
        for row, pick in enumerate(picks):
            whole = self._store.read(self._indices[pick])
            first = whole[:num_taps]
            responses[row, : len(first)] = first
            energy[row] = np.square(whole, dtype=np.float64).sum()
        return Recorded(torch.from_numpy(responses), torch.from_numpy(energy))

    def make(self, drawn: Recorded, num_taps: int) -> Tensor:  # noqa: ARG002
        """The responses with energy 1."""
        return normalise_energy(drawn.responses.float(), drawn.energy)


class Simulated(NamedTuple):
    """What simulated rooms are made of.

    ``values`` has shape ``(R, 3)``: logarithm of the RT60, mixing time, level of the direct sound; ``reflections``
    has shape ``(R, L)``, ``chances`` of the early ones to be there ``(R, E)``.
    """

    values: Tensor
    reflections: Tensor
    chances: Tensor


@dataclass(frozen=True)
class RoomSize:
    """What rooms of one size have in common; every range is drawn from uniformly, the first in its logarithm.

    Attributes:
        rt60_s: time in which reverberation falls by 60 dB.
        mixing_s: time after which reflections are so dense that they sound like noise.
        direct_db: energy of the direct sound over that of the reverberation.
    """

    rt60_s: Range
    mixing_s: Range
    direct_db: Range


SMALL_ROOM = RoomSize(rt60_s=(0.1, 0.2), mixing_s=(0.005, 0.015), direct_db=(3.0, 15.0))
MEDIUM_ROOM = RoomSize(rt60_s=(0.2, 0.4), mixing_s=(0.015, 0.04), direct_db=(0.0, 12.0))
LARGE_ROOM = RoomSize(rt60_s=(0.4, 0.8), mixing_s=(0.04, 0.08), direct_db=(-3.0, 9.0))
ROOM_SIZES = (SMALL_ROOM, MEDIUM_ROOM, LARGE_ROOM)
"""Our choice. Drawn equally often, they make the RT60 log-uniform from 0.1 to 0.8 s."""


class DecayingRooms:
    r"""Room responses from the statistics of room acoustics; needs no recordings.

    .. math:: h_t = \delta_t + g \, n_t \, \frac{b_t}{\sqrt{p_t}} \, 10^{-3 t / \mathrm{RT60}}

    with :math:`n_t` normal and :math:`b_t` 1 with probability
    :math:`p_t = \min(1, ((t + t_0) / (t_m + t_0))^2)`: the number of reflections in a room grows with the square of
    time while each loses energy, so that the first ones are few and strong and those after the mixing time
    :math:`t_m` are dense. The gain :math:`g` sets the direct-to-reverberant ratio. The direct sound is the first
    sample, so that nothing is delayed.

    Args:
        sizes: kinds of rooms, drawn equally often.
        sample_rate: in Hz.

    Raises:
        ConfigError: if there is no size, or a range is not one.
    """

    def __init__(self, *, sizes: Sequence[RoomSize] = ROOM_SIZES, sample_rate: int = SAMPLE_RATE) -> None:
        if not sizes or sample_rate <= 0:
            raise ConfigError("augmentation: rooms need at least one size and a positive sample_rate")
        for size in sizes:
            # One sample is the shortest time that means anything here.
            check_range("rt60_s", size.rt60_s, lowest=1.0 / sample_rate)
            check_range("mixing_s", size.mixing_s, lowest=0.0)
            check_range("direct_db", size.direct_db)
        rows = [(*map(math.log, size.rt60_s), *size.mixing_s, *size.direct_db) for size in sizes]
        self._bounds = torch.tensor(rows).view(len(sizes), 3, 2)
        self._sample_rate = sample_rate
        # By its RT60 a response has fallen by 60 dB, about the noise floor of a quiet recording.
        self._taps = 1 + math.ceil(max(size.rt60_s[1] for size in sizes) * sample_rate)
        self._early = min(self._taps, 1 + math.ceil(max(size.mixing_s[1] for size in sizes) * sample_rate))

    def draw(self, num: int, num_taps: int, generator: torch.Generator, own: slice = ALL) -> Simulated:  # noqa: ARG002
        """Draw the sizes of rooms, and their reflections."""
        bounds = self._bounds[integers((num,), 0, len(self._bounds) - 1, generator)]
        place = uniform((num, 3), (0.0, 1.0), generator)
        values = bounds[:, :, 0] + (bounds[:, :, 1] - bounds[:, :, 0]) * place
        reflections = normal((num, self._taps), generator)
        chances = uniform((num, self._early), (0.0, 1.0), generator)
        return Simulated(values[own], reflections[own], chances[own])

    def make(self, drawn: Simulated, num_taps: int) -> Tensor:
        """Make responses of energy 1 and give their first ``num_taps`` taps, see ``responses``."""
        return normalise_energy(self.responses(drawn))[:, :num_taps]

    def responses(self, drawn: Simulated) -> Tensor:
        """Make responses, shape ``(R, L)`` with L the longest RT60; the first sample, direct sound, is 1."""
        log_rt60, mixing_s, direct_db = (drawn.values[:, i : i + 1] for i in range(3))
        responses = self._reverberation(log_rt60.exp(), mixing_s, drawn)
        energy = responses.square().sum(dim=1, keepdim=True)
        # A room of almost no taps may draw no reflection at all; it stays without any.
        gain = torch.pow(10.0, -direct_db / 20.0) * energy.clamp(min=torch.finfo(energy.dtype).tiny).rsqrt()
        responses *= gain
        responses[:, 0] = 1.0
        return responses

    def _reverberation(self, rt60_s: Tensor, mixing_s: Tensor, drawn: Simulated) -> Tensor:
        """Everything but the direct sound, shape (R, L), from parameters of shape (R, 1)."""
        time_s = torch.arange(self._taps, device=rt60_s.device) / self._sample_rate
        responses = drawn.reflections * torch.exp(-math.log(1000.0) / rt60_s * time_s)
        early_s = time_s[: self._early] + DIRECT_PATH_S
        density = (early_s / (mixing_s + DIRECT_PATH_S)).square().clamp(max=1.0)
        responses[:, : self._early] *= (drawn.chances < density) * density.rsqrt()
        responses[:, 0] = 0.0
        return responses


class Reverberate(Effect):
    """The effect of a room on a crop: convolution with a whole response of energy 1, cut to the crop's length.

    Args:
        rooms: where the responses come from.
    """

    def __init__(self, rooms: RoomSource) -> None:
        self._rooms = rooms

    def draw(self, labels: Tensor, rows: Tensor, num_samples: int, generator: torch.Generator, own: slice) -> Any:  # noqa: ARG002
        """Draw a room for each row."""
        return self._rooms.draw(len(rows), num_samples, generator, own)

    def apply(self, waveforms: Tensor, rows: Tensor, drawn: Any) -> Tensor:
        """Put the rows into their rooms."""
        return convolve(waveforms[rows], self._rooms.make(drawn, waveforms.shape[1]))
