"""How often the measures of `ham/audio/quality.py` and `ham/model/several.py` err, on a folder of real speech.

    python -m benchmarks.quality ROOT --speakers ROOT/splits/train_speakers.txt --model MODEL

ROOT has `wav/<speaker>/<session>/<file>`. Use training speakers: thresholds that are chosen by looking at this must not
have seen a test list. Without a model that has thresholds, several speakers are not looked for.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ham
from ham.audio import SAMPLE_RATE
from ham.audio.decoding import read_audio, to_rate
from ham.audio.quality import NARROW_DB, assess
from ham.model.encoder import SpeakerEncoder

Waveform = NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--speakers", type=Path, help="file with the speakers to use")
    parser.add_argument("--model", help="for several speakers")
    parser.add_argument("--num", type=int, default=500, help="recordings")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = {*options.speakers.read_text().split()} if options.speakers else None
    files = sorted(options.root.glob("wav/*/*/*.*"))
    files = [path for path in files if chosen is None or path.parts[-3] in chosen]
    random.seed(options.seed)
    some = random.sample(files, min(options.num, len(files)))
    false_alarms([read_audio(path) for path in some])
    disturbed([read_audio(path) for path in some[:60]])
    if options.model and (encoder := ham.load(options.model)).decisions:
        several(encoder, files)


def false_alarms(waveforms: Sequence[Waveform]) -> None:
    """Problems of recordings that are taken for good ones."""
    found = [assess(samples, SAMPLE_RATE) for samples in waveforms]
    print(f"{len(found)} recordings: {dict(Counter(problem.name for one in found for problem in one.problems))}")
    print(
        f"SNR, dB: lowest {min(one.snr_db for one in found):.1f}; level, dB: {min(one.level_db for one in found):.1f}"
    )
    print(f"share at the peak: highest {max(one.clipped for one in found):.4f}")


def disturbed(waveforms: Sequence[Waveform]) -> None:
    """Estimates for white noise of known power below the recording's, clipping by a known gain, a telephone's band."""
    random_numbers = np.random.default_rng(0)
    for snr_db in (0, 5, 10, 15, 20):
        found = []
        for samples in waveforms:
            noise = random_numbers.normal(0, np.sqrt(np.mean(samples**2) / 10 ** (snr_db / 10)), len(samples))
            found.append(assess((samples + noise).astype(np.float32), SAMPLE_RATE).snr_db)
        print(f"noise at {snr_db} dB: estimate {percentiles(found)}")
    for gain in (2, 4, 8):
        found = [assess(np.clip(gain * x / np.abs(x).max(), -1, 1), SAMPLE_RATE).clipped for x in waveforms]
        print(f"clipped by a gain of {gain}: share at the peak {percentiles(found)}")
    narrow = [to_rate(to_rate(x, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE) for x in waveforms]
    print(f"upper band, dB: {percentiles([assess(x, SAMPLE_RATE).high_band_db for x in waveforms])}")
    found = [assess(x, SAMPLE_RATE).high_band_db for x in narrow]
    print(f"taken down to 8 kHz: {percentiles(found)}, noted {np.mean(np.less(found, NARROW_DB)):.0%}")


def several(encoder: SpeakerEncoder, files: Sequence[Path]) -> None:
    """Recordings of one speaker (16 s of a session), and of two (6 s and 6 s, 8.4 s and 3.6 s)."""
    sessions: dict[str, list[Path]] = {}
    for path in files:
        sessions.setdefault(str(path.parent), []).append(path)
    speech = {
        name.split("/")[-2]: np.concatenate([read_audio(path) for path in paths]) for name, paths in sessions.items()
    }

    def flagged(samples: Waveform) -> bool:
        return any(problem.name == "several_speakers" for problem in encoder.assess(samples, SAMPLE_RATE).problems)

    alarms = [flagged(samples[: 16 * SAMPLE_RATE]) for samples in speech.values()]
    print(f"one speaker: {sum(alarms)} of {len(alarms)} called several")
    for first_s, second_s in ((6.0, 6.0), (8.4, 3.6)):
        pairs = [random.sample(sorted(speech), 2) for _ in range(80)]
        lengths = int(first_s * SAMPLE_RATE), int(second_s * SAMPLE_RATE)
        hits = [flagged(np.concatenate([speech[a][: lengths[0]], speech[b][: lengths[1]]])) for a, b in pairs]
        print(f"two speakers, {first_s} s and {second_s} s: {sum(hits)} of {len(hits)} found")


def percentiles(values: Sequence[float]) -> str:
    """The 5th, 50th and 95th."""
    return " ".join(f"{value:.3f}" for value in np.percentile(values, (5, 50, 95)))


if __name__ == "__main__":
    main()
