"""The command on a small corpus with a tree and untrained systems, and each way in which it can be refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import ham.losses
from ham.bin import hierarchy
from ham.cli import run
from ham.data.store import ArrayStore, write_store
from ham.embeddings.table import write_embeddings
from tests.tiny_system import DIM, write_corpus, write_experiment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus and two systems; not to be changed."""
    folder = tmp_path_factory.mktemp("hierarchy")
    write_corpus(folder / "data")
    for name in ("ham_softmax", "softmax"):
        write_experiment(folder / "exp" / name, folder / "data", name)
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def measure_it(root: Path, *names: str, corpus: str = "tiny") -> int:
    where = ["--data_dir", str(root / "data"), "--root", corpus, "--device", "cpu"]
    return run(hierarchy.main, [*where, "--exp_dirs", *(str(root / "exp" / name) for name in names)])


def test_two_systems_side_by_side(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_it(root, "ham_softmax", "softmax") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["ham_softmax", "softmax"]
    places = [root / "exp" / name / "hierarchy.json" for name in ("ham_softmax", "softmax")]
    ours, plain = (json.loads(path.read_text()) for path in places)
    assert (ours["name"], ours["seed"], ours["num_radius_utterances"]) == ("ham_softmax", 3, 5 * 4)
    assert (ours["structure"]["num_utterances"], ours["structure"]["num_speakers"]) == (30, 5)
    assert plain["hyperbolic_radius"] is None
    assert ours["norm"] == plain["norm"]  # the same weights, the same noise
    assert ours["delta_gaussian"] == plain["delta_gaussian"]
    before = places[0].read_bytes()
    assert measure_it(root, "ham_softmax") == 0
    assert places[0].read_bytes() == before


def test_radii_are_those_of_the_stored_embeddings(root: Path) -> None:
    assert measure_it(root, "ham_softmax") == 0
    found = json.loads((root / "exp/ham_softmax/hierarchy.json").read_text())
    with np.load(root / "exp/ham_softmax/embeddings.npz") as archive:
        utts, embeddings = archive["utts"].tolist(), torch.from_numpy(archive["embeddings"]).double()
    long = embeddings[[at for at, utt in enumerate(utts) if not utt.endswith("2")]]
    assert found["norm"]["duration"]["median"]["full"] == pytest.approx(np.median(long.norm(dim=1)), rel=1e-5)
    loss = ham.losses.build("ham_softmax", DIM, 6)
    radius = loss.distance(long, torch.zeros_like(long)).detach()
    assert found["hyperbolic_radius"]["duration"]["median"]["full"] == pytest.approx(np.median(radius), rel=1e-5)


def refused(root: Path, capsys: pytest.CaptureFixture[str], status: int, *names: str, corpus: str = "tiny") -> str:
    """Run, expect one line on standard error and nothing written; return the line."""
    assert measure_it(root, *names, corpus=corpus) == status
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line and "utt/s" not in line]  # a slow machine shows progress
    assert (captured.out, len(said)) == ("", 1)
    assert not list(root.rglob("hierarchy.json"))
    return said[0]


def test_a_root_without_lists_or_tree(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown root 'mini': expected one of tiny" in refused(root, capsys, 2, "softmax", corpus="mini")
    table = root / "data/tiny/sessions.tsv"
    table.write_text(table.read_text().replace("p2\ts1\t30\n", ""))
    assert "expected session 's1' of p2 (of tiny-p2-s1-0)" in refused(root, capsys, 1, "softmax")
    table.unlink()
    assert "sessions.tsv: expected the table" in refused(root, capsys, 1, "softmax")
    table = root / "data/tiny/speakers.tsv"
    table.write_text(table.read_text().replace("p4\t", "q4\t"))
    (root / "data/tiny/sessions.tsv").write_text("speaker\tsession\np1\ts1\n")
    assert "sessions.tsv" in refused(root, capsys, 1, "softmax")
    table.write_text("speaker\tsex\np1\tf\n")
    assert "speakers.tsv:2: expected a value for accent" in refused(root, capsys, 1, "softmax")
    table.unlink()
    assert "only where the tree is known" in refused(root, capsys, 1, "softmax")


def test_an_unknown_speaker(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = root / "data/tiny/speakers.tsv"
    table.write_text(table.read_text().replace("p4\t", "q4\t"))
    assert "expected a line for p4 (of tiny-p4-s1-0)" in refused(root, capsys, 1, "softmax")


def test_an_experiment_that_was_not_extracted_stops_all(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "exp/softmax/embeddings.npz").unlink()
    assert "run stage 5" in refused(root, capsys, 1, "ham_softmax", "softmax")
    assert "nowhere/embeddings.npz" in refused(root, capsys, 1, "nowhere")
    (root / "exp/ham_softmax/average.pt").unlink()
    assert "average.pt: no such checkpoint" in refused(root, capsys, 1, "ham_softmax")


def test_embeddings_of_other_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = root / "exp/softmax/embeddings.npz"
    with np.load(place) as archive:
        utts, embeddings = archive["utts"].tolist(), archive["embeddings"]
    write_embeddings(place, utts, np.roll(embeddings, 1, axis=1))
    line = refused(root, capsys, 1, "softmax")
    assert "expected what average.pt and the store give now" in line
    write_embeddings(place, utts[1:], embeddings[1:])
    assert "the tree needs the embedding of tiny-p1-s1-0" in refused(root, capsys, 1, "softmax")


def test_weights_that_do_not_fit(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = root / "exp/softmax/average.pt"
    state = torch.load(place, weights_only=True)
    torch.save({**state, "backbone": {}}, place)
    assert "the backbone does not fit its configuration" in refused(root, capsys, 1, "softmax")


def test_audio_that_is_missing_or_too_short(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ArrayStore(root / "data/store/test")
    audio = {utt: store.read(index) for index, utt in enumerate(store.utts)}
    short = {utt: samples[:20000] for utt, samples in audio.items()}
    write_store(root / "data/store/test", short.items(), store.meta)
    assert "expected utterances of at least 2 s" in refused(root, capsys, 1, "softmax")
    write_store(root / "data/store/test", list(audio.items())[1:], store.meta)
    assert "expected the audio of tiny-p1-s1-0" in refused(root, capsys, 1, "softmax")
