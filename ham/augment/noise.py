"""Noise to add to speech: recordings from an audio store, coloured noise made on the spot, babble from the batch.

Powers and ratios follow ``ham.augment.waveforms.snr_gain``. Noise made on the spot has no level of
its own, and babble from the batch is not a published kind: there the ratio is always exact. Where several recordings
are added to one crop, each of them is set to a ratio of its own and then they are summed, as in the published recipe
(and in Kaldi's): with the published 13 to 20 dB for each of 3 to 8 voices, the babble as a whole lies about 8 to 12 dB
below the speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ham.audio import SAMPLE_RATE
from ham.augment.effect import Effect
from ham.augment.randomness import ALL, Range, check_range, distinct, integers, normal, uniform, within
from ham.augment.waveforms import fast_fft_length, mean_power, roll_rows, snr_gain
from ham.data.store import INT16_SCALE, ArrayStore
from ham.errors import ConfigError, DataError

NOISE_SNR_DB: Range = (0.0, 15.0)
"""Published ratio for noise, one recording."""
MUSIC_SNR_DB: Range = (5.0, 15.0)
"""Published ratio for music, one recording."""
SPEECH_SNR_DB: Range = (13.0, 20.0)
"""Published ratio for each voice of babble."""
VOICE_SNR_DB: Range = (10.0, 30.0)
"""wespeaker's ratio for speech, one recording."""
SPEECH_NUM_FILES = (3, 8)
"""Published number of voices in babble."""


class NoiseSource(Protocol):
    """Anything that can be asked for noises, each of which has a number."""

    def pick(self, num: int, num_files: int, generator: torch.Generator) -> Tensor:
        """Draw the numbers of ``num_files`` noises (or of all there are) for each of ``num`` crops, none twice."""

    def draw(self, picks: Tensor, num_samples: int, generator: torch.Generator, own: slice = ALL) -> Any:
        """Draw for noises of some numbers, and read what the ``R`` own ones need, depending on the generator only."""

    def make(self, drawn: Any, num_samples: int) -> Tensor:
        """Make these, shape ``(R, num_samples)``, on the device where ``drawn`` is by now."""


class StoreNoise:
    """Recordings of an audio store, each read from a random place and wrapped around where it is too short.

    MUSAN's recordings are named ``noise-*``, ``music-*`` and ``speech-*``; ``prefix`` picks one kind.

    Args:
        store: where the recordings are.
        prefix: only recordings whose id begins with it.

    Raises:
        DataError: if the store holds no such recording.
    """

    def __init__(self, store: ArrayStore, prefix: str = "") -> None:
        self._store = store
        lengths = store.lengths
        self._indices = [i for i, utt in enumerate(store.utts) if utt.startswith(prefix) and lengths[i] > 0]
        if not self._indices:
            raise DataError(
                f"noise store: expected recordings named '{prefix}*', found none; mend --musan and run stage 3"
            )

    def pick(self, num: int, num_files: int, generator: torch.Generator) -> Tensor:
        """Draw recordings: different ones for one crop, perhaps the same for several crops.

        Returns:
            Their numbers, shape ``(num, num_files)``, or fewer columns where the store holds fewer recordings.
        """
        return distinct(num, num_files, len(self._indices), generator)

    def draw(self, picks: Tensor, num_samples: int, generator: torch.Generator, own: slice = ALL) -> Tensor:
        """Read a part of each own recording, from a random place, shape ``(R, num_samples)``, int16."""
        places = uniform((len(picks),), (0.0, 1.0), generator)[own].tolist()
        indices = [self._indices[pick] for pick in picks[own].tolist()]
        rows = [self._read(index, place, num_samples) for index, place in zip(indices, places, strict=True)]
        return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, num_samples), np.int16))

    def make(self, drawn: Tensor, num_samples: int) -> Tensor:  # noqa: ARG002
        """The samples in [-1, 1]."""
        return drawn.float().mul_(1 / INT16_SCALE)  # a power of 2: exact, in place

    def _read(self, index: int, place: float, num_samples: int) -> npt.NDArray[np.int16]:
        """The samples of one recording from a fraction of the places where so many can begin."""
        length = int(self._store.lengths[index])
        starts = length - num_samples + 1 if length >= num_samples else length
        samples: npt.NDArray[np.int16] = self._store.read_wrapped(index, int(place * starts), num_samples)
        return samples


class Colours(NamedTuple):
    """What coloured noises are made of.

    ``exponents`` and ``deviation_db`` have shape ``(R, 1)``, ``parts`` of the spectrum ``(R, K, 2)``, ``levels``
    ``(R, P)``.
    """

    exponents: Tensor
    parts: Tensor
    deviation_db: Tensor
    levels: Tensor


class ColouredNoise:
    r"""Gaussian noise with power spectrum :math:`1 / f^\alpha` whose level wanders slowly; needs no recordings.

    Each noise draws its own exponent, from a hiss (-1) over white (0) and pink (1) to a rumble (2). Its level
    follows a random broken line: a point every ``1 / modulation_hz`` seconds, normal in dB with a standard deviation
    drawn from 0 to ``modulation_db``, so that some noises are stationary and some come and go. The ranges are ours.

    Args:
        exponent: lowest and highest :math:`\alpha`.
        corner_hz: the spectrum is flat below it; without it nearly all power of a rumble would be inaudible.
        modulation_db: largest standard deviation of the level in dB; 0 gives stationary noise.
        modulation_hz: how often the level changes direction.
        sample_rate: in Hz.

    Raises:
        ConfigError: if a value makes no sense.
    """

    def __init__(
        self,
        *,
        exponent: Range = (-1.0, 2.0),
        corner_hz: float = 50.0,
        modulation_db: float = 8.0,
        modulation_hz: float = 4.0,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        self._exponent = check_range("exponent", exponent)
        check_range("modulation_db", (0.0, modulation_db))
        if not (corner_hz > 0 and modulation_hz > 0 and sample_rate > 0):
            raise ConfigError("augmentation: corner_hz, modulation_hz and sample_rate must be above 0")
        self._corner_hz, self._sample_rate = corner_hz, sample_rate
        self._modulation_db, self._modulation_hz = modulation_db, modulation_hz

    def pick(self, num: int, num_files: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Number the noises, shape ``(num, num_files)``: each will be a new one, so nothing is drawn."""
        return torch.arange(num * num_files).view(num, num_files)

    def draw(self, picks: Tensor, num_samples: int, generator: torch.Generator, own: slice = ALL) -> Colours:
        """Draw what a noise for each of some numbers is made of; that of the own ones is given."""
        num, points = len(picks), 2 + int(num_samples * self._modulation_hz / self._sample_rate)
        return Colours(
            uniform((num, 1), self._exponent, generator)[own],
            normal((num, fast_fft_length(num_samples) // 2 + 1, 2), generator)[own],
            uniform((num, 1), (0.0, self._modulation_db), generator)[own],
            normal((num, points), generator)[own],
        )

    def make(self, drawn: Colours, num_samples: int) -> Tensor:
        """Make the noises, shape ``(R, num_samples)``."""
        length = fast_fft_length(num_samples)
        frequencies = torch.fft.rfftfreq(length, 1.0 / self._sample_rate, device=drawn.parts.device)
        octaves = (frequencies / self._corner_hz).clamp(min=1.0).log()
        spectrum = torch.view_as_complex(drawn.parts) * torch.exp(-0.5 * drawn.exponents * octaves)
        spectrum[:, 0] = 0.0
        noise: Tensor = torch.fft.irfft(spectrum, length, norm="ortho")
        amplitudes = torch.pow(10.0, drawn.deviation_db * drawn.levels / 20.0).unsqueeze(1)
        levels = functional.interpolate(amplitudes, num_samples, mode="linear", align_corners=True).squeeze(1)
        return noise[:, :num_samples] * levels

    def sample(self, num: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draw and make ``num`` noises at once, shape ``(num, num_samples)``."""
        return self.make(self.draw(torch.arange(num), num_samples, generator), num_samples)


class Turn(NamedTuple):
    """One noise for each of some rows: their places ``(R,)`` among the rows, what the noises are made of, ratios."""

    members: Tensor
    material: Any
    snr_db: Tensor


class AddNoise(Effect):
    """The effect of noise from a source on a crop.

    The noises of one crop are different recordings; their number is drawn uniformly and cut to what the source has.

    Args:
        source: where the noise comes from.
        snr_db: range of the signal-to-noise ratio, drawn uniformly in dB for every noise added.
        num_files: fewest and most noises added to one crop.
        added_power: see ``ham.augment.waveforms.snr_gain``; 0 for the exact ratio.

    Raises:
        ConfigError: if a range is not one.
    """

    def __init__(
        self,
        source: NoiseSource,
        *,
        snr_db: Range = NOISE_SNR_DB,
        num_files: tuple[int, int] = (1, 1),
        added_power: float = 0.0,
    ) -> None:
        self._source = source
        self._added_power = added_power
        self._snr_db = check_range("snr_db", snr_db)
        self._num_files = num_files
        check_range("num_files", num_files, lowest=1)

    def draw(
        self,
        labels: Tensor,  # noqa: ARG002
        rows: Tensor,
        num_samples: int,
        generator: torch.Generator,
        own: slice,
    ) -> list[Turn]:
        """Draw how many noises each row gets, which and how loud; one noise a turn for every row that wants as many."""
        counts = integers((len(rows),), *self._num_files, generator)
        picks = self._source.pick(len(rows), self._num_files[1], generator)
        first, turns = own.indices(len(rows))[0], []
        for turn in range(picks.shape[1]):
            members = torch.nonzero(counts > turn).squeeze(1)
            mine = within(members, own, len(rows))
            material = self._source.draw(picks[members, turn], num_samples, generator, mine)
            snr_db = uniform((len(members),), self._snr_db, generator)
            turns.append(Turn(members[mine] - first, material, snr_db[mine]))
        return turns

    def apply(self, waveforms: Tensor, rows: Tensor, drawn: Sequence[Turn]) -> Tensor:
        """Add the noises; a turn at a time keeps the memory at R x N."""
        mixed = waveforms[rows]
        power = mean_power(mixed)
        for turn, (members, material, snr_db) in enumerate(drawn):
            noise = self._source.make(material, mixed.shape[1])
            gains = snr_gain(power[members], mean_power(noise), snr_db, added_power=self._added_power).unsqueeze(1)
            if turn < self._num_files[0]:
                mixed.addcmul_(noise, gains)
            else:
                mixed.index_add_(0, members, noise * gains)
        return mixed


class Babble(NamedTuple):
    """Where each row of the batch begins as a voice ``(B,)``, whether it is one and how far below, ``(R, B)``."""

    starts: Tensor
    chosen: Tensor
    snr_db: Tensor


class BatchBabble(Effect):
    """The effect of other people talking: other rows of the same batch, never of the crop's own speaker.

    The voices of one crop are different rows; their number is drawn uniformly and cut to what the batch has (a batch
    of one speaker stays as it is). Every row of the batch is rolled by a random amount before it serves as a voice.

    Args:
        snr_db: range of the ratio of the crop to each voice, drawn uniformly in dB.
        num_voices: fewest and most voices.

    Raises:
        ConfigError: if a range is not one.
    """

    def __init__(self, *, snr_db: Range = SPEECH_SNR_DB, num_voices: tuple[int, int] = SPEECH_NUM_FILES) -> None:
        self._snr_db = check_range("snr_db", snr_db)
        self._num_voices = num_voices
        check_range("num_voices", num_voices, lowest=1)

    def draw(self, labels: Tensor, rows: Tensor, num_samples: int, generator: torch.Generator, own: slice) -> Babble:
        """Draw the voices behind each row and how loud each of them is."""
        shape = len(rows), len(labels)
        starts = integers((len(labels),), 0, num_samples - 1, generator)
        order = uniform(shape, (0.0, 1.0), generator)[own]
        counts = integers((len(rows), 1), *self._num_voices, generator)[own]
        snr_db = uniform(shape, self._snr_db, generator)[own]
        same = labels[rows[own]].unsqueeze(1) == labels.unsqueeze(0)
        chosen = (order.masked_fill(same, 2.0).argsort(dim=1).argsort(dim=1) < counts) & ~same
        return Babble(starts, chosen, snr_db)

    def heard(self, drawn: Babble) -> Tensor:
        """The voices."""
        return torch.nonzero(drawn.chosen.any(0)).squeeze(1)

    def among(self, drawn: Babble, present: Tensor) -> Babble:
        """The voices by their places among the rows that are there."""
        return Babble(drawn.starts[present], drawn.chosen[:, present], drawn.snr_db[:, present])

    def apply(self, waveforms: Tensor, rows: Tensor, drawn: Babble) -> Tensor:
        """Add the voices, all of all rows in one matrix product, R x B by B x N."""
        power = mean_power(waveforms)
        gains = snr_gain(power[rows].unsqueeze(1), power.unsqueeze(0), drawn.snr_db) * drawn.chosen
        return torch.addmm(waveforms[rows], gains, roll_rows(waveforms, drawn.starts))
