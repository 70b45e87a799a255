"""Tables from the files of experiments: what stands where, and experiments that do not fit each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ham.errors import ConfigError, DataError
from ham.report.comparison_tables import Table
from ham.report.published import Published, read_published
from ham.report.systems import build_tables, read_systems
from ham.score.trial_lists import rated_lists
from tests.comparisons import PUBLISHED, write_lists, write_system


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_lists(tmp_path)
    for seed in (1, 2):
        write_system(tmp_path, "a", seed, ("cosine", "hyperbolic"))
        write_system(tmp_path, "b", seed)
    return tmp_path


def tables(
    folder: Path, *backends: str, published: Sequence[Published] = (), lists: Sequence[str] = ("all",)
) -> tuple[Table, ...]:
    systems = read_systems({name: [folder / f"{name}{seed}" for seed in (1, 2)] for name in ("b", "a")})
    return build_tables(systems, rated_lists(folder / "data", lists), backends or ["cosine"], published, "b")


def published(folder: Path) -> list[Published]:
    (folder / "published.yaml").write_text(PUBLISHED)
    return [entry for entry in read_published(folder / "published.yaml") if entry.config == "big"]


def shown(table: Table) -> list[tuple[str, str, list[str]]]:
    return [(column.trial_list, column.backend, [*column.entries]) for column in table.columns]


def test_a_table_for_each_back_end(folder: Path) -> None:
    found = tables(folder, "all")
    assert [table.title for table in found] == ["cosine", "hyperbolic"]
    assert shown(found[0]) == [("x/all", "cosine", ["b", "a"]), ("x/hard", "cosine", ["b", "a"])]
    assert shown(found[1]) == [("x/all", "hyperbolic", ["a"]), ("x/hard", "hyperbolic", ["a"])]
    assert tables(folder, "hyperbolic", "fusion") == found[1:]  # nothing was scored by fusion


def test_the_published_protocol_chooses_the_back_end_of_each_list(folder: Path) -> None:
    for seed in (1, 2):
        write_system(folder, "a", seed, ("cosine", "cosine+crops"))
    (table,) = tables(folder, "published", published=published(folder))
    assert shown(table) == [("x/all", "cosine", ["b", "a"]), ("x/hard", "cosine+crops", ["a"])]
    rates = [entry.published.eer for entry in table.entries if entry.published]
    assert rates == pytest.approx([0.2, 0.01048, 0.025])


def test_lists_stand_in_the_order_of_the_published_numbers(folder: Path) -> None:
    (table,) = tables(folder, published=published(folder)[::-1])
    assert [column.trial_list for column in table.columns] == ["x/hard", "x/all"]


def test_back_ends_that_are_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="expected some of cosine, hyperbolic, found only what nothing"):
        tables(folder, "fusion")
    with pytest.raises(ConfigError, match="unknown back-end 'cosin'"):
        tables(folder, "cosine", "cosin")
    with pytest.raises(ConfigError, match="expected --published and --published_config, found neither"):
        tables(folder, "published")


def test_experiments_of_other_lists(folder: Path) -> None:
    write_system(folder, "b", 2, lists=("x/all",))
    message = "b2/results.json: expected the list x/hard, found x/all; score all systems on the same lists"
    with pytest.raises(DataError, match=message):
        tables(folder)
    assert len(tables(folder, lists=["x/all"])) == 1


def change(path: Path, **values: float) -> None:
    content = json.loads(path.read_text())
    for entry in content["results"]:
        entry.update(values)
    path.write_text(json.dumps(content))


def test_experiments_of_other_trials(folder: Path) -> None:
    change(folder / "b1/results.json", num_target=7)
    with pytest.raises(DataError, match="x/all: expected 8 target and 112 non-target trials, found 7 and 112"):
        tables(folder)


def test_experiments_with_other_settings(folder: Path) -> None:
    for name, top_n in (("b1", 5), ("b2", 5), ("a1", 6)):
        path = folder / name / "results.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "settings": {"top_n": top_n}}))
    with pytest.raises(DataError, match=r"a1/results.json: expected top_n 5 as in .*/b1, found 6; score all systems"):
        tables(folder)


def test_scores_that_are_not_those_of_the_results(folder: Path) -> None:
    change(folder / "a2/results.json", eer=0.4321)
    message = r"a2/results.json: x/all by cosine: expected the EER of the scores, [\d.]+ %, found 43.21 %"
    with pytest.raises(DataError, match=message):
        tables(folder)


def test_a_training_without_the_back_end_of_the_others(folder: Path) -> None:
    write_system(folder, "a", 2, ("cosine",))
    message = "a2/results.json: expected x/all by hyperbolic as in the other trainings of a, found none"
    with pytest.raises(DataError, match=message):
        tables(folder, "hyperbolic")


def test_missing_and_incomplete_scores(folder: Path) -> None:
    path = folder / "a1/scores/x/all.cosine"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="expected a score for 's0-u0 s0-u1', found none"):
        tables(folder)
    path.unlink()
    with pytest.raises(DataError, match="expected a scores file, found nothing"):
        tables(folder)
