"""Whether an imported model gives the embeddings of the program that it comes from, and how fast both are.

    ham import FILE --layout campplus --out DIR
    python benchmarks/imported.py --model DIR --corpora A B --out ours.npz
    OTHER/bin/python benchmarks/imported.py --peer FILE --corpora A B --compare ours.npz

The last command runs in an environment of its own that has the other program, for CAM++ the package speakerlab (0.0.6)
with soundfile; this program need not be there. Fifty recordings, evenly spread over the folders, are embedded whole, on
one thread. It ends with 1 where a cosine is not above 0.999999.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

NUM_RECORDINGS, LEAST_COSINE = 50, 0.999999
SOUNDS = (".flac", ".wav")

Embed = Callable[[Path], Any]


def ours(model: Path) -> Embed:
    """What this program makes of a recording with a model directory."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import ham

    return ham.load(model, "cpu").embed


def theirs(weights: Path) -> Embed:
    """What 3D-Speaker's own program makes of a recording, fed as its extraction of embeddings feeds it."""
    import soundfile
    from speakerlab.models.campplus.DTDNN import CAMPPlus
    from speakerlab.process.processor import FBank

    state = torch.load(weights, weights_only=True)
    network, features = CAMPPlus(80, len(state["xvector.dense.linear.weight"])), FBank(80, 16000, mean_nor=True)
    network.load_state_dict(state)
    network.eval()

    def _embed(path: Path) -> Any:
        samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        with torch.inference_mode():
            return network(features(samples)[None])[0].numpy()

    return _embed


def seconds_of(path: Path) -> float:
    """How long a recording is."""
    import soundfile

    return float(soundfile.info(path).duration)


def main() -> int:
    """Embed, and compare where there is something to compare with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory, embedded by this program")
    parser.add_argument("--peer", type=Path, help="the file it was made of, embedded by the program it comes from")
    parser.add_argument("--corpora", type=Path, nargs="+", required=True, help="folders of speech")
    parser.add_argument("--out", type=Path, help="where to write the embeddings")
    parser.add_argument("--compare", type=Path, help="embeddings that --out wrote before")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(path for folder in options.corpora for path in folder.rglob("*") if path.suffix in SOUNDS)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, NUM_RECORDINGS).round().astype(int)]
    embed = ours(options.model) if options.model else theirs(options.peer)
    embed(chosen[0])
    start = time.process_time()
    rows = np.stack([np.asarray(embed(path), np.float64) for path in chosen])
    took, speech = time.process_time() - start, sum(map(seconds_of, chosen))
    print(f"{len(chosen)} recordings, {speech:.0f} s of speech, {took / speech:.4f} s of processor time a second")
    if options.out:
        np.savez(options.out, rows=rows)
    if not options.compare:
        return 0
    others = np.load(options.compare)["rows"]
    cosines = (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    print(f"lowest cosine of {len(cosines)}: {cosines.min():.9f}, median {np.median(cosines):.9f}")
    return int(not cosines.min() > LEAST_COSINE)


if __name__ == "__main__":
    sys.exit(main())
