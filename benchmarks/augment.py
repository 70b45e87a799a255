"""Augmentation of a training batch against one utterance at a time in NumPy doing the same.

``python -m benchmarks.augment`` prints a table and writes JSON. The first rows mix the same material in both ways and
show how far the results differ; the last one draws its material as well (rooms, coloured noise, babble), as a step of
training does. The loop transforms at the same fast lengths as the batch, in single threads of NumPy, as a worker of a
data loader would.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.augment.augmenter import Augmenter, Materials, available_kinds, build_kinds
from ham.augment.noise import SPEECH_NUM_FILES, SPEECH_SNR_DB, AddNoise
from ham.augment.reverb import ROOM_SIZES, Reverberate
from ham.augment.speed import speed_input_samples, speed_perturb
from ham.augment.waveforms import Crops, fast_fft_length, normalise_energy

Array = npt.NDArray[np.floating[Any]]
SNR_DB = 10.0
VOICES = 5
TAPS = 12801


class Fixed:
    """A source of noise and of rooms that gives the same tensors again and again, drawing nothing."""

    def __init__(self, *turns: Tensor) -> None:
        self._turns = turns
        self._turn = 0

    def draw(self, wanted: int | Tensor, *_: Any) -> Tensor:
        """Give the next tensor, for a number of rooms or for the numbers of noises."""
        self._turn += 1
        num = wanted if isinstance(wanted, int) else len(wanted)
        return self._turns[(self._turn - 1) % len(self._turns)][:num]

    def make(self, drawn: Tensor, *_: Any) -> Tensor:
        """Nothing is left to do."""
        return drawn

    def pick(self, num: int, num_files: int, *_: Any) -> Tensor:
        """Number the noises; the numbers mean nothing."""
        return torch.zeros(num, num_files, dtype=torch.int64)


def loop_convolve(wave: Array, response: Array) -> Array:
    """One utterance in one room."""
    response = response / np.sqrt(np.sum(response**2))
    length = fast_fft_length(len(wave) + len(response) - 1)
    full: Array = np.fft.irfft(np.fft.rfft(wave, length) * np.fft.rfft(response, length), length)
    return full[: len(wave)]


def loop_mix(wave: Array, noises: list[Array], snrs_db: list[float]) -> Array:
    """One utterance with some noises."""
    clean_db = 10 * np.log10(np.mean(wave**2) + 1e-12)
    mixed = wave.copy()
    for noise, snr_db in zip(noises, snrs_db, strict=True):
        noise_db = 10 * np.log10(np.mean(noise**2) + 1e-12)
        mixed += 10 ** ((clean_db - noise_db - snr_db) / 20) * noise
    return mixed


def loop_mix_all(waves: Array, files: list[list[Array]], snrs_db: list[float]) -> Array:
    """Every utterance with its noises."""
    return np.stack([loop_mix(wave, noises, snrs_db) for wave, noises in zip(waves, files, strict=True)])


def loop_coloured(num_samples: int, draw: np.random.Generator) -> Array:
    """One coloured noise, as ``ColouredNoise`` makes it."""
    length = fast_fft_length(num_samples)
    bins = length // 2 + 1
    fall = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE) / 50.0, 1.0) ** (-draw.uniform(-1, 2) / 2)
    noise: Array = np.fft.irfft((draw.standard_normal(bins) + 1j * draw.standard_normal(bins)) * fall, length)
    points = 2 + num_samples * 4 // SAMPLE_RATE
    levels = 10 ** (draw.uniform(0, 8) * draw.standard_normal(points) / 20)
    places = np.linspace(0, points - 1, num_samples)
    return noise[:num_samples] * np.interp(places, np.arange(points), levels)


def loop_room(draw: np.random.Generator) -> Array:
    """One room response, as ``DecayingRooms`` makes it."""
    size = ROOM_SIZES[draw.integers(len(ROOM_SIZES))]
    rt60_s = np.exp(draw.uniform(*np.log(size.rt60_s)))
    time_s = np.arange(TAPS) / SAMPLE_RATE
    response: Array = draw.standard_normal(TAPS) * 10 ** (-3 * time_s / rt60_s)
    early_s = time_s[:1281] + 0.003
    density = np.minimum((early_s / (draw.uniform(*size.mixing_s) + 0.003)) ** 2, 1.0)
    response[:1281] *= (draw.uniform(size=1281) < density) / np.sqrt(density)
    response[0] = 0.0
    response *= 10 ** (-draw.uniform(*size.direct_db) / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    return response


def loop_augment(waves: Array, labels: Array, draw: np.random.Generator) -> Array:
    """Every utterance with one kind of augmentation, drawn on the spot."""
    rows = []
    for wave, label in zip(waves, labels, strict=True):
        kind = draw.integers(3)
        if kind == 0:
            rows.append(loop_convolve(wave, loop_room(draw)))
        elif kind == 1:
            noise = loop_coloured(len(wave), draw)
            rows.append(loop_mix(wave, [noise], [draw.uniform(0, 15)]))
        else:
            low, high = SPEECH_NUM_FILES
            voices = draw.choice(np.flatnonzero(labels != label), draw.integers(low, high + 1), replace=False)
            noises = [np.roll(waves[voice], draw.integers(len(wave))) for voice in voices]
            rows.append(loop_mix(wave, noises, draw.uniform(*SPEECH_SNR_DB, len(voices)).tolist()))
    return np.stack(rows)


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock time of a piece of work after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


class Benchmark:
    """The batch that all rows of the table work on, and the rows measured so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.repeats: int = options.repeats
        self.generator = torch.Generator().manual_seed(0)
        self.shape = (options.num_crops, options.num_samples)
        self.waves = 0.1 * self.normal(*self.shape)
        self.labels = torch.arange(options.num_crops)
        self.rows: list[dict[str, Any]] = []

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers."""
        return torch.randn(shape, generator=self.generator)

    def add(
        self, name: str, batched: Callable[[], Tensor], loop: Callable[[], Array] | None, *, same: bool = True
    ) -> None:
        """Measure one row of the table."""
        row: dict[str, Any] = {"name": name, "batched_ms": median_ms(batched, self.repeats)}
        if loop is not None:
            row["loop_ms"] = median_ms(loop, max(1, self.repeats // 5))
            row["ratio"] = row["loop_ms"] / row["batched_ms"]
            if same:
                row["difference"] = float(np.abs(batched().cpu().numpy() - loop()).max())
        self.rows.append(row)

    def mixing(self) -> None:
        """The same material mixed in both ways."""
        crops, everyone = Crops(self.waves, self.labels), torch.arange(self.shape[0])
        waves = self.waves.cpu().numpy()
        rooms = normalise_energy(self.normal(self.shape[0], TAPS))
        turns = [self.normal(*self.shape) for _ in range(VOICES)]
        rooms_host, turns_host = rooms.cpu().numpy(), [turn.cpu().numpy() for turn in turns]
        reverb = Reverberate(Fixed(rooms))
        self.add(
            "reverb, given rooms",
            partial(reverb, crops, everyone, self.generator),
            lambda: np.stack([loop_convolve(*pair) for pair in zip(waves, rooms_host, strict=True)]),
        )
        for count, name in ((1, "noise, 1 given file"), (VOICES, f"speech, {VOICES} given files")):
            effect = AddNoise(Fixed(*turns[:count]), snr_db=(SNR_DB, SNR_DB), num_files=(count, count))
            files = [list(rows) for rows in zip(*turns_host[:count], strict=True)]
            self.add(
                name,
                partial(effect, crops, everyone, self.generator),
                partial(loop_mix_all, waves, files, [SNR_DB] * count),
            )

    def drawing(self) -> None:
        """Whole kinds and the whole augmenter, drawing their material."""
        materials = Materials(SAMPLE_RATE)
        names = available_kinds(materials)
        for kind in (*names, "channel"):
            augmenter = Augmenter(build_kinds([kind], materials), probability=1.0)
            self.add(f"{kind}, drawn", self._call(augmenter), None)
        needed = speed_input_samples(self.shape[1], 1.1)
        longer = self.normal(self.shape[0], needed)
        self.add("speed 1.1", lambda: speed_perturb(longer, 1.1, self.shape[1]), None)
        everything = Augmenter(build_kinds(names, materials), probability=1.0)
        waves, labels = self.waves.cpu().numpy(), self.labels.cpu().numpy()
        draw = np.random.default_rng(0)
        self.add("a copy of the batch", self._call(everything), partial(loop_augment, waves, labels, draw), same=False)

    def _call(self, augmenter: Augmenter) -> Callable[[], Tensor]:
        """The work of one augmenter on the batch."""
        return partial(augmenter, self.waves, self.labels, self.generator)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as aligned text."""
    lines = [f"{'':24}{'batched ms':>12}{'loop ms':>10}{'ratio':>8}{'difference':>12}"]
    for row in rows:
        cells = [f"{row['name']:24}{row['batched_ms']:12.1f}"]
        cells.append(f"{row['loop_ms']:10.1f}{row['ratio']:8.2f}" if "ratio" in row else "")
        cells.append(f"{row['difference']:12.1e}" if "difference" in row else "")
        lines.append("".join(cells))
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--num_crops", type=int, default=128, help="crops of a batch, 9 or more")
    parser.add_argument("--num_samples", type=int, default=32240, help="samples of a crop")
    parser.add_argument("--repeats", type=int, default=10, help="measurements of each row, of which the median")
    parser.add_argument("--threads", type=int, default=1, help="of the batch; the loop has one")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/augment.json"), help="the JSON file")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = parse()
    torch.set_num_threads(options.threads)
    benchmark = Benchmark(options)
    benchmark.mixing()
    benchmark.drawing()
    on = platform.processor() or platform.machine()
    print(f"{options.num_crops} crops of {options.num_samples} samples ({on}), ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, numpy {np.__version__}")
    print(table(benchmark.rows))
    report = {
        "hardware": on,
        "threads": torch.get_num_threads(),
        "num_crops": options.num_crops,
        "num_samples": options.num_samples,
        "repeats": options.repeats,
        "versions": {"torch": str(torch.__version__), "numpy": np.__version__, "python": platform.python_version()},
        "rows": benchmark.rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
