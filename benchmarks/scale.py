"""Every step on the way to a training of VoxCeleb2's size, timed in a fresh process each, with its peak memory.

``python -m benchmarks.scale`` makes the list of 1,092,009 utterances of 5,994 speakers (random durations of 4 s and
more, 2,360 h in all; the ids have VoxCeleb2's form), and prints a table in Markdown and writes JSON. No audio of that
size is written: the shards of the store are sparse files that have the right length (271.9 GB) and take no space, so
that crops are read as silence and only places, lengths and bookkeeping are real. Seconds are wall-clock; MB are 10^6
bytes of the highest resident memory (VmHWM) of the process, of which the imports take what the first row says. Memory-
mapped index pages that were touched count in full, although processes share them.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parent.parent
BATCH_SIZE = 256
MEAN_S = 2360.2 * 3600 / 1_092_009
ROWS_OF_A_CROP = 200 * 160 + 240


@dataclass(frozen=True)
class Step:
    """One row of the table: its name, what it does, and the most seconds and MB that it may take (0: no target)."""

    name: str
    work: Callable[[argparse.Namespace], dict[str, Any]]
    max_s: float = 0.0
    max_mb: float = 0.0


def names(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Utterance, speaker and path, in C order: ``id00012-21Uxsk56VDQ-00001`` and the like."""
    letters = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"))
    rng = np.random.default_rng(1)
    share = np.full(options.num_speakers, 1 / options.num_speakers)
    counts = 25 + rng.multinomial(options.num_utts - 25 * options.num_speakers, share)
    for number, count in enumerate(counts.tolist(), 12):
        spk = f"id{number:05d}"
        videos = sorted("".join(row) for row in letters[rng.integers(0, len(letters), (-(-count // 7), 11))])
        for i in range(count):
            video, clip = videos[i // 7], f"{1 + i % 7:05d}"
            yield f"{spk}-{video}-{clip}", spk, f"/data/corpora/vox2_dev/wav/{spk}/{video}/{clip}.wav"


def durations_s(options: argparse.Namespace) -> NDArray[np.float64]:
    """Seconds of the utterances, whole samples."""
    rng = np.random.default_rng(2)
    seconds: NDArray[np.float64] = np.round((4 + rng.exponential(MEAN_S - 4, options.num_utts)) * 16000) / 16000
    return seconds


def imports(_: argparse.Namespace) -> dict[str, Any]:
    """Load what the other steps need."""
    import ham.bin.train  # noqa: F401

    return {}


def write_manifest(options: argparse.Namespace) -> dict[str, Any]:
    """Write the Kaldi directory; it is validated before it gets its name."""
    from ham.data.kaldi_dir import Paths, write_data_dir

    texts: dict[str, str] = {}
    utt2spk: dict[str, str] = {}
    for utt, spk, path in names(options):
        texts[utt], utt2spk[utt] = path, spk
    utt2dur = dict(zip(texts, durations_s(options).tolist(), strict=True))
    write_data_dir(options.folder / "train", Paths(texts), utt2spk, utt2dur)
    files = (options.folder / "train").iterdir()
    return {"MB of files": round(sum(file.stat().st_size for file in files) / 1e6)}


def read_manifest(options: argparse.Namespace) -> dict[str, Any]:
    """Read the directory and check every rule."""
    from ham.data.kaldi_dir import read_data_dir

    data = read_data_dir(options.folder / "train")
    return {"utterances": len(data.utt2spk), "speakers": len(data.spk2utt)}


def build_index(options: argparse.Namespace) -> dict[str, Any]:
    """Divide the utterances into shards and write the index; the shards are sparse."""
    from ham.data import store
    from ham.data.shards import shard_header, shard_name
    from ham.files import replacing_folder

    utts = [utt for utt, _, _ in names(options)]
    lengths = (durations_s(options) * 16000).round().astype(np.int64)
    shard = np.cumsum(2 * lengths) // store.SHARD_BYTES
    parts = np.split(lengths, np.flatnonzero(np.diff(shard)) + 1)
    sums = sums_of_zeros(lengths)
    rows_of = [rows.tolist() for rows in parts]
    with replacing_folder(options.folder / "store" / "train") as folder:
        for number, rows in enumerate(parts):
            path = folder / shard_name(number)
            path.write_bytes(shard_header((int(rows.sum()),), np.int16))
            os.truncate(path, path.stat().st_size + 2 * int(rows.sum()))
        store.write_index(folder, utts, rows_of, [[sums[length] for length in rows] for rows in rows_of])
        store.write_meta(folder, {"kind": "audio", "sample_rate": 16000, "files": "none"})
    return {"shards": len(parts), "GB (sparse)": round(2 * float(lengths.sum()) / 1e9, 1)}


def sums_of_zeros(lengths: NDArray[np.int64]) -> dict[int, int]:
    """CRC-32 of so many samples of silence, for every length that comes."""
    sums, crc, done = {}, 0, 0
    for length in np.unique(lengths).tolist():
        crc, done = zlib.crc32(bytes(2 * (length - done)), crc), length
        sums[length] = crc
    return sums


def open_store(options: argparse.Namespace) -> dict[str, Any]:
    """Open the store, look an utterance up, read a crop."""
    from ham.data.store import ArrayStore

    store = ArrayStore(options.folder / "store" / "train")
    index = store.utts.index(store.utts[len(store) // 3])
    return {"utterance": store.utts[index], "rows": len(store.read_wrapped(index, 0, ROWS_OF_A_CROP))}


def iterate_ids(options: argparse.Namespace) -> dict[str, Any]:
    """Open the store and decode every id once."""
    from ham.data.store import ArrayStore

    return {"characters": sum(map(len, ArrayStore(options.folder / "store" / "train").utts))}


def training_labels(options: argparse.Namespace) -> NDArray[np.int64]:
    """A speaker number for every utterance, as many of each."""
    return np.sort(np.arange(options.num_utts) % options.num_speakers)


def plan_shuffled(options: argparse.Namespace) -> dict[str, Any]:
    """Draw the order of an epoch."""
    from ham.data.sampler import plan_epoch

    plan = plan_epoch(options.num_utts, seed=1, epoch=1)
    return {"MB": round((plan.entries.nbytes + plan.places.nbytes) / 1e6, 1)}


def plan_by_speaker(options: argparse.Namespace) -> dict[str, Any]:
    """Draw the order of an epoch with every speaker as often."""
    from ham.data.sampler import plan_balanced

    plan = plan_balanced(training_labels(options), batch_size=BATCH_SIZE, seed=1, epoch=1)
    return {"MB": round((plan.entries.nbytes + plan.places.nbytes) / 1e6, 1)}


def prepare_training(options: argparse.Namespace) -> dict[str, Any]:
    """All that stage 4 does before its first step: manifest, store, checks, labels, fingerprint, order of an epoch."""
    from ham.config import Config
    from ham.data.batches import CropBatches
    from ham.data.sampler import plan_epoch
    from ham.train.experiment import prepare

    prepared = prepare(options.folder, Config(), seed=1)
    plan = plan_epoch(len(prepared.data.indices), seed=1, epoch=1)
    batches = CropBatches(prepared.store, prepared.data, plan, BATCH_SIZE, ROWS_OF_A_CROP)
    return {
        "first batch": list(batches[0].rows.shape),
        "MB sent to a worker": round(len(pickle.dumps(batches)) / 1e6, 1),
    }


def gather(options: argparse.Namespace) -> dict[str, Any]:
    """Read random crops all over the store."""
    from ham.data.store import ArrayStore

    store, rng = ArrayStore(options.folder / "store" / "train"), np.random.default_rng(3)
    for index in rng.integers(0, len(store), options.num_crops).tolist():
        store.read_wrapped(index, 0, ROWS_OF_A_CROP)
    return {"crops": options.num_crops}


STEPS = (
    Step("imports (torch among them)", imports),
    Step("write the manifest, validated", write_manifest, 30, 1000),
    Step("read and validate the manifest", read_manifest, 10, 600),
    Step("build the index, sparse shards", build_index, 15, 1000),
    Step("open the store, find an id, read a crop", open_store, 2, 300),
    Step("open the store, decode all ids", iterate_ids, 2, 300),
    Step("order of an epoch, shuffle", plan_shuffled, 0.5, 300),
    Step("order of an epoch, balanced", plan_by_speaker, 0.7, 300),
    Step("read 10,000 random crops of 2 s", gather, 10, 300),
    Step("stage 4 up to its first batch", prepare_training, 30, 1500),
)
"""The targets of the store are the project's (2 s, 300 MB); the others are what a user would not notice or mind."""


def peak_mb() -> float:
    """The highest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def run_here(options: argparse.Namespace) -> None:
    """One step in this process, its modules loaded beforehand."""
    step = STEPS[options.step]
    if step.work is prepare_training:
        imports(options)
    elif step.work is not imports:
        import ham.data.kaldi_dir
        import ham.data.sampler
        import ham.data.store  # noqa: F401
    before = peak_mb()
    started = time.perf_counter()
    found = step.work(options)
    print(json.dumps({"s": time.perf_counter() - started, "mb": peak_mb(), "mb_before": before, "found": found}))


def run_apart(number: int, options: argparse.Namespace) -> dict[str, Any]:
    """One step in a process of its own; the last line of its output is the result."""
    sizes = [f"--{key}={getattr(options, key)}" for key in ("num_utts", "num_speakers", "num_crops")]
    command = [sys.executable, "-m", "benchmarks.scale", "--step", str(number), "--folder", str(options.folder), *sizes]
    print(STEPS[number].name, "...", file=sys.stderr)
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"step": STEPS[number].name, **result}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| step | s | target | peak MB | target | |", "|---|---:|---:|---:|---:|---|"]
    for row, step in zip(rows, STEPS, strict=True):
        limits = [f"{limit:g}" if limit else "" for limit in (step.max_s, step.max_mb)]
        notes = ", ".join(f"{key} {value}" for key, value in row["found"].items())
        lines.append(f"| {step.name} | {row['s']:.2f} | {limits[0]} | {row['mb']:.0f} | {limits[1]} | {notes} |")
    return "\n".join(lines)


def missed(rows: list[dict[str, Any]]) -> list[str]:
    """The targets that were missed."""
    return [
        f"{step.name}: {row[key]:.2f} {unit}, target {limit:g}"
        for row, step in zip(rows, STEPS, strict=True)
        for key, unit, limit in (("s", "s", step.max_s), ("mb", "MB", step.max_mb))
        if limit and row[key] > limit
    ]


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_utts", type=int, default=1_092_009)
    parser.add_argument("--num_speakers", type=int, default=5994)
    parser.add_argument("--num_crops", type=int, default=10_000, help="crops that are read")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder when missing")
    parser.add_argument("--step", type=int, help="only this step, in this process; after those before it")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/scale.json"), help="the JSON file")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = parse()
    if options.step is not None:
        run_here(options)
        return
    from ham.provenance import git_commit, hardware

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.folder = Path(folder)
        rows = [run_apart(number, options) for number in range(len(STEPS))]
    print(table(rows))
    problems = missed(rows)
    print("\n" + ("missed: " + "; ".join(problems) if problems else "all targets met"))
    record = {"commit": git_commit(REPOSITORY), "hardware": hardware(), "load": os.getloadavg(), "rows": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**record, "missed": problems}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
