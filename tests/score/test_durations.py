"""Error rates of cut utterances: seconds that are understood, cuts that fit, numbers as the metrics give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.data.kaldi_dir import DataDir
from ham.data.store import ArrayStore
from ham.data.trials import Trials
from ham.embeddings.table import EmbeddingTable, write_embeddings
from ham.errors import ConfigError, DataError
from ham.score import metrics
from ham.score.decisions import Decisions, OperatingPoint
from ham.score.durations import check_cuts, cuts_path, duration_rates, parse_durations
from ham.score.scorer import EmbeddedTrials, Scorer
from ham.score.trial_lists import TrialList
from tests.tiny_system import write_corpus

UTTS = tuple(f"{speaker}-{number}" for speaker in "abcdef" for number in range(3))


def test_seconds() -> None:
    assert parse_durations(["5 1,2", "1.0", "0.5"]) == (0.5, 1.0, 2.0, 5.0)
    assert parse_durations([]) == ()
    for text in ("0.1", "61", "x", "-1", "1e1", "nan"):
        with pytest.raises(ConfigError, match=rf"--durations: expected seconds from 0.5 to 60, found '{text}'"):
            parse_durations(["1", text])


def test_cuts_must_be_there_and_of_the_model(tmp_path: Path) -> None:
    path = cuts_path(tmp_path, 1.5)
    assert path == tmp_path / "durations/1.5s.npz"
    with pytest.raises(DataError, match=r"1\.5s\.npz: expected embeddings of cuts, found nothing; run stage 5"):
        check_cuts(tmp_path, tmp_path / "data", [1.5], "model")
    write_embeddings(path, ["a"], np.ones((1, 2), np.float32), "model audio 1")
    check_cuts(tmp_path, tmp_path / "data", [1.5], "model")
    with pytest.raises(DataError, match="found those of another model or of other audio"):
        check_cuts(tmp_path, tmp_path / "data", [1.5], "other")


def test_cuts_must_be_of_the_audio_that_is_there(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data")
    path = cuts_path(tmp_path, 1.5)
    write_embeddings(path, ["a"], np.ones((1, 2), np.float32), "model audio 1")
    with pytest.raises(DataError, match="found those of another model or of other audio; run stage 5"):
        check_cuts(tmp_path, tmp_path / "data", [1.5], "model")
    digest = ArrayStore(tmp_path / "data/store/test").digest
    write_embeddings(path, ["a"], np.ones((1, 2), np.float32), f"model {digest} 1")
    check_cuts(tmp_path, tmp_path / "data", [1.5], "model")


def test_rates_are_those_of_the_cosines_of_the_cuts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pairs = [(a, b) for at, a in enumerate(UTTS) for b in UTTS[at + 1 :]]
    labels = np.array([a[0] == b[0] for a, b in pairs], np.int8)
    trials = Trials(*(tuple(side) for side in zip(*pairs, strict=True)), labels)
    seconds = {utt: 1.0 + at % 3 for at, utt in enumerate(UTTS)}
    data = DataDir(Path("d/x/all"), {}, {utt: utt[0] for utt in UTTS}, seconds, trials)
    centres = np.repeat(generator.normal(size=(6, 5)), 3, axis=0)
    whole, cut = (centres + noise * generator.normal(size=centres.shape) for noise in (0.6, 1.2))
    write_embeddings(cuts_path(tmp_path, 2), UTTS, cut.astype(np.float32), "model audio 1")
    embedded = EmbeddedTrials("x/all", EmbeddingTable(UTTS, whole.astype(np.float32)), trials, seconds)
    point = OperatingPoint("eer", 0.4, 0.3, 0.5, 0.1, 0.1)
    decisions = Decisions("cosine", 1.0, 0.0, (point,), "nobody's", 6, 1, 1)
    of_cuts, of_whole = duration_rates(TrialList("x/all", data, trials), embedded, Scorer(), tmp_path, [2.0], decisions)
    assert (of_cuts.seconds, of_cuts.num_utts, of_cuts.num_short) == (2.0, 18, 6)
    assert (of_whole.seconds, of_whole.num_short) == (None, 0)
    for rows, found in ((cut, of_cuts), (whole, of_whole)):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        scores = np.array([unit[UTTS.index(a)] @ unit[UTTS.index(b)] for a, b in pairs])
        assert found.eer == pytest.approx(metrics.eer(scores, labels))
        assert found.eer_low <= found.eer <= found.eer_high
        assert found.miss == pytest.approx((scores[labels == 1] < 0.4).mean())
        assert found.false_alarm == pytest.approx((scores[labels == 0] >= 0.4).mean())
    (plain, _) = duration_rates(TrialList("x/all", data, trials), embedded, Scorer(), tmp_path, [2.0])
    assert (plain.eer, plain.miss, plain.false_alarm) == (of_cuts.eer, None, None)
