"""The command lines of a table: what they hold, in which order the rows come, and what a row's checksum sees."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ham.sweep.commands import Sweep
from ham.sweep.tables import OF_MODEL, System, Table


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path, "x", tmp_path / "exp", (1, 7), "train.epochs=2", ("--top_n", "5"))


def table(**further: object) -> Table:
    systems = {"b": System("softmax", "margin.name=constant"), "softmax": System("softmax", "loss.x=1")}
    return Table("t", "small", ("am_softmax", "b"), "cosine", "b", "d", ("--csv", "c"), systems=systems, **further)  # type: ignore[arg-type]


def values(command: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(command[1::2], command[2::2], strict=True))


def test_a_row_is_a_call_of_the_recipe(sweep: Sweep) -> None:
    rows = sweep.rows(table())
    names = ["small_am_softmax", "small_b", "small_am_softmax_seed7", "small_b_seed7"]
    assert [row.name for row in rows] == names
    assert [row.folder for row in rows] == [sweep.exp_root / name for name in names]
    assert rows[0].command[0] == str(sweep.top / "run.sh")
    common = {"--corpus": "x", "--config": "small", "--stage": "4", "--resume": "true", "--backends": "cosine"}
    common |= {"--data_dir": "d", "--csv": "c", "--top_n": "5"}
    assert values(rows[0].command) == {**common, "--loss": "am_softmax", "--seed": "1", "--set": "train.epochs=2"}
    changes = "margin.name=constant train.epochs=2"
    further = {"--loss": "softmax", "--seed": "7", "--exp_name": "small_b_seed7", "--set": changes}
    assert values(rows[3].command) == {**common, **further}


def test_a_loss_with_changes_keeps_the_name_that_the_recipe_gives(sweep: Sweep) -> None:
    (row, _) = sweep.rows(Table("t", "small", ("softmax",), "all", "softmax", "d", systems=table().systems))
    assert "--exp_name" not in row.command
    assert row.command[-1] == "loss.x=1 train.epochs=2"


def test_rows_with_a_margin_are_fine_tuned_on_request(sweep: Sweep) -> None:
    both = replace(sweep, finetuned=True)
    margin, softmax = both.rows(table())[:2]
    assert values(margin.command)["--stop_stage"] == "8"
    assert "--stop_stage" not in softmax.command
    command = both.comparison(table())
    place = sweep.exp_root
    assert command[command.index("--systems") + 1 : command.index("--reference")] == [
        f"am_softmax={place}/small_am_softmax,{place}/small_am_softmax_seed7",
        f"am_softmax_lm={place}/small_am_softmax_lm,{place}/small_am_softmax_seed7_lm",
        f"b={place}/small_b,{place}/small_b_seed7",
    ]


def test_preparation_and_comparison(sweep: Sweep) -> None:
    assert values(tuple(sweep.preparation(table()))) == {
        "--corpus": "x", "--config": "small", "--stop_stage": "3", "--data_dir": "d", "--csv": "c", "--top_n": "5",
        "--set": "train.epochs=2",
    }  # fmt: skip
    command = sweep.comparison(table())
    assert command[:3] == ["python", "-m", "ham.bin.compare"]
    assert f"b={sweep.exp_root}/small_b,{sweep.exp_root}/small_b_seed7" in command
    assert command[command.index("--reference") + 1] == "b"
    assert command[command.index("--out") + 1] == str(sweep.exp_root / "tables/t")
    assert "--published" not in command
    (sweep.top / "egs/x/conf").mkdir(parents=True)
    (sweep.top / "egs/x/conf/published.yaml").touch()
    assert sweep.comparison(table())[-8:-4] == [
        "--published", str(sweep.top / "egs/x/conf/published.yaml"), "--published_config", "small",
    ]  # fmt: skip
    assert sweep.hierarchy(table())[-4:] == [str(row.folder) for row in sweep.rows(table())]


def test_fine_tunings_of_a_model_stand_beside_it(sweep: Sweep, tmp_path: Path) -> None:
    sweep, model = replace(sweep, model=tmp_path / "big"), str(tmp_path / "big")
    place = replace(table(changes="train.keep=best"), config=OF_MODEL, backends="cosine cosine+as_norm")
    (baseline,), rows = sweep.baseline(place), sweep.rows(place)
    common = {"--corpus": "x", "--backends": place.backends, "--data_dir": "d", "--csv": "c", "--top_n": "5"}
    assert (baseline.name, baseline.folder) == ("big", sweep.exp_root / "big")
    assert values(baseline.command) == {**common, "--stage": "5", "--model": model, "--exp_name": "big"}
    assert [row.name for row in rows] == ["big_am_softmax", "big_b", "big_am_softmax_seed7", "big_b_seed7"]
    assert values(rows[3].command) == {
        **common, "--config": f"{model}/config.yaml", "--init_from": model, "--exp_name": "big_b_seed7", "--seed": "7",
        "--loss": "softmax", "--stage": "4", "--resume": "true",
        "--set": "train.keep=best margin.name=constant train.epochs=2",
    }  # fmt: skip
    prepared = values(tuple(sweep.preparation(place)))
    assert (prepared["--loss"], prepared["--set"]) == ("am_softmax", "train.keep=best train.epochs=2")
    command, exp = sweep.comparison(place), sweep.exp_root
    assert command[command.index("--systems") + 1 : command.index("--title")] == [
        f"big={exp}/big", f"am_softmax={exp}/big_am_softmax,{exp}/big_am_softmax_seed7",
        f"b={exp}/big_b,{exp}/big_b_seed7",
        "--reference", "big", "--reference_backends", place.backends, "--backends", place.backends,
    ]  # fmt: skip
    assert command[-1] == f"{exp}/tables/big_t"
    before = baseline.checksum(), rows[0].checksum()
    (tmp_path / "big").mkdir()
    (tmp_path / "big/SHA256SUMS").write_text("another model\n")
    assert before[0] != baseline.checksum()
    assert before[1] != rows[0].checksum()
    assert replace(sweep, model=None).baseline(table()) == []


def test_the_checksum_sees_configuration_corpus_and_data(sweep: Sweep, tmp_path: Path) -> None:
    sources = ["conf/small.yaml", "egs/x/conf/corpus.sh", "d/store/train/meta.json"]
    seen, place = set(), Table("t", "small", ("softmax",), "all", "softmax", str(tmp_path / "d"))
    for number in range(len(sources) + 1):
        seen.add(sweep.rows(place)[0].checksum())
        for name in sources[number : number + 1]:
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_text(f"source {number}\n")
    assert len(seen) == len(sources) + 1
    done = subprocess.run(
        f"cat {' '.join(sources)} | cksum", cwd=tmp_path, shell=True, capture_output=True, text=True, check=True
    )
    assert sweep.rows(place)[0].checksum() == done.stdout
