"""Show the geometry of a system's test embeddings: geometry.html, geometry.json, and TensorBoard's projector.

Speakers on the Poincaré disk, the tree of all speakers (against the known one where the corpus brings speakers.tsv and
sessions.tsv), radius against duration and noise, Gromov's delta with its baseline, radii of the speaker centres.
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

import ham
from ham.analysis.hierarchy import CROPS_S, radius_quantiles
from ham.analysis.picture import (
    MOST_SHOWN,
    Centres,
    Geometry,
    Picture,
    RadiusBands,
    choose_speakers,
    measure_bands,
    measure_delta,
    measure_picture,
    measure_tree,
    spread,
    write_geometry,
)
from ham.analysis.projector import write_projector
from ham.bin.hierarchy import (
    System,
    choose_utterances,
    embed_versions,
    radii,
    read_leaves,
    read_system,
    read_utterances,
)
from ham.cli import Parser, at_least, run
from ham.data.kaldi_dir import invert, read_data_dir, trial_dirs
from ham.data.store import ArrayStore
from ham.errors import ConfigError
from ham.files import write_text
from ham.losses.base import SpeakerLoss
from ham.losses.hyperbolic import HSoftmax
from ham.model.build import pick_device
from ham.provenance import git_commit, versions
from ham.report import geometry_page
from ham.report.history import History, read_history
from ham.words import count

logger = logging.getLogger(__name__)

RADIUS_SPEAKERS = 50
"""Most speakers whose utterances are embedded again, cropped and noisy: about a minute on a laptop."""


@dataclass(frozen=True)
class TestSpeech:
    """What is known of the test utterances.

    Attributes:
        roots: their corpora.
        utt2spk: speaker of each utterance, in C order.
        labels: sex and accent by speaker; empty if a root does not tell them.
    """

    roots: tuple[str, ...]
    utt2spk: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]


def main(argv: Sequence[str]) -> None:
    """Measure and show an experiment.

    Args:
        argv: the arguments without the command's name.
    """
    started = time.perf_counter()
    options = _parser().parse_args(argv)
    device = pick_device(options.device)
    speech = read_speech(options.data_dir, options.root)
    system = read_system(options.exp_dir, device)
    store = ArrayStore(options.data_dir / "store" / "test")
    found = measure(system, speech, store, device, options.num_speakers, _command(options))
    write_geometry(options.exp_dir / "geometry.json", found)
    write_text(options.exp_dir / "geometry.html", geometry_page.render(found))
    columns, rows = metadata(options.data_dir, speech)
    embeddings = system.table.embeddings[system.table.rows(tuple(speech.utt2spk), "the test lists")]
    projector = write_projector(options.exp_dir / "tensorboard", embeddings, columns, rows)
    logger.info("%s: measured and drawn in %.1f s", options.exp_dir, time.perf_counter() - started)
    for path in (options.exp_dir / "geometry.html", options.exp_dir / "geometry.json", projector):
        print(path)


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


def read_speech(data_dir: Path, root: str) -> TestSpeech:
    """Find the test utterances and what is known of their speakers.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``, and ``<root>/speakers.tsv`` where the tree is known.
        root: a corpus, or ``all``.

    Returns:
        Utterances of all lists of these roots.

    Raises:
        ConfigError: if there is no such root, or only one speaker.
        DataError: if the data directories or the tables are damaged.
    """
    known = sorted({folder.parent.name for folder in trial_dirs(data_dir / "test")})
    roots = known if root == "all" else [root]
    utt2spk = {utt: spk for name in roots for utt, spk in read_utterances(data_dir, name).items()}
    if len(set(utt2spk.values())) < 2:
        raise ConfigError(f"--root {root}: expected at least 2 test speakers, found 1; choose another corpus")
    labels: dict[str, tuple[str, ...]] = {}
    if all((data_dir / name / "speakers.tsv").exists() for name in roots):
        leaves = [leaf for name in roots for leaf in read_leaves(data_dir, name).values()]
        labels = {leaf.speaker: (leaf.sex, leaf.accent) for leaf in leaves}
    return TestSpeech(tuple(roots), dict(sorted(utt2spk.items())), labels)


def metadata(data_dir: Path, speech: TestSpeech) -> tuple[list[str], list[list[str]]]:
    """What the projector shows of each utterance.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        speech: the utterances.

    Returns:
        Names of the columns, and a row for each utterance.
    """
    lists: dict[str, list[str]] = {utt: [] for utt in speech.utt2spk}
    for folder in trial_dirs(data_dir / "test"):
        if folder.parent.name in speech.roots:
            for utt in read_data_dir(folder).utt2spk:
                lists[utt].append(f"{folder.parent.name}/{folder.name}")
    columns = ["utterance", "speaker", "lists", *(["sex", "accent"] if speech.labels else [])]
    rows = [[utt, spk, " ".join(lists[utt]), *speech.labels.get(spk, ())] for utt, spk in speech.utt2spk.items()]
    return columns, rows


def measure(
    system: System, speech: TestSpeech, store: ArrayStore, device: torch.device, num_speakers: int, command: str
) -> Geometry:
    """Measure everything that the page shows.

    Args:
        system: what to measure.
        speech: the test utterances.
        store: their audio.
        device: where front end and backbone are.
        num_speakers: speakers on the disk.
        command: what gives these numbers.

    Returns:
        All measures.
    """
    utts, speakers = tuple(speech.utt2spk), list(speech.utt2spk.values())
    embeddings = system.table.embeddings[system.table.rows(utts, "the test lists")]
    num_utterances, bands = _bands(system, speech, store, device)
    logger.info(
        "measuring the tree of %s and delta of %s",
        *(count(len(set(speakers)), "speaker"), count(len(utts), "utterance")),
    )
    return Geometry(
        name=system.folder.resolve().name,
        seed=system.seed,
        loss=system.loss.name,
        commit=git_commit(Path(ham.__file__).parent),
        versions={**versions(), "scipy": scipy.__version__},
        command=command,
        roots=speech.roots,
        picture=_picture(system, speech, num_speakers),
        tree=measure_tree(embeddings, speakers, speech.labels),
        delta=measure_delta(embeddings),
        num_radius_utterances=num_utterances,
        radii=bands,
        centres=_centres(system.loss, read_history(system.folder / "train.jsonl")),
    )


def _picture(system: System, speech: TestSpeech, num_speakers: int) -> Picture:
    """Place the chosen speakers' utterances."""
    by_speaker = invert(speech.utt2spk)
    chosen = choose_speakers(list(by_speaker), speech.labels, num_speakers)
    utts = {name: spread(by_speaker[name], MOST_SHOWN) for name in chosen}
    rows = {name: system.table.embeddings[system.table.rows(utts[name], "the test lists")] for name in chosen}
    loss = system.loss
    if not isinstance(loss, HSoftmax):
        return measure_picture(rows, utts, speech.labels, None, 0.0)
    return measure_picture(rows, utts, speech.labels, loss.distance, 1.0 / float(loss.space.unit()) ** 2)


def _bands(
    system: System, speech: TestSpeech, store: ArrayStore, device: torch.device
) -> tuple[int, dict[str, RadiusBands]]:
    """Number of utterances long enough to be cropped, and their radii; nothing where there are none."""
    chosen_speakers = set(choose_speakers(list(speech.utt2spk.values()), speech.labels, RADIUS_SPEAKERS))
    some = {utt: spk for utt, spk in speech.utt2spk.items() if spk in chosen_speakers}
    position = {utt: index for index, utt in enumerate(store.utts)}
    least = max(CROPS_S) * store.sample_rate
    if all(utt in position and store.lengths[position[utt]] < least for utt in some):
        return 0, {}
    chosen = choose_utterances(some, store)
    durations_s = store.lengths[np.asarray(chosen)] / store.sample_rate
    found = radii(system.loss, embed_versions(system, chosen, store, device))
    return len(chosen), {name: measure_bands(values, durations_s) for name, values in found.items()}


def _centres(loss: SpeakerLoss, history: History) -> Centres:
    """Radii at the end, and those that the training logged."""
    kind = "centre_radius" if loss.has_distance else "centre_norm"
    logged = {name: history.values(f"diag/{kind}/{name}") for name in ("q05", "q50", "q95")}
    epochs = logged["q50"][0]
    if any(found[0] != epochs for found in logged.values()):
        epochs = []
    return Centres(
        kind=kind,
        final=radius_quantiles(loss.centre_radii()),
        epochs=tuple(epochs),
        logged={name: tuple(values) for name, (_, values) in logged.items()} if epochs else {},
    )


if __name__ == "__main__":
    sys.exit(run(main))
