"""Measure how trained systems show a known tree (sex, accent, speaker, session), and what their radii follow.

For the synthetic corpus `mini` and others that bring speakers.tsv and sessions.tsv. Writes hierarchy.json into every
experiment and prints one table, in which experiments of the same name (several seeds) share a row.
"""

from __future__ import annotations

import csv
import logging
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

import ham
from ham.analysis.hierarchy import (
    CROPS_S,
    SEED,
    Hierarchy,
    Leaf,
    conditions,
    hierarchy_table,
    measure_radius,
    measure_structure,
    radius_quantiles,
    write_hierarchy,
)
from ham.backbones.base import Backbone
from ham.bin.score import read_trained
from ham.cli import Parser, run
from ham.config import from_dict
from ham.data.kaldi_dir import invert, read_data_dir, trial_dirs
from ham.data.store import INT16_SCALE, ArrayStore
from ham.data.text_lines import read_lines
from ham.embeddings.extract import MAX_BATCH_FRAMES, batches_by_length
from ham.errors import CheckpointError, ConfigError, DataError
from ham.frontends import Frontend
from ham.geometry.delta import gaussian_baseline
from ham.losses.base import SpeakerLoss
from ham.model import checkpoint
from ham.model.build import build_backbone, build_frontend, pick_device
from ham.provenance import git_commit, versions
from ham.report.markdown import markdown_table
from ham.score.measures import EmbeddingTable, read_embeddings

logger = logging.getLogger(__name__)

NUM_PER_SPEAKER = 4
"""Most utterances of a speaker that are embedded again in every version."""

NORM, HYPERBOLIC_RADIUS = "norm", "hyperbolic radius"
"""The two ways of saying how far out an embedding lies."""

BATCH_SIZE = 16

TOLERANCE = 0.01
"""Relative difference that another device's arithmetic explains; other weights differ by about 1."""


@dataclass(frozen=True)
class System:
    """A trained system as stages 4 and 5 leave it.

    Attributes:
        folder: the experiment.
        seed: of its training.
        frontend: samples to features.
        backbone: with the averaged weights, in evaluation mode.
        loss: with the averaged centres.
        table: its embeddings of the test utterances.
    """

    folder: Path
    seed: int
    frontend: Frontend
    backbone: Backbone
    loss: SpeakerLoss
    table: EmbeddingTable


def main(argv: Sequence[str]) -> None:
    """Measure experiments.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    device = pick_device(options.device)
    leaves = read_leaves(options.data_dir, options.root)
    store = ArrayStore(options.data_dir / "store" / "test")
    systems = [read_system(folder, device) for folder in options.exp_dirs]  # all, before the first is measured
    found = []
    for system in systems:
        started = time.perf_counter()
        command = _command(options, system.folder)
        found.append(measure(system, leaves, store, device, command))
        write_hierarchy(system.folder / "hierarchy.json", found[-1])
        logger.info("%s/hierarchy.json: measured in %.1f s", system.folder, time.perf_counter() - started)
    print(*markdown_table(*hierarchy_table(found)), sep="\n")


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.hierarchy", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="egs/<corpus>/data, with <root>/speakers.tsv")
    parser.add_argument("--exp_dirs", type=Path, nargs="+", required=True, help="experiments with embeddings.npz")
    parser.add_argument("--root", default="mini", help="corpus whose tree is known: its test lists are measured")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def _command(options: Any, folder: Path) -> str:
    """The command for this experiment alone: what else was measured in the same run changes nothing."""
    place = ["--data_dir", str(options.data_dir), "--exp_dirs", str(folder), "--root", options.root]
    return shlex.join(["python", "-m", "ham.bin.hierarchy", *place])


def read_leaves(data_dir: Path, root: str) -> dict[str, Leaf]:
    """Find where every test utterance of a root hangs in its tree.

    Args:
        data_dir: folder that holds ``<root>/speakers.tsv``, ``<root>/sessions.tsv`` and ``test/<root>/<list>/``.
        root: the corpus; its utterances are called ``<root>-<speaker>-<session>-<number>``.

    Returns:
        The leaf of each utterance of the root's lists together, in C order.

    Raises:
        ConfigError: if the root has no test lists.
        DataError: if the tables are missing, or do not name a speaker or session.
    """
    utt2spk = read_utterances(data_dir, root)
    speakers = {row["speaker"]: row for row in _read_tsv(data_dir / root / "speakers.tsv", ("sex", "accent"))}
    sessions = {(row["speaker"], row["session"]) for row in _read_tsv(data_dir / root / "sessions.tsv", ("session",))}
    leaves = {}
    for utt, spk in sorted(utt2spk.items()):
        name, session = spk.removeprefix(f"{root}-"), utt.removeprefix(f"{spk}-").split("-")[0]
        if name not in speakers:
            raise DataError(f"{data_dir / root}/speakers.tsv: expected a line for {name} (of {utt}), found none")
        if (name, session) not in sessions:
            raise DataError(
                f"{data_dir / root}/sessions.tsv: expected session {session!r} of {name} (of {utt}), found none; "
                "utterances must be called <speaker>-<session>-<number>"
            )
        leaves[utt] = Leaf(speakers[name]["sex"], speakers[name]["accent"], spk, session)
    return leaves


def read_utterances(data_dir: Path, root: str) -> dict[str, str]:
    """Find the test utterances of a root.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        root: the corpus.

    Returns:
        The speaker of each utterance of the root's lists together.

    Raises:
        ConfigError: if the root has no test lists.
    """
    folders = trial_dirs(data_dir / "test")
    lists = [folder for folder in folders if folder.parent.name == root]
    if not lists:
        known = " ".join(sorted({folder.parent.name for folder in folders}))
        raise ConfigError(f"--root: unknown root {root!r}: expected one of {known}")
    return {utt: spk for folder in lists for utt, spk in read_data_dir(folder).utt2spk.items()}


def _read_tsv(path: Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """The lines of a table, by the names in its head; ``speaker`` and the wanted columns are there and filled."""
    if not path.exists():
        cure = "the hierarchy is measured only where the tree is known, as in the corpus mini"
        raise DataError(f"{path}: expected the table that says the tree, found no such file; {cure}")
    rows = list(csv.DictReader(read_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE))
    for number, row in enumerate(rows, 2):
        lacking = [column for column in ("speaker", *wanted) if not row.get(column)]
        if lacking:
            cure = "the hierarchy is measured only where the tree is known"
            raise DataError(f"{path}:{number}: expected a value for {' and '.join(lacking)}, found none; {cure}")
    return rows


def read_system(folder: Path, device: torch.device) -> System:
    """Rebuild a trained system.

    Args:
        folder: the experiment, with ``average.pt`` and ``embeddings.npz``.
        device: where to put front end and backbone.

    Returns:
        The system.

    Raises:
        DataError: if it was not extracted.
        CheckpointError: if its model is missing, damaged or of another configuration.
    """
    table = read_embeddings(folder / "embeddings.npz")
    seed, _, loss = read_trained(folder / "average.pt")
    model = checkpoint.load(folder / "average.pt")
    config = from_dict(model["config"], f"{folder}/average.pt")
    backbone = build_backbone(config)
    try:
        backbone.load_state_dict(model["backbone"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder}/average.pt: the backbone does not fit its configuration ({reason})") from error
    frontend = build_frontend(config).to(device)
    return System(folder, seed, frontend, backbone.to(device).eval(), loss, table)


def measure(
    system: System, leaves: Mapping[str, Leaf], store: ArrayStore, device: torch.device, command: str
) -> Hierarchy:
    """Measure one system.

    Args:
        system: what to measure.
        leaves: the test utterances and where they hang in the tree.
        store: their audio.
        device: where front end and backbone are.
        command: what gives these numbers.

    Returns:
        All measures.
    """
    rows = system.table.rows(tuple(leaves), "the tree")
    structure = measure_structure(system.table.embeddings[rows], list(leaves.values()))
    chosen = choose_utterances({utt: leaf.speaker for utt, leaf in leaves.items()}, store)
    durations_s = store.lengths[np.asarray(chosen)] / store.sample_rate
    found = radii(system.loss, embed_versions(system, chosen, store, device))
    trends = {name: measure_radius(values, durations_s) for name, values in found.items()}
    return Hierarchy(
        name=system.folder.resolve().name,
        seed=system.seed,
        commit=git_commit(Path(ham.__file__).parent),
        versions={**versions(), "scipy": scipy.__version__},
        command=command,
        structure=structure,
        delta_gaussian=_gaussian_delta(structure.num_utterances, structure.embedding_dim),
        num_radius_utterances=len(chosen),
        norm=trends[NORM],
        hyperbolic_radius=trends.get(HYPERBOLIC_RADIUS),
        centre_radius=radius_quantiles(system.loss.centre_radii()),
    )


@lru_cache
def _gaussian_delta(num_points: int, dim: int) -> float:
    """One baseline serves all systems of one run."""
    return gaussian_baseline(num_points, dim)


def choose_utterances(utt2spk: Mapping[str, str], store: ArrayStore) -> list[int]:
    """Draw at most ``NUM_PER_SPEAKER`` utterances of each speaker, among those long enough for every crop.

    Args:
        utt2spk: the test utterances and their speakers.
        store: their audio.

    Returns:
        Positions in the store; the same for every system.

    Raises:
        DataError: if the store lacks an utterance, or none is long enough.
    """
    position = {utt: index for index, utt in enumerate(store.utts)}
    missing = [utt for utt in utt2spk if utt not in position]
    if missing:
        raise DataError(f"{store.path}: expected the audio of {missing[0]}, found none; pack it (stage 3)")
    least = max(CROPS_S) * store.sample_rate
    generator = np.random.default_rng(SEED)
    chosen: list[int] = []
    for utts in invert(utt2spk).values():
        long = [position[utt] for utt in utts if store.lengths[position[utt]] >= least]
        chosen += sorted(generator.permutation(long)[:NUM_PER_SPEAKER].tolist())
    if not chosen:
        raise DataError(f"{store.path}: expected utterances of at least {max(CROPS_S):g} s, found none")
    return chosen


def embed_versions(system: System, chosen: Sequence[int], store: ArrayStore, device: torch.device) -> dict[str, Tensor]:
    """Embed the shortened and the noisy versions of utterances, and check that the stored embeddings are these.

    Args:
        system: what embeds.
        chosen: positions in the store.
        store: their audio.
        device: where front end and backbone are.

    Returns:
        Float64 embeddings of all chosen utterances, shape ``(N, D)``, in each version of
        :func:`ham.analysis.hierarchy.conditions`.

    Raises:
        DataError: if the table of embeddings was made with other weights or from other audio.
    """
    waveforms = [torch.from_numpy(store.read(index)).float() / INT16_SCALE for index in chosen]
    versions = conditions(store.sample_rate, waveforms)
    flat = [waveform for version in versions.values() for waveform in version]
    embeddings = embed(system, flat, device).double()
    by_version = dict(zip(versions, torch.split(embeddings, len(chosen)), strict=True))
    _check_same(system.table, [store.utts[index] for index in chosen], by_version["full"])
    return by_version


@torch.inference_mode()
def radii(loss: SpeakerLoss, by_version: Mapping[str, Tensor]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """How far out embeddings lie.

    Args:
        loss: whose distance it is.
        by_version: embeddings, shape ``(N, D)``, in several versions.

    Returns:
        Under ``NORM`` the norms and, if the loss has a distance, under ``HYPERBOLIC_RADIUS`` the distances from the
        origin; each shape ``(N,)`` by version.
    """
    found = {NORM: {name: x.norm(dim=1).numpy() for name, x in by_version.items()}}
    if loss.has_distance:
        found[HYPERBOLIC_RADIUS] = {
            name: loss.distance(x, torch.zeros_like(x)).numpy() for name, x in by_version.items()
        }
    return found


def _check_same(table: EmbeddingTable, utts: Sequence[str], embeddings: Tensor) -> None:
    """Refuse a table that was made with other weights or from other audio than what is embedded here."""
    stored = torch.from_numpy(table.embeddings[table.rows(utts, "the tree")]).double()
    error = (stored - embeddings).norm(dim=1) / embeddings.norm(dim=1)
    worst = int(error.argmax())
    if not error[worst] <= TOLERANCE:
        raise DataError(
            f"{table.place}: expected what average.pt and the store give now, found {utts[worst]} differing by "
            f"{100 * float(error[worst]):.0f} %; extract the embeddings again (stage 5)"
        )


@torch.inference_mode()
def embed(system: System, waveforms: Sequence[Tensor], device: torch.device) -> Tensor:
    """Embed waveforms in length-sorted batches; what shares a batch changes nothing.

    Args:
        system: its front end and backbone.
        waveforms: each ``(N,)`` float in [-1, 1].
        device: where front end and backbone are.

    Returns:
        Embeddings on the CPU, shape ``(len(waveforms), D)``.
    """
    frames = np.array([system.frontend.num_frames(len(waveform)) for waveform in waveforms], np.int64)
    found = torch.zeros(len(waveforms), system.backbone.embedding_dim)
    with tqdm(total=len(waveforms), desc=f"embed versions {system.folder.name}", unit="utt", delay=2) as bar:
        for batch in batches_by_length(frames, BATCH_SIZE, MAX_BATCH_FRAMES):
            features = [system.frontend(waveforms[i].to(device)[None])[0] for i in batch]
            lengths = torch.tensor([len(f) for f in features], device=device)
            found[torch.from_numpy(batch)] = system.backbone(pad_sequence(features, True), lengths).float().cpu()
            bar.update(len(batch))
    return found


if __name__ == "__main__":
    sys.exit(run(main))
