"""What one GPU makes of the recipe: steps by part, waiting, tests, losses, extraction, a whole training.

``python -m benchmarks.gpu --out DIR`` needs one NVIDIA GPU, torch and numpy; it makes its own data, ends within
``--budget_s`` (8 minutes) and writes DIR/gpu.json and DIR/gpu.md after every part, so that a run that is cut tells what
it has found. Each part is a process of its own: one that lacks a package or memory is written down with its last words,
and the next one goes on. What matters most comes first. ``--device cpu --quick`` tries all of it at small sizes.

Targets on an H100: ECAPA-TDNN 1024, 512 crops a step in bfloat16, at least 6,000 crops/s, with TF32 at least 2,500;
at most 3 % of the time waiting for data; the loss at most 5 % of a step at 17,982 speakers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

TOP = Path(__file__).resolve().parent.parent
NUM_SPEAKERS, RATE = 5994, 16000
PRECISIONS = ("bfloat16", "tf32", "float16", "float32")
TARGETS = {"bfloat16": 6000.0, "tf32": 2500.0}
"""Crops a second of ecapa_tdnn.yaml on an H100."""


@dataclass(frozen=True)
class Part:
    """One part of the benchmark, a process of its own.

    Attributes:
        title: its row.
        argv: what Python runs.
        cap_s: seconds that it may take.
    """

    title: str
    argv: tuple[str, ...]
    cap_s: float


def parts(device: str, quick: bool, folder: Path) -> list[Part]:
    """All parts, what matters most first."""
    quickly = ("--quick",) if quick else ()
    own = ("-m", "benchmarks.gpu", "--device", device, *quickly)

    def step(config: str, precision: str, cap_s: float, *more: str) -> Part:
        title = ", ".join([f"step: {config}, {precision}", *(word.strip("-") for word in more)])
        return Part(title, (*own, "--measure", "step", "--config", config, "--precision", precision, *more), cap_s)

    losses = ("-m", "benchmarks.losses", "--device", device, "--out", str(folder / "losses.json"), *quickly)
    return [
        *(step("ecapa_tdnn", precision, 60) for precision in PRECISIONS[:2]),
        Part("waiting: ecapa_tdnn, bfloat16, MUSAN and rooms", (*own, "--measure", "waiting"), 90),
        Part("tests that need a GPU", ("-m", "pytest", "-q", "-m", "gpu", "tests"), 90),
        step("ecapa_tdnn", "bfloat16", 60, "--fused"),
        *(step("ecapa_tdnn", precision, 60) for precision in PRECISIONS[2:]),
        Part("losses", (*losses, "--settings", "5994", "17982"), 60),
        Part("extraction: ecapa_tdnn", (*own, "--measure", "extraction"), 60),
        step("ecapa_tdnn", "bfloat16", 120, "--compiled"),
        step("resnet34", "bfloat16", 60),
        step("ecapa_c512_wespeaker", "bfloat16", 60),
        Part("mini: corpus, training, table", (*own, "--measure", "mini"), 180),
        step("resnet34", "tf32", 60),
        Part("losses at 1,000,000 speakers", (*losses, "--settings", "1000000", "--rounds", "3"), 60),
        step("resnet34", "bfloat16", 120, "--compiled"),
        step("ecapa_tdnn", "bfloat16", 60, "--recompute"),
    ]


def run_part(part: Part, budget_s: float) -> dict[str, Any]:
    """Run a part; what it found, or its last words."""
    started, cap_s = time.perf_counter(), min(part.cap_s, budget_s)
    try:
        done = subprocess.run(
            [sys.executable, *part.argv], cwd=TOP, capture_output=True, text=True, timeout=cap_s, check=False
        )
    except subprocess.TimeoutExpired:
        return {"title": part.title, "seconds": cap_s, "failed": f"stopped after {cap_s:.0f} s"}
    found = {"title": part.title, "seconds": time.perf_counter() - started}
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        last = next((line for line in words if line.startswith("error:")), words[-1])  # of a command of ours
        return {**found, "failed": f"exit {done.returncode}: {last[:200]}", "output": done.stdout[-4000:]}
    is_own = part.argv[1] == "benchmarks.gpu"
    return {**found, **(json.loads(lines[-1]) if is_own else {"said": lines[-1][:200], "output": done.stdout[-8000:]})}


def make_stores(folder: Path, quick: bool) -> None:
    """Stores as stage 3 leaves them, of noise: training speech of 3 to 5 s, MUSAN of 8 s, rooms of 0.5 s."""
    from ham.data.store import write_store

    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2000, 10 * RATE).astype(np.int16)

    def items(names: Sequence[str], low: int, high: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        for name in names:
            length = int(rng.integers(low, high + 1))
            start = int(rng.integers(len(noise) - length + 1))
            yield name, noise[start : start + length]

    num_utts, num_noises = (64, 12) if quick else (12_000, 600)
    utts = [f"s{i % NUM_SPEAKERS:04d}-{i:05d}" for i in range(num_utts)]
    write_store(folder / "store/train", items(utts, 3 * RATE, 5 * RATE), {"sample_rate": RATE})
    noises = [f"{kind}-{i:03d}" for kind in ("music", "noise", "speech") for i in range(num_noises // 3)]
    write_store(folder / "store/musan", items(noises, 8 * RATE, 8 * RATE), {"sample_rate": RATE})
    write_store(
        folder / "store/rirs", items([f"room-{i:03d}" for i in range(num_noises)], 8000, 8000), {"sample_rate": RATE}
    )


def read_config(name: str, quick: bool, **train: Any) -> Any:
    """A published configuration; a narrow network and small batches where it is only tried."""
    from ham.config import load_config
    from ham.train.blocks import resolve

    config = resolve(load_config(TOP / f"conf/{name}.yaml"))
    config = replace(config, train=replace(config.train, **train))
    if not quick:
        return config
    narrow: dict[str, Any] = {key: 64 for key in ("channels", "mfa_channels") if key in config.backbone.options}
    options = {**config.backbone.options, **narrow}
    return replace(
        config,
        data=replace(config.data, batch_size=8, crop_frames=50, num_workers=0),
        backbone=replace(config.backbone, options=options),
    )


def set_precision(name: str) -> str:
    """Set what float32 products may be computed in; returns the configuration's word."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    return "float32" if name == "tf32" else name


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_s(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call, after two that are not counted."""
    times = []
    for _ in range(repeats + 2):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def build(config: Any, device: torch.device, folder: Path) -> tuple[Any, int]:
    """The training step as stage 4 builds it, and the classes of its loss."""
    from ham.data.store import ArrayStore
    from ham.train.experiment import build_speed, build_step

    speed, num_classes = build_speed(config, NUM_SPEAKERS)
    materials = {name: ArrayStore(folder / "store" / name) for name in ("musan", "rirs")}
    return build_step(config, num_classes, speed, device, materials), num_classes


def measure_step(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Crops a second and memory of a whole step on one batch, and the time of its parts."""
    from ham.data.batches import Batch
    from ham.train.crossing import pack
    from ham.train.draws import step_generator
    from ham.train.optimisers import build_optimiser, take_step
    from ham.train.parts import PARTS
    from ham.train.profile import Stopwatch

    device = torch.device(options.device)
    chosen = {"compile": options.compiled, "fused": options.fused, "recompute": options.recompute}
    config = read_config(options.config, options.quick, precision=set_precision(options.precision), **chosen)
    step, _ = build(config, device, folder)
    parameters = [*step.backbone.parameters(), *step.loss.parameters()]
    optimiser = build_optimiser(config.optimiser, parameters, fused=config.train.fused)
    num_crops = config.data.batch_size
    samples = step.crop_samples if step.speed is None else step.speed.input_samples(step.crop_samples)
    rows = torch.randn(num_crops, samples).mul(2000).to(torch.int16)
    batch = Batch(rows, torch.arange(num_crops) % NUM_SPEAKERS, np.arange(num_crops))
    packed = pack(step.draws(batch, step_generator(0, 0)))
    packed = packed.pin_memory() if device.type == "cuda" else packed

    def whole() -> None:
        step.enter("copy")
        there = packed.to(device).unpack()
        optimiser.zero_grad(set_to_none=True)
        step.backward(there)
        step.enter("optimiser")
        take_step(optimiser, step.scaler, parameters, config.train.clip_grad_norm)

    repeats = 2 if options.quick else 10
    first = time.perf_counter()
    whole()
    synchronise(device)
    first = time.perf_counter() - first
    seconds = median_s(whole, device, repeats)
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    step.enter = watch = Stopwatch(device)
    for _ in range(repeats):
        whole()
        watch("")
    return {
        "crops_per_s": num_crops * step.views / seconds,
        "step_ms": 1000 * seconds,
        "first_step_s": first,
        "memory_gb": memory,
        "parts_ms": {name: 1000 * watch.seconds[name] / repeats for name in PARTS if name != "waiting"},
        "gather_ms": 1000 * median_s(lambda: pack(step.draws(batch, step_generator(0, 0))), device, repeats),
        "crops": num_crops * step.views,
        "classes": len(step.loss.weight),
    }


def measure_waiting(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Two epochs of the true loop over a store, with workers; the second one's figures."""
    from ham.data.batches import training_set
    from ham.data.store import ArrayStore
    from ham.train.experiment import Prepared, build_loop

    (folder / "exp").mkdir()
    config = read_config("ecapa_tdnn", options.quick, precision=set_precision("bfloat16"), epochs=2)
    store = ArrayStore(folder / "store/train")
    utt2spk = {utt: utt.split("-")[0] for utt in store.utts}
    materials = {name: ArrayStore(folder / "store" / name) for name in ("musan", "rirs")}
    prepared = Prepared(store, utt2spk, training_set(store, utt2spk), (), {}, materials)
    device = torch.device(options.device)
    loop = build_loop(prepared, config, folder / "exp", seed=1, device=device, command="benchmarks.gpu")
    loop.run()
    lines = [json.loads(line) for line in (folder / "exp/train.jsonl").read_text().splitlines()]
    last = [line for line in lines if "data_wait" in line][-1]
    return {"crops_per_s": last["crops_per_s"], "waiting": last["data_wait"], "workers": config.data.num_workers}


def measure_extraction(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Utterances a second by the size of the batch."""
    from ham.data.store import ArrayStore
    from ham.embeddings.extract import extract
    from ham.model.build import build_backbone, build_frontend
    from ham.model.encoder import Network

    config, device = read_config("ecapa_tdnn", options.quick), torch.device(options.device)
    network = Network(build_frontend(config), build_backbone(config)).to(device)
    store = ArrayStore(folder / "store/train")
    indices = np.arange(len(store))[: 16 if options.quick else 2000]
    rates = {}
    for size in (1, 16, 64):
        chosen = indices[:200] if size == 1 else indices
        extract(network, store, chosen[:size], device=device, batch_size=size)
        started = time.perf_counter()
        extract(network, store, chosen, device=device, batch_size=size)
        rates[f"batch {size}"] = len(chosen) / (time.perf_counter() - started)
    return {"utterances_per_s": rates}


def measure_mini(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Stages 1 to 6 of ``mini`` by their commands, since nothing may be installed here; the EER of its lists."""
    data, exp = folder / "data", folder / "exp"
    system, device = ["--config", "conf/mini.yaml"], ["--device", options.device]
    speakers = ("32", "8") if options.quick else ("208", "48")
    if options.quick:
        system += ["--set", "train.epochs=1 train.average_last=1 data.valid_speakers=8"]
    sizes = ["--num_train_speakers", speakers[0], "--num_test_speakers", speakers[1]]
    sizes += ["--num_sessions", "3", "--num_utterances", "4"]
    where = ["--data_dir", str(data)]
    there = [*where, "--exp_dir", str(exp)]
    workers = ["--num_workers", str(min(16, os.cpu_count() or 1))]
    commands = [
        ["egs/mini/local/make_corpus.py", "--out", str(data / "mini"), "--seed", "1", *workers, *sizes],
        ["-m", "ham.bin.prepare_data", *where, "--train_roots", str(data / "mini"), "--test_roots", str(data / "mini")],
        ["-m", "ham.bin.make_store", *where, *system],
        ["-m", "ham.bin.train", *there, *device, *system],
        ["-m", "ham.bin.extract", *there, *device],
        ["-m", "ham.bin.score", *there],
    ]
    seconds = {}
    for command in commands:
        started = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(TOP)}
        subprocess.run([sys.executable, *command], cwd=TOP, env=environment, stdout=sys.stderr, check=True)
        seconds[command[0] if command[0] != "-m" else command[1]] = time.perf_counter() - started
    results = json.loads((exp / "results.json").read_text())["results"]
    eers = {one["list"]: one["eer"] for one in results if one["backend"] == "cosine"}
    return {"eer": eers, "seconds_by_command": seconds}


MEASURES = {
    "step": measure_step,
    "waiting": measure_waiting,
    "extraction": measure_extraction,
    "mini": measure_mini,
}


def describe(found: dict[str, Any]) -> str:
    """A row of the table."""
    if "failed" in found:
        return f"not measured: {found['failed']}"
    if "parts_ms" in found:
        by_part = ", ".join(f"{name} {value:.1f}" for name, value in found["parts_ms"].items())
        by_part += f"; ahead, of one core: drawing and reading {found['gather_ms']:.1f}"
        memory = "" if found["memory_gb"] is None else f", {found['memory_gb']:.1f} GB"
        return f"{found['crops_per_s']:,.0f} crops/s ({found['step_ms']:.1f} ms{memory}; parts, ms: {by_part})"
    if "waiting" in found:
        return (
            f"{found['crops_per_s']:,.0f} crops/s, {100 * found['waiting']:.1f} % waiting, {found['workers']} workers"
        )
    if "utterances_per_s" in found:
        return ", ".join(f"{name}: {value:,.0f} utterances/s" for name, value in found["utterances_per_s"].items())
    if "eer" in found:
        took = found["seconds_by_command"]["ham.bin.train"]
        return (
            ", ".join(f"{name} {100 * value:.2f} %" for name, value in found["eer"].items())
            + f"; trained in {took:.0f} s"
        )
    return str(found["said"])


def verdicts(found: Sequence[dict[str, Any]]) -> list[str]:
    """The targets, as the head of this module states them, against what was found."""
    by_title = {one["title"]: one for one in found if "failed" not in one}
    lines = []
    for precision, target in TARGETS.items():
        one = by_title.get(f"step: ecapa_tdnn, {precision}")
        if one:
            word = "met" if one["crops_per_s"] >= target else "missed"
            lines.append(f"- {precision}: at least {target:,.0f} crops/s: {one['crops_per_s']:,.0f}, {word}")
    for one in by_title.values():
        if "waiting" in one:
            word = "met" if one["waiting"] <= 0.03 else "missed"
            lines.append(f"- waiting at most 3 %: {100 * one['waiting']:.1f} %, {word}")
        if one.get("classes") == 3 * NUM_SPEAKERS:
            share = one["parts_ms"]["loss"] / one["step_ms"]
            word = "met" if share <= 0.05 else "missed"
            lines.append(f"- {one['title']}: loss at most 5 % of a step: {100 * share:.1f} %, {word}")
    return lines


def write(out: Path, facts: dict[str, Any], found: Sequence[dict[str, Any]]) -> None:
    """Write both files, as far as things are known."""
    (out / "gpu.json").write_text(json.dumps({**facts, "parts": list(found)}, indent=1) + "\n", encoding="utf-8")
    lines = [f"# One GPU: {facts['device']}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += ["| part | found | s |", "|---|---|---:|"]
    lines += [f"| {one['title']} | {describe(one).replace('|', '/')} | {one['seconds']:.0f} |" for one in found]
    if torch.cuda.is_available():
        lines += ["", "Targets are for an H100:", "", *verdicts(found)]
    tables = [one["output"] for one in found if one["title"].startswith("losses") and "output" in one]
    (out / "gpu.md").write_text("\n".join([*lines, *tables]) + "\n", encoding="utf-8")


def facts_of(device: torch.device) -> dict[str, Any]:
    """What travels with the figures."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=TOP, capture_output=True, text=True, check=False)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "device": name,
        "commit": done.stdout.strip() or "unknown",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "command": " ".join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]]),
    }


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda, cuda:N or cpu")
    parser.add_argument("--budget_s", type=float, default=480.0, help="seconds for all parts together")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--config", default="ecapa_tdnn", help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help=argparse.SUPPRESS)
    for name in ("--compiled", "--fused", "--recompute"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run the parts; or, in a process that another started, measure one of them."""
    options = parse_options()
    if options.measure:
        with tempfile.TemporaryDirectory() as folder:
            if options.measure != "mini":
                make_stores(Path(folder), options.quick or options.measure == "step")
            print(json.dumps(MEASURES[options.measure](options, Path(folder))))
        return
    if options.device == "cpu" and not options.quick:
        sys.exit("benchmarks.gpu: expected a GPU, found none; --device cpu --quick tries the script at small sizes")
    options.out.mkdir(parents=True, exist_ok=True)
    ends = time.perf_counter() + options.budget_s
    facts, found = facts_of(torch.device(options.device)), list[dict[str, Any]]()
    for part in parts(options.device, options.quick, options.out.resolve()):
        left = ends - time.perf_counter()
        if left < 5:
            found.append({"title": part.title, "seconds": 0.0, "failed": "no time left"})
        else:
            print(f"{part.title} ...", file=sys.stderr, flush=True)
            found.append(run_part(part, left))
            print(f"  {describe(found[-1])}", file=sys.stderr, flush=True)
        write(options.out, facts, found)
    print((options.out / "gpu.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
