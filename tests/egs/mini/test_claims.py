"""The command of the page about the two claims: which rows it asks for, and that its comparisons are among them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ham.report.claims import read_comparisons
from ham.report.claims_page import CONVERGING, LONGER
from ham.sweep.tables import read_tables

REPOSITORY = Path(__file__).parents[3]
CONF = REPOSITORY / "egs/mini/conf"


def call(*options: str) -> subprocess.CompletedProcess[str]:
    command = [str(REPOSITORY / "egs/mini/claims.sh"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_every_comparison_is_of_rows_of_the_table() -> None:
    _, tables = read_tables(CONF / "tables.yaml", "data")
    rows = {*tables["claims"].losses, *tables["longer"].losses}
    assert {name for one in read_comparisons(CONF / "claims.yaml") for name in one[:2]} <= rows
    assert set(tables["longer"].losses) <= {f"{name}{end}" for name in CONVERGING for end in LONGER}
    assert tables["claims"].on_request
    assert tables["longer"].on_request


def test_one_row_is_one_training() -> None:
    fast = ("--dry_run", "--crops_per_s", "100")
    done = call("--losses", "ham_softmax_m0", "--seeds", "4", "--variant", "unequal", *fast)
    assert done.returncode == 0, done.stderr
    trained = [line for line in done.stdout.splitlines() if "--stage 4" in line]
    assert len(trained) == 1
    assert "--exp_name mini_ham_softmax_m0_seed4" in trained[0]
    assert "--mini_unequal true" in trained[0]
    for option, folder in (("data_dir", "data"), ("exp_root", "exp")):
        assert f"--{option} {REPOSITORY}/egs/mini/{folder}/unequal " in trained[0]
    assert trained[0].split("  #")[0].endswith("--set loss.margin=0")


@pytest.mark.parametrize(
    ("options", "found"), [(["--variant", "huge"], "huge"), (["--variant=huge"], "huge"), (["--variant"], "nothing")]
)
def test_an_unknown_variant_is_one_line(options: list[str], found: str) -> None:
    done = call(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: claims.sh: --variant: expected large, unequal or large_unequal, found '{found}'\n"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_it_says_what_it_does(option: str) -> None:
    done = call(option)
    assert done.returncode == 0
    assert done.stdout.startswith("The two claims on `mini` (docs/claims.md)")
