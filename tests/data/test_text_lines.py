"""Lines of text files: their encodings and ends, their order, how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.data.text_lines import check_sorted, each_line, numbered_lines, raise_all, read_lines, write_lines
from ham.errors import DataError


def test_only_line_ends_of_files_end_lines(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a\x0bb\u2028c\n\nd", encoding="utf-8")
    assert read_lines(tmp_path / "x") == ["a\x0bb\u2028c", "", "d"]
    (tmp_path / "x").write_bytes(b"a\rb\r\nc\n\rd\r\r\n\n")
    assert read_lines(tmp_path / "x") == ["a", "b", "c", "", "d"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", ["", "a", "é\ud55c \U0001f600", "\ufeffa"])
def test_marks_and_line_ends_of_other_systems_are_understood(
    text: str, end: str, encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes((end.join([text, "x", "", "y"]) + end).encode(encoding))
    expected = text.removeprefix("\ufeff") if encoding == "utf-8" else text  # there it is the mark
    assert read_lines(tmp_path / "x") == [expected, "x", "", "y"]


def test_blank_lines_keep_the_numbers_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a\n\n  \nb\n\n")
    assert list(numbered_lines(tmp_path / "x")) == [(1, "a"), (4, "b")]
    assert list(each_line(tmp_path / "x")) == ["a", "", "  ", "b"]


def test_what_is_written_is_read_and_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "deep/x", (word for word in ("é", "", "b c")))
    assert (tmp_path / "deep/x").read_bytes() == "é\n\nb c\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_lines(tmp_path / "deep/x", ["a", "\ud800"])
    assert read_lines(tmp_path / "deep/x") == ["é", "", "b c"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x"]


def test_a_byte_zero_and_a_wrong_byte_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("a\nb".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"x:1: expected text, found a byte 0; .*iconv -f UTF-16LE"):
        read_lines(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"a\n\xe9\n")
    with pytest.raises(DataError, match=r"x:2: expected UTF-8, found byte 0xe9; .*iconv"):
        read_lines(tmp_path / "x")
    with pytest.raises(DataError, match="none: no such file"):
        read_lines(tmp_path / "none")


def test_every_line_out_of_order_is_named() -> None:
    check_sorted(Path("f"), ["Z", "a", "é", "\U0001f600"])
    with pytest.raises(DataError) as caught:
        check_sorted(Path("f"), ["b", "a", "c", "c", "a"])
    for said in ("3 problems", "f:2: expected C order, found 'a' after 'b'", "f:4: expected one line for 'c'", "f:5:"):
        assert said in str(caught.value)


def test_no_problem_is_no_error() -> None:
    raise_all([])
    with pytest.raises(DataError, match=r"^one$"):
        raise_all(["one"])
