"""Published numbers: read, and refused where they are not what the format says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.errors import ConfigError, DataError
from ham.score.published import Published, read_published
from tests.comparisons import PUBLISHED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED)
    return path


def test_entries_of_one_configuration_in_order(path: Path) -> None:
    found = read_published(path, "big")
    assert [(entry.system, entry.trial_list) for entry in found] == [("a", "x/all"), ("b", "x/all"), ("a", "x/hard")]
    assert found[0] == Published("a", "x/all", "cosine", pytest.approx(0.01048), 0.119, None, "a log")
    assert [entry.eer for entry in read_published(path, "small")] == [0.035]


def test_a_configuration_without_numbers_is_a_wrong_request(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--published_config: expected one of big, small .*, found 'huge'"):
        read_published(path, "huge")


GOOD = "config: c, system: a, list: x/all, backend: cosine, source: s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list of published numbers, found NoneType"),
        ("a: 1", "found dict"),
        ("[", "expected YAML"),
        ("- 3", "entry 1: expected a mapping, found 3"),
        (f"- {{{GOOD}}}", "entry 1: eer: expected per cent between 0 and 100, found None"),
        (f"- {{{GOOD}, eer: true}}", "found True"),
        (f"- {{{GOOD}, eer: 101}}", "found 101"),
        (f"- {{{GOOD}, eer: 5e-1x}}", "found '5e-1x'"),
        (f"- {{{GOOD}, eer: 1, min_dcf_p01: 1.5}}", "min_dcf_p01: expected a cost between 0 and 1, found 1.5"),
        (f"- {{{GOOD}, eer: 1, dcf: 1}}", "unknown key 'dcf'"),
        ("- {config: c, system: a, list: x/all, eer: 1, source: s}", "backend: expected text, found None"),
        (f"- {{{GOOD}, eer: 1}}\n- {{{GOOD}, eer: 2}}", "found c a x/all cosine twice"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_published(path, "c")
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing"):
        read_published(tmp_path / "none.yaml", "c")
