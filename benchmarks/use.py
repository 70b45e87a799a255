"""The trained model in use on a CPU: one file of 3 s cold and warm, many files, memory, for every form of export.

``python -m benchmarks.use --model EXP`` prints a table and writes JSON. Every form is run by a process of its own that
loads what it needs and no more: ONNX Runtime's has neither torch nor this package. Rounds alternate between the forms,
and the fastest round counts, since other programs disturb all of them. With ``--data_dir`` each form embeds the test
utterances of an experiment too, and the table says its EER. ``--beside MODEL`` measures other models by PyTorch in the
same run, ``--ge2e`` the GE2E encoder of the package resemblyzer, where it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16000
FORMS = {
    "PyTorch": (),
    "torch.export": ("torch", "float32"),
    "ONNX": ("onnx", "float32"),
    "ONNX, float16 weights": ("onnx", "float16"),
    "ONNX, int8": ("onnx", "int8"),
}
GE2E = "GE2E of resemblyzer"
Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def open_form(form: str, path: Path, threads: int) -> Embed:
    """A form as a function from samples (B, N) to embeddings (B, D); imports no more than the form needs."""
    if form.startswith("ONNX"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda samples: session.run(None, {"samples": samples})[0]  # type: ignore[no-any-return]
    import torch

    torch.set_num_threads(threads)
    if form == GE2E:
        from resemblyzer import VoiceEncoder

        encoder = VoiceEncoder("cpu", verbose=False)
        return lambda samples: encoder.embed_utterance(samples[0])[None]  # type: ignore[no-any-return]
    if form == "torch.export":
        network: Any = torch.export.load(path).module(check_guards=False)
    else:
        import ham

        network = ham.load(path, "cpu").network

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = network(torch.from_numpy(samples)).numpy()
        return found

    return embed


def read(path: Path) -> NDArray[np.float32]:
    """Samples (1, N)."""
    samples: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0]
    return samples[None]


def measure(form: str, path: Path, files: Sequence[Path], threads: int, repeats: int, started: float) -> dict[str, Any]:
    """What one process measures: the first file is the one of 3 s."""
    embed = open_form(form, path, threads)
    embed(read(files[0]))
    cold = time.time() - started
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        embed(read(files[0]))
        times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    for file in files[1:]:
        embed(read(file))
    per_second = (len(files) - 1) / (time.perf_counter() - begun)
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage counts the parent before exec too
    memory = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    return {"cold_s": cold, "warm_ms": 1e3 * float(np.median(times)), "files_per_s": per_second, "memory_mb": memory}


def in_a_process(form: str, path: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a form in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.use", "--model", options.model, "--measure", form, "--file", path]
    command += ["--folder", folder, "--threads", str(options.threads), "--repeats", str(options.repeats)]
    environment = {**os.environ, "HAM_STARTED": repr(time.time())}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write_speech(folder: Path, num_files: int) -> None:
    """One file of 3 s and others of 2 to 6 s of signals like speech, as 16-bit wav."""
    from ham.model.export import speech_like

    generator = np.random.default_rng(0)
    voices = [speech_like(6 * RATE, pitch) for pitch in (90.0, 120.0, 160.0, 210.0)]
    lengths = [3 * RATE, *generator.integers(2 * RATE, 6 * RATE, num_files).tolist()]
    for index, length in enumerate(lengths):
        noise = generator.normal(0, 0.002, length)
        soundfile.write(folder / f"{index:05d}.wav", voices[index % 4][:length] + noise, RATE)


def error_rates(embed: Embed, data_dir: Path) -> dict[str, float]:
    """EER of the cosine on each trial list of a data directory, in percent."""
    from ham.data.store import INT16_SCALE, ArrayStore
    from ham.score.metrics import eer
    from ham.score.trial_lists import rated_lists

    store = ArrayStore(data_dir / "store" / "test")
    rows = np.concatenate([embed(store.read(i)[None].astype(np.float32) / INT16_SCALE) for i in range(len(store))])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    place = {utt: index for index, utt in enumerate(store.utts)}
    found = {}
    for one in rated_lists(data_dir, ["all"]):
        sides = ([place[utt] for utt in side] for side in (one.trials.enrol, one.trials.test))
        left, right = (unit[indices] for indices in sides)
        found[one.name] = 100 * eer((left * right).sum(1), one.trials.labels)
    return found


def export_all(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Write every form; path, size and how near it comes to the network."""
    import ham
    from ham.model.export import export_model

    encoder = ham.load(options.model, "cpu")
    forms: dict[str, dict[str, Any]] = {"PyTorch": {"path": Path(options.model)}}
    for number, (form, request) in enumerate(FORMS.items()):
        if request:
            path = folder / f"{number}.{'pt2' if request[0] == 'torch' else 'onnx'}"
            worst = export_model(encoder, path, *request)
            forms[form] = {"path": path, "cosine": worst.cosine, "mb": path.stat().st_size / 1e6}
    return forms


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown; ratios are to PyTorch."""
    lists = list(rows["PyTorch"].get("eer", {}))
    titles = ["form", "file MB", "cold s", "3 s, warm ms", "x PyTorch", "files/s", "peak MB", "1 - cosine"]
    lines = ["| " + " | ".join([*titles, *(f"EER % {name}" for name in lists)]) + " |"]
    lines.append("|---|" + "---:|" * (len(titles) - 1 + len(lists)))
    for form, row in rows.items():
        ratio = row["warm_ms"] / rows["PyTorch"]["warm_ms"]
        away = f"{1 - row['cosine']:.0e}" if "cosine" in row else ""
        cells = [form, f"{row['mb']:.1f}" if "mb" in row else "", f"{row['cold_s']:.1f}", f"{row['warm_ms']:.1f}"]
        cells += [f"{ratio:.2f}", f"{row['files_per_s']:.0f}", f"{row['memory_mb']:.0f}", away]
        lines.append("| " + " | ".join([*cells, *(f"{row['eer'][name]:.2f}" for name in lists)]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="The trained model in use on a CPU")
    parser.add_argument("--model", required=True, help="an experiment's folder or another model")
    parser.add_argument("--num_files", type=int, default=100, help="files of 2 to 6 s that are embedded one by one")
    parser.add_argument("--repeats", type=int, default=20, help="measurements of the warm file, of which the median")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each form, of which the fastest")
    parser.add_argument("--threads", type=int, default=1, help="of torch and ONNX Runtime")
    parser.add_argument("--data_dir", type=Path, help="what stages 2 and 3 made: measures EERs too")
    parser.add_argument("--beside", nargs="*", default=[], metavar="MODEL", help="other models, by PyTorch")
    parser.add_argument("--ge2e", action="store_true", help="the encoder of resemblyzer beside them")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/use.json"), help="the JSON file")
    for inner in ("--measure", "--file", "--folder"):  # how it calls itself
        parser.add_argument(inner, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        files = sorted(Path(options.folder).glob("*.wav"))
        started = float(os.environ["HAM_STARTED"])
        found = measure(options.measure, Path(options.file), files, options.threads, options.repeats, started)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_speech(folder, options.num_files)
        rows = export_all(options, folder)
        rows |= {f"PyTorch, {Path(model).name}": {"path": Path(model)} for model in options.beside}
        rows |= {GE2E: {"path": Path("-")}} if options.ge2e else {}
        for _ in range(options.rounds):
            for form, row in rows.items():
                row.setdefault("rounds", []).append(in_a_process(form, row["path"], folder, options))
        for form, row in rows.items():
            path, rounds = row.pop("path"), row["rounds"]
            row.update({key: min(found[key] for found in rounds) for key in ("cold_s", "warm_ms", "memory_mb")})
            row["files_per_s"] = max(found["files_per_s"] for found in rounds)
            if options.data_dir:
                row["eer"] = error_rates(open_form(form, path, options.threads), options.data_dir)
    print(table(rows))
    from ham.provenance import hardware, versions

    options.output.parent.mkdir(parents=True, exist_ok=True)
    said = {"versions": versions(), "hardware": hardware(), "rows": rows}
    options.output.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
