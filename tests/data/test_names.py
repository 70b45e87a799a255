"""Names as words of ids: ordinary ones stay, odd ones end in directories that Kaldi's validator accepts."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ham.data.kaldi_dir import write_data_dir
from ham.data.names import Spellings, extensions, halves, plain_spelling, plain_word, quoted, speaker_words, unquoted
from ham.errors import ConfigError, DataError
from ham.prepare.partition import make_partition
from tests import kaldi_rules

SPOILERS = " !\"#$%&'()*+,-\t\u3000\x01.09=@A_a~\x7fé\U0001f600"
WORDS = st.text(st.sampled_from(SPOILERS), min_size=1, max_size=4)


def make_root(path: Path, speakers: list[str]) -> Path:
    for number, speaker in enumerate(speakers):
        for session in ("s", f"-{number}", "b-s+"):
            (path / "wav" / speaker / session).mkdir(parents=True)
            for name in ("1.wav", "1+.wav", "(x).wav"):
                (path / "wav" / speaker / session / name).touch()
    return path


def check_train(root: Path, out: Path) -> None:
    """Write the training part of a root, and hold it against Kaldi's rules."""
    part = make_partition([root], [], 1).train
    assert part is not None
    write_data_dir(out, part.wav, part.utt2spk, dict.fromkeys(part.wav, 1.0))
    kaldi_rules.check(out)


@pytest.mark.parametrize(
    "speakers",
    [
        ["ana", "ana+b", "ana(2)", "ana-b"],
        ["a", "a-b", "a-b-c", "a-c"],
        ["x", "x,", "x'", "x!", "x#1", "x&y", "x-"],
        ["Jos\u00e9", "Jose\u0301", "Jose", "Jose-2"],
        ["1", "1-1", "1-1-1", "1.1", "11"],
        ["a", "a b", "a_c", "a\td"],
        ["a", "\x01b", "a\x1f b"],
        ["-", "--", "---"],
        ["a+", "a++", "a+b", "a"],
        ["_", "a", "a%2Db", "a-b", "a=3Db"],
    ],
)
def test_kaldi_accepts_odd_speakers(speakers: list[str], tmp_path: Path) -> None:
    check_train(make_root(tmp_path / "my-root", speakers), tmp_path / "train")


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=6, unique=True))
def test_kaldi_accepts_whatever_is_not_refused(speakers: list[str]) -> None:
    assume(not any(name.startswith(".") for name in speakers))
    with tempfile.TemporaryDirectory() as folder:
        root = make_root(Path(folder) / "r-1", speakers)
        words = [plain_word(speaker) for speaker in speakers]
        if len(set(words)) < len(words) or any("=" in word for word in words):  # may be the same word in the end
            return
        check_train(root, Path(folder) / "train")


@settings(max_examples=300)
@given(st.lists(WORDS, min_size=1, max_size=8, unique=True))
def test_no_word_extends_another_and_only_those_that_did_change(names: list[str]) -> None:
    words = speaker_words(names)
    plain = {name: plain_word(name) for name in names}
    naive = {
        name
        for name, word in plain.items()
        for other in plain.values()
        if word.startswith(other) and word != other and word[len(other)] <= "-"
    }
    assert {name for name in names if words[name] != plain[name]} == naive
    assert {longer for longer, _ in extensions(plain.values())} == {plain[name] for name in naive}
    changed = [words[name] for name in naive]
    assert not any(char <= "-" for word in changed for char in word)


@pytest.mark.parametrize(
    "names",
    [
        ["id10001", "id10002"],
        ["spk-1", "spk-2", "spk-10"],
        ["O'Neil", "Ann Lee", "a(2)", "p+q"],
        ["ana", "anna-b", "an-a"],
        ["ana", "ana2", "ana_b", "ana.b"],
    ],
)
def test_ordinary_speakers_keep_their_words(names: list[str]) -> None:
    assert speaker_words(names) == {name: plain_word(name) for name in names}


def test_the_longer_word_is_escaped() -> None:
    assert speaker_words(["ana", "ana+b", "ana(2)", "ana-b"]) == {
        "ana": "ana",
        "ana+b": "ana=2Bb",
        "ana(2)": "ana=282=29",
        "ana-b": "ana=2Db",
    }


def test_an_escaped_word_that_is_there_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"would both be utterance 'r-ana=2Db-.*; rename or remove one"):
        make_partition([make_root(tmp_path / "r", ["ana", "ana-b", "ana=2Db"])], [], 1)


def test_roots_whose_speakers_cannot_be_sorted_together_are_refused(tmp_path: Path) -> None:
    roots = [make_root(tmp_path / "a", ["b", "c"]), make_root(tmp_path / "a-b", ["y", "z"])]
    with pytest.raises(ConfigError, match=r"give the speakers 'a-b' and 'a-b-y', .* rename one of the roots"):
        make_partition(roots, [], 1)
    make_partition(roots[:1], roots[1:], 1)  # never in one directory


@pytest.mark.parametrize(
    ("name", "word"),
    [("a b", "a_b"), (" a\tb\u3000c ", "a_b_c"), ("  ", "_"), ("é", "é"), ("a\x01\x7fb", "a_b"), ("\x00", "_")],
)
def test_words_hold_no_blanks(name: str, word: str) -> None:
    assert plain_word(name) == word


@given(st.lists(st.text(st.sampled_from("aéíe\u0301\u0308/ö한"), min_size=1), max_size=5, unique=True))
def test_a_spelling_finds_the_one_name_it_can_mean(names: list[str]) -> None:
    spellings = Spellings(names)
    for name in names:
        alike = [other for other in names if unicodedata.normalize("NFD", other) == unicodedata.normalize("NFD", name)]
        for form in ("NFC", "NFD"):
            assert spellings.find(unicodedata.normalize(form, name)) == (name if len(alike) == 1 else None)  # type: ignore[arg-type]
    assert spellings.find("none") is None
    assert plain_spelling("e\u0301") == "\u00e9"


def test_backslashes_are_slashes_only_where_no_name_has_them() -> None:
    assert Spellings(["a/b/c.wav"]).find("a\\b\\c.wav") == "a/b/c.wav"
    assert Spellings(["a/b.wav", "a\\b.wav"]).find("a\\b.wav") == "a\\b.wav"


def test_halves_try_tabs_then_commas_then_blanks() -> None:
    assert list(halves("a b,c\td")) == [("a b,c", "d"), ("a b", "c\td"), ("a", "b,c\td")]
    assert list(halves(' "a b" , c ')) == [("a b", "c"), ('"a', 'b" , c')]
    assert list(halves("a")) == []
    assert list(halves("x y " * 10_000)) == []  # longer than two paths can be
    assert [unquoted(text) for text in ('"a"', "'a b'", "'a", '"', " a ")] == ["a", "a b", "'a", '"', "a"]


def test_what_is_quoted_is_cut() -> None:
    assert quoted("a'b") == repr("a'b")
    assert quoted("x" * 80) == repr("x" * 80)
    assert quoted("x" * 10**7) == f"{'x' * 80!r}... (10000000 characters)"
