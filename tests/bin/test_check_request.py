"""The default name of an experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.bin import check_request

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
