"""Embeddings that trial lists are scored with: all there, and of the model and the audio that are there now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.data.kaldi_dir import DataDir
from ham.data.store import ArrayStore, write_store
from ham.data.trials import Trials
from ham.embeddings.table import write_embeddings
from ham.errors import DataError
from ham.score.backends import parse_backends
from ham.score.embedded_trials import check_sources, read_embedded
from ham.score.trial_lists import TrialList

UTTS = ("a-1", "a-2", "b-1")


def rows(count: int) -> np.ndarray:
    return np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)


def trial_list(**models: tuple[str, ...]) -> TrialList:
    trials = Trials((*models, "a-1")[:1], ("b-1",), np.zeros(1, np.int8), models)
    utts = {utt: utt[0] for utt in UTTS}
    return TrialList(
        "x/all", DataDir(Path("d/x/all"), {}, utts, dict(zip(UTTS, (1.0, 2.0, 4.0), strict=True)), trials), trials
    )


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    write_store(tmp_path / "store/test", [("a-1", np.ones(9, np.int16))], {"sample_rate": 16000})
    return ArrayStore(tmp_path / "store/test")


def test_model_and_audio_must_be_those_of_now(tmp_path: Path, store: ArrayStore) -> None:
    backends = parse_backends(["cosine", "cosine+crops"])

    def check(source: str, name: str = "embeddings.npz") -> None:
        write_embeddings(tmp_path / name, UTTS, rows(3), source)
        check_sources(tmp_path, tmp_path, backends, "model")

    check("")  # says nothing: is believed
    check(f"model {store.digest}")
    with pytest.raises(DataError, match=r"crops\.npz: made by another model than average\.pt is now"):
        check(f"other {store.digest} 5 x 48240", "crops.npz")
    (tmp_path / "crops.npz").unlink()
    with pytest.raises(DataError, match=r"embeddings\.npz: made from other audio than .*store/test holds"):
        check("model other")
    (tmp_path / "store/test/meta.json").unlink()
    check("model other")  # the store is gone


def test_cohort_and_calibration_trials_must_be_made_together(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "embeddings.npz", UTTS, rows(3), "model audio")
    (tmp_path / "training").mkdir()
    for name, number in (("cohort", 0), ("calibration", 10)):
        write_embeddings(tmp_path / f"training/{name}.npz", UTTS, rows(3), f"model audio {number}")
    check_sources(tmp_path, tmp_path, parse_backends(["cosine+as_norm"]), "model")
    with pytest.raises(DataError, match=r"training: cohort\.npz and calibration\.npz were made apart"):
        check_sources(tmp_path, tmp_path, parse_backends(["cosine+llr"]), "model")


@pytest.mark.parametrize("average", [True, False])
def test_no_embedding_is_missing(tmp_path: Path, average: bool) -> None:
    with_model = trial_list(m=("a-1", "a-2"))
    names = UTTS if average else ("m", "b-1")
    write_embeddings(tmp_path / "embeddings.npz", names, rows(len(names)))
    (found,) = read_embedded([with_model], tmp_path, average=average, crops=False)
    assert (found.models_are_means, found.crops) == (average, None)
    assert found.utt2dur == {"a-1": 1.0, "a-2": 2.0, "b-1": 4.0, "m": 1.0 + 2.0}
    write_embeddings(tmp_path / "embeddings.npz", names[1:], rows(len(names) - 1))
    missing = "a-1" if average else "concatenate.* needs the embedding of m"
    with pytest.raises(DataError, match=missing):
        read_embedded([with_model], tmp_path, average=average, crops=False)
    with pytest.raises(DataError, match=r"crops\.npz: expected embeddings, found nothing"):
        read_embedded([with_model], tmp_path, average=average, crops=True)
