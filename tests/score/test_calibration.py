"""Calibration against known truths, its laws, the file, and the trials it is trained on."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize

import ham.losses
from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.score import calibration
from ham.score.calibration import (
    RIDGE,
    RIDGES,
    calibration_trials,
    choose_ridge,
    durations,
    embedding_norms,
    fit,
    hyperbolic_radii,
    quality_columns,
    read_calibration,
    write_calibration,
)
from ham.score.metrics import act_dcf, cllr, min_cllr, min_dcf

Numbers = NDArray[np.float64]


def gaussian(num: int, seed: int = 0, centre: float = 3.0) -> tuple[Numbers, NDArray[np.int64]]:
    """True log-likelihood ratios: normal with the variance twice the mean, mirrored for non-targets."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num) % 3 % 2
    return generator.normal(size=num) * math.sqrt(2 * centre) + np.where(labels == 1, centre, -centre), labels


@pytest.mark.parametrize("p_target", [0.01, 0.5])
def test_true_ratios_are_left_as_they_are(p_target: float) -> None:
    llrs, labels = gaussian(200_000)
    found = fit({"s": llrs}, labels, p_target)
    assert found.weights["s"] == pytest.approx(1.0, abs=0.05)
    assert found.bias == pytest.approx(0.0, abs=0.1)
    assert (found.num_target, found.num_nontarget) == (int(labels.sum()), int((1 - labels).sum()))


def test_a_direct_search_finds_the_same() -> None:
    llrs, labels = gaussian(300)
    quality = np.random.default_rng(1).normal(size=300)

    def entropy(theta: Numbers) -> float:
        total = 0.0
        num_target = int(labels.sum())
        for score, q, label in zip(llrs.tolist(), quality.tolist(), labels.tolist(), strict=True):
            odds = theta[0] * score + theta[1] * q + theta[2] + math.log(0.05 / 0.95)
            if label:
                total += 0.05 / num_target * math.log1p(math.exp(-odds))
            else:
                total += 0.95 / (300 - num_target) * math.log1p(math.exp(odds))
        return total

    expected = minimize(entropy, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13}).x
    found = fit({"s": llrs, "q": quality}, labels, 0.05)
    assert [*found.weights.values(), found.bias] == pytest.approx(expected, abs=2e-3)


def test_derivatives() -> None:
    llrs, labels = gaussian(200)
    columns = np.stack([llrs, np.cos(np.arange(200.0))], axis=1)
    entropy = calibration._Entropy(columns, labels == 1, 0.03, 1e-3)
    theta, step = np.array([0.4, -0.2, 0.7]), 1e-5
    value, gradient = entropy.value_and_gradient(theta)
    for i, unit in enumerate(np.eye(3) * step):
        (up, up_gradient), (down, down_gradient) = (entropy.value_and_gradient(theta + s * unit) for s in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(gradient[i], abs=1e-8)
        assert (up_gradient - down_gradient) / (2 * step) == pytest.approx(entropy.hessian(theta)[i], abs=1e-7)
    assert value > 0


@pytest.mark.parametrize(("scale", "shift"), [(0.05, 0.3), (-2.0, 0.0), (1000.0, -7e4)])
def test_the_unit_of_the_scores_does_not_matter(scale: float, shift: float) -> None:
    llrs, labels = gaussian(3000)
    expected = fit({"s": llrs}, labels).apply({"s": llrs})
    moved = scale * llrs + shift
    assert fit({"s": moved}, labels).apply({"s": moved}) == pytest.approx(expected, abs=1e-5)


def test_the_number_of_non_targets_does_not_matter() -> None:
    llrs, labels = gaussian(3000)
    more = np.concatenate([llrs, llrs[labels == 0], llrs[labels == 0]])
    once, thrice = fit({"s": llrs}, labels), fit({"s": more}, np.concatenate([labels, np.zeros(4000, int)]))
    assert thrice.apply({"s": llrs}) == pytest.approx(once.apply({"s": llrs}), abs=1e-4)


def test_calibration_brings_costs_near_their_least_on_other_trials() -> None:
    llrs, labels = gaussian(60_000)
    other, other_labels = gaussian(60_000, seed=1)
    distorted, other_distorted = 0.04 * llrs + 0.6, 0.04 * other + 0.6
    found = fit({"s": distorted}, labels, 0.05).apply({"s": other_distorted})
    assert cllr(found, other_labels) < min_cllr(found, other_labels) + 0.01
    assert cllr(other_distorted, other_labels) > 0.8
    for p_target in (0.01, 0.05):
        assert act_dcf(found, other_labels, p_target) < min_dcf(found, other_labels, p_target) + 0.02


def test_fusion_of_independent_systems_is_their_sum() -> None:
    (first, labels), (second, _) = gaussian(200_000), gaussian(200_000, seed=7)
    found = fit({"a": first, "b": 0.1 * second + 2}, labels, 0.5)
    assert found.weights["a"] == pytest.approx(1.0, abs=0.03)
    assert found.weights["b"] == pytest.approx(10.0, abs=0.3)
    fused = found.apply({"b": 0.1 * second + 2, "a": first})  # whichever order
    assert cllr(fused, labels) < 0.8 * min(min_cllr(first, labels), min_cllr(second, labels))


def test_twins_share_the_weight() -> None:
    llrs, labels = gaussian(3000)
    alone, both = fit({"a": llrs}, labels), fit({"a": llrs, "b": llrs}, labels)
    assert both.weights["a"] == pytest.approx(both.weights["b"], rel=1e-6)
    assert both.apply({"a": llrs, "b": llrs}) == pytest.approx(alone.apply({"a": llrs}), abs=1e-4)


def test_a_quality_measure_that_matters_helps_and_a_constant_one_has_no_weight() -> None:
    llrs, labels = gaussian(30_000)
    shift = np.random.default_rng(3).normal(size=30_000)
    columns = {"s": llrs + 2 * shift, "q": shift, "same": np.full(30_000, 0.3)}
    found = fit(columns, labels)
    assert found.weights["same"] == 0.0
    assert found.weights["q"] / found.weights["s"] == pytest.approx(-2.0, abs=0.1)
    assert cllr(found.apply(columns), labels) < 0.7 * min_cllr(columns["s"], labels)


def test_classes_that_do_not_overlap_get_finite_ratios_in_order() -> None:
    scores = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    llrs = fit({"s": scores}, [0, 0, 0, 1, 1, 1], 0.5).apply({"s": scores})
    assert np.isfinite(llrs).all()
    assert (np.diff(llrs) > 0).all()
    assert cllr(llrs, [0, 0, 0, 1, 1, 1]) < 1e-4


@pytest.mark.parametrize(
    ("columns", "labels", "message"),
    [
        ({}, [0, 1], "found no columns"),
        ({"s": np.zeros((2, 2))}, [0, 1], r"found s \(2, 2\)"),
        ({"s": np.arange(2.0), "t": np.arange(3.0)}, [0, 1], r"s \(2,\), t \(3,\)"),
        ({"s": np.array([0.0, np.nan])}, [0, 1], "finite numbers in s, found nan at 2"),
        ({"s": np.array([0.0, np.inf])}, [0, 1], "found inf at 2"),
        ({"s": np.array([0.1, 0.1, 0.1])}, [0, 1, 1], "columns that vary, found s the same"),
        ({"s": np.array([0.0, 1.0])}, [1, 1], "2 target and 0 non-target"),
        ({"s": np.array([0.0, 1.0])}, [1, 0, 1], "2 scores and 3 labels"),
    ],
)
def test_odd_training_is_refused(columns: dict[str, Numbers], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        fit(columns, labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("p_target", [0.0, 1.0, -1.0, math.nan])
def test_priors_out_of_range_are_refused(p_target: float) -> None:
    with pytest.raises(ValueError, match="p_target"):
        fit({"s": np.arange(2.0)}, [0, 1], p_target)


def test_other_columns_are_refused() -> None:
    llrs, labels = gaussian(100)
    found = fit({"cosine": llrs, "q": np.cos(llrs)}, labels)
    with pytest.raises(DataError, match="columns cosine, q, found q missing and hyperbolic unknown"):
        found.apply({"cosine": llrs, "hyperbolic": llrs})
    with pytest.raises(DataError, match="finite numbers in q"):
        found.apply({"cosine": llrs, "q": np.full(100, np.nan)})


def test_the_file_gives_the_same_bits_back(tmp_path: Path) -> None:
    llrs, labels = gaussian(100)
    found = fit({"cosine": llrs, "log_duration/lesser": np.cos(llrs)}, labels)
    write_calibration(tmp_path / "x" / "calibration.json", found)
    assert read_calibration(tmp_path / "x" / "calibration.json") == found


def test_odd_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    with pytest.raises(DataError, match="found nothing; score again"):
        read_calibration(path)
    good = {"weights": {"s": 1.0}, "bias": 0.0, "p_target": 0.01, "num_target": 1, "num_nontarget": 1, "ridge": 1e-8}
    path.write_text(json.dumps(good))
    assert read_calibration(path).weights == {"s": 1.0}
    changes: list[dict[str, Any]] = [{"weights": {}}, {"weights": [1]}, {"bias": "x"}, {"bias": math.nan}]
    changes += [{"weights": {"s": math.inf}}, {"ridge": None}]
    for change in changes:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(DataError, match="score again"):
            read_calibration(path)
    for text in ("", "[]", "{}", "3"):
        path.write_text(text)
        with pytest.raises(DataError, match="something else"):
            read_calibration(path)


@pytest.mark.parametrize(("x", "jac"), [([0.1, 0.2], [0.0, 1e-3]), ([math.nan, 0.0], [0.0, 0.0])])
def test_a_search_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, x: list[float], jac: list[float]) -> None:
    stopped = OptimizeResult(x=np.array(x), jac=np.array(jac), message="too many steps")
    monkeypatch.setattr(calibration, "minimize", lambda *_, **__: stopped)
    with pytest.raises(DataError, match="expected the regression to converge, found 'too many steps'"):
        fit({"s": np.array([1.0, 2.0, 0.5])}, np.array([1, 0, 1]))


def test_quality_columns_do_not_depend_on_the_sides() -> None:
    values = np.array([5.0, 1.0, 3.0])
    enrol, test = np.array([0, 1, 2]), np.array([1, 0, 2])
    found = quality_columns("d", values, enrol, test)
    expected = {"d/lesser": [1, 1, 3], "d/greater": [5, 5, 3]}
    assert {name: column.tolist() for name, column in found.items()} == expected
    with_ratio = quality_columns("d", values, enrol, test, ratio=True)
    assert {name: column.tolist() for name, column in with_ratio.items()} == {**expected, "d/ratio": [5, 5, 1]}
    nothing = quality_columns("d", np.array([0.0, 2.0]), np.array([0, 1]), np.array([1, 1]), ratio=True)
    with pytest.raises(DataError, match="expected finite numbers in d/ratio, found inf at 1"):
        fit(nothing, np.array([1, 0]))


def test_measures_of_utterances() -> None:
    table = EmbeddingTable(("a", "b"), np.array([[3, 4], [0, 0.5]], np.float32), "x.npz")
    assert embedding_norms(table).tolist() == [5.0, 0.5]
    rows = np.array([1, 0, 1])
    assert durations(table, {"b": 1.0, "a": 2.5, "c": 9.0}, rows).tolist() == [2.5, 1.0]
    assert np.isnan(durations(table, {"a": 2.5}, rows[1:2])[1])  # nobody asked for it
    for known in ({"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": math.nan}):
        with pytest.raises(DataError, match=r"x.npz: expected a duration above 0 s for b, found (none|0.0|nan)"):
            durations(table, known, rows)


@pytest.mark.parametrize("geometry", ["published", "poincare", "lorentz"])
def test_radius_is_twice_the_tangent_length(geometry: str) -> None:
    table = EmbeddingTable(("a", "b"), np.array([[0.03, 0.04], [0, 0.5]], np.float32))
    loss = ham.losses.build("ham_softmax", 2, 3, curvature=1.0, geometry=geometry)
    tangent = torch.tensor([0.05, 0.5])
    expected = 2 * torch.atanh(tangent) if geometry == "published" else 2 * tangent * loss.space.embedding_scale
    assert hyperbolic_radii(table, loss.distance) == pytest.approx(expected.numpy(), rel=1e-5)


def make_speakers(num_speakers: int = 6, num_utts: int = 40) -> tuple[dict[str, str], dict[str, float], dict[str, str]]:
    generator = np.random.default_rng(0)
    names = [(f"s{s}-{u:02d}", f"s{s}", f"{u % 4}") for s in range(num_speakers) for u in range(num_utts)]
    durations = {utt: float(d) for (utt, _, _), d in zip(names, generator.uniform(2, 20, len(names)), strict=True)}
    return {utt: spk for utt, spk, _ in names}, durations, {utt: session for utt, _, session in names}


def test_trials_are_of_two_kinds_spread_over_durations_and_across_sessions() -> None:
    utt2spk, utt2dur, sessions = make_speakers()
    trials = calibration_trials(utt2spk, utt2dur, sessions=sessions, utts_per_speaker=8)
    same = [utt2spk[a] == utt2spk[b] for a, b in zip(trials.enrol, trials.test, strict=True)]
    assert same == trials.labels.astype(bool).tolist()
    assert trials.num_nontarget > trials.num_target > 100
    for a, b, label in zip(trials.enrol, trials.test, trials.labels, strict=True):
        assert not label or sessions[a] != sessions[b]
    used = {*trials.enrol, *trials.test}
    assert set(Counter(utt2spk[utt] for utt in used).values()) <= {7, 8}
    for speaker in "s0", "s5":
        lengths = sorted(utt2dur[utt] for utt, spk in utt2spk.items() if spk == speaker)
        own = sorted(utt2dur[utt] for utt in used if utt2spk[utt] == speaker)
        assert (own[0], own[-1]) == (lengths[0], lengths[-1])
        assert max(np.diff([lengths.index(d) for d in own])) <= 12


def test_trials_are_the_same_for_the_same_arguments_in_any_order() -> None:
    utt2spk, utt2dur, _ = make_speakers()
    first = calibration_trials(utt2spk, utt2dur, max_trials=50)
    shuffled = dict(reversed(utt2spk.items()))
    again = calibration_trials(shuffled, utt2dur, max_trials=50)
    assert (first.enrol, first.test) == (again.enrol, again.test)
    assert np.array_equal(first.labels, again.labels)
    assert first.num_target <= 50
    assert calibration_trials(utt2spk, utt2dur, max_trials=50, seed=1).enrol != first.enrol


def test_speakers_that_give_no_trials_are_refused() -> None:
    utt2spk, utt2dur, sessions = make_speakers(3, 2)
    with pytest.raises(DataError, match="at least 2 speakers"):
        calibration_trials({"s0-00": "s0", "s0-01": "s0"}, utt2dur)
    with pytest.raises(DataError, match="at least 2 utterances"):
        calibration_trials({"s0-00": "s0", "s1-00": "s1"}, utt2dur)
    with pytest.raises(DataError, match="the duration of every training utterance, found none for s0-00"):
        calibration_trials(utt2spk, {})
    with pytest.raises(DataError, match="the session of every training utterance"):
        calibration_trials(utt2spk, utt2dur, sessions=dict(list(sessions.items())[1:]))
    with pytest.raises(ValueError, match="utts_per_speaker"):
        calibration_trials(utt2spk, utt2dur, utts_per_speaker=1)


def overfitted(
    seed: int, num_speakers: int, num_columns: int
) -> tuple[dict[str, Numbers], Numbers, list[str], list[str]]:
    """One informative column and many that depend on the pair of speakers by chance."""
    generator = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(num_speakers) for b in range(num_speakers) for _ in range(4) if a <= b]
    labels = np.array([float(a == b) for a, b in pairs])
    chance = generator.normal(size=(num_speakers, num_speakers, num_columns))
    noise = np.array([chance[pair] for pair in pairs])
    columns = {
        "s": generator.normal(size=len(pairs)) + 2 * labels,
        **{f"n{k}": noise[:, k] for k in range(num_columns)},
    }
    first, second = ([f"spk{pair[side]:02d}" for pair in pairs] for side in (0, 1))
    return columns, labels, first, second


def test_the_ridge_is_found_where_columns_fit_by_chance() -> None:
    columns, labels, *speakers = overfitted(0, 15, 12)
    ridge = choose_ridge(columns, labels, speakers[0], speakers[1], 0.5)
    assert ridge > 100 * RIDGE
    others, truth, *_ = overfitted(1, 60, 12)
    costs = [cllr(fit(columns, labels, 0.5, value).apply(others), truth.astype(int)) for value in (RIDGE, ridge)]
    assert costs[1] < costs[0]


def test_the_ridge_is_that_of_a_direct_search() -> None:
    columns, labels, enrol, test = overfitted(2, 12, 5)
    part = {speaker: number % 5 for number, speaker in enumerate(sorted({*enrol, *test}))}
    costs = []
    for ridge in RIDGES:
        total = 0.0
        for fold in range(5):
            inside = [part[a] == fold and part[b] == fold for a, b in zip(enrol, test, strict=True)]
            outside = [part[a] != fold and part[b] != fold for a, b in zip(enrol, test, strict=True)]
            found = fit({k: v[outside] for k, v in columns.items()}, labels[outside], 0.2, ridge)
            llrs = found.apply({k: v[inside] for k, v in columns.items()}) + math.log(0.2 / 0.8)
            truth = labels[inside] == 1
            total += 0.2 * np.log1p(np.exp(-llrs[truth])).mean() + 0.8 * np.log1p(np.exp(llrs[~truth])).mean()
        costs.append(total)
    assert choose_ridge(columns, labels, enrol, test, 0.2) == RIDGES[int(np.argmin(costs))]


def test_two_speakers_leave_nothing_to_hold_out() -> None:
    columns, labels, enrol, test = overfitted(3, 2, 1)
    assert choose_ridge(columns, labels, enrol, test) == RIDGE
