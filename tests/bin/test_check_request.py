"""The default name of an experiment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ham.bin import check_request
from ham.errors import ConfigError

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ([], "mini_ham_softmax"),
        (["--loss", "am_softmax"], "mini_am_softmax"),
        (["--seed", "3"], "mini_ham_softmax_seed3"),
        (["--set", "loss.margin=0.3"], "mini_ham_softmax"),
    ],
)
def test_name(extra: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_request.main(["--config", str(TOP / "conf/mini.yaml"), *extra])
    assert capsys.readouterr().out == f"{name}\n"


def test_what_stage_5_would_refuse_is_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    request = ["--config", str(TOP / "conf/mini.yaml")]
    with pytest.raises(ConfigError, match=r"--durations: expected seconds from 0\.5 to 60, found '100'"):
        check_request.main([*request, "--durations", "1 100"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match="Parquet needs pyarrow: pip install pyarrow"):
        check_request.main([*request, "--format", "parquet"])


def test_what_a_training_starts_from_is_looked_for_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = ["--config", str(TOP / "conf/mini.yaml"), "--init_from"]
    with pytest.raises(ConfigError, match=f"^--init_from {tmp_path}/x: expected an experiment with average.pt"):
        check_request.main([*request, str(tmp_path / "x")])
    with pytest.raises(ConfigError, match=r"^train\.interpolate: .*found no --init_from"):
        check_request.main([*request, "", "--set", "train.interpolate=0.5"])
    (tmp_path / "average.pt").touch()
    check_request.main([*request, str(tmp_path)])
    assert capsys.readouterr().out == "mini_ham_softmax\n"


def test_a_teacher_is_needed_by_a_training_alone(capsys: pytest.CaptureFixture[str]) -> None:
    request = ["--config", str(TOP / "conf/mini.yaml"), "--set", "distill.teacher=gone"]
    with pytest.raises(ConfigError, match=r"^distill\.teacher: model gone: expected"):
        check_request.main([*request, "--init_from", ""])
    check_request.main(request)
    assert capsys.readouterr().out == "mini_ham_softmax\n"
