"""Every back-end against loops over single trials."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

import ham.losses
from ham.data.trials import Trials
from ham.embeddings.table import EmbeddingTable
from ham.errors import ConfigError, DataError
from ham.losses.base import SpeakerLoss
from ham.score.backends import EVERY, parse_backend
from ham.score.calibration import choose_ridge, fit
from ham.score.scorer import EmbeddedTrials, Scorer, TrainingSpeakers

DIM, TOP_N, P_TARGET = 6, 4, 0.05
Row = NDArray[np.float64]
LOSS = ham.losses.build("ham_softmax", DIM, 3, geometry="poincare", curvature=1.0)


def table(prefix: str, speakers: int, utts: int, seed: int) -> EmbeddingTable:
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(speakers, DIM)), utts, axis=0)
    rows = (0.5 + centres + 0.9 * generator.normal(size=centres.shape)).astype(np.float32)
    return EmbeddingTable(tuple(f"{prefix}{s}-{u}" for s in range(speakers) for u in range(utts)), rows, prefix)


def all_trials(utts: tuple[str, ...]) -> Trials:
    pairs = [(a, b) for a in utts for b in utts if a < b]
    labels = np.array([a.split("-")[0] == b.split("-")[0] for a, b in pairs], np.int8)
    return Trials(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), labels)


def durations(utts: tuple[str, ...], seed: int) -> dict[str, float]:
    return dict(zip(utts, np.random.default_rng(seed).uniform(1, 9, len(utts)).tolist(), strict=True))


@pytest.fixture
def embedded() -> EmbeddedTrials:
    """Three speakers and a model of two recordings."""
    embeddings = table("t", 3, 4, 0)
    trials = all_trials(embeddings.utts[2:])
    enrol = ("model", "model", *trials.enrol[2:])
    trials = replace(trials, enrol=enrol, models={"model": ("t0-0", "t0-1")})
    utt2dur = durations(embeddings.utts, 1)
    utt2dur["model"] = utt2dur["t0-0"] + utt2dur["t0-1"]
    return EmbeddedTrials("trials", embeddings, trials, utt2dur)


@pytest.fixture
def training() -> TrainingSpeakers:
    """Twelve speakers, of whom those of the calibration trials are in the cohort too."""
    embeddings = table("c", 12, 3, 2)
    utt2spk = {utt: utt.split("-")[0] for utt in embeddings.utts}
    rows = embeddings.embeddings.reshape(12, 3, DIM).mean(axis=1)
    cohort = EmbeddingTable(tuple(dict.fromkeys(utt2spk.values())), rows, "cohort")
    mean = embeddings.embeddings.mean(axis=0, dtype=np.float64)
    trials = all_trials(embeddings.utts)
    calibration = EmbeddedTrials("calibration trials", embeddings, trials, durations(embeddings.utts, 3), utt2spk)
    return TrainingSpeakers(mean, cohort, calibration=calibration)


@pytest.fixture
def scorer(training: TrainingSpeakers) -> Scorer:
    return Scorer(LOSS, training, top_n=TOP_N, p_target=P_TARGET)


def measured(measure: str, x: Row, y: Row) -> float:
    if measure == "cosine":
        return float(x @ y / math.sqrt((x @ x) * (y @ y)))
    with torch.no_grad():
        return -float(LOSS.distance(torch.from_numpy(x)[None], torch.from_numpy(y)[None]))


class Naive:
    """The definitions, one trial after the other."""

    def __init__(self, name: str, training: TrainingSpeakers) -> None:
        self.steps = name.split("+")
        self.measures = ["cosine", "hyperbolic"] if self.steps[0] == "fusion" else [self.steps[0]]
        self.training = training
        self.known: dict[tuple[str, str, str], list[float]] = {}

    def row(self, measure: str, embedded: EmbeddedTrials, utt: str) -> Row:
        def plain(name: str) -> Row:
            return embedded.embeddings.embeddings[embedded.embeddings.utts.index(name)].astype(np.float64)

        shift = self.training.mean if "mean" in self.steps and measure == "cosine" else np.zeros(DIM)
        if utt not in embedded.trials.models:
            return plain(utt) - shift
        own = [plain(one) - shift for one in embedded.trials.models[utt]]
        own = [x / np.linalg.norm(x) for x in own] if measure == "cosine" else own
        return np.mean(own, axis=0)

    def against(self, measure: str, embedded: EmbeddedTrials, utt: str) -> list[float]:
        key = measure, embedded.place, utt
        if key not in self.known:
            self.known[key] = self.found_against(measure, embedded, utt)
        return self.known[key]

    def found_against(self, measure: str, embedded: EmbeddedTrials, utt: str) -> list[float]:
        shift = self.training.mean if "mean" in self.steps and measure == "cosine" else np.zeros(DIM)
        found = [
            measured(measure, self.row(measure, embedded, utt), mean.astype(np.float64) - shift)
            for speaker, mean in zip(self.training.cohort.utts, self.training.cohort.embeddings, strict=True)
            if embedded.utt2spk.get(utt) != speaker
        ]
        return found if "s_norm" in self.steps else sorted(found)[-TOP_N:]

    def score(self, measure: str, embedded: EmbeddedTrials, enrol: str, test: str) -> float:
        value = measured(measure, self.row(measure, embedded, enrol), self.row(measure, embedded, test))
        if not {"s_norm", "as_norm"} & {*self.steps}:
            return value
        against = [self.against(measure, embedded, utt) for utt in (enrol, test)]
        return float(np.mean([(value - np.mean(scores)) / np.std(scores) for scores in against]))

    def quality(self, measure: str, embedded: EmbeddedTrials, utt: str) -> dict[str, float]:
        bare = Naive(self.steps[0], self.training)
        recordings = embedded.trials.models.get(utt, (utt,))
        raw = np.mean([bare.row("hyperbolic", embedded, one) for one in recordings], axis=0)
        if measure == "cosine":
            size = {"cosine/norm": float(np.linalg.norm(raw))}
        else:
            size = {"hyperbolic/radius": -measured("hyperbolic", raw, np.zeros(DIM))}
        cohort = float(np.mean(self.against(measure, embedded, utt)))
        return {"duration": math.log(embedded.utt2dur[utt]), **size, f"{measure}/cohort": cohort}

    def columns(self, embedded: EmbeddedTrials) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for enrol, test in zip(embedded.trials.enrol, embedded.trials.test, strict=True):
            one: dict[str, float] = {}
            for measure in self.measures:
                one[measure] = self.score(measure, embedded, enrol, test)
                if "qmf" in self.steps:
                    first, second = (self.quality(measure, embedded, utt) for utt in (enrol, test))
                    for name, value in first.items():
                        one[f"{name}/lesser"] = min(value, second[name])
                        one[f"{name}/greater"] = max(value, second[name])
            for name, value in one.items():
                found.setdefault(name, []).append(value)
        return found

    def scores(self, embedded: EmbeddedTrials) -> NDArray[np.float64]:
        columns = {name: np.array(values) for name, values in self.columns(embedded).items()}
        if not {"fusion", "llr", "qmf"} & {*self.steps}:
            return columns[self.measures[0]]
        own = self.training.calibration
        assert own is not None
        known = {name: np.array(values) for name, values in self.columns(own).items()}
        speakers = [[utt.split("-")[0] for utt in utts] for utts in (own.trials.enrol, own.trials.test)]
        ridge = choose_ridge(known, own.trials.labels, speakers[0], speakers[1], P_TARGET)
        return fit(known, own.trials.labels, P_TARGET, ridge).apply(columns)


@pytest.mark.parametrize("name", [name for name in EVERY if "crops" not in name] + ["hyperbolic+qmf", "fusion+qmf"])
def test_scores_equal_the_definition_trial_by_trial(
    name: str, scorer: Scorer, embedded: EmbeddedTrials, training: TrainingSpeakers
) -> None:
    found = scorer.scores(parse_backend(name), embedded)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, Naive(name, training).scores(embedded), rtol=2e-3, atol=2e-4)


class Wespeaker(Naive):
    """Its calibration as it is written there: four columns a measure, the least Cllr of a linear model."""

    def columns(self, embedded: EmbeddedTrials) -> dict[str, list[float]]:
        def plain(name: str) -> Row:
            return embedded.embeddings.embeddings[embedded.embeddings.utts.index(name)].astype(np.float64)

        shift = self.training.mean if "mean" in self.steps else np.zeros(DIM)
        rows = []
        for enrol, test in zip(embedded.trials.enrol, embedded.trials.test, strict=True):
            row = [self.score("cosine", embedded, enrol, test)]
            sizes = [
                np.linalg.norm(np.mean([plain(one) for one in embedded.trials.models.get(utt, (utt,))], axis=0) - shift)
                for utt in (enrol, test)
            ]
            seconds = [min(embedded.utt2dur[utt], 20.0) for utt in (enrol, test)]
            for pair in (seconds, sizes, [np.mean(self.against("cosine", embedded, utt)) for utt in (enrol, test)]):
                row += [min(pair), max(pair), max(pair) - min(pair), max(pair) / min(pair)]
            rows.append(row)
        return {str(number): list(column) for number, column in enumerate(zip(*rows, strict=True))}

    def scores(self, embedded: EmbeddedTrials) -> NDArray[np.float64]:
        own = self.training.calibration
        assert own is not None
        known, asked = (np.array([*self.columns(one).values()]).T for one in (own, embedded))
        centre, spread = known.mean(axis=0), known.std(axis=0)
        known, asked = ((x - centre) / spread for x in (known, asked))
        targets = own.trials.labels == 1

        def cllr(theta: Row) -> float:
            llrs = known @ theta[1:] + theta[0]
            costs = np.logaddexp(0, -llrs[targets]).mean() + np.logaddexp(0, llrs[~targets]).mean()
            return float(costs / 2 / math.log(2))

        found = minimize(cllr, np.zeros(known.shape[1] + 1), method="BFGS", options={"gtol": 1e-7}).x
        return np.asarray(asked @ found[1:] + found[0])


@pytest.mark.parametrize("steps", ["mean+as_norm+", "as_norm+", "mean+"])
def test_wespeakers_quality_measures(steps: str, embedded: EmbeddedTrials, training: TrainingSpeakers) -> None:
    known = training.calibration
    assert known is not None
    longer = {utt: 4 * seconds for utt, seconds in known.utt2dur.items()}  # some above 20 s
    training = replace(training, calibration=replace(known, utt2dur=longer, embeddings=table("c", 12, 3, 7)))
    embedded = replace(embedded, utt2dur={utt: 4 * seconds for utt, seconds in embedded.utt2dur.items()})
    name = f"cosine+{steps}qmf_wespeaker"
    scorer = Scorer(training=training, top_n=TOP_N, p_target=P_TARGET)
    found = scorer.scores(parse_backend(name), embedded)
    np.testing.assert_allclose(found, Wespeaker(name, training).scores(embedded), rtol=5e-3, atol=5e-3)
    assert scorer.calibrations[name].p_target == 0.5


def test_fusion_trusts_what_is_informative(
    scorer: Scorer, embedded: EmbeddedTrials, training: TrainingSpeakers
) -> None:
    scorer.scores(parse_backend("fusion"), embedded)
    calibration = scorer.calibrations["fusion"]
    assert set(calibration.weights) == {"cosine", "hyperbolic"}
    assert training.calibration is not None
    assert calibration.num_target == training.calibration.trials.num_target
    assert sum(weight * spread for weight, spread in zip(calibration.weights.values(), (0.3, 1.0), strict=True)) > 0


class Counting:
    """A loss that counts the trials it is asked for."""

    has_distance = True

    def __init__(self) -> None:
        self.trials = self.pairs = 0

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.trials += len(x)
        return LOSS.distance(x, y)

    def pairwise_distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.pairs += len(x) * len(y)
        return LOSS.pairwise_distance(x, y)


def test_what_is_shared_is_computed_once(embedded: EmbeddedTrials, training: TrainingSpeakers) -> None:
    known, loss = training.calibration, Counting()
    assert known is not None
    scorer = Scorer(cast("SpeakerLoss", loss), training, top_n=TOP_N)
    for name in ("hyperbolic", "hyperbolic+as_norm", "hyperbolic+as_norm+llr"):
        scorer.scores(parse_backend(name), embedded)
    assert loss.trials == len(embedded.trials) + len(known.trials)
    utts = sum(len({*one.trials.enrol, *one.trials.test}) for one in (embedded, known))
    assert loss.pairs == utts * len(training.cohort.utts)
    scorer.forget(embedded)
    scorer.scores(parse_backend("hyperbolic"), embedded)
    assert loss.trials == 2 * len(embedded.trials) + len(known.trials)


def test_settings_are_those_that_matter(training: TrainingSpeakers) -> None:
    scorer = Scorer(None, replace(training, cohort_utts=3), top_n=TOP_N, p_target=P_TARGET)
    always = {"cohort_utts": 3, "train_chunk_s": 0.0}
    for name, more in (
        ("cosine", {}),
        ("cosine+s_norm", {}),
        ("cosine+as_norm", {"top_n": TOP_N}),
        ("cosine+llr", {"p_target": P_TARGET}),
        ("cosine+qmf_wespeaker", {"top_n": TOP_N}),
    ):
        assert scorer.settings([parse_backend(name)]) == {**always, **more}
    assert Scorer().settings([parse_backend("cosine")]) == {}


def test_crops(embedded: EmbeddedTrials) -> None:
    trials = all_trials(embedded.embeddings.utts)
    generator = np.random.default_rng(5)
    names = tuple(f"{utt}/{k}" for utt in reversed(embedded.embeddings.utts) for k in (1, 2, 3))
    crops = EmbeddingTable(names, generator.normal(size=(len(names), DIM)).astype(np.float32), "crops.npz")
    embedded = replace(embedded, trials=trials, crops=crops)
    found = Scorer().scores(parse_backend("cosine+crops"), embedded)
    for value, enrol, test in zip(found.tolist(), trials.enrol, trials.test, strict=True):
        x, y = (
            embedded.embeddings.embeddings[embedded.embeddings.utts.index(utt)].astype(float) for utt in (enrol, test)
        )
        left, right = (
            [crops.embeddings[names.index(f"{utt}/{k}")].astype(float) for k in (1, 2, 3)] for utt in (enrol, test)
        )
        pairs = [measured("cosine", a, b) for a in left for b in right]
        assert value == pytest.approx((measured("cosine", x, y) + sum(pairs) / 9) / 2, abs=1e-6)


def test_crops_that_cannot_be(embedded: EmbeddedTrials) -> None:
    crops, backend = EmbeddingTable(("x/1",), np.ones((1, DIM), np.float32), "crops.npz"), parse_backend("cosine+crops")
    with pytest.raises(DataError, match=r"trials: cosine\+crops needs crops.npz, found none; run stage 5"):
        Scorer().scores(backend, embedded)
    with pytest.raises(ConfigError, match="for trials of two recordings, found models"):
        Scorer().scores(backend, replace(embedded, crops=crops))
    plain = replace(embedded, crops=crops, trials=all_trials(embedded.embeddings.utts))
    with pytest.raises(DataError, match=r"crops\.npz: trials needs crops of t0-0; extract them"):
        Scorer().scores(backend, plain)


def test_what_is_missing_is_said(embedded: EmbeddedTrials, training: TrainingSpeakers) -> None:
    with pytest.raises(ConfigError, match="expected a loss with a hyperbolic distance"):
        Scorer(training=training).scores(parse_backend("hyperbolic"), embedded)
    with pytest.raises(DataError, match=r"need their embeddings; run stage 5"):
        Scorer().scores(parse_backend("cosine+mean"), embedded)
    with pytest.raises(ConfigError, match="top_n: expected at most 12, the speakers of the cohort, found 300"):
        Scorer(training=training).scores(parse_backend("cosine+as_norm"), embedded)
    short = replace(embedded, utt2dur={})
    with pytest.raises(DataError, match="expected a duration above 0 s"):
        Scorer(training=training, top_n=TOP_N).scores(parse_backend("cosine+qmf"), short)
