"""Tables: headings, delimiters, names, parts of files, and some two dozen ways in which a line is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ham.data.speech import Span, Speech
from ham.errors import DataError
from ham.prepare.tables import base_of, json_objects, read_csv, read_json_lines, text_lines

SPEECHBRAIN = "ID,duration,wav,start,stop,spk_id"


def table(folder: Path, *lines: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    for file in ("a.wav", "b.wav", "sub/a.wav", "x, y.wav"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return folder / name


def read(folder: Path, *lines: str) -> Speech:
    return read_csv(table(folder, *lines))


@pytest.mark.parametrize(
    "lines",
    [
        ("path,speaker", "a.wav,s", "b.wav,t"),
        ("SPEAKER\tPath", "s\ta.wav", "t\tb.wav"),
        ("speaker ; path", "s ; a.wav", "t;b.wav"),
        ("wav|spk_id", "a.wav|s", "b.wav|t"),
        ('"file_name","x","client_id"', '"a.wav","1,2","s"', '"b.wav","","t"'),
        ("\ufeffpath,speaker", "a.wav,s", "b.wav,t"),
        ("a.wav,s", "b.wav,t"),
        ("a.wav\ts", "b.wav\tt"),
        ("path,speaker", "./a.wav,s", "sub/../b.wav,t"),
        ("wav,spk", "$data_root/a.wav,s", "${data_root}/b.wav,t"),
    ],
)
def test_headings_and_delimiters_are_recognised(lines: tuple[str, ...], tmp_path: Path) -> None:
    found = read(tmp_path, *lines).utts.values()
    assert [(utt.file, utt.speaker) for utt in found] == [(f"{tmp_path}/a.wav", "s"), (f"{tmp_path}/b.wav", "t")]


def test_lists_name_the_id_or_the_path(tmp_path: Path) -> None:
    assert list(read(tmp_path, "path,speaker", "sub/a.wav,s", "a.wav,s").utts) == ["a.wav", "sub/a.wav"]
    assert list(read(tmp_path, "path,speaker,utt_id", "sub/a.wav,s,2", "a.wav,s,1").utts) == ["1", "2"]


def test_words_tell_files_of_one_name_apart(tmp_path: Path) -> None:
    utts = read(tmp_path, "path,speaker", "sub/a.wav,s", "a.wav,s").utts
    assert [utt.words for utt in utts.values()] == [("a",), ("sub", "a")]
    utts = read(tmp_path, "path,speaker,session", "sub/a.wav,sub,7", "a.wav,s,").utts
    assert [(utt.session, utt.words) for utt in utts.values()] == [("a", ("a",)), ("7", ("7", "a"))]


def test_parts_of_files(tmp_path: Path) -> None:
    utts = read(tmp_path, SPEECHBRAIN, "i,1,a.wav,160,16000,s", "j,1,a.wav,,,s").utts
    assert [utt.span for utt in utts.values()] == [Span(160, 16000, in_samples=True), None]
    assert utts["i"].session == utts["j"].session
    utts = read(tmp_path, "id,path,speaker,start_s,end_s", "i,a.wav,s,0.5,2", "j,a.wav,s,2,").utts
    assert [utt.span for utt in utts.values()] == [Span(0.5, 2), Span(2, None)]


def test_splits_and_sexes(tmp_path: Path) -> None:
    lines = ["path,speaker,split,gender", "a.wav,s,train-clean,Female", "b.wav,t,VALID,m", "sub/a.wav,u,eval,other"]
    speech = read(tmp_path, *lines)
    assert speech.splits == {"a.wav": "train", "b.wav": "dev", "sub/a.wav": "test"}
    assert speech.sexes == {"s": "f", "t": "m"}


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    assert "not used: Sesion, age" in read(tmp_path, "path,speaker,Sesion,age", "a.wav,s,1,2").layout


def test_relative_paths_begin_at_the_table_or_above_it(tmp_path: Path) -> None:
    (tmp_path / "lists/deep").mkdir(parents=True)
    (tmp_path / "a.wav").touch()
    assert base_of(tmp_path / "lists/deep/t.csv", ["a.wav"]) == str(tmp_path)
    assert base_of(tmp_path / "lists/t.csv", []) == str(tmp_path / "lists")
    with pytest.raises(DataError, match=r"found no 'c\.wav'; write absolute paths"):
        base_of(tmp_path / "lists/t.csv", ["c.wav"])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "t.csv: is empty; expected a heading"),
        (("path,speaker",), "holds no utterance; list some"),
        (("path,who", "a.wav,s"), ":1: expected a heading with the columns path (path, wav,"),
        (("name,age,size,colour",), "found 'name, age, size, colour'; name them"),
        (("x",), "found 'x'"),
        (("a.wav,s,1,train", "b.wav,t,1,test"), ":1: expected a heading"),
        (("path,wav,speaker", "a.wav,a.wav,s"), ":1: several columns say 'path'"),
        (("path,speaker", "a.wav"), ":2: expected 2 columns like the heading, found 1"),
        (("path,speaker", "a.wav,s", "b.wav,t,u"), ":3: expected 2 columns like the heading, found 3"),
        (("a.wav,s", "b.wav"), ":2: expected 2 columns like line 1, found 1"),
        (("path,speaker", "x, y.wav,s"), "found 3; correct the line"),
        (("path,speaker", "", "a.wav,s"), ":2: expected 2 columns"),
        (("path,speaker", ",s"), ":2: expected a path, found none"),
        (("path,speaker", "a.wav, "), ":2: expected a speaker, found none"),
        (("path,speaker", "a.wav,s", "a.wav,s"), ":3: 'a.wav' is in line 2 too; remove one"),
        (("path,speaker,id", "a.wav,s,1", "b.wav,s,1"), ":3: '1' is in line 2 too"),
        (("path,speaker", "a.mp3,s"), ":2: a.mp3: expected .wav, .flac, .ogg, .m4a, found .mp3"),
        (("path,speaker", "a,s"), "found no extension"),
        (("path,speaker", "https://x.y/a.wav,s"), "found an address"),
        (("path,speaker", "C:\\x\\a.wav,s"), ":2: expected a path with '/', found 'C:"),
        (("x," * 200_000,), ":1: expected a heading"),
        (("path,speaker", "none/a.wav,s"), "found no 'none/a.wav'; write absolute paths"),
        (("path,speaker,start,end,id", "a.wav,s,0,1,1"), ":1: the column 'start' does not say its unit"),
        (("path,speaker,start_s,end_s", "a.wav,s,2,1"), ":2: expected end_s behind start_s, found 1 and 2"),
        (("path,speaker,start_s,end_s", "a.wav,s,x,1"), ":2: expected seconds of at least 0 as start_s, found 'x'"),
        (("path,speaker,start_s,end_s", "a.wav,s,-1,1"), "found '-1'"),
        (("path,speaker,start_s,end_s", "a.wav,s,nan,1"), "found 'nan'"),
        ((SPEECHBRAIN, "i,1,a.wav,0.5,2,s"), ":2: expected a whole number of samples"),
        ((SPEECHBRAIN, "i,1,a.wav,0,1e400,s"), "found '1e400'"),
        (("path,speaker,split", "a.wav,s,banana"), ":2: expected the split train, dev or test, found 'banana'"),
        (("path,speaker,split", "a.wav,s,train", "b.wav,t,"), ":3: expected the split train, dev or test, found ''"),
        (("path,speaker,sex", "a.wav,s,m", "b.wav,s,f"), ":3: the sex of 's' was another before"),
        (("path,speaker", 'a.wav,"s', 'b.wav,t"'), ":2: is no line of a table"),
        (('path,"speaker', "a.wav,s"), ":1: expected a heading"),
        (("path,speaker", f"a.wav,{'s' * 200_000}"), "is no line of a table (field larger"),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused(lines: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *lines)
    assert words in str(caught.value)
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_json_lines(tmp_path: Path) -> None:
    rows = [{"key": f"k{n}", "wav": str(tmp_path / "a.wav"), "spk": "s", "vad": [1]} for n in range(2)]
    found = read_json_lines(table(tmp_path, *map(json.dumps, rows), name="raw.list"))
    assert list(found.utts) == ["k0", "k1"]
    assert found.utts["k1"].words == ("k1",)
    assert found.layout.startswith("JSON lines (not used: vad), ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", ":2: expected a JSON object, found '{'"),
        ("", ":2: expected a JSON object, found ''"),
        ("[1]", "found '[1]'"),
        ("[" * 100_000, "expected a JSON object"),
        ('{"key": "b", "spk": "s"}', ":2: expected a path, found none"),
        ('{"key": "b", "wav": "a.wav"}', ":2: expected a speaker, found none"),
        ('{"key": "a", "wav": "b.wav", "spk": "s"}', ":2: 'a' is in line 1 too"),
        ('{"key": "b", "wav": null, "spk": "s"}', ":2: expected a path, found none"),
        ('{"key": "b", "wav": ["a.wav"], "spk": "s"}', ":2: expected text as 'wav', found [\"a.wav\"]; correct"),
    ],
)
def test_wrong_json_lines_are_refused(line: str, words: str, tmp_path: Path) -> None:
    good = '{"key": "a", "wav": "a.wav", "spk": "s"}'
    with pytest.raises(DataError) as caught:
        read_json_lines(table(tmp_path, good, line, good.replace('"a"', '"z"'), name="raw.list"))
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_keys_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"x\.jsonl:1: expected the keys path \(path, .*, found 'id, tracks'; name them"
    ):
        read_json_lines(table(tmp_path, '{"id": "c", "tracks": []}', name="x.jsonl"))


def test_compressed_text(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "t.jsonl.gz", "wt") as stream:
        stream.write('{"a": 1}\n')
    assert list(json_objects(tmp_path / "t.jsonl.gz")) == [(1, {"a": 1})]
    content = (tmp_path / "t.jsonl.gz").read_bytes()
    for spoiled in (content[:-9], b"no gzip", content[:12] + b"\0\0" + content[14:]):
        (tmp_path / "t.jsonl.gz").write_bytes(spoiled)
        with pytest.raises(DataError, match=r"t\.jsonl\.gz: expected text compressed with gzip"):
            text_lines(tmp_path / "t.jsonl.gz")
