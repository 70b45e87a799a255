"""Comparisons on made-up experiments whose differences are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ham.analysis.levels import level_errors
from ham.analysis.tree import Leaf
from ham.data.kaldi_dir import Trials, write_data_dir
from ham.embeddings.table import write_embeddings
from ham.errors import ConfigError, DataError
from ham.report.claims import Claims, Comparison, measure_claims, read_comparisons, shown, worst_p
from ham.score.metrics import eer
from ham.score.results import Results, evaluate, write_results
from ham.score.seeds import summarise_seeds
from ham.score.significance import holm
from ham.score.trial_lists import read_list
from tests.analysis.test_levels import grow

NAMES = [(sex, f"a{accent}", f"{sex}{accent}{spk}") for sex in "fm" for accent in range(3) for spk in range(3)]
LEAVES = [Leaf(sex, accent, f"tree-{spk}", f"s{s}") for sex, accent, spk in NAMES for s in (1, 2) for _ in (1, 2)]
UTTS = [f"{leaf.speaker}-{leaf.session}-{at % 2}" for at, leaf in enumerate(LEAVES)]
COMPARISONS = [Comparison("strong", "plain", "the tree"), Comparison("plain", "absent", "nothing")]


def write_corpus(data: Path) -> None:
    """Tables of the tree, and a list of all pairs across sessions."""
    (data / "tree").mkdir(parents=True)
    rows = [f"{spk}\t{sex}\t{accent}" for sex, accent, spk in NAMES]
    (data / "tree/speakers.tsv").write_text("\n".join(["speaker\tsex\taccent", *rows]) + "\n")
    rows = [f"{spk}\ts{s}" for *_, spk in NAMES for s in (1, 2)]
    (data / "tree/sessions.tsv").write_text("\n".join(["speaker\tsession", *rows]) + "\n")
    first, second = np.triu_indices(len(UTTS), 1)
    who = np.array([leaf.speaker for leaf in LEAVES])
    labels = (who[first] == who[second]).astype(np.int8)
    trials = Trials(tuple(UTTS[i] for i in first), tuple(UTTS[j] for j in second), labels)
    wav, utt2spk = {u: Path(f"/{u}.wav") for u in UTTS}, {u: leaf.speaker for u, leaf in zip(UTTS, LEAVES, strict=True)}
    for name in ("all", "hard"):
        write_data_dir(data / "test/tree" / name, wav, utt2spk, dict.fromkeys(UTTS, 3.0), trials)


def write_experiment(folder: Path, data: Path, seed: int, *depths: int) -> None:
    """Embeddings with a tree of given depths, their scores and results."""
    embeddings = grow(LEAVES, seed, *depths, step=1.5)
    folder.mkdir(parents=True)
    write_embeddings(folder / "embeddings.npz", UTTS, embeddings)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    found = []
    for name in ("all", "hard"):
        one = read_list(data, f"tree/{name}")
        at = {utt: number for number, utt in enumerate(UTTS)}
        pairs = [(at[a], at[b]) for a, b in zip(one.trials.enrol, one.trials.test, strict=True)]
        scores = np.array([unit[i] @ unit[j] for i, j in pairs])
        place = folder / "scores/tree" / f"{name}.cosine"
        place.parent.mkdir(parents=True, exist_ok=True)
        sides = zip(one.trials.enrol, one.trials.test, scores, strict=True)
        place.write_text("".join(f"{a} {b} {score:.6f}\n" for a, b, score in sides))
        speakers = one.speakers(one.trials.enrol), one.speakers(one.trials.test)
        found.append(evaluate(f"tree/{name}", "cosine", scores, one.trials.labels, *speakers))
    results = Results(folder.name, seed, "abc", {}, "./run.sh", tuple(found))
    write_results(folder / "results.json", results)
    epochs = [{"event": "epoch", "epoch": n, "step": n, "valid_eer": 0.1 / n, "seconds": 60.0} for n in (1, 2)]
    (folder / "train.jsonl").write_text("".join(f"{json.dumps(epoch)}\n" for epoch in epochs))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a system with a tree of sexes and accents and one without, three trainings each."""
    root = tmp_path_factory.mktemp("claims")
    write_corpus(root / "data")
    for seed in (1, 2, 3):
        write_experiment(root / "exp" / f"strong{seed}", root / "data", seed, 0, 1, 2)
        write_experiment(root / "exp" / f"plain{seed}", root / "data", 10 + seed, 2)
    return root


def folders(made: Path) -> dict[str, Sequence[Path]]:
    exp = made / "exp"
    return {**{name: [exp / f"{name}{seed}" for seed in (1, 2, 3)] for name in ("strong", "plain")}, "absent": []}


@pytest.fixture(scope="module")
def claims(made: Path) -> Claims:
    lists = [read_list(made / "data", f"tree/{name}") for name in ("hard", "all")]
    return measure_claims(folders(made), COMPARISONS, lists, made / "data", "tree")


def test_a_planted_difference_is_found_where_it_was_planted(claims: Claims) -> None:
    assert list(claims.effects) == [
        "EER % tree/hard", "EER % tree/all", *(f"rank correlation {name}" for name in Leaf._fields)
    ]  # fmt: skip
    (sex,), (session,) = (claims.effects[f"rank correlation {name}"] for name in ("sex", "session"))
    assert sex.value > 0.3
    assert sex.interval.low > 0
    assert sex.p < 0.05
    assert session.interval.low < 0 < session.interval.high
    assert session.adjusted is None
    assert sex.trainings == (3, 3)
    assert claims.not_run == [COMPARISONS[1]]


def test_rates_are_those_of_the_scores_and_of_the_embeddings(claims: Claims, made: Path) -> None:
    one = read_list(made / "data", "tree/hard")
    for training, rate in zip((1, 2, 3), claims.lists[0].rates["plain"], strict=True):
        lines = (made / f"exp/plain{training}/scores/tree/hard.cosine").read_text().splitlines()
        assert rate.eer == eer(np.array([float(line.split()[2]) for line in lines]), np.array(one.trials.labels))
    expected = level_errors(grow(LEAVES, 11, 2, step=1.5), LEAVES)["speaker"]
    assert claims.levels[2].rates["plain"][0].eer == pytest.approx(expected.eer)
    value, low, high = shown(claims.levels[2].scale, claims.levels[2].summaries()["plain"])
    assert low < value < high <= 1
    assert value == pytest.approx(np.mean([1 - 2 * rate.eer for rate in claims.levels[2].rates["plain"]]))


def test_an_effect_is_the_difference_of_the_comparison_of_seeds(claims: Claims, made: Path) -> None:
    one = read_list(made / "data", "tree/hard")

    def scores(name: str) -> list[np.ndarray]:
        paths = [made / f"exp/{name}{seed}/scores/tree/hard.cosine" for seed in (1, 2, 3)]
        return [np.array([float(line.split()[2]) for line in path.read_text().splitlines()]) for path in paths]

    sides = one.speakers(one.trials.enrol), one.speakers(one.trials.test)
    systems = {name: scores(name) for name in ("strong", "plain")}
    summary = summarise_seeds(systems, one.trials.labels, *sides, reference="plain")[0]
    (effect,) = claims.effects["EER % tree/hard"]
    assert summary.difference is not None
    assert effect.value == pytest.approx(100 * summary.difference.value)
    assert effect.interval == pytest.approx([100 * end for end in summary.difference.interval])


def test_the_tested_levels_are_one_family_as_large_as_planned(claims: Claims) -> None:
    tested = [effect for name in ("sex", "accent") for effect in claims.effects[f"rank correlation {name}"]]
    assert [effect.adjusted for effect in tested] == pytest.approx(
        holm([*(effect.p for effect in tested), 1.0, 1.0])[:2]  # one of two comparisons was run, on two levels
    )


def test_the_worst_p_is_the_largest_of_the_trainings(claims: Claims) -> None:
    trained = claims.trained["strong"]
    assert worst_p(trained, "accent")[0] == max(levels["accent"].correlation.p for levels in trained.levels)


@pytest.mark.parametrize("text", ['{"norm": {}', '{"norm": {}}', "[1]"])
def test_damaged_measures_of_radii_are_refused(made: Path, text: str) -> None:
    path = made / "exp/strong1/hierarchy.json"
    path.write_text(text)
    try:
        with pytest.raises(DataError, match=r"strong1/hierarchy\.json: expected norm, hyperbolic_radius, heard, found"):
            measure_claims({"strong": [path.parent]}, [], [], made / "data", "tree")
    finally:
        path.unlink()


def test_comparisons_of_unknown_systems_are_refused(made: Path) -> None:
    lists = [read_list(made / "data", "tree/hard")]
    wrong = [Comparison("strong", "weak", "x")]
    with pytest.raises(ConfigError, match="expected systems among strong, plain, absent, found 'weak'"):
        measure_claims(folders(made), wrong, lists, made / "data", "tree")


def test_comparisons_are_read(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text("comparisons:\n  - {system: a, control: b, factor: 'margin, none'}\n")
    assert read_comparisons(path) == [Comparison("a", "b", "margin, none")]
    for text in ("comparisons: []\n", "other: 1\n", "comparisons:\n  - {system: a}\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"claims\.yaml"):
            read_comparisons(path)
