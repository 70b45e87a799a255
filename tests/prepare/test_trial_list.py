"""Trial lists and models in every usual form, encoding and spelling; all else is refused with its line."""

from __future__ import annotations

import itertools
import logging
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from ham.errors import DataError
from ham.prepare.roots import Root, open_root, read_train_list
from ham.prepare.trial_list import FORMS, read_trial_list, with_remarks
from tests.prepare.test_roots import FILES, make_root, write

A1, A2, A3, B1, B2 = "a/x/1.wav", "a/x/2.FLAC", "a/y/1.ogg", "b/x/1.wav", "b/x/1.2.wav"
PAIRS = ((A1, A3, 1), (A1, B1, 0), (B1, B2, 1))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(make_root(tmp_path / "corpus", FILES))


def trials_of(root: Root, text: str | bytes) -> list[tuple[str, str, int]]:
    """The trials of a list as paths."""
    path = root.path / "trials/t.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    trials = read_trial_list(root, path)
    files = {utt: file for file, utt in root.utts.items()}
    sides = zip(trials.enrol, trials.test, trials.labels.tolist(), strict=True)
    return [(files.get(one, one), files[other], label) for one, other, label in sides]


def problem(root: Root, text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        trials_of(root, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


LINES = {
    "label first": lambda a, b, t: (str(t), a, b),
    "label last": lambda a, b, t: (a, b, str(t)),
    "target|nontarget last": lambda a, b, t: (a, b, "target" if t else "nontarget"),
    "target|nontarget first": lambda a, b, t: ("target" if t else "nontarget", a, b),
}
HEADINGS = {"label first": ("label", "enrol", "test"), "label last": ("Path1", "path2", "target")}


def lines_of(form: str, separator: str) -> str:
    return "".join(separator.join(LINES[form](*pair)) + "\n" for pair in PAIRS)


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";", ", ", "   ", " \t", " , ", "\u3000"])
@pytest.mark.parametrize("form", LINES)
def test_every_form_is_found_from_the_content(
    form: str, separator: str, root: Root, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ham"):
        assert trials_of(root, lines_of(form, separator)) == list(PAIRS)
    assert caplog.messages == [f"{root.path}/trials/t.txt: 3 trials, {form}"]
    assert set(LINES) == {known.name for known in FORMS}


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";"])
@pytest.mark.parametrize("form", HEADINGS)
def test_a_heading_is_left_out(form: str, separator: str, root: Root) -> None:
    text = separator.join(HEADINGS[form]) + "\n" + lines_of(form, separator)
    assert trials_of(root, text) == list(PAIRS)


@pytest.mark.parametrize("heading", ["label,enrol", "a b c", "1 label enrol", "label x/y test"])
def test_what_is_not_surely_a_heading_is_a_wrong_line(heading: str, root: Root) -> None:
    assert "t.txt:1: " in problem(root, heading + "\n" + lines_of("label first", ","))


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(LINES, 2)))
def test_mixed_forms_are_refused_with_both_lines(one: str, other: str, root: Root) -> None:
    text = lines_of(one, " ") + lines_of(other, " ").splitlines()[0] + "\n"
    forms = {form.name: form.line for form in FORMS}
    assert f"t.txt:4: expected '{forms[one]}' as in line 1, found '{forms[other]}'; write all" in problem(root, text)


UTF16LE = lambda text: b"\xff\xfe" + text.encode("utf-16-le")  # noqa: E731


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.encode("utf-8-sig"),
        UTF16LE,
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.encode("utf-32"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: UTF16LE(text.replace("\n", "\r\n")),
        lambda text: text.replace("\n", " \t \n").encode(),
        lambda text: text.replace("\n", "\n\n  \n").encode(),
        lambda text: ("\n" + text.rstrip("\n")).encode(),
        lambda text: ("  " + text.replace("\n", "\n\t")).encode(),
        lambda text: text.replace("/", "\\").encode(),
        lambda text: re.sub(r"(\S+/\S+)", r'"\1"', text).encode(),
        lambda text: re.sub(r"(\S+)", r"'\1'", text).encode(),
    ],
)  # fmt: skip
def test_what_other_systems_write_is_taken(written: Callable[[str], bytes], root: Root) -> None:
    assert trials_of(root, written(lines_of("label first", " "))) == list(PAIRS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1 a/x/1.wav a/y/1.ogg\n0 Jos\xe9/x/1.wav b/x/1.wav\n", ":2: expected UTF-8, found byte 0xe9; convert it"),
        (b"1 a/x/1.wav a/y/1.ogg\r0 Jos\xe9/x/1.wav b\r", ":2: expected UTF-8"),
        (b"\xef\xbb\xbf1 Jos\xe9/x/1.wav b/x/1.wav\n", ":1: expected UTF-8, found byte 0xe9"),
        (b"\xff\xfe1", "expected UTF-8"),
        ("1 a/x/1.wav a/y/1.ogg\n".encode("utf-16-le"), ":1: expected text, found a byte 0; if it is UTF-16"),
        (b"PK\x03\x04\x00\x00", ":1: expected text, found a byte 0"),
    ],
)
def test_other_encodings_are_told_with_their_cure(content: bytes, words: str, root: Root) -> None:
    found = problem(root, content)
    assert words in found
    assert "iconv" in found or "save it" in found


NAMES = ("Ann Lee/day 1/a, b.wav", "Ann Lee/day 2/c;d.wav", "O'Neil/x/1.wav", 'say "hi"/x/1.wav', "tab\tin/x/1.wav")


@pytest.fixture
def odd(tmp_path: Path) -> Root:
    return open_root(make_root(tmp_path / "odd", NAMES))


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";"])
@pytest.mark.parametrize("form", LINES)
def test_names_may_hold_what_separates_where_one_reading_is_left(form: str, separator: str, odd: Root) -> None:
    pairs = [(one, other, int(one.split("/")[0] == other.split("/")[0])) for one in NAMES for other in NAMES]
    text = "".join(separator.join(LINES[form](*pair)) + "\n" for pair in pairs)
    assert trials_of(odd, text) == pairs


def test_a_line_of_two_readings_is_refused_unless_quoted(tmp_path: Path) -> None:
    names = ("p/x/1.wav", "p/x/1.wav q/x/2.wav", "q/x/2.wav p/x/1.wav")
    root = open_root(make_root(tmp_path / "r", ("p/x/1.wav", "p/x/1.wav p/x/1.wav".replace("/", "_") + "/s/1.wav")))
    root.utts.update({name: f"r-{number}" for number, name in enumerate(names)})
    line = "1 p/x/1.wav q/x/2.wav p/x/1.wav\n"  # (p, "q p") or ("p q", p)
    assert "can be read in two ways" in problem(root, line)
    assert trials_of(root, '1 "p/x/1.wav" "q/x/2.wav p/x/1.wav"\n') == [(names[0], names[2], 1)]
    assert trials_of(root, "1\tp/x/1.wav\tq/x/2.wav p/x/1.wav\n") == [(names[0], names[2], 1)]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_list", ["NFC", "NFD"])
def test_composed_and_decomposed_letters_are_the_same(on_disk: str, in_list: str, tmp_path: Path) -> None:
    names = ("José/s0/Ä.wav", "José/s1/각.wav", "Zoë/s0/1.wav")
    disk = [unicodedata.normalize(on_disk, name) for name in names]
    one, two, other = (unicodedata.normalize(in_list, name) for name in names)
    root = open_root(make_root(tmp_path / "r", tuple(disk)))
    assert trials_of(root, f"1 {one} {two}\n0 {one} {other}\n") == [(disk[0], disk[1], 1), (disk[0], disk[2], 0)]
    write(root.train_list, f"{other.split('/')[0]} {other}\n")
    assert read_train_list(root) == [disk[2]]
    write(root.path / "enrol/t.txt", f"m\N{COMBINING DIAERESIS} {one} {two}\n")
    assert trials_of(root, f"0 m\N{COMBINING DIAERESIS} {other}\n")[0][1:] == (disk[2], 0)


def test_two_names_that_look_alike_are_not_guessed(tmp_path: Path) -> None:
    root = open_root(make_root(tmp_path / "r", ("\u1e9b\u0323/x/1.wav", "\u017f\u0323\u0307/x/1.wav")))
    assert "found no" in problem(root, "1 \u017f\u0307\u0323/x/1.wav \u1e9b\u0323/x/1.wav\n")


def test_the_training_list_may_name_speakers_with_blanks(odd: Root) -> None:
    write(odd.train_list, "".join(f"{name.split('/')[0]} {name}\n\n" for name in NAMES))
    assert read_train_list(odd) == list(NAMES)


def test_trials_keep_their_order_and_their_repetitions(root: Root) -> None:
    assert trials_of(root, f"0 {B1} {A1}\n1 {A1} {A2}\n0 {B1} {A1}\n") == [(B1, A1, 0), (A1, A2, 1), (B1, A1, 0)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 a/x/1.wav", ":3: expected '1|0 <path> <path>', found 2 fields: '1 a/x/1.wav'"),
        ("1 a/x/1.wav a/x/2.FLAC 0.7", ":3: expected '1|0 <path> <path>', found 4 fields"),
        ("1", ":3: expected '1|0 <path> <path>', found 1 fields"),
        ("2 a/x/1.wav a/x/2.FLAC", ":3: expected the label 1 (same speaker) or 0, found '2'"),
        ("1.0 a/x/1.wav a/x/2.FLAC", ":3: expected the label 1 (same speaker) or 0, found '1.0'"),
        ("True a/x/1.wav a/x/2.FLAC", ":3: expected the label 1 (same speaker) or 0, found 'True'"),
        ("1 a/x/1.wav a/x/3.wav", "found no 'a/x/3.wav'; restore the file"),
        ("1\ta/x/1.wav\ta/x/3 4.wav", "found no 'a/x/3 4.wav'"),
        ("1,a/x/9.wav,a/x/3.wav", "found no 'a/x/9.wav'"),
        ("1 a/x/1.wav A/X/2.flac", "there is 'a/x/2.FLAC', in other letters: correct the list"),
        ("1 wav/a/x/1.wav a/x/2.FLAC", "leave out 'wav/'"),
        ("1 a/x/1.wav a/y/1.wav", "there is 'a/y/1.ogg': correct the list"),
        ("1 a/x/1.wav b/x/1.wav", ":3: 'corpus-a-x-1' and 'corpus-b-x-1' have the other label in line 2"),
        ("1 b/x/1.wav a/x/1.wav", ":3: 'corpus-b-x-1' and 'corpus-a-x-1' have the other label in line 2"),
    ],
)
def test_wrong_trials_are_refused_with_file_and_line(line: str, words: str, root: Root) -> None:
    found = problem(root, f"1 a/x/1.wav a/x/2.FLAC\n0 a/x/1.wav b/x/1.wav\n{line}\n0 a/x/1.wav b/x/1.wav\n")
    assert f"{root.path}/trials/t.txt:" in found
    assert words in found


def test_lines_are_those_of_the_file_whatever_is_left_out(root: Root) -> None:
    found = problem(root, "label,enrol,test\n0 a/x/1.wav b/x/1.wav\n\n1 a/x/1.wav a/x/2.FLAC\n1 b/x/1.wav a/x/1.wav\n")
    assert ":5: 'corpus-b-x-1' and 'corpus-a-x-1' have the other label in line 2" in found


@pytest.mark.parametrize("text", ["", "\n \n", "label enrol test\n"])
def test_an_empty_list_is_refused(text: str, root: Root) -> None:
    assert "t.txt: is empty; list the trials, or remove it" in problem(root, text)


def test_a_long_line_is_not_repeated_whole(root: Root) -> None:
    assert len(problem(root, "1 " + "x" * 10_000_000)) < 1000
    assert len(problem(root, "1 " + "x y " * 1_000_000)) < 1000
    assert len(problem(root, f"1 {A1} " + "x" * 1_000_000)) < 1000


@pytest.mark.parametrize("text", ["1 a/x/1.wav a/x/2.FLAC\n", "0 a/x/1.wav b/x/1.wav\n" * 2])
def test_a_list_of_one_kind_is_read(text: str, root: Root) -> None:
    assert len(trials_of(root, text)) == text.count("\n")


def test_remarks_are_warned_of_once_and_kept(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    write(root.path / "speakers.tsv", "speaker\tsex\na\tf\nb\tm\n")
    path = write(root.path / "trials/t.txt", f"0 {A1} {A2}\n1 {A1} {B1}\n0 {A3} {B1}\n")
    trials = with_remarks(root, "my list", read_trial_list(root, path))
    assert trials.labels.tolist() == [0, 1, 0]
    assert len(caplog.messages) == 1
    assert caplog.messages[0] == f"my list: {'; '.join(trials.notes)}"
    assert (
        "2 of 3 labels disagree with the speakers' folders (target of two speakers: 1, non-target of one: 1)"
        in caplog.messages[0]
    )


def test_models_have_ids_and_recordings(root: Root) -> None:
    write(root.path / "enrol/t.txt", "ann a/x/1.wav a/y/1.ogg\n\nbob b/x/1.wav\n")
    path = write(root.path / "trials/t.txt", "1 ann a/x/2.FLAC\n0 bob a/x/2.FLAC\n0 b/x/1.2.wav a/x/2.FLAC\n")
    trials = read_trial_list(root, path)
    assert trials.enrol == ("corpus-ann", "corpus-bob", "corpus-b-x-1.2")
    assert trials.models == {"corpus-ann": ("corpus-a-x-1", "corpus-a-y-1"), "corpus-bob": ("corpus-b-x-1",)}
    assert trials.utts == {f"corpus-{name}" for name in ("a-x-1", "a-y-1", "b-x-1", "b-x-1.2", "a-x-2")}


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_models_and_their_files_may_hold_blanks(separator: str, odd: Root) -> None:
    write(odd.path / "enrol/t.txt", separator.join(("the model", "O'Neil/x/1.wav")) + "\n")
    path = write(odd.path / "trials/t.txt", separator.join(("0", "the model", NAMES[0])) + "\n")
    trials = read_trial_list(odd, path)
    assert trials.enrol == ("odd-the_model",)
    assert trials.models == {"odd-the_model": ("odd-O'Neil-x-1",)}


@pytest.mark.parametrize("line", ["ann {} a/x/2.FLAC", "1 ann a/x/2.FLAC", "ann a/x/2.FLAC target", "ann,a/x/2.FLAC,1"])
def test_models_stand_in_every_form(line: str, root: Root) -> None:
    write(root.path / "enrol/t.txt", "ann a/x/1.wav\n1 b/x/1.wav\n")
    if "{}" in line:
        assert "t.txt:1" in problem(root, line)
    else:
        assert trials_of(root, line) == [("corpus-ann", A2, 1)]
        assert trials_of(root, "0 1 a/x/2.FLAC\n") == [("corpus-1", A2, 0)]


@pytest.mark.parametrize(
    ("models", "trial", "words"),
    [
        ("ann", "", "enrol/t.txt:1: expected '<model> <path> [<path> ...]', found 'ann'"),
        ("ann a/x/1.wav\nann b/x/1.wav", "", "t.txt:2: 'ann' was there before"),
        ("m n\ta/x/1.wav\nm_n\tb/x/1.wav", "", "t.txt:2: 'm n' and 'm_n' would both be the model 'm_n'"),
        ("ann a/x/9.wav", "", "found no 'a/x/9.wav'"),
        ("ann a/x/1.wav b/x/1.wav", "", "expected recordings of one speaker, found 'corpus-a' and others"),
        ("ann a/x/1.wav a/x/1.wav", "", "names a recording twice"),
        ("a/x/1.wav a/x/1.wav", "", "has the name of a file"),
        ("a-x-1 a/x/1.wav", "", "the model 'corpus-a-x-1' has the name of an utterance"),
        ("\n", "", "is empty"),
        ("ann a/x/1.wav", "0 eve a/x/1.wav", "trials/t.txt:3: expected a file below"),
        ("ann a/x/1.wav", "0 a/x/1.wav ann", "found no 'ann'"),
    ],
)
def test_wrong_models_are_refused(models: str, trial: str, words: str, root: Root) -> None:
    write(root.path / "enrol/t.txt", models)
    assert words in problem(root, f"1 a/x/1.wav a/y/1.ogg\n0 a/x/1.wav b/x/1.wav\n{trial}\n")
