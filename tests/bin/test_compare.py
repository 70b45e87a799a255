"""The tables from score files: numbers of the files, and every wrong request in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.bin import compare
from ham.cli import run
from ham.files import lock_place
from ham.score.metrics import eer
from tests.comparisons import PUBLISHED, scores_of, trials, write_lists, write_system


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_lists(tmp_path)
    for seed in (1, 2):
        write_system(tmp_path, "a", seed, ("cosine", "hyperbolic"))
        write_system(tmp_path, "b", seed)
    (tmp_path / "published.yaml").write_text(PUBLISHED)
    return tmp_path


def arguments(folder: Path, *more: str, published: str = "big") -> list[str]:
    systems = [f"{name}={folder}/{name}1,{folder}/{name}2" for name in ("b", "a")]
    there = ["--published", f"{folder}/published.yaml", "--published_config", published] if published else []
    where = ["--data_dir", f"{folder}/data", "--out", f"{folder}/out"]
    return [*where, "--systems", *systems, *there, *more]


def test_numbers_of_the_scores_stand_beside_the_published(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(compare.main, arguments(folder)) == 0
    printed = capsys.readouterr().out
    expected = np.mean([eer(scores_of("a", seed, "x/all", "cosine"), trials().labels) for seed in (1, 2)])
    files = [folder / f"out/{name}" for name in ("RESULTS.md", "table.html", "table.tex")]
    for text in (printed, *(path.read_text() for path in files)):
        assert f"{100 * expected:.2f}" in text
        assert "1.048" in text
        assert f"{100 * expected - 1.048:+.2f}" in text
    assert printed.splitlines()[-3:] == [str(path) for path in files]
    assert "cosine: EER minus that of b, points" in printed
    assert "published_config big" in (folder / "out/RESULTS.md").read_text()


def test_published_numbers_after_fine_tuning_stand_beside_fine_tuned_systems(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = "- {config: big, system: a, list: x/all, backend: cosine, eer: 0.777, source: a log, finetuned: true}\n"
    (folder / "published.yaml").write_text(PUBLISHED + tuned)
    assert run(compare.main, arguments(folder)) == 0
    assert "0.777" not in capsys.readouterr().out
    words = arguments(folder)
    words.insert(words.index("--systems") + 1, f"a_lm={folder}/a1,{folder}/a2")
    assert run(compare.main, words) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a")]
    assert ["0.777" in row for row in rows if "1.048" in row or "0.777" in row] == [True, False]
    assert all(row.startswith("a_lm") for row in rows if "0.777" in row)


def test_the_reference_by_other_back_ends(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = arguments(folder, "--reference", "a", "--reference_backends", "cosine hyperbolic", published="")
    assert run(compare.main, words) == 0
    printed = capsys.readouterr().out
    parts = dict(part.split("\n", 1) for part in printed.split("\n\n") if part.startswith("cosine: EER minus"))
    assert [*parts] == ["cosine: EER minus that of a, points", "cosine: EER minus that of a by hyperbolic, points"]

    def mean(system: str, backend: str) -> float:
        return float(np.mean([eer(scores_of(system, n, "x/all", backend), trials().labels) for n in (1, 2)]))

    beside = mean("a", "hyperbolic")
    rows = {
        line.split()[0]: line.split()[1]
        for line in parts["cosine: EER minus that of a by hyperbolic, points"].splitlines()
    }
    expected = {name: f"{100 * (mean(name, 'cosine') - beside):+.2f}" for name in ("a", "b")}
    assert {name: rows[name] for name in expected} == expected
    assert "### EER minus that of a by hyperbolic, points" in (folder / "out/RESULTS.md").read_text()
    assert run(compare.main, arguments(folder, "--reference_backends", "hyperbolic", published="")) == 0  # b has none
    assert "by hyperbolic" not in capsys.readouterr().out


def test_folders_alone_are_systems_of_their_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "exp").mkdir()
    for name in ("a1", "b2"):
        (folder / name).rename(folder / "exp" / name)
    assert run(compare.main, ["--systems", f"{folder}/exp/a1", f"{folder}/exp/b2"]) == 0  # the data lie beside exp/
    printed = capsys.readouterr().out
    assert "cosine: EER minus that of a1, points" in printed
    expected = [100 * eer(scores_of(*which, "x/all", "cosine"), trials().labels) for which in (("a", 1), ("b", 2))]
    assert f"b2      {expected[1]:.2f} [" in printed
    assert f"{expected[1] - expected[0]:+.2f} [" in printed
    assert not (folder / "out").exists()


def test_a_table_for_each_back_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(compare.main, arguments(folder, "--backends", "cosine", "hyperbolic")) == 0
    assert "hyperbolic: Detection costs" in capsys.readouterr().out
    text = (folder / "out/RESULTS.md").read_text()
    assert "hyperbolic: no such scores of b, so that there is nothing to compare with." in text


def refusal(capsys: pytest.CaptureFixture[str], status: int, words: list[str]) -> str:
    assert run(compare.main, words) == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_wrong_requests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, message in (
        (["--reference", "c"], "--reference: expected one of b, a, found 'c'"),
        (
            ["--backends", "fusion"],
            "--backends: expected some of cosine, hyperbolic, found only what nothing",
        ),
        (["--backends", "cosine", "cosin"], "--backends: unknown back-end 'cosin'"),
        (["--test_sets", "y"], "--test_sets: unknown trial list 'y'"),
    ):
        assert message in refusal(capsys, 2, arguments(folder, *more))
    assert "expected one of big, small" in refusal(capsys, 2, arguments(folder, published="none"))
    alone = arguments(folder, "--backends", "published", published="")
    assert "expected --published and --published_config" in refusal(capsys, 2, alone)
    half = [*arguments(folder, published=""), "--published_config", "big"]
    assert "expected both or neither" in refusal(capsys, 2, half)
    assert not (folder / "out").exists()
    for words, message in (
        (["=x"], "--systems: expected FOLDER or NAME=FOLDER,FOLDER, found '=x'"),
        (["a=x,"], "expected FOLDER or NAME=FOLDER,FOLDER, found 'a=x,'"),
        (["a="], "expected FOLDER or NAME=FOLDER,FOLDER, found 'a='"),
        (["a=x", "y/a"], "found 'a' twice; write NAME=FOLDER"),
        (["a=x,./x"], "a: expected different experiments, found one of them twice"),
    ):
        assert message in refusal(capsys, 2, ["--systems", *words])


def test_a_misspelt_system_of_the_published_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "published.yaml"
    path.write_text(path.read_text().replace("system: b", "system: ham_softmax"))
    assert run(compare.main, arguments(folder)) == 0  # a loss that no row has
    capsys.readouterr()
    path.write_text(path.read_text().replace("ham_softmax", "ham_sotfmax"))
    line = refusal(capsys, 1, arguments(folder))
    assert "published.yaml: system ham_sotfmax: expected a loss (softmax, " in line


def test_an_experiment_without_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b2/results.json").unlink()
    assert "b2/results.json: expected results, found nothing" in refusal(capsys, 1, arguments(folder))


def test_tables_that_another_program_writes_are_left_to_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_place(folder / "out", "another comparison"):
        assert run(compare.main, arguments(folder)) == 1
    assert "found at work: another comparison, process" in capsys.readouterr().err
    assert not (folder / "out").exists()
