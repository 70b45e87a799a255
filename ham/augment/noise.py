"""Noise to add to speech: recordings from an audio store, coloured noise made on the spot, babble from the batch.

Powers and ratios follow ``ham.augment.waveforms.snr_gain``. Noise made on the spot has no level of
its own, and babble from the batch is not a published kind: there the ratio is always exact. Where several recordings
are added to one crop, each of them is set to a ratio of its own and then they are summed, as in the published recipe
(and in Kaldi's): with the published 13 to 20 dB for each of 3 to 8 voices, the babble as a whole lies about 8 to 12 dB
below the speech.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ham.audio import SAMPLE_RATE
from ham.augment.randomness import Range, check_range, distinct, integers, normal, uniform
from ham.augment.waveforms import Crops, fast_fft_length, mean_power, roll_rows, snr_gain
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

    def read(self, picks: Tensor, num_samples: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Give the noises of some numbers ``(R,)``, shape ``(R, num_samples)``, depending on the generator only."""


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
            Their numbers, on the central processor, shape ``(num, num_files)``, or fewer columns where the store holds
            fewer recordings.
        """
        return distinct(num, num_files, len(self._indices), generator, torch.device("cpu"))

    def read(self, picks: Tensor, num_samples: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Read a part of each recording ``(R,)``, from a random place, shape ``(R, num_samples)``, in [-1, 1]."""
        places = uniform((len(picks),), (0.0, 1.0), generator, torch.device("cpu")).tolist()
        indices = [self._indices[pick] for pick in picks.tolist()]
        rows = [self._read(index, place, num_samples) for index, place in zip(indices, places, strict=True)]
        samples = np.stack(rows) if rows else np.zeros((0, num_samples), np.int16)
        return torch.from_numpy(samples).to(device).float().mul_(1 / INT16_SCALE)  # a power of 2: exact, in place

    def _read(self, index: int, place: float, num_samples: int) -> npt.NDArray[np.int16]:
        """The samples of one recording from a fraction of the places where so many can begin."""
        length = int(self._store.lengths[index])
        starts = length - num_samples + 1 if length >= num_samples else length
        samples: npt.NDArray[np.int16] = self._store.read_wrapped(index, int(place * starts), num_samples)
        return samples


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

    def read(self, picks: Tensor, num_samples: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Make a noise for each of some numbers ``(R,)``, shape ``(R, num_samples)``."""
        return self.sample(len(picks), num_samples, generator, device)

    def sample(self, num: int, num_samples: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Make ``num`` noises, shape ``(num, num_samples)``."""
        length = fast_fft_length(num_samples)
        exponents = uniform((num, 1), self._exponent, generator, device)
        frequencies = torch.fft.rfftfreq(length, 1.0 / self._sample_rate, device=device)
        octaves = (frequencies / self._corner_hz).clamp(min=1.0).log()
        parts = normal((num, length // 2 + 1, 2), generator, device)
        spectrum = torch.view_as_complex(parts) * torch.exp(-0.5 * exponents * octaves)
        spectrum[:, 0] = 0.0
        noise: Tensor = torch.fft.irfft(spectrum, length, norm="ortho")
        return noise[:, :num_samples] * self._levels(num, num_samples, generator, device)

    def _levels(self, num: int, num_samples: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Amplitudes of shape (num, num_samples) along random broken lines."""
        points = 2 + int(num_samples * self._modulation_hz / self._sample_rate)
        deviation_db = uniform((num, 1), (0.0, self._modulation_db), generator, device)
        levels_db = deviation_db * normal((num, points), generator, device)
        amplitudes = torch.pow(10.0, levels_db / 20.0).unsqueeze(1)
        return functional.interpolate(amplitudes, num_samples, mode="linear", align_corners=True).squeeze(1)


class AddNoise:
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

    def __call__(self, crops: Crops, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise to some rows of the batch, see :class:`ham.augment.augmenter.Effect`."""
        mixed = crops.waveforms[rows]
        power = mean_power(mixed)
        low, high = self._num_files
        counts = integers((len(rows),), low, high, generator, torch.device("cpu"))
        picks = self._source.pick(len(rows), high, generator)
        # One noise a turn for every row that wants as many keeps the memory at R x N.
        for turn in range(picks.shape[1]):
            wanting = torch.nonzero(counts > turn).squeeze(1)
            members = wanting.to(mixed.device)
            noise = self._source.read(picks[wanting, turn], mixed.shape[1], generator, mixed.device)
            snr_db = uniform((len(members),), self._snr_db, generator, mixed.device)
            gains = snr_gain(power[members], mean_power(noise), snr_db, added_power=self._added_power).unsqueeze(1)
            if turn < low:
                mixed.addcmul_(noise, gains)
            else:
                mixed.index_add_(0, members, noise * gains)
        return mixed


class BatchBabble:
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

    def __call__(self, crops: Crops, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Add babble to some rows of the batch, see :class:`ham.augment.augmenter.Effect`."""
        waveforms = crops.waveforms
        starts = integers((len(waveforms),), 0, waveforms.shape[1] - 1, generator, waveforms.device)
        # All voices of all rows are one matrix product, R x B by B x N.
        return torch.addmm(waveforms[rows], self.gains(crops, rows, generator), roll_rows(waveforms, starts))

    def gains(self, crops: Crops, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw how loud each row of the batch is behind each of ``rows`` ``(R,)``.

        Returns:
            Factors, shape ``(R, B)``: 0 for all but the chosen voices.
        """
        labels, device = crops.labels, crops.waveforms.device
        own = labels[rows].unsqueeze(1) == labels.unsqueeze(0)
        order = uniform(own.shape, (0.0, 1.0), generator, device).masked_fill(own, 2.0)
        counts = integers((len(rows), 1), *self._num_voices, generator, device)
        chosen = (order.argsort(dim=1).argsort(dim=1) < counts) & ~own
        power = mean_power(crops.waveforms)
        snr_db = uniform(own.shape, self._snr_db, generator, device)
        return snr_gain(power[rows].unsqueeze(1), power.unsqueeze(0), snr_db) * chosen
