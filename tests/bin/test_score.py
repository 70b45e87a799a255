"""Stage 6 end to end on a small experiment, and each way in which it can be asked for the wrong thing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ham.bin import compare, report, score
from ham.cli import run
from ham.data.kaldi_dir import read_data_dir
from ham.embeddings import table as tables
from ham.embeddings.table import read_embeddings
from ham.files import lock_folder
from ham.model.checkpoint import weights_digest
from ham.score import cohort, held_aside, metrics
from ham.score.results import read_results
from ham.score.score_file import read_scores
from tests.tiny_system import DIM, NUM_SPEAKERS, write_model

UTTS = 4


def write_list(folder: Path, seed: int) -> list[tuple[str, str, str]]:
    """A data directory of one trial list: every speaker's first two utterances against all others, some of them."""
    folder.mkdir(parents=True)
    utts = {f"s{s}-{u}": f"s{s}" for s in range(NUM_SPEAKERS) for u in range(UTTS)}
    pairs = [(a, b) for a in utts for b in utts if a < b]
    keep = np.random.default_rng(seed).random(len(pairs)) < 0.7
    trials = [
        (a, b, "target" if utts[a] == utts[b] else "nontarget")
        for (a, b), kept in zip(pairs, keep, strict=True)
        if kept
    ]
    (folder / "wav.scp").write_text("".join(f"{utt} {utt}.wav\n" for utt in utts))
    (folder / "utt2spk").write_text("".join(f"{utt} {spk}\n" for utt, spk in utts.items()))
    (folder / "utt2dur").write_text("".join(f"{utt} 3.5\n" for utt in utts))
    speakers = dict.fromkeys(utts.values())
    lines = [f"{spk} {' '.join(utt for utt in utts if utts[utt] == spk)}\n" for spk in speakers]
    (folder / "spk2utt").write_text("".join(lines))
    (folder / "trials").write_text("".join(" ".join(trial) + "\n" for trial in trials))
    return trials


def write_embeddings(exp_dir: Path, scale: float = 0.1) -> tuple[list[str], NDArray[np.float32]]:
    utts = [f"s{s}-{u}" for s in range(NUM_SPEAKERS) for u in range(UTTS)]
    generator = np.random.default_rng(0)
    centres = np.repeat(generator.normal(size=(NUM_SPEAKERS, DIM)), UTTS, axis=0)
    embeddings = (scale * (centres + 0.8 * generator.normal(size=centres.shape))).astype(np.float32)
    np.savez(exp_dir / "embeddings.npz", utts=np.array(utts), embeddings=embeddings)
    return utts, embeddings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(("mini/all", "mini/hard", "real/dev")):
        write_list(tmp_path / "data" / "test" / name, seed)
    exp_dir = tmp_path / "exp" / "run1"
    exp_dir.mkdir(parents=True)
    write_embeddings(exp_dir)
    write_model(exp_dir, "ham_softmax", seed=5)
    return tmp_path


def score_it(root: Path, *options: str) -> int:
    where = ["--data_dir", str(root / "data"), "--exp_dir", str(root / "exp" / "run1")]
    return run(score.main, [*where, *options])


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_is_scored_and_measured(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score_it(root) == 0
    exp_dir = root / "exp" / "run1"
    results = json.loads((exp_dir / "results.json").read_text())
    found = [(entry["list"], entry["backend"]) for entry in results["results"]]
    lists = ["mini/all", "mini/hard", "real/dev"]
    assert found == [(name, backend) for name in lists for backend in ("cosine", "hyperbolic")]
    assert (results["name"], results["seed"]) == ("run1", 5)
    assert set(results["versions"]) == {"ham", "python", "torch", "numpy"}
    assert results["command"] == "./run.sh --stage 4"
    assert all(name in capsys.readouterr().out for name in ["mini/hard"])


def test_numbers_come_from_the_score_files_and_these_from_the_embeddings(root: Path) -> None:
    exp_dir = root / "exp" / "run1"
    loss = write_model(exp_dir, "ham_softmax", seed=5)
    utts, embeddings = write_embeddings(exp_dir)
    assert score_it(root) == 0
    row = {utt: x.astype(np.float64) for utt, x in zip(utts, embeddings, strict=True)}
    for entry in json.loads((exp_dir / "results.json").read_text())["results"]:
        trials = [line.split() for line in (root / "data/test" / entry["list"] / "trials").read_text().splitlines()]
        scores = read_scores(exp_dir / "scores" / f"{entry['list']}.{entry['backend']}")
        labels = [int(label == "target") for *_, label in trials]
        assert entry["num_target"] == sum(labels)
        assert list(zip(scores.enrol, scores.test, strict=True)) == [(a, b) for a, b, _ in trials]
        assert entry["eer"] == metrics.eer(scores.values, labels)
        assert entry["min_dcf_p01"] == metrics.min_dcf(scores.values, labels)
        for value, (a, b, _) in zip(scores.values.tolist(), trials, strict=True):
            x, y = torch.from_numpy(row[a])[None], torch.from_numpy(row[b])[None]
            cosine = torch.nn.functional.cosine_similarity(x, y)
            expected = cosine if entry["backend"] == "cosine" else -loss.distance(x, y)
            assert value == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-6)


def test_twice_the_same_bytes(root: Path) -> None:
    assert score_it(root) == 0
    first = snapshot(root / "exp" / "run1")
    assert score_it(root) == 0
    assert snapshot(root / "exp" / "run1") == first
    assert not [name for name in first if "tmp" in name]


@pytest.mark.parametrize("name", ["softmax", "aam_softmax"])
def test_loss_without_distance_is_scored_by_cosine_only(root: Path, name: str) -> None:
    write_model(root / "exp" / "run1", name)
    assert score_it(root) == 0
    results = json.loads((root / "exp/run1/results.json").read_text())
    assert {entry["backend"] for entry in results["results"]} == {"cosine"}
    assert results["command"] == "./run.sh --stage 4"


def refused(root: Path, capsys: pytest.CaptureFixture[str], status: int, *options: str) -> str:
    """Run, expect one line on standard error and nothing written; return the line."""
    before = snapshot(root)
    capsys.readouterr()
    assert score_it(root, *options) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert snapshot(root) == before
    return lines[0]


def test_unknown_list_and_option(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(root, capsys, 2, "--test_sets", "mini/al")
    assert "'mini/al'" in line
    assert "mini/all mini/hard real/dev" in line
    assert "--top_n" in refused(root, capsys, 2, "--top_m", "3")


def test_no_lists(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(root, capsys, 1, "--data_dir", str(root / "exp"))
    assert "stage 2" in line


def test_missing_embedding(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    utts, embeddings = write_embeddings(root / "exp/run1")
    np.savez(root / "exp/run1/embeddings.npz", utts=np.array(utts[1:]), embeddings=embeddings[1:])
    assert "needs the embedding of s0-0" in refused(root, capsys, 1)


def test_embedding_twice_and_nan(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    utts, embeddings = write_embeddings(root / "exp/run1")
    np.savez(root / "exp/run1/embeddings.npz", utts=np.array([*utts, utts[3]]), embeddings=embeddings[[*range(24), 3]])
    assert "several for s0-3" in refused(root, capsys, 1)
    embeddings[7, 2] = np.nan
    np.savez(root / "exp/run1/embeddings.npz", utts=np.array(utts), embeddings=embeddings)
    assert "NaN or infinity in those of s1-3" in refused(root, capsys, 1)


def test_model_missing_damaged_or_not_of_this_loss(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "exp/run1/average.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "num_speakers": 9}, path)
    assert "does not fit its configuration" in refused(root, capsys, 1)
    torch.save({key: value for key, value in state.items() if key != "num_speakers"}, path)
    assert "'num_speakers'" in refused(root, capsys, 1)
    torch.save({**state, "config": {**state["config"], "loss": {"name": "ham_sotfmax"}}}, path)
    assert "ham_softmax" in refused(root, capsys, 2)
    path.write_bytes(b"no checkpoint")
    refused(root, capsys, 1)
    path.unlink()
    refused(root, capsys, 1)


def test_as_a_command(root: Path) -> None:
    command = [sys.executable, "-m", "ham.bin.score", "--data-dir", str(root / "data"), "--exp-dir"]
    done = subprocess.run([*command, str(root / "exp/run1"), "--top-n=2"], capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2 + 6)
    failed = subprocess.run([*command, str(root / "nowhere")], capture_output=True, text=True)
    assert (failed.returncode, failed.stdout, len(failed.stderr.splitlines())) == (1, "", 1)


def enrol_models(root: Path, name: str) -> list[tuple[str, str, int]]:
    """A list whose models are the first two utterances of a speaker, against the third of every speaker."""
    folder = root / "data/test" / name
    (folder / "enrol").write_text("".join(f"m{s} s{s}-0 s{s}-1\n" for s in range(NUM_SPEAKERS)))
    pairs = [(f"m{a}", f"s{b}-2", int(a == b)) for a in range(NUM_SPEAKERS) for b in range(NUM_SPEAKERS)]
    words = ("nontarget", "target")
    (folder / "trials").write_text("".join(f"{model} {utt} {words[label]}\n" for model, utt, label in pairs))
    return pairs


def test_models_are_scored_by_the_mean_of_their_recordings(root: Path) -> None:
    pairs = enrol_models(root, "real/dev")
    exp_dir = root / "exp" / "run1"
    _, embeddings = write_embeddings(exp_dir)
    loss = write_model(exp_dir, "ham_softmax", seed=5)
    assert score_it(root, "--test_sets", "real") == 0
    rows = embeddings.reshape(NUM_SPEAKERS, UTTS, DIM).astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    for backend in ("cosine", "hyperbolic"):
        found = read_scores(exp_dir / f"scores/real/dev.{backend}").join(*list(zip(*pairs, strict=True))[:2])
        for (model, utt, _), value in zip(pairs, found.tolist(), strict=True):
            a, b = int(model[1]), int(utt[1])
            if backend == "cosine":
                mean = (unit[a, 0] + unit[a, 1]) / 2
                expected = mean @ unit[b, 2] / np.linalg.norm(mean)
            else:
                mean = torch.from_numpy((rows[a, 0] + rows[a, 1]) / 2)[None]
                expected = -float(loss.eval().distance(mean, torch.from_numpy(rows[b, 2])[None]))
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    content = json.loads((exp_dir / "results.json").read_text())
    entry, (searched,) = content["results"][0], content["retrieval"]
    assert (entry["num_target"], entry["num_nontarget"]) == (NUM_SPEAKERS, NUM_SPEAKERS * (NUM_SPEAKERS - 1))
    scores = read_scores(exp_dir / "scores/real/dev.cosine").values.reshape(NUM_SPEAKERS, NUM_SPEAKERS)
    assert (searched["list"], searched["num_searches"]) == ("real/dev", NUM_SPEAKERS)
    assert searched["p_at_1"] == np.mean(scores.argmax(axis=0) == np.arange(NUM_SPEAKERS))


def test_crops_are_left_out_where_there_are_models(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enrol_models(root, "real/dev")
    utts, _ = write_embeddings(root / "exp/run1")
    crops = np.random.default_rng(1).normal(size=(5 * len(utts), DIM)).astype(np.float32)
    names = [f"{utt}/{number}" for utt in utts for number in range(1, 6)]
    tables.write_embeddings(root / "exp/run1/crops.npz", names, crops)
    assert score_it(root, "--backends", "cosine cosine+crops") == 0
    assert "left out for real/dev, since it has enrolment models: cosine+crops" in capsys.readouterr().err
    rows = json.loads((root / "exp/run1/results.json").read_text())["results"]
    assert [row["backend"] for row in rows if row["list"] == "real/dev"] == ["cosine"]
    assert [row["backend"] for row in rows if row["list"] == "mini/all"] == ["cosine", "cosine+crops"]
    line = refused(root, capsys, 2, "--backends", "cosine+crops", "--test_sets", "real")
    assert "real/dev has models of several recordings; add cosine" in line


def test_embeddings_of_another_model_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_training(root)
    exp_dir = root / "exp/run1"
    digest = weights_digest(torch.load(exp_dir / "average.pt", weights_only=True))
    utts, embeddings = write_embeddings(exp_dir)
    tables.write_embeddings(exp_dir / "embeddings.npz", utts, embeddings, f"{digest} a-store")
    assert score_it(root, "--backends", "cosine+as_norm", "--top_n", "5") == 0
    settings = json.loads((exp_dir / "results.json").read_text())["settings"]
    assert settings == {"top_n": 5, "cohort_utts": 0, "train_chunk_s": 0.0}
    table = read_embeddings(exp_dir / "training/cohort.npz")
    for source, words in (("0123 a-store 0", "cohort.npz: made by another model"), (f"{digest} x 3", "made apart")):
        extra = {"mean": table.embeddings.mean(axis=0, dtype=np.float64)}
        tables.write_embeddings(exp_dir / "training/cohort.npz", table.utts, table.embeddings, source, extra)
        rows = read_embeddings(exp_dir / "training/calibration.npz")
        tables.write_embeddings(exp_dir / "training/calibration.npz", rows.utts, rows.embeddings, f"{digest} x 0")
        assert words in refused(root, capsys, 1, "--backends", "cosine+as_norm+llr", "--top_n", "5")
    tables.write_embeddings(exp_dir / "embeddings.npz", utts, embeddings, "4567 a-store")
    assert "embeddings.npz: made by another model than average.pt is now" in refused(root, capsys, 1)


@pytest.mark.parametrize("value", ["0", "1", "nan", "x"])
def test_a_prior_is_between_0_and_1(root: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert "--p_target" in refused(root, capsys, 2, "--p_target", value)


def test_quality_measures_of_some_lists_only(root: Path) -> None:
    write_training(root)
    folder = root / "data/test/real/few"
    shutil.copytree(root / "data/test/real/dev", folder)
    for name in ("wav.scp", "utt2spk", "utt2dur"):
        kept = [line for line in (folder / name).read_text().splitlines() if line.startswith(("s0-", "s1-"))]
        (folder / name).write_text("".join(line + "\n" for line in kept))
    kept = (folder / "spk2utt").read_text().splitlines()[:2]
    (folder / "spk2utt").write_text("".join(line + "\n" for line in kept))
    (folder / "trials").write_text("s0-0 s0-1 target\ns0-0 s1-1 nontarget\ns1-0 s1-2 target\n")
    assert score_it(root, "--backends", "cosine+qmf", "--test_sets", "real/few", "--top_n", "5") == 0


def test_joined_recordings_need_their_embeddings(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = enrol_models(root, "real/dev")
    exp_dir = root / "exp" / "run1"
    utts, embeddings = write_embeddings(exp_dir)
    assert score_it(root, "--enrol", "concatenate") == 1
    assert (
        "real/dev/trials (with --enrol concatenate, which stage 5 must have had too) needs" in capsys.readouterr().err
    )
    models = [f"m{s}" for s in range(NUM_SPEAKERS)]
    joined = np.random.default_rng(9).normal(size=(NUM_SPEAKERS, DIM)).astype(np.float32)
    np.savez(exp_dir / "embeddings.npz", utts=[*utts, *models], embeddings=np.concatenate([embeddings, joined]))
    assert score_it(root, "--enrol", "concatenate") == 0
    found = read_scores(exp_dir / "scores/real/dev.cosine").join(*list(zip(*pairs, strict=True))[:2])
    x, y = joined[1], embeddings[4 * 2 + 2]
    assert found[NUM_SPEAKERS + 2] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)
    assert score_it(root) == 0  # the mean again, whatever else the file holds
    assert read_scores(exp_dir / "scores/real/dev.cosine").values[0] != found[0]


def write_training(root: Path) -> None:
    """Training data of twelve speakers with two sessions, and what stage 5 leaves of them."""
    folder, generator = root / "data/train", np.random.default_rng(4)
    folder.mkdir()
    utts = {f"c{s:02d}-v{v}-{u}": f"c{s:02d}" for s in range(12) for v in range(2) for u in range(2)}
    speakers = {spk: [utt for utt in utts if utts[utt] == spk] for spk in utts.values()}
    (folder / "wav.scp").write_text("".join(f"{utt} /a/{utt.replace('-', '/')}.wav\n" for utt in utts))
    (folder / "utt2spk").write_text("".join(f"{utt} {spk}\n" for utt, spk in utts.items()))
    (folder / "utt2dur").write_text("".join(f"{utt} {2 + at % 3}\n" for at, utt in enumerate(utts)))
    (folder / "spk2utt").write_text("".join(f"{spk} {' '.join(own)}\n" for spk, own in speakers.items()))
    data = read_data_dir(folder)
    centres = np.repeat(generator.normal(size=(12, DIM)), 4, axis=0)
    rows = (0.1 * (centres + generator.normal(size=centres.shape))).astype(np.float32)
    sums = cohort.SpeakerSums(speakers, DIM)
    sums.add(list(utts), rows)
    exp_dir = root / "exp/run1"
    (exp_dir / "training").mkdir()
    means = sums.means()
    write_npz = partial(tables.write_embeddings, extra={"mean": sums.mean()})
    write_npz(exp_dir / "training/cohort.npz", means.utts, means.embeddings)
    tables.write_embeddings(exp_dir / "training/calibration.npz", list(utts), rows)
    cohort.write_calibration_trials(exp_dir, cohort.make_calibration_trials(data, set(speakers), 0))


def test_back_ends_that_know_training_speakers(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_training(root)
    names = ["cosine", "cosine+mean+as_norm", "hyperbolic+as_norm+qmf", "fusion"]
    assert score_it(root, "--backends", *names, "--top_n", "5") == 0
    assert "actDCF 0.01" in capsys.readouterr().out
    exp_dir = root / "exp/run1"
    entries = json.loads((exp_dir / "results.json").read_text())["results"]
    assert [entry["backend"] for entry in entries] == names * 3
    for entry in entries:
        scores = read_scores(exp_dir / f"scores/{entry['list']}.{entry['backend']}")
        lines = (root / "data/test" / entry["list"] / "trials").read_text().splitlines()
        labels = [int(line.endswith(" target")) for line in lines]
        assert entry["eer_published"] == metrics.eer(scores.values, labels, "published")
        assert entry["min_cllr"] == metrics.min_cllr(scores.values, labels)
        calibrated = entry["backend"] in names[2:]
        assert entry["cllr"] == (metrics.cllr(scores.values, labels) if calibrated else None)
        assert entry["act_dcf_p01"] == (metrics.act_dcf(scores.values, labels) if calibrated else None)
    found = json.loads((exp_dir / "calibration/fusion.json").read_text())
    assert found["weights"].keys() == {"cosine", "hyperbolic"}
    assert not (exp_dir / "calibration/cosine.json").exists()


def test_training_speakers_that_lack(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--backends", "cosine+as_norm")
    assert "data/train" in refused(root, capsys, 1, *asked)
    write_training(root)
    line = refused(root, capsys, 2, *asked)
    assert re.fullmatch(
        r"error: --top_n: expected at most 12, the speakers of .*cohort\.npz, found 300; .* needs it", line
    )
    write_model(root / "exp/run1", "am_softmax")
    line = refused(root, capsys, 2, "--backends", "hyperbolic+llr", "fusion")
    assert "--backends hyperbolic+llr fusion: the loss am_softmax has no distance; add cosine" in line
    assert "crops.npz: expected embeddings, found nothing" in refused(root, capsys, 1, "--backends", "cosine+crops")
    (root / "exp/run1/training/calibration.npz").write_bytes(b"PK")
    assert "calibration.npz: expected a .npz file" in refused(root, capsys, 1, "--backends", "cosine+llr")
    assert score_it(root, *asked, "--top_n", "5") == 0  # needs no calibration


def test_as_many_cohort_scores_as_the_cohort_has_speakers_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_training(root)
    asked, path = ("--backends", "cosine+as_norm"), root / "exp/run1/scores/mini/all.cosine+as_norm"
    assert score_it(root, *asked, "--top_n", "0") == 0
    found = path.read_bytes()
    assert json.loads((root / "exp/run1/results.json").read_text())["settings"]["top_n"] == 4  # of 12 speakers
    assert score_it(root, *asked, "--top_n", "4") == 0
    assert path.read_bytes() == found
    for value in ("1", "-3", "x"):
        assert f"0 or a whole number of at least 2, found '{value}'" in refused(
            root, capsys, 2, *asked, "--top_n", value
        )


def test_the_prior_is_a_setting_of_what_it_is_used_for(root: Path) -> None:
    write_training(root)
    for backends, settings in (("cosine+qmf_wespeaker", set()), ("cosine+qmf_wespeaker cosine+llr", {"p_target"})):
        assert score_it(root, "--backends", backends, "--top_n", "5") == 0
        found = json.loads((root / "exp/run1/results.json").read_text())["settings"]
        assert {*found} == {"top_n", "cohort_utts", "train_chunk_s"} | settings


METRICS = ("eer", "eer_low", "eer_high", "min_dcf_p01", "min_dcf_p05", "eer_published", "min_cllr")


@pytest.mark.parametrize("kind", [" target", " nontarget"])
@pytest.mark.parametrize("every", [False, True])
def test_a_list_of_one_kind_is_scored_without_rates(
    root: Path, capsys: pytest.CaptureFixture[str], kind: str, every: bool
) -> None:
    assert score_it(root) == 0
    before = read_scores(root / "exp/run1/scores/mini/all.cosine")
    paths = sorted((root / "data/test").rglob("trials")) if every else [root / "data/test/mini/all/trials"]
    for path in paths:
        path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if line.endswith(kind)))
    capsys.readouterr()
    assert score_it(root) == 0
    out, err = capsys.readouterr()
    assert "warning: mini/all: trials of one kind are scored, but no error rate is defined" in err
    assert re.search(r"mini/all +cosine +- +", out)
    exp_dir = root / "exp/run1"
    results = json.loads((exp_dir / "results.json").read_text())
    assert results["notes"]["mini/all"] == ["trials of one kind are scored, but no error rate is defined"]
    rows = {entry["list"]: entry for entry in results["results"]}
    count = len((root / "data/test/mini/all/trials").read_text().splitlines())
    assert (rows["mini/all"]["num_target"], rows["mini/all"]["num_nontarget"]) == (
        (count, 0) if kind == " target" else (0, count)
    )
    assert all(rows["mini/all"][name] is None for name in METRICS)
    assert all(rows["mini/hard"][name] is not None for name in METRICS) != every
    scores = read_scores(exp_dir / "scores/mini/all.cosine")
    kept = dict(zip(zip(before.enrol, before.test, strict=True), before.values.tolist(), strict=True))
    assert [kept[pair] for pair in zip(scores.enrol, scores.test, strict=True)] == scores.values.tolist()
    drawn = {entry["trial_list"] for entry in json.loads((exp_dir / "curves.json").read_text())}
    assert "mini/all" not in drawn
    assert run(report.main, ["--exp_dir", str(exp_dir)]) == 0
    line = next(line for line in (exp_dir / "RESULTS.md").read_text().splitlines() if "mini/all" in line)
    assert "| - |" in line
    assert "mini/all: trials of one kind are scored" in (exp_dir / "report.html").read_text()


def test_comparisons_leave_lists_of_one_kind_out_and_say_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "data/test/mini/all/trials"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if line.endswith(" target")))
    assert score_it(root) == 0
    argv = ["--data_dir", str(root / "data"), "--systems", f"a={root}/exp/run1", "--out", str(root / "table")]
    capsys.readouterr()
    assert run(compare.main, argv) == 0
    out, err = capsys.readouterr()
    assert "left out, with trials of one kind and so no error rate: mini/all\n" in err
    assert "mini/all" not in out
    assert "mini/hard" in out
    assert run(compare.main, [*argv, "--test_sets", "mini/all"]) == 1
    assert "expected targets and non-targets, found one kind in mini/all; add trials" in capsys.readouterr().err


def write_thresholds(root: Path, digest: str, num_speakers: int = 12) -> None:
    """What stage 5 leaves to choose thresholds on."""
    generator, utts = np.random.default_rng(6), [f"h{s:02d}-{u}" for s in range(num_speakers) for u in range(3)]
    centres = np.repeat(generator.normal(size=(num_speakers, DIM)), 3, axis=0)
    rows = (0.1 * (centres + 0.7 * generator.normal(size=centres.shape))).astype(np.float32)
    targets = [(a, b) for at, a in enumerate(utts) for b in utts[at + 1 :] if a[:3] == b[:3]]
    speakers = {utt: utt[:3] for utt in utts}
    held_aside.write_held_aside(
        root / "exp/run1", dict(zip(utts, rows, strict=True)), speakers, targets, "twelve strangers", f"{digest} audio"
    )


def test_thresholds_are_chosen_and_held_against_the_lists(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp_dir = root / "exp/run1"
    digest = weights_digest(torch.load(exp_dir / "average.pt", weights_only=True))
    assert score_it(root) == 0
    assert "no thresholds: stage 5 has embedded no training speech" in capsys.readouterr().err
    plain = read_results(exp_dir / "results.json")
    assert (plain.decisions, plain.at_thresholds, plain.durations) == ({}, (), ())
    write_thresholds(root, digest)
    assert score_it(root) == 0
    found = read_results(exp_dir / "results.json")
    assert found.results == plain.results
    assert list(found.decisions) == ["cosine", "hyperbolic"]
    assert found.decisions["cosine"].whose == "twelve strangers"
    assert (found.decisions["cosine"].num_target, found.decisions["cosine"].num_nontarget) == (36, 66 * 9)
    points = ["eer", "min_dcf_p01", "min_dcf_p05"]
    lists = ["mini/all", "mini/hard", "real/dev"]
    assert [(one.trial_list, one.backend, one.point) for one in found.at_thresholds] == [
        (name, backend, point) for name in lists for backend in ("cosine", "hyperbolic") for point in points
    ]
    for one in found.at_thresholds:
        scores = read_scores(exp_dir / f"scores/{one.trial_list}.{one.backend}")
        same = np.array([a[:2] == b[:2] for a, b in zip(scores.enrol, scores.test, strict=True)])
        accepted = scores.values >= (found.decisions[one.backend].point(one.point).threshold or 0.0)
        assert (one.miss, one.false_alarm) == pytest.approx(((~accepted[same]).mean(), accepted[~same].mean()))
    assert score_it(root, "--backends", "hyperbolic") == 0
    assert list(read_results(exp_dir / "results.json").decisions) == ["cosine", "hyperbolic"]


def test_durations_are_scored_where_stage_5_embedded_the_cuts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp_dir = root / "exp/run1"
    digest = weights_digest(torch.load(exp_dir / "average.pt", weights_only=True))
    assert "durations/1s.npz: expected embeddings of cuts" in refused(root, capsys, 1, "--durations", "1 4")
    assert "--durations: expected seconds" in refused(root, capsys, 2, "--durations", "0")
    utts, embeddings = write_embeddings(exp_dir)
    for name in ("1", "4"):
        tables.write_embeddings(exp_dir / f"durations/{name}s.npz", utts, embeddings[:, ::-1], f"{digest} audio 5")
    assert score_it(root, "--durations", "4 1", "--test_sets", "mini") == 0
    found = read_results(exp_dir / "results.json").durations
    assert [(one.trial_list, one.seconds) for one in found] == [
        (name, seconds) for name in ("mini/all", "mini/hard") for seconds in (1.0, 4.0, None)
    ]
    assert [one.num_short for one in found] == [0, 24, 0] * 2  # all last 3.5 s
    rates = {
        one.trial_list: one.eer for one in read_results(exp_dir / "results.json").results if one.backend == "cosine"
    }
    assert all(one.eer == pytest.approx(rates[one.trial_list]) for one in found)  # turned, cosines are the same


def test_labels_stand_behind_the_scores_on_request(root: Path) -> None:
    path = root / "exp/run1/scores/mini/all.cosine"
    assert score_it(root) == 0
    plain = path.read_text().splitlines()
    assert score_it(root, "--score_labels", "true") == 0
    trials = (root / "data/test/mini/all/trials").read_text().splitlines()
    assert path.read_text().splitlines() == [
        f"{line} {trial.split()[2]}" for line, trial in zip(plain, trials, strict=True)
    ]


def test_nothing_is_scored_while_another_stage_writes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_folder(root / "exp/run1", "stage 5"):
        assert score_it(root) == 1
    assert "found at work: stage 5, process" in capsys.readouterr().err
    assert not (root / "exp/run1/results.json").exists()


def test_numbers_do_not_stand_beside_the_scores_of_a_run_that_was_stopped(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score_it(root) == 0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(score, "write_curves", stop)
    assert score_it(root) == 130
    assert run(report.main, ["--exp_dir", str(root / "exp/run1")]) == 1
    assert "stage 6" in capsys.readouterr().err
