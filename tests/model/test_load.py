"""A model by its name: an experiment here, and what is none is refused with the choices."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ham
from ham.embeddings.table import write_embeddings
from ham.errors import ConfigError, DataError, HamError
from ham.model.encoder import SpeakerEncoder
from tests.speaking import thresholds, write_decisions
from tests.tiny_system import DIM, write_model


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    write_model(tmp_path / "exp", "softmax")
    return tmp_path / "exp"


def write_cohort(exp: Path, digest: str) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(5, DIM)).astype(np.float32)
    (exp / "training").mkdir(exist_ok=True)
    write_embeddings(exp / "training/cohort.npz", [f"s{n}" for n in range(5)], rows, f"{digest} store 0 0")
    return rows


def test_an_experiment_is_loaded_with_what_stages_5_and_6_left(exp: Path) -> None:
    bare = ham.load(str(exp), "cpu")
    assert (bare.folder, bare.decisions, bare.cohort) == (exp, None, None)
    write_decisions(exp, thresholds())
    rows = write_cohort(exp, bare.fingerprint)
    found = ham.load(exp, "cpu")
    assert found.decisions == thresholds()
    assert found.cohort is not None
    assert found.cohort.dtype == np.float32
    np.testing.assert_allclose(found.cohort, rows / np.linalg.norm(rows, axis=1)[:, None], rtol=1e-6)


def test_cohort_and_thresholds_of_other_weights_do_not_count(exp: Path) -> None:
    write_cohort(exp, "0" * 64)
    for others in ({"results": []}, {"decisions": {"cosine": thresholds().to_dict()}, "fingerprint": "0" * 64}):
        (exp / "results.json").write_text(json.dumps(others))
        found = ham.load(exp, "cpu")
        assert (found.cohort, found.decisions) == (None, None)


def test_other_kinds_go_to_their_own_loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaders = SimpleNamespace(load_directory=lambda path, device: (path, device), fetch=lambda name: tmp_path)
    for module in ("ham.model.directory", "ham.model.hub"):
        monkeypatch.setitem(sys.modules, module, loaders)
    (tmp_path / "model.json").touch()
    assert ham.load(tmp_path, "cpu") == (tmp_path, "cpu")
    assert ham.load("owner/a.model-1") == (tmp_path, "auto")


def test_a_folder_comes_before_a_name_at_the_hub(exp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exp.parent.parent)
    assert isinstance(ham.load(f"{exp.parent.name}/exp", "cpu"), SpeakerEncoder)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nothing/at/all", "nothing there"),
        ("nothing", "nothing there"),
        ("", "one with neither"),
        ("exp/average.pt", "a file"),
    ],
)
def test_what_is_no_model_is_refused_with_the_choices(name: str, found: str, exp: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ham.load(exp.parent / name)
    for words in ("average.pt", "model.json", "owner/name", f"found {found}"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"decisions": 3}', '{"decisions": {"cosine": 3}}', '{"decisions": {"cosine": {"scale": 1}}}']
)
def test_results_that_are_something_else_are_named(content: str, exp: Path) -> None:
    (exp / "results.json").write_text(content)
    with pytest.raises(DataError, match=r"results.json: expected .*stage 6"):
        ham.load(exp, "cpu")


def test_a_damaged_model_is_named(exp: Path) -> None:
    (exp / "average.pt").write_bytes((exp / "average.pt").read_bytes()[:-100])
    with pytest.raises(HamError, match=r"average\.pt: damaged"):
        ham.load(exp, "cpu")
