"""Augmented training crops a second and core, extraction, and the time a training step waits for data.

``python -m benchmarks.loader`` prints tables in Markdown and writes JSON. Three comparisons, targets in brackets:

* This recipe's loader (crops gathered from the store by bounded reads, augmentation of the whole batch) against a
  loader that works the way published ones do: in a worker, one utterance at a time, soundfile reads the whole file,
  a crop is cut out, recordings of MUSAN are read likewise and added, a room response is read and convolved by
  scipy.signal [all four kinds together at least 10 times as fast]. Both read the same files, have one thread, take
  turns, and are counted in processor seconds; a ratio is taken within each round and the table has its median. One
  row counts only what is left to the processor when a GPU augments: gathering.
* Embedding whole utterances in batches against one by one, from the store and from the files [3 times on a CPU].
* The share of a training step that is spent waiting for the loader, in a real training [at most 3 %].

The files are made in a temporary folder: noise with the spectrum and the syllables of speech, 4 to 20 s and 8 s on the
average as in VoxCeleb2; responses of 1 s, as those of RIRS_NOISES; MUSAN with recordings as long as it has them (on
the average 23 s of noise, 232 s of music, 510 s of speech) and once more cut to pieces of 5 s, as some recipes prepare
it because whole files are read. ``--wav_root`` takes real speech instead of the first of these.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy import signal

from ham.audio import SAMPLE_RATE
from ham.augment.augmenter import Augmenter, Materials, build_kinds
from ham.augment.noise import MUSIC_SNR_DB, NOISE_SNR_DB, SPEECH_NUM_FILES, SPEECH_SNR_DB
from ham.config import Config, load_config
from ham.data.batches import Batch, CropBatches, training_set
from ham.data.pack import pack_audio
from ham.data.sampler import plan_epoch
from ham.data.store import INT16_SCALE, ArrayStore
from ham.embeddings.extract import extract
from ham.model.build import build_backbone, build_frontend, pick_device
from ham.model.encoder import Network
from ham.provenance import git_commit, hardware
from ham.train.crops import TrainingCrops
from ham.train.experiment import build_step
from ham.train.loop import Loop
from ham.train.optimisers import build_optimiser
from ham.train.schedules import Schedules, constant_rate

NUM_SAMPLES = 200 * 160 + 240
KINDS = ("reverb", "music", "speech", "noise")
SETTINGS: Mapping[str, tuple[tuple[float, float], tuple[int, int]]] = {
    "music": (MUSIC_SNR_DB, (1, 1)),
    "speech": (SPEECH_SNR_DB, SPEECH_NUM_FILES),
    "noise": (NOISE_SNR_DB, (1, 1)),
}
"""Signal-to-noise ratio in dB and number of recordings of each kind that is added."""

MUSAN = {
    "whole": {"noise": (12, 23.0), "music": (6, 232.0), "speech": (8, 510.0)},
    "pieces": dict.fromkeys(SETTINGS, (60, 5.0)),
}
"""Number and seconds of the recordings of each kind."""

Array = NDArray[Any]


def speech_like(num_samples: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Noise that falls by 6 dB an octave from 500 Hz on, four syllables a second; no file compresses better."""
    fall = 1 / np.maximum(np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE) / 500, 1)
    noise = np.fft.irfft(fall * np.fft.rfft(rng.normal(size=num_samples)), num_samples)
    syllables = 0.1 + np.abs(np.sin(2 * np.pi * 2 * np.arange(num_samples) / SAMPLE_RATE + rng.uniform(0, 6)))
    sound: NDArray[np.int16] = (6000 * noise * syllables / noise.std()).clip(-32000, 32000).astype(np.int16)
    return sound


def write_all(folder: Path, suffix: str, sounds: Mapping[str, NDArray[np.int16]]) -> dict[str, Path]:
    """Write files and give them by their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.{suffix}", samples, SAMPLE_RATE, subtype="PCM_16")
    return {name: folder / f"{name}.{suffix}" for name in sounds}


def make_speech(folder: Path, num_utts: int, suffix: str) -> dict[str, Path]:
    """Utterances of as many speakers as a batch has crops, or fewer."""
    rng = np.random.default_rng(0)
    lengths = (SAMPLE_RATE * np.clip(4 + rng.exponential(4, num_utts), 4, 20)).astype(int)
    return write_all(folder, suffix, {f"s{i % 64:02d}-{i:05d}": speech_like(n, rng) for i, n in enumerate(lengths)})


def make_noises(folder: Path, recordings: Mapping[str, tuple[int, float]]) -> dict[str, Path]:
    """Recordings of MUSAN."""
    rng = np.random.default_rng(1)
    block = speech_like(30 * SAMPLE_RATE, rng)
    sounds = {
        f"{kind}-{i:03d}": np.resize(np.roll(block, int(rng.integers(len(block)))), int(seconds * SAMPLE_RATE))
        for kind, (num, seconds) in recordings.items()
        for i in range(num)
    }
    return write_all(folder, "wav", sounds)


def make_rooms(folder: Path, num: int) -> dict[str, Path]:
    """Room responses."""
    rng = np.random.default_rng(2)
    decay = np.exp(-6.9 * np.arange(SAMPLE_RATE) / SAMPLE_RATE / 0.4)
    rooms = {f"room-{i:03d}": 3000 * decay * rng.normal(size=SAMPLE_RATE) for i in range(num)}
    return write_all(folder, "wav", {name: room.clip(-32000, 32000).astype(np.int16) for name, room in rooms.items()})


@dataclass(frozen=True)
class Corpus:
    """The same sounds as files and as stores."""

    speech: dict[str, Path]
    noises: dict[str, Path]
    rooms: dict[str, Path]
    stores: Path

    def store(self, name: str) -> ArrayStore:
        """One of the stores ``speech``, ``noises`` and ``rooms``."""
        return ArrayStore(self.stores / name)


def make_corpus(folder: Path, options: argparse.Namespace, suffix: str, musan: str) -> Corpus:
    """Make or find the files and pack them."""
    if options.wav_root is None:
        speech = make_speech(folder / suffix, options.num_utts, suffix)
    else:
        found = sorted(p for p in options.wav_root.rglob("*") if p.suffix.lower() in (".wav", ".flac"))
        picks = np.linspace(0, len(found) - 1, min(len(found), options.num_utts)).astype(int)
        speech = {f"{found[i].parent.name}-{i:07d}".replace(" ", "_"): found[i] for i in picks}
    noises, rooms = make_noises(folder / "musan", MUSAN[musan]), make_rooms(folder / "rirs", 60)
    corpus = Corpus(speech, noises, rooms, folder / "stores")
    for name in ("speech", "noises", "rooms"):
        pack_audio(corpus.stores / name, getattr(corpus, name), sample_rate=SAMPLE_RATE, num_workers=2)
    return corpus


class PublishedLoader:
    """What a worker of the published loaders does for one crop after the other."""

    def __init__(self, corpus: Corpus) -> None:
        self._speech = list(corpus.speech.values())
        self._noises = {k: [p for name, p in corpus.noises.items() if name.startswith(k)] for k in SETTINGS}
        self._rooms = list(corpus.rooms.values())
        self._rng = np.random.default_rng(0)
        self._next = 0

    def batch(self, kinds: tuple[str, ...], batch_size: int) -> Array:
        """Crops with one of the kinds each, ``(B, N)``."""
        return np.stack([self._one(kinds) for _ in range(batch_size)]).astype(np.float32)

    def _one(self, kinds: tuple[str, ...]) -> Array:
        """The next utterance's crop."""
        self._next = (self._next + 1) % len(self._speech)
        crop = self._read(self._speech[self._next])
        if not kinds:
            return crop
        kind = kinds[self._rng.integers(len(kinds))]
        return self._reverberate(crop) if kind == "reverb" else self._mix(crop, kind)

    def _read(self, path: Path) -> Array:
        """A crop of a file that is read as a whole."""
        samples, _ = soundfile.read(path)
        if len(samples) < NUM_SAMPLES:
            samples = np.pad(samples, (0, NUM_SAMPLES - len(samples)), mode="wrap")
        start = self._rng.integers(len(samples) - NUM_SAMPLES + 1)
        part: Array = samples[start : start + NUM_SAMPLES]
        return part

    def _mix(self, crop: Array, kind: str) -> Array:
        """Add one or several recordings."""
        snr_db, (fewest, most) = SETTINGS[kind]
        clean_db = 10 * np.log10(np.mean(crop**2) + 1e-4)
        mixed = crop
        for place in self._rng.choice(len(self._noises[kind]), self._rng.integers(fewest, most + 1), replace=False):
            noise = self._read(self._noises[kind][place])
            noise_db = 10 * np.log10(np.mean(noise**2) + 1e-4)
            mixed = mixed + 10 ** ((clean_db - noise_db - self._rng.uniform(*snr_db)) / 20) * noise
        return mixed

    def _reverberate(self, crop: Array) -> Array:
        """Convolve with a response."""
        response, _ = soundfile.read(self._rooms[self._rng.integers(len(self._rooms))])
        full: Array = signal.convolve(crop, response / np.sqrt(np.sum(response**2)), mode="full")
        return full[:NUM_SAMPLES]


class OwnLoader:
    """What this recipe does: gather a batch, augment it."""

    def __init__(self, corpus: Corpus, batch_size: int) -> None:
        self._materials = Materials(SAMPLE_RATE, corpus.store("noises"), corpus.store("rooms"))
        store = corpus.store("speech")
        data = training_set(store, {utt: utt.split("-")[0] for utt in store.utts})
        plan = plan_epoch(len(store), seed=0, epoch=1, crops_per_utterance=1 + 40 * batch_size // len(store))
        self._batches = CropBatches(store, data, plan, batch_size, NUM_SAMPLES)
        self._generator = torch.Generator().manual_seed(0)
        self._augmenters: dict[tuple[str, ...], Augmenter] = {}
        self._next = 0

    def gather(self) -> Batch:
        """The next batch as it reaches the device."""
        self._next = (self._next + 1) % len(self._batches)
        return self._batches[self._next]

    def batch(self, kinds: tuple[str, ...]) -> Array:
        """Crops with one of the kinds each, ``(B, N)``."""
        batch = self.gather()
        waveforms = batch.rows.float().mul_(1 / INT16_SCALE)
        if kinds:
            if kinds not in self._augmenters:
                self._augmenters[kinds] = Augmenter(build_kinds(kinds, self._materials), probability=1.0)
            waveforms = self._augmenters[kinds](waveforms, batch.labels, self._generator)
        return waveforms.numpy()


def processor_s(work: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare_loaders(corpus: Corpus, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Crops a second and core of both loaders, for each kind and for all of them."""
    torch.set_num_threads(1)
    own, published = OwnLoader(corpus, options.batch_size), PublishedLoader(corpus)
    contests: list[tuple[str, tuple[str, ...], Callable[[], object]]] = [
        (name, kinds, partial(own.batch, kinds))
        for name, kinds in (("clean", ()), *((kind, (kind,)) for kind in KINDS), ("all four", KINDS))
    ]
    contests.append(("all four, augmented by a GPU", KINDS, own.gather))
    return [{"kind": name, **_contest(published, kinds, ours, options)} for name, kinds, ours in contests]


def _contest(
    published: PublishedLoader, kinds: tuple[str, ...], own: Callable[[], object], options: argparse.Namespace
) -> dict[str, float]:
    """Both loaders in turn; the published way works crop by crop, so that fewer of its crops are enough."""
    times = []
    for number in range(options.rounds + 1):
        theirs = processor_s(partial(published.batch, kinds, options.published_crops)) / options.published_crops
        ours = processor_s(own) / options.batch_size
        if number:  # the first round warms up
            times.append((theirs, ours))
    speeds = [1 / median(column) for column in zip(*times, strict=True)]
    ratio = median(theirs / ours for theirs, ours in times)
    return {"published_crops_per_s": speeds[0], "own_crops_per_s": speeds[1], "ratio": ratio}


def median_s(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock seconds of a call, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times[1:])


def compare_extraction(config: Config, corpus: Corpus, options: argparse.Namespace) -> dict[str, float]:
    """Seconds to embed utterances one by one from their files, one by one from the store, in batches."""
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    network = Network(build_frontend(config), build_backbone(config)).to(device).eval()
    store = corpus.store("speech")
    indices = np.arange(min(len(store), options.num_embedded))
    paths = [corpus.speech[store.utts[i]] for i in indices]

    @torch.inference_mode()
    def from_files() -> None:
        for path in paths:
            samples, _ = soundfile.read(path, dtype="float32")
            network(torch.from_numpy(samples).to(device)[None]).cpu()

    def from_store(size: int) -> None:
        extract(network, store, indices, device=device, batch_size=size)

    works: dict[str, Callable[[], object]] = {
        "one by one, from the files": from_files,
        "one by one, from the store": partial(from_store, 1),
        "batches of 16, from the store": partial(from_store, 16),
    }
    return {name: median_s(work, 3) for name, work in works.items()}


def training_wait(config: Config, corpus: Corpus, options: argparse.Namespace, num_workers: int) -> dict[str, float]:
    """A short real training; the share of its time that was spent waiting for batches, and its speed."""
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    store = corpus.store("speech")
    data = training_set(store, {utt: utt.split("-")[0] for utt in store.utts})
    materials = {"musan": corpus.store("noises"), "rirs": corpus.store("rooms")}
    step = build_step(config, len(data.speakers), None, device, materials)
    folder = corpus.stores.parent / f"exp_{num_workers}"
    folder.mkdir()
    passes = max(1, round(options.steps * config.data.batch_size / len(store)))
    sampling = replace(config.data, crops_per_utterance=passes, num_workers=num_workers)
    loop = Loop(
        step=step,
        optimiser=build_optimiser(config.optimiser, [*step.backbone.parameters(), *step.loss.parameters()]),
        schedules=Schedules(constant_rate(1e-3, 2)),
        crops=TrainingCrops(store, data, sampling, step.crop_samples, 1, step.draws, device),
        training=replace(config.train, epochs=2, average_last=1, clip_grad_norm=0.0),
        seed=1,
        device=device,
        folder=folder,
        described={},
    )
    loop.run()
    events = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    last = next(event for event in reversed(events) if event["event"] == "epoch")  # the first one warms up
    return {"data_wait": last["data_wait"], "crops_per_s": last["crops_per_s"], "steps": loop.steps_per_epoch}


def loader_table(rows: list[dict[str, Any]], suffix: str) -> str:
    """The comparison of the loaders in Markdown."""
    lines = [f"| {suffix} | published way | this recipe | ratio |", "|---|---:|---:|---:|"]
    for row in rows:
        speeds = f"{row['published_crops_per_s']:,.0f} | {row['own_crops_per_s']:,.0f}"
        lines.append(f"| {row['kind']} | {speeds} | {row['ratio']:.1f} |")
    return "\n".join(lines)


def verdict(what: str, found: float, target: float, *, at_most: bool = False) -> str:
    """One target in words."""
    met = found <= target if at_most else found >= target
    return (
        f"{what}: {found:.3g}, target {'at most' if at_most else 'at least'} {target:g}: {'met' if met else 'MISSED'}"
    )


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("conf/mini.yaml"), help="of extraction and training")
    parser.add_argument("--device", default="auto", help="of extraction and training")
    parser.add_argument("--formats", nargs="+", default=["wav", "flac"], choices=["wav", "flac"], help="of the files")
    parser.add_argument("--wav_root", type=Path, help="real speech: the wav and flac files below this folder")
    parser.add_argument("--num_utts", type=int, default=512, help="utterances that are made, or taken of --wav_root")
    parser.add_argument("--batch_size", type=int, default=128, help="crops of a batch in the first comparison")
    parser.add_argument("--published_crops", type=int, default=16, help="crops of the published way in each round")
    parser.add_argument("--rounds", type=int, default=7, help="in which the loaders take turns")
    parser.add_argument("--num_embedded", type=int, default=64, help="utterances of the second comparison")
    parser.add_argument("--steps", type=int, default=20, help="of the short training")
    parser.add_argument("--num_workers", type=int, nargs="+", default=[0, 1], help="processes that gather crops")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of extraction and training")
    parser.add_argument("--only", choices=["loader", "extraction", "wait"], help="one comparison of the three")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/loader.json"), help="the JSON file")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """All figures, and what they say of the targets; tables are printed on the way."""
    config = load_config(options.config)
    record: dict[str, Any] = {}
    verdicts: list[str] = []
    suffixes = options.formats if options.wav_root is None else ["real"]
    for suffix, musan in itertools.product(suffixes, MUSAN) if options.only in (None, "loader") else ():
        with tempfile.TemporaryDirectory(dir=folder) as inner:
            rows = compare_loaders(make_corpus(Path(inner), options, suffix, musan), options)
        title = f"{suffix} files, MUSAN in {musan}" if musan == "pieces" else f"{suffix} files, whole MUSAN"
        record[f"loader_{suffix}_{musan}"] = rows
        print("\n" + loader_table(rows, title), flush=True)
        for row in rows[-2:]:
            verdicts.append(verdict(f"loader, {title}, {row['kind']}, ratio", row["ratio"], 10))
    corpus = make_corpus(folder, options, suffixes[-1], "pieces")
    if options.only in (None, "extraction"):
        record["extraction_s"] = times = compare_extraction(config, corpus, options)
        print("\n| embedding | s | ratio |\n|---|---:|---:|")
        for name, seconds in times.items():
            print(f"| {name} | {seconds:.2f} | {seconds / list(times.values())[-1]:.2f} |")
        for name in list(times)[:2]:
            verdicts.append(verdict(f"extraction, batches against {name}", times[name] / list(times.values())[-1], 3))
    for workers in options.num_workers if options.only in (None, "wait") else ():
        record[f"training_{workers}_workers"] = wait = training_wait(config, corpus, options, workers)
        print(f"\ntraining, {workers} workers: {wait['crops_per_s']:.0f} crops/s, waiting {wait['data_wait']:.2%}")
        verdicts.append(verdict(f"share of waiting, {workers} workers", wait["data_wait"], 0.03, at_most=True))
    return record, verdicts


def main() -> None:
    """Measure, print, write."""
    options = parse()
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        record, verdicts = measure(options, Path(folder))
    print("\n" + "\n".join(verdicts))
    conditions = {
        "commit": git_commit(Path(__file__).resolve().parent.parent),
        "hardware": hardware(),
        "load": os.getloadavg(),
        "options": {key: str(value) for key, value in vars(options).items()},
        "torch": str(torch.__version__),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**conditions, **record, "targets": verdicts}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
