"""Wrong configurations and options, through the command that run.sh asks first: one line, status 2, no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ham.backbones import BACKBONES
from ham.bin import check_request
from ham.cli import run
from ham.errors import LONGEST
from ham.frontends import FRONTENDS
from ham.losses import LOSSES
from tests.self_supervised import PARTNERS, marks

TABLE: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "bad_inputs/configurations.yaml").read_text(encoding="utf-8")
)


def refused(path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a request that is wrong."""
    assert run(check_request.main, ["--config", str(path), *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) < LONGEST + 100
    return err


@pytest.mark.parametrize("case", TABLE, ids=lambda case: repr((case.get("file", ""), *case.get("options", []))))
def test_one_line_with_the_place_and_the_choices(
    tmp_path: Path, case: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "system.yaml"
    path.write_text(case.get("file", ""), encoding="utf-8")
    line = refused(path, case.get("options", []), capsys)
    for word in case["says"]:
        assert str(word) in line
    if "file" in case:
        assert str(path) in line


BOMB = "\n".join(
    ["margin: {name: &a0 [x, x]}", *(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 3000, ["nested more than 32 deep"]),
        (b"train: " + b"{a: " * 3000, ["nested more than 32 deep"]),
        (b"\n".join(b" " * n + b"a:" for n in range(100)), ["nested more than 32 deep"]),
        (b"train: {epochs: " + b"9" * 5000 + b"}", ["numbers up to 9223372036854775807", "999"]),
        (b"train: {epochs: 0x" + b"F" * 5000 + b"}", ["numbers up to", "FFF"]),
        (b"train: {epochs: 9223372036854775808}", ["numbers up to", "9223372036854775808"]),
        (b"optimiser: {lr: 1" + b"0" * 5000 + b".0}", ["optimiser.lr", "inf"]),
        (b"train: {epochs: " + b"x" * 900_000 + b"}", ["train.epochs", "a whole number", "xxx"]),
        (b"y" * 1000 + b": 1", ["unknown key", "yyy"]),
        (b"train: {epochs: [" + b"1, " * 50_000 + b"]}", ["more than 10000 values"]),
        (BOMB.encode(), ["more than 10000 values"]),
        (b"loss: &a {name: ham_softmax, chunk: [*a]}", ["more than 10000 values"]),
        (b"train: {epochs: 3\x00}", ["not YAML"]),
        (b"\xff\xfet\x00r\x00", ["UTF-8"]),
        ("train: {epochs: é}".encode("latin-1"), [":1", "UTF-8"]),
        (b"a: 1\nb: \xff", [":2", "UTF-8"]),
        (b"#" * 2_000_000, ["at most 1048576 bytes", "2000000 bytes"]),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_files_that_break_parsers(
    tmp_path: Path, content: bytes, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "system.yaml"
    path.write_bytes(content)
    line = refused(path, [], capsys)
    for word in [str(path), *words]:
        assert word in line


@pytest.mark.parametrize("name", ["folder", "nothing.yaml", "/dev/zero", "a\0b", "x" * 300])
def test_what_is_no_file(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    assert name[:200] in refused(tmp_path / name, [], capsys).replace("\\x00", "\0")


def test_a_value_of_an_option_is_not_repeated_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "system.yaml"
    path.write_text("", encoding="utf-8")
    long = "z" * 1_000_000
    for options in (["--set", f"train.epochs={long}"], ["--set", long], ["--loss", long], ["--exp_name", long]):
        assert "zzz" in refused(path, options, capsys)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "system_ham_softmax"),
        (["--exp_name", "auto", "--seed", "4"], "system_ham_softmax_seed4"),
        (["--exp_name", "Größe 2.b+c"], "Größe 2.b+c"),
        (["--exp_name", "_x"], "_x"),
    ],
)
def test_right_names(tmp_path: Path, options: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "system.yaml"
    path.write_bytes(b"\xef\xbb\xbftrain: {epochs: 0o17}\n")  # a byte order mark is no part of the first key
    assert run(check_request.main, ["--config", str(path), *options]) == 0
    assert capsys.readouterr().out == f"{name}\n"


PARTS = {"loss": LOSSES, "backbone": BACKBONES, "frontend": FRONTENDS}
OPTIONS = [
    pytest.param(kind, name, option, marks=marks(name, pytest.mark.long))
    for kind, table in PARTS.items()
    for name, part in table.items()
    for option in part.options()
]
ODD = [
    "",
    "x",
    "[]",
    "[x]",
    "{}",
    "{a: 1}",
    "true",
    "-1",
    "0",
    "-0.5",
    "1e30",
    "9000000000000000000",
    ".nan",
    ".inf",
    "'1'",
]


@pytest.mark.parametrize(("kind", "name", "option"), OPTIONS)
def test_no_value_of_any_option_is_a_traceback(
    tmp_path: Path, kind: str, name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "system.yaml"
    partner = "".join(f"{key}: {json.dumps(block)}\n" for key, block in PARTNERS.get(name, {}).items())
    for value in ODD:
        blocks = f"{kind}: {{name: {name}, {option}: {value}}}\n{partner}"
        path.write_text(blocks, encoding="utf-8")
        status = run(check_request.main, ["--config", str(path)])
        err = capsys.readouterr().err
        if status:
            assert status == 2
            assert err.startswith(f"error: {path}: {kind} {name}"), value
            assert option in err
            assert err.count("\n") == 1
