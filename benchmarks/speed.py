"""Filters for the change of speed: what they let through wrongly, how far they are from sox, what they cost.

``python -m benchmarks.speed`` prints a table and writes JSON. A tone of 7.5 kHz played 1.1 times as fast would lie at
8.25 kHz, beyond half the sample rate: what is left of it is an alias. Against sox, called as wespeaker calls it, white
noise is played at four speeds by both, and the log energies of the top four of 80 Kaldi bands are compared. Without the
program ``sox`` on PATH these columns are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.compliance.kaldi import fbank
from torchaudio.functional import resample

from ham.audio import SAMPLE_RATE
from ham.augment.speed import FILTER

SPEEDS = {1.1: (11, 10), 1.2: (6, 5), 0.9: (9, 10), 0.8: (4, 5)}
FILTERS: dict[str, dict[str, Any]] = {
    "torchaudio's default": {},
    "Hann, width 64, 0.95": {"lowpass_filter_width": 64, "rolloff": 0.95},
    **{
        f"Kaiser {beta:g}, width {width}, {rolloff:g}": {
            "lowpass_filter_width": width,
            "rolloff": rolloff,
            "resampling_method": "sinc_interp_kaiser",
            "beta": beta,
        }
        for width, rolloff, beta in [(32, 0.95, 6.0), (56, 0.955, 6.0)]
    },
    "taken": FILTER,
}


def alias_db(options: dict[str, Any]) -> float:
    """Level of a 7.5 kHz tone at speed 1.1 over the tone's own, away from the edges."""
    source = torch.sin(2 * math.pi * 7500 / SAMPLE_RATE * torch.arange(44000).double()).float()
    return 10 * math.log10(2 * resample(source, *SPEEDS[1.1], **options)[2000:-2000].square().mean().item())


def sox(noise: Tensor, speed: float) -> Tensor:
    """What sox makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        source, played = f"{folder}/a.wav", f"{folder}/b.wav"
        soundfile.write(source, noise.numpy(), SAMPLE_RATE, subtype="PCM_24")
        subprocess.run(["sox", "-D", source, played, "speed", f"{speed:g}", "rate", str(SAMPLE_RATE)], check=True)
        return torch.from_numpy(soundfile.read(played, dtype="float32")[0])


def distances(options: dict[str, Any], noise: Tensor, references: dict[float, Tensor]) -> list[float]:
    """Largest difference of a log energy in the top four bands, for each speed."""
    found = []
    for speed, reference in references.items():
        played = kaldi_bands(resample(noise, *SPEEDS[speed], **options))
        found.append((played - reference)[5:-5, -4:].abs().max().item())  # frames at the edges hear silence
    return found


def kaldi_bands(waveform: Tensor) -> Tensor:
    """Log energies of the first three seconds, shape (T, F), without any mean subtracted."""
    bands: Tensor = fbank(waveform[None, : 3 * SAMPLE_RATE] * 2**15, num_mel_bins=80, window_type="hamming", dither=0.0)
    return bands


def costs_ms(batch: Tensor, repeats: int) -> dict[str, float]:
    """Fastest of some resamplings of a batch by each filter, in processor time, in turn: other load meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in FILTERS}
    for _ in range(repeats):
        for name, options in FILTERS.items():
            started = time.process_time()
            resample(batch, *SPEEDS[1.1], **options)
            times[name].append(1e3 * (time.process_time() - started))
    return {name: min(values) for name, values in times.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Filters for the change of speed")
    parser.add_argument("--num_crops", type=int, default=43, help="crops of 2 s that draw a speed")
    parser.add_argument("--repeats", type=int, default=20, help="measurements of each filter, of which the fastest")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/speed.json"), help="the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(4 * SAMPLE_RATE, generator=generator)
    speeds = SPEEDS if shutil.which("sox") else {}
    references = {speed: kaldi_bands(sox(noise, speed)) for speed in speeds}
    cost = costs_ms(torch.randn(options.num_crops, 35464, generator=generator), options.repeats)
    base = cost["torchaudio's default"]
    rows: list[dict[str, Any]] = [
        {"name": name, "alias_db": alias_db(f), "difference": distances(f, noise, references), "ms": cost[name]}
        for name, f in FILTERS.items()
    ]
    print(f"{'':28}{'alias dB':>10}{'ms':>8}{'ratio':>7}" + "".join(f"  sox at {speed:g}" for speed in references))
    for name, found in zip(FILTERS, rows, strict=True):
        cells = "".join(f"{value:12.2f}" for value in found["difference"])
        print(f"{name:28}{found['alias_db']:10.1f}{cost[name]:8.1f}{cost[name] / base:7.2f}{cells}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    versions = {"torch": str(torch.__version__), "numpy": np.__version__}
    options.output.write_text(json.dumps({"versions": versions, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
