"""YAML 1.2's core schema: the examples of its specification, 10.3.2, and what YAML 1.1 takes for something else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from ham.errors import ConfigError
from ham.yaml_core import MAX_DEPTH, MAX_INT, MAX_VALUES, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        *((word, word) for word in ("nULL", "None", "yes", "No", "on", "off", "y", "TRue", "=", "1:30", "1_0", "0b11")),
        *((word, word) for word in ("0x", "0xG", "-0x1", "+0o7", "0o8", "0O7", "0X1", "1.2.3", "1e", "e5", "-.")),
        *((word, word) for word in ("2024-01-01", "1:30.5", ".Nan", ".iNf", "+.nan", "12e03x", "190:20:30")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *(("0", 0), ("12", 12), ("010", 10), ("-007", -7), ("+3", 3), ("0o10", 8), ("0x1F", 31), ("0xff", 255)),
        *((f"{MAX_INT}", MAX_INT), (f"-{MAX_INT}", -MAX_INT), ("0" * 5000 + "7", 7)),
        *(("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("5e-5", 5e-5), ("1E4", 1e4), ("-1.5e+3", -1500.0), ("+.5", 0.5)),
        *((".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf), ("1e400", math.inf)),
        *(("'12'", "12"), ('"true"', "true"), ("!!str 12", "12"), ("!!int 12", 12), ("!!float 3", 3.0)),
        ("[1, a, ~]", [1, "a", None]),
        ("{a: {b: [0o7]}}", {"a": {"b": [7]}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)  # fmt: skip
def test_core_schema(text: str, value: object) -> None:
    found = parse_yaml(text, "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number(text: str) -> None:
    found = parse_yaml(text, "here")
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize(
    "value",
    [
        0,
        -5,
        1.5,
        1e-5,
        1e300,
        True,
        None,
        "",
        "010",
        "off",
        "~",
        "a: b",
        "é\n",
        [],
        {},
        [1, [2.5]],
        {"a": {"b": "0x1"}},
    ],
)
def test_what_pyyaml_writes_comes_back(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value), "here") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "here:3: not YAML: key 'a' is given twice"),
        ("x: {a: 1, 'a': 2}", "here: not YAML: key 'a' is given twice"),
        ("x: &m {a: 1}\ny: {<<: *m}", "here:2: not YAML: key '<<' (a merge) is not YAML 1.2; write the keys out"),
        ("1: 2", "here: not YAML: expected a word as key, found '1'"),
        ("~: 2", "here: not YAML: expected a word as key, found '~'"),
        ("{[1]: 2}", "here: not YAML: expected a word as key, found a list or block"),
        ("!!bool maybe", "here: not YAML: 'maybe' is no bool"),
        ("!!null x", "here: not YAML: 'x' is no null"),
        ("!!float x", "here: not YAML: 'x' is no float"),
        ("!!int", "here: not YAML: '' is no int"),
        ("!!int 0x", "here: not YAML: '0x' is no int"),
        ("a: 1\nb: !own x", "here:2: not YAML: could not determine a constructor for the tag '!own'"),
        ("!!timestamp x", "constructor for the tag 'tag:yaml.org,2002:timestamp'"),
        ("!!int [1]", "not YAML: expected a scalar node"),
        (f"-{MAX_INT + 1}", "expected numbers up to"),
        ("a\0b", "not YAML: unacceptable character"),
    ],
)
def test_anything_else_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "here")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bounds_are_the_stated_ones() -> None:
    assert parse_yaml("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), "here")
    with pytest.raises(ConfigError, match="nested more than"):
        parse_yaml("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "here")
    fits = f"[{', '.join(['1'] * (MAX_VALUES - 1))}]"
    assert len(parse_yaml(fits, "here")) == MAX_VALUES - 1  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"more than {MAX_VALUES} values"):
        parse_yaml(f"[{fits}]", "here")


@pytest.mark.parametrize("content", [b"a: 1\n", b"\xef\xbb\xbfa: 1\n", b"a: 1\r\n"])
def test_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert read_yaml(path) == {"a": 1}
