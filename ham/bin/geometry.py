"""Show the geometry of a system's test embeddings: geometry.html, geometry.json, and TensorBoard's projector.

Speakers on the Poincaré disk, the tree of all speakers (against the known one where the corpus brings speakers.tsv and
sessions.tsv), radius against duration and noise, Gromov's delta with its baseline, radii of the speaker centres.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ham
from ham.analysis.labels import TestSpeech, metadata, read_speech
from ham.analysis.picture import measure_geometry, read_source, write_geometry
from ham.analysis.projector import RUN, is_run, write_projector
from ham.cli import Parser, at_least, run
from ham.data.store import ArrayStore
from ham.embeddings.table import read_embeddings
from ham.files import crc32_of, lock_folder, write_text
from ham.losses.base import SpeakerLoss
from ham.losses.hyperbolic import HSoftmax
from ham.model.encoder import SpeakerEncoder
from ham.provenance import git_commit, versions
from ham.report import geometry_page
from ham.report.history import read_history

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Measure and show an experiment.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    speech = read_speech(options.data_dir, options.root)
    store = ArrayStore(options.data_dir / "store" / "test")
    columns, rows = metadata(options.data_dir, speech)
    page, numbers, projector = outputs = [
        options.exp_dir / name for name in ("geometry.html", "geometry.json", f"tensorboard/{RUN}")
    ]
    with lock_folder(options.exp_dir, "stage 7"):
        source = _source(options, speech, store, rows)
        if read_source(numbers) == source and page.exists() and is_run(projector):
            logger.info("%s: up to date", page)
        else:
            _show(options, speech, store, source, columns, rows)
    for path in outputs:
        print(path)


def _show(
    options: Any, speech: TestSpeech, store: ArrayStore, source: str, columns: Sequence[str], rows: list[list[str]]
) -> None:
    """Measure, and write the page, the projector's files and the numbers, which say that all three are there."""
    started = time.perf_counter()
    table = read_embeddings(options.exp_dir / "embeddings.npz")
    encoder = SpeakerEncoder.load(options.exp_dir, options.device)
    found = measure_geometry(
        encoder,
        table,
        speech,
        store,
        curvature=_curvature(encoder.loss),
        num_speakers=options.num_speakers,
        logged=read_history(options.exp_dir / "train.jsonl").values,
        command=_command(options),
        source=source,
    )
    (options.exp_dir / "geometry.json").unlink(missing_ok=True)
    write_text(options.exp_dir / "geometry.html", geometry_page.render(found))
    embeddings = table.embeddings[table.rows(tuple(speech.utt2spk), "the test lists")]
    write_projector(options.exp_dir / "tensorboard", embeddings, columns, rows)
    write_geometry(options.exp_dir / "geometry.json", found)
    logger.info("%s: measured and drawn in %.1f s", options.exp_dir, time.perf_counter() - started)


def _source(options: Any, speech: TestSpeech, store: ArrayStore, rows: list[list[str]]) -> str:
    """A digest of all that the page is made from: files, audio, lists, options, and the program itself."""
    paths = [options.exp_dir / name for name in ("average.pt", "embeddings.npz", "train.jsonl")]
    parts = [
        [crc32_of(path) if path.exists() else None for path in paths],
        [store.digest, asdict(speech), rows, _command(options)],
        [git_commit(Path(ham.__file__).parent), versions()],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _curvature(loss: SpeakerLoss) -> float:
    """``c`` of a hyperbolic loss's space, the published one in its own unit of length; 0 for any other loss."""
    return 1.0 / float(loss.space.unit()) ** 2 if isinstance(loss, HSoftmax) else 0.0


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.geometry", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="egs/<corpus>/data, with test/<root>/<list>/")
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment with average.pt and embeddings.npz")
    parser.add_argument("--root", default="all", help="corpus whose test lists are shown, or all")
    parser.add_argument("--num_speakers", type=at_least(2), default=8, help="speakers on the disk")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def _command(options: Any) -> str:
    place = ["--data_dir", str(options.data_dir), "--exp_dir", str(options.exp_dir), "--root", options.root]
    count = ["--num_speakers", str(options.num_speakers)]
    return shlex.join(["python", "-m", "ham.bin.geometry", *place, *count])


if __name__ == "__main__":
    sys.exit(run(main))
