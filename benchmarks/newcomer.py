"""The way of a newcomer from a trained experiment to its use: every step's time, and the EER by every route.

``python -m benchmarks.newcomer --exp egs/mini/exp/mini_ham_softmax --data egs/mini/data/test/mini/all`` packs the
experiment, verifies two files, enrols speakers, identifies files, embeds the folder, exports, and runs the consumer of
``docs/onnx_consumer.py`` without PyTorch. The EER of the trial list by each route must be that of stage 6 within 0.02
points; the command ends with status 1 otherwise.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ham
from ham.data.kaldi_dir import read_data_dir
from ham.embeddings.table import read_table
from ham.score.metrics import eer

TOLERANCE = 0.0002
Embeddings = NDArray[np.float32]


class Way:
    """What the steps share: the experiment, its list, a folder to work in, and the times so far."""

    def __init__(self, exp: Path, data: Path, work: Path) -> None:
        self.exp, self.work = exp, work
        self.data = read_data_dir(data)
        assert self.data.trials is not None
        self.trials = self.data.trials
        self.files = self.data.wav
        self.times: dict[str, float] = {}
        self.found: dict[str, Any] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step."""
        started = time.perf_counter()
        yield
        self.times[name] = time.perf_counter() - started

    def ham(self, *words: str | Path, may: Sequence[int] = (0,)) -> Any:
        """A command of ham with --json, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "ham", *map(str, words), "--json"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HAM_MODEL": str(self.work / "model")},
        )
        if done.returncode not in may:
            raise RuntimeError(f"ham {words[0]}: status {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def rate(self, embeddings: dict[str, Embeddings]) -> float:
        """EER of the list by the cosine of these embeddings."""
        unit = {utt: row / np.linalg.norm(row) for utt, row in embeddings.items()}
        pairs = zip(self.trials.enrol, self.trials.test, strict=True)
        return eer([float(unit[one] @ unit[other]) for one, other in pairs], self.trials.labels)


def enrol_and_identify(way: Way, num_speakers: int, num_files: int) -> dict[str, int]:
    """Enrol the first recordings of some speakers, then ask who speaks in others: theirs, and strangers'."""
    database, speakers = way.work / "voices.db", sorted(way.data.spk2utt)
    known = {speaker: way.data.spk2utt[speaker] for speaker in speakers[:num_speakers]}
    with way.step(f"enrol {num_speakers} speakers"):
        for speaker, utts in known.items():
            way.ham("enrol", "--db", database, speaker, *(way.files[utt] for utt in utts[:2]))
    rest = [utt for speaker in speakers for utt in way.data.spk2utt[speaker][2 if speaker in known else 0 :]]
    asked = rest[:: max(1, len(rest) // num_files)][:num_files]
    with way.step(f"identify {len(asked)} files"):
        answers = way.ham("identify", "--db", database, *(way.files[utt] for utt in asked), may=(0, 1, 3))["files"]
    counts = dict.fromkeys(("right", "wrong", "missed", "strangers named", "strangers told"), 0)
    for utt, answer in zip(asked, answers, strict=True):
        speaker, first = way.data.utt2spk[utt], answer["candidates"][0]["name"] if answer["candidates"] else None
        if speaker in known:
            counts["right" if first == speaker else "wrong"] += 1
            counts["missed"] += answer["name"] is None
        else:
            counts["strangers told" if answer["name"] is None else "strangers named"] += 1
    return counts


def consumer() -> ModuleType:
    """The script of the documents as a module."""
    place = Path(__file__).parents[1] / "docs" / "onnx_consumer.py"
    spec = importlib.util.spec_from_file_location("onnx_consumer", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(exp: Path, data: Path, work: Path, num_speakers: int = 10, num_files: int = 200) -> dict[str, Any]:
    """Go the whole way.

    Args:
        exp: an experiment that stages 4 to 6 have made.
        data: the data directory of one of its trial lists.
        work: an empty folder.
        num_speakers: to enrol.
        num_files: to identify.

    Returns:
        ``seconds`` of each step, ``eer`` of each route, ``identified``: how often rightly.
    """
    way = Way(exp, data, work)
    results = json.loads((exp / "results.json").read_text(encoding="utf-8"))["results"]
    name = f"{data.parent.name}/{data.name}"
    rates = {"stage 6": next(one["eer"] for one in results if (one["list"], one["backend"]) == (name, "cosine"))}
    with way.step("pack"):
        way.ham("pack", exp, "--out", work / "model")
    one, other = (way.files[utt] for utt in (way.trials.enrol[0], way.trials.test[0]))
    with way.step("verify, cold"):
        way.ham("verify", one, other, may=(0, 1, 3))
    identified = enrol_and_identify(way, num_speakers, num_files)
    (work / "wav.scp").write_text("".join(f"{utt} {file.absolute()}\n" for utt, file in way.files.items()))
    with way.step(f"embed {len(way.files)} files"):
        way.ham("embed", work / "wav.scp", "--out", work / "x.npz")
    table = read_table(work / "x.npz")
    rates["ham embed"] = way.rate(dict(zip(table.utts, table.embeddings, strict=True)))
    with way.step("embed_many, the same"):
        rows = ham.load(work / "model").embed_many(list(way.files.values()))
    rates["embed_many"] = way.rate(dict(zip(way.files, rows, strict=True)))
    if importlib.util.find_spec("onnxruntime"):
        with way.step("export"):
            way.ham("export", "--out", work / "model.onnx")
        script = consumer()
        with way.step("ONNX, the same"):
            session = script.onnxruntime.InferenceSession(str(work / "model.onnx"), providers=["CPUExecutionProvider"])
            rows = [script.embed(session, str(file)) for file in way.files.values()]
        rates["ONNX"] = way.rate(dict(zip(way.files, rows, strict=True)))
    return {"seconds": way.times, "eer": rates, "identified": identified}


def main() -> int:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="a trained and scored experiment")
    parser.add_argument("--data", type=Path, required=True, help="data directory of a trial list")
    parser.add_argument("--num_speakers", type=int, default=10)
    parser.add_argument("--num_files", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = measure(options.exp, options.data, Path(work), options.num_speakers, options.num_files)
    print("| step | s |\n|---|---:|")
    print("\n".join(f"| {name} | {seconds:.1f} |" for name, seconds in found["seconds"].items()))
    print("\n| EER by | % |\n|---|---:|")
    print("\n".join(f"| {name} | {100 * rate:.3f} |" for name, rate in found["eer"].items()))
    print("\nidentified:", ", ".join(f"{count} {name}" for name, count in found["identified"].items()))
    rates = found["eer"].values()
    return int(max(rates) - min(rates) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
