"""Where the time of a training step goes, and what batching the extraction gains.

``python -m benchmarks.training --config conf/mini.yaml`` prints two tables and writes JSON. Noise stands in for speech:
its content does not change the work. Target: gathering the crops takes at most 3 % of a step, augmentation and features
together at most 25 % of it.

``python -m benchmarks.training --backbones`` measures the networks alone, at their published sizes, beside each other,
but for the self-supervised encoders: parameters, crops of 2 s that forward and backward pass take in a second, and
seconds for an utterance of 3 s. On a CPU all is processor time of one thread, which others there hardly change.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ham import backbones
from ham.audio import SAMPLE_RATE
from ham.backbones import BACKBONES
from ham.backbones.redimnet2 import SIZES, ReDimNet2
from ham.backbones.self_supervised import ENCODERS
from ham.config import Config, load_config
from ham.data.batches import CropBatches, training_set
from ham.data.sampler import plan_epoch
from ham.data.store import INT16_SCALE, ArrayStore, write_store
from ham.embeddings.extract import extract
from ham.model.build import build_backbone, build_frontend, build_loss, pick_device
from ham.model.encoder import Network
from ham.train.augmentation import build_augmentation

NUM_UTTS = 512
NUM_SPEAKERS = 64

CROP_FRAMES, UTTERANCE_FRAMES, NUM_CROPS = 200, 300, 4
"""Of the networks alone: frames of a crop and of an utterance, and crops of a step."""

NETWORKS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    *((name, 80, {}) for name in BACKBONES if name not in {ReDimNet2.name, *(one.name for one in ENCODERS)}),
    *((ReDimNet2.name, 72, {"size": size}) for size in SIZES),
)
"""Every backbone that is trained from the start, each size of those that come in several, and its bands."""


def make_store(folder: Path) -> ArrayStore:
    """A store of 3 to 6 s of noise an utterance."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3 * SAMPLE_RATE, 6 * SAMPLE_RATE, NUM_UTTS)
    items = (
        (f"s{i % NUM_SPEAKERS:02d}-{i:03d}", rng.normal(0, 2000, length).astype(np.int16))
        for i, length in enumerate(lengths)
    )
    write_store(folder / "store", items, {"sample_rate": SAMPLE_RATE})
    return ArrayStore(folder / "store")


def median_s(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of a call, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(clock() - started)
    return statistics.median(times[1:])


def step_parts(config: Config, store: ArrayStore, device: torch.device, repeats: int) -> dict[str, float]:
    """Seconds of each part of a step; what a step does with each view of the crops counts for all of them."""
    data = training_set(store, {utt: utt[:3] for utt in store.utts})
    frontend = build_frontend(config).to(device)
    samples = frontend.crop_samples(config.data.crop_frames)
    batches = CropBatches(store, data, plan_epoch(NUM_UTTS, seed=1, epoch=1), config.data.batch_size, samples)
    backbone, loss = build_backbone(config).to(device), build_loss(config, NUM_SPEAKERS).to(device)
    augmenter = build_augmentation(config.augment).augmenter()
    generator = torch.Generator().manual_seed(0)
    batch = batches[0]
    waveforms, labels = batch.rows.to(device).float() / INT16_SCALE, batch.labels.to(device)
    features = frontend(waveforms)
    embeddings = backbone(features).detach()

    def backbone_both() -> None:
        backbone(features).square().mean().backward()

    def loss_both() -> None:
        loss(embeddings.clone().requires_grad_(), labels).loss.backward()

    parts: dict[str, Callable[[], object]] = {
        "gather crops": lambda: batches[0],
    }
    if augmenter is not None:
        num_samples = waveforms.shape[1]
        drawn = augmenter.draw(batch.labels, num_samples, generator)
        parts["draw, read noises and rooms"] = lambda: augmenter.draw(batch.labels, num_samples, generator)
        parts["augment"] = lambda: augmenter.apply(waveforms, drawn)
    passes: dict[str, Callable[[], object]] = {
        "front end": lambda: frontend(waveforms),
        "backbone, forward and backward": backbone_both,
        "loss, forward and backward": loss_both,
    }
    views = 2 if config.augment.mode == "clean_plus_augmented" else 1
    seconds = {name: median_s(work, repeats) for name, work in parts.items()}
    return seconds | {name: views * median_s(work, repeats) for name, work in passes.items()}


def extraction(config: Config, store: ArrayStore, device: torch.device) -> dict[str, float]:
    """Seconds to embed all utterances, one by one and in batches of 16."""
    network = Network(build_frontend(config), build_backbone(config)).to(device)
    indices = np.arange(len(store))[:128]
    return {
        f"batches of {size}": median_s(partial(extract, network, store, indices, device=device, batch_size=size), 3)
        for size in (1, 16)
    }


def network_row(name: str, bands: int, options: dict[str, Any], device: torch.device, repeats: int) -> dict[str, Any]:
    """Parameters, crops a second of a step, and seconds for an utterance."""
    torch.manual_seed(0)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    backbone = backbones.build(name, bands, 192, **options).to(device)
    crops = torch.randn(NUM_CROPS, CROP_FRAMES, bands, device=device)
    step_s = median_s(lambda: backbone(crops).square().mean().backward(), repeats, clock)
    utterance = torch.randn(1, UTTERANCE_FRAMES, bands, device=device)
    backbone.eval()
    with torch.inference_mode():
        utterance_s = median_s(lambda: backbone(utterance), repeats, clock)
    return {
        "backbone": " ".join((name, *map(str, options.values()))),
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "crops_s": NUM_CROPS / step_s,
        "utterance_s": utterance_s,
    }


def networks(device: torch.device, repeats: int, out: Path) -> None:
    """Measure every network alone, print a table and write it."""
    torch.set_num_threads(1)
    print(f"steps of {NUM_CROPS} crops, {device}\n")
    print("| backbone | parameters | crops/s | s for 3 s |\n|---|---:|---:|---:|")
    rows = []
    for name, bands, options in NETWORKS:
        row = network_row(name, bands, options, device, repeats)
        rows.append(row)
        millions = row["parameters"] / 1e6
        print(
            f"| `{row['backbone']}` | {millions:.2f} M | {row['crops_s']:.1f} | {row['utterance_s']:.3f} |", flush=True
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        json.dumps({"device": str(device), "machine": platform.processor(), "networks": rows}, indent=1) + "\n"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("conf/mini.yaml"))
    parser.add_argument("--backbones", action="store_true", help="the networks alone, beside each other")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/training.json"))
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    if options.backbones:
        networks(pick_device(options.device), options.repeats, options.out)
        return
    config, device = load_config(options.config), pick_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        parts = step_parts(config, store, device, options.repeats)
        whole = extraction(config, store, device)
    total = sum(parts.values())
    print(f"{options.config}, batch of {config.data.batch_size} crops, {device}, {torch.get_num_threads()} threads\n")
    print("| part of a step | ms | share |\n|---|---:|---:|")
    for name, seconds in parts.items():
        print(f"| {name} | {1000 * seconds:.1f} | {100 * seconds / total:.1f} % |")
    print(f"| together | {1000 * total:.1f} | {config.data.batch_size / total:.0f} crops/s |")
    print("\n| extraction of 128 utterances | s |\n|---|---:|")
    for name, seconds in whole.items():
        print(f"| {name} | {seconds:.2f} |")
    record = {"config": str(options.config), "device": str(device), "machine": platform.processor(), "step_s": parts}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**record, "extraction_s": whole}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
