"""The command on made-up experiments: what it writes, keeps and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.bin import claims
from ham.cli import run
from ham.files import lock_place
from tests.report.test_claims import write_corpus, write_experiment

TABLES = """\
seeds: [1]
tables:
  claims: {config: tiny, losses: [ham, am], backends: cosine}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a row trained with two seeds in two places, and one with one."""
    root = tmp_path_factory.mktemp("claims")
    write_corpus(root / "data")
    write_experiment(root / "one/tiny_ham", root / "data", 1, 0, 2)
    write_experiment(root / "two/tiny_ham_seed2", root / "data", 2, 0, 2)
    write_experiment(root / "two/tiny_am", root / "data", 1, 2)
    (root / "tables.yaml").write_text(TABLES)
    (root / "claims.yaml").write_text("comparisons:\n  - {system: ham, control: am, factor: margin}\n")
    return root


def call(made: Path, *further: str) -> int:
    files = ["--tables", str(made / "tables.yaml"), "--comparisons", str(made / "claims.yaml"), "--root", "tree"]
    roots = ["--exp_roots", str(made / "one"), str(made / "two")]
    return run(claims.main, ["--data_dir", str(made / "data"), *roots, *files, *further])


def test_the_results_replace_what_stands_below_their_heading(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs/claims.md"
    page.parent.mkdir()
    page.write_text("# Design\n\nkept\n\n## Results\n\nreplaced\n")
    assert call(made, "--page", str(page)) == 0
    text = page.read_text()
    assert text.startswith("# Design\n\nkept\n\n## Results\n\nWritten by `python -m ham.bin.claims ")
    assert "replaced" not in text
    assert "| ham | 1 2 | 2 | abc |" in text
    assert len(list((page.parent / "figures").glob("claims_*.svg"))) == 5
    assert "rank correlation sex" in capsys.readouterr().out


def test_a_page_that_another_program_writes_is_left_to_it(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "claims.md"
    page.write_text("## Results\n")
    with lock_place(page, "other claims"):
        assert call(made, "--page", str(page)) == 1
    assert "found at work: other claims, process" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [page]


def test_seeds_are_chosen(made: Path, tmp_path: Path) -> None:
    page = tmp_path / "claims.md"
    page.write_text("## Results\n")
    assert call(made, "--page", str(page), "--seeds", "2") == 0
    assert "| ham | 2 |" in page.read_text()
    assert "### Comparisons that stand ready, not run" in page.read_text()


def test_wrong_requests_are_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "claims.md"
    page.write_text("# Nothing\n")
    assert call(made, "--page", str(page)) == 2
    assert "expected a page with the line ## Results" in capsys.readouterr().err
    assert page.read_text() == "# Nothing\n"
    assert call(made, "--seeds", "9") == 1
    assert "expected scored experiments of the table, found none" in capsys.readouterr().err
    assert call(made, "--table", "claim") == 2
    assert "--table: expected one of claims, found 'claim'; did you mean 'claims'?" in capsys.readouterr().err
