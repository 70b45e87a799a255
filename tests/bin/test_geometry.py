"""The command on a small corpus with untrained systems: what it leaves, what it leaves out, and how it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ham.analysis.picture import Geometry
from ham.bin import geometry, hierarchy
from ham.cli import run
from ham.data.store import ArrayStore, write_store
from ham.embeddings.table import write_embeddings
from ham.files import lock_folder
from tests.tiny_system import SPEAKERS, write_corpus, write_experiment, write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus and two systems; not to be changed."""
    folder = tmp_path_factory.mktemp("geometry")
    write_corpus(folder / "data")
    for name in ("ham_softmax", "softmax"):
        write_experiment(folder / "exp" / name, folder / "data", name)
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def show(root: Path, name: str, *options: str) -> int:
    where = ["--data_dir", str(root / "data"), "--exp_dir", str(root / "exp" / name), "--device", "cpu"]
    return run(geometry.main, [*where, *options])


def test_nothing_is_drawn_while_another_stage_writes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_folder(root / "exp/softmax", "stage 5"):
        assert show(root, "softmax") == 1
    assert "found at work: stage 5, process" in capsys.readouterr().err


def numbers(root: Path, name: str) -> Any:
    return json.loads((root / "exp" / name / "geometry.json").read_text())


def test_page_numbers_and_projector(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = [
        {"event": "epoch", "epoch": e, **{f"diag/centre_radius/q{q}": e / 10 for q in ("05", "50", "95")}}
        for e in (1, 2)
    ]
    (root / "exp/ham_softmax/train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    assert show(root, "ham_softmax", "--num_speakers", "3") == 0
    exp = root / "exp/ham_softmax"
    assert capsys.readouterr().out.split() == [
        str(exp / part) for part in ("geometry.html", "geometry.json", "tensorboard/projector")
    ]
    found = numbers(root, "ham_softmax")
    assert [speaker["speaker"] for speaker in found["picture"]["speakers"]] == ["tiny-p3", "tiny-p2", "tiny-p5"]
    assert found["picture"]["speakers"][0]["labels"] == ["f", "gb"]
    assert (found["picture"]["kind"], found["picture"]["curvature"]) == ("disk", 1.0)
    assert found["centres"]["epochs"] == [1, 2]
    assert found["centres"]["logged"]["q95"] == [0.1, 0.2]
    [metadata] = exp.glob("tensorboard/projector/*/*/metadata.tsv")
    lines = metadata.read_text().splitlines()
    assert lines[:2] == ["utterance\tspeaker\tlists\tsex\taccent", "tiny-p1-s1-0\ttiny-p1\ttiny/all tiny/hard\tf\tus"]
    assert len(lines) == 31


def test_it_is_drawn_again_only_when_something_is_new(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exp, measure, numbers = root / "exp/softmax", geometry.measure_geometry, []

    def measure_once(*arguments: Any, **options: Any) -> Geometry:
        numbers.append(replace(numbers[0], source=options["source"]) if numbers else measure(*arguments, **options))
        return numbers[-1]

    monkeypatch.setattr(geometry, "measure_geometry", measure_once)

    def is_drawn(*options: str) -> bool:
        done = len(numbers)
        assert show(root, "softmax", *options) == 0
        out, err = capsys.readouterr()
        assert out.split() == [f"{exp}/{name}" for name in ("geometry.html", "geometry.json", "tensorboard/projector")]
        assert all(Path(path).exists() for path in out.split())
        assert ("up to date" in err) == (len(numbers) == done)
        return len(numbers) > done

    def is_drawn_once(*options: str) -> bool:
        return is_drawn(*options) and not is_drawn(*options)

    assert is_drawn_once()
    before = [(exp / name).read_bytes() for name in ("geometry.json", "geometry.html")]
    for name in ("geometry.html", "geometry.json"):
        (exp / name).unlink()
        assert is_drawn_once()
    shutil.rmtree(exp / "tensorboard/projector")
    assert is_drawn_once()
    assert before == [(exp / name).read_bytes() for name in ("geometry.json", "geometry.html")]
    assert is_drawn_once("--num_speakers", "3")
    (exp / "train.jsonl").write_text('{"event": "epoch", "epoch": 1}\n')
    assert is_drawn_once()
    write_model(exp, "softmax", seed=4)
    assert is_drawn_once()
    table = root / "data/tiny/speakers.tsv"
    table.write_text(table.read_text().replace("gb", "au"))
    assert is_drawn_once()


def test_numbers_are_those_of_the_hierarchy(root: Path) -> None:
    where = ["--data_dir", str(root / "data"), "--root", "tiny", "--device", "cpu"]
    for name in ("ham_softmax", "softmax"):
        assert run(hierarchy.main, [*where, "--exp_dirs", str(root / "exp" / name)]) == 0
        assert show(root, name) == 0
        ours, theirs = numbers(root, name), json.loads((root / "exp" / name / "hierarchy.json").read_text())
        assert ours["delta"]["value"] == theirs["structure"]["delta"]
        assert ours["delta"]["gaussian"] == theirs["delta_gaussian"]
        assert ours["tree"]["purity"]["sex"] == theirs["structure"]["purity"]["sex"]
        assert ours["tree"]["purity"]["sex and accent"] == theirs["structure"]["purity"]["sex_accent"]
        assert ours["radii"]["norm"]["trends"] == theirs["norm"]
        assert ours["radii"].get("hyperbolic radius", {}).get("trends") == theirs["hyperbolic_radius"]
        assert ours["centres"]["final"] == theirs["centre_radius"]
    assert ours["picture"]["kind"] == "plane"
    assert ours["centres"] == {"kind": "centre_norm", "final": theirs["centre_radius"], "epochs": [], "logged": {}}


def test_a_corpus_without_a_known_tree(root: Path) -> None:
    (root / "data/tiny/speakers.tsv").unlink()
    assert show(root, "ham_softmax") == 0
    found = numbers(root, "ham_softmax")
    assert found["tree"]["purity"] == {}
    assert len(found["tree"]["speakers"]) == len(found["picture"]["speakers"]) == len(SPEAKERS)
    assert "has no speakers.tsv" in (root / "exp/ham_softmax/geometry.html").read_text()
    [metadata] = root.glob("exp/ham_softmax/tensorboard/projector/*/*/metadata.tsv")
    assert metadata.read_text().startswith("utterance\tspeaker\tlists\n")


def test_utterances_too_short_to_be_cropped(root: Path) -> None:
    store = ArrayStore(root / "data/store/test")
    short = [(utt, store.read(index)[:20000]) for index, utt in enumerate(store.utts)]
    write_store(root / "data/store/test", short, store.meta)
    assert show(root, "softmax") == 0
    found = numbers(root, "softmax")
    assert (found["num_radius_utterances"], found["radii"]) == (0, {})


def refused(root: Path, capsys: pytest.CaptureFixture[str], status: int, name: str, *options: str) -> str:
    """Run, expect one line on standard error and nothing written; return the line."""
    assert show(root, name, *options) == status
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line and "utt/s" not in line]  # a slow machine shows progress
    assert (captured.out, len(said)) == ("", 1)
    assert not [*root.rglob("geometry.*"), *root.rglob("projector")]
    return said[0]


def test_refusals(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown root 'mini': expected one of tiny" in refused(root, capsys, 2, "softmax", "--root", "mini")
    assert "at least 2" in refused(root, capsys, 2, "softmax", "--num_speakers", "1")
    assert "nowhere/embeddings.npz" in refused(root, capsys, 1, "nowhere")
    place = root / "exp/softmax/embeddings.npz"
    with np.load(place) as archive:
        utts, embeddings = archive["utts"].tolist(), archive["embeddings"]
    write_embeddings(place, utts, np.roll(embeddings, 1, axis=1))
    assert "extract the embeddings again (stage 5)" in refused(root, capsys, 1, "softmax")
    write_embeddings(place, utts[1:], embeddings[1:])
    assert "needs the embedding of tiny-p1-s1-0" in refused(root, capsys, 1, "softmax")
    shutil.rmtree(root / "data/store")
    assert "store/test" in refused(root, capsys, 1, "ham_softmax")
