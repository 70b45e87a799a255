"""The tables of archives of the corpora, files that replace them, and what is wrong with such a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ham.corpora.catalogue import NOISES, load_catalogue
from ham.errors import ConfigError
from tests.packed import CNCELEB, LISTS, SETS, VOXCELEB, write_catalogue

MD5 = re.compile(r"[0-9a-f]{32}")


def test_the_sets_and_lists_of_the_recipe_are_there() -> None:
    assert list(VOXCELEB.sets) == ["musan", "rirs", "vox1_dev", "vox1_test", "vox2_dev", "vox2_test"]
    assert list(CNCELEB.sets) == ["musan", "rirs", "cn1", "cn2"]
    assert len(LISTS) == 6
    assert VOXCELEB.key_variable == "HAM_VOXCELEB_KEY"


@pytest.mark.parametrize("name", SETS)
def test_a_set_hangs_together(name: str) -> None:
    one = SETS[name]
    assert one.name == name
    assert all(MD5.fullmatch(part.md5) and part.expected_size > 0 for part in one.parts)
    assert len({part.md5 for part in one.parts}) == len(one.parts)
    assert one.is_zip == (not one.joined_name.endswith(".tar.gz"))
    assert bool(one.mirror_path) != bool(one.openslr_path)
    assert one.layout.example.startswith(one.layout.folder)
    if len(one.parts) == 1:
        assert one.joined == one.parts[0]
        assert one.joined_md5 == one.parts[0].md5
    else:
        assert [part.name for part in one.parts] == sorted(part.name for part in one.parts)
        assert one.joined.md5 == one.joined_md5


def test_the_exact_sizes_add_up() -> None:
    vox2 = SETS["vox2_dev"]
    assert vox2.archive_bytes == vox2.joined_size == 77_477_283_208
    assert SETS["vox1_dev"].archive_bytes == pytest.approx(32.6e9, rel=0.01)


def test_trials_of_the_lists() -> None:
    counts = {name: one.num_trials for name, one in LISTS.items()}
    assert counts["veri_test2.txt"] == 37_611
    assert counts["list_test_all2.txt"] == 579_818
    assert counts["list_test_hard2.txt"] == 550_894
    assert counts["veri_test.txt"] == 37_720
    assert counts["list_test_all.txt"] == 581_480
    assert counts["list_test_hard.txt"] == 552_536


def test_only_compressed_speech_gets_a_copy() -> None:
    wav = SETS["vox2_dev"].converted_bytes("wav")
    assert wav == pytest.approx(2360.2 * 3600 * 32_000, rel=0.01)
    assert 0.5 * wav < SETS["vox2_dev"].converted_bytes("flac") < 0.7 * wav
    assert SETS["vox2_dev"].converted_bytes("store") == 0
    assert [name for name in SETS if SETS[name].converted_bytes("wav")] == ["vox2_dev", "vox2_test"]


def test_a_written_catalogue_reads_back(tmp_path: Path) -> None:
    write_catalogue(VOXCELEB, tmp_path / "c.json")
    assert load_catalogue(tmp_path / "c.json") == VOXCELEB


LAYOUT = {"place": "a", "folder": "a", "example": "a/<name>.wav", "wanted": r".+\.wav"}


def content() -> dict[str, Any]:
    """A catalogue of one set, as short as can be."""
    part = {"name": "a.zip", "md5": "0" * 32}
    return {"sets": {"a": {"parts": [part], "url": "http://h/a", "layout": dict(LAYOUT)}}, "lists_url": "http://h/l"}


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content()))
    read = load_catalogue(tmp_path / "c.json")
    assert list(read.sets) == ["musan", "rirs", "a"]
    assert read.sets["a"].joined == read.sets["a"].parts[0]
    assert (read.lists, read.official_url, len(read.openslr_urls)) == ({}, "", 3)
    own = {**content(), "openslr_urls": ["http://h/r"]}
    own["sets"]["musan"] = {**content()["sets"]["a"], "parts": [{"name": "m.tar.gz", "md5": "1" * 32}]}
    (tmp_path / "c.json").write_text(json.dumps(own))
    read = load_catalogue(tmp_path / "c.json")
    assert read.openslr_urls == ("http://h/r",)
    assert read.sets["musan"].joined_name == "m.tar.gz"


def changed(*path: str | int, value: object) -> dict[str, Any]:
    made = content()
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return made


A = ("sets", "a")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "expected a block of keys"),
        (changed("set", value=[]), "did you mean 'sets'"),
        ({"lists": {}}, "missing: sets"),
        (changed("sets", value=[]), "sets: expected a block of names"),
        (changed(*A, value=1), "sets.a: expected a block of keys"),
        (changed(*A, "parts", value=[]), "sets.a.parts: expected a list of at least one part"),
        (changed(*A, "parts", 0, "md5x", value=""), "did you mean 'md5'"),
        (changed(*A, "joined_name", value="a.rar"), "sets.a.joined_name: expected a .zip or .tar.gz, found 'a.rar'"),
        (changed(*A, "audio", value="mp3"), "sets.a.audio: expected one of wav, m4a, flac"),
        (changed(*A, "openslr_path", value=82), "sets.a.openslr_path: expected a text, found 82; write it in quotes"),
        (changed(*A, "parts", 0, "name", value="../a.zip"), "sets.a.parts[0].name: expected a plain file name"),
        (changed(*A, "parts", 0, "name", value="a.part"), "plain file name"),
        (changed(*A, "parts", 0, "name", value="checksums.json"), "plain file name"),
        (changed(*A, "joined_name", value="/etc/a"), "plain file name"),
        (changed("sets", "a/b", value=content()["sets"]["a"]), "plain file name"),
        (changed(*A, "parts", 0, "md5", value="ABC"), "sets.a.parts[0].md5: expected 32 hexadecimal"),
        (changed(*A, "joined_md5", value="ABC"), "sets.a.joined_md5: expected 32 hexadecimal"),
        (changed(*A, "parts", 0, "size", value=-1), "sets.a.parts[0].size: expected a whole number"),
        (changed(*A, "hours", value="long"), "sets.a.hours: expected a finite number"),
        (changed(*A, "layout", value={}), "sets.a.layout: expected the keys place, folder, example, wanted"),
        (changed(*A, "layout", "wanted", value="("), "sets.a.layout.wanted: expected a regular expression"),
        (changed(*A, "layout", "place", value="../x"), "sets.a.layout.place: expected a path below"),
        (changed(*A, "layout", "split", value="/etc/x"), "sets.a.layout.split: expected a path below"),
        (changed(*A, "layout", "needed", value="x"), "sets.a.layout.needed: expected a list"),
        (changed("openslr_urls", value=[1]), "openslr_urls: expected a text, found 1"),
        (changed("sets", "b", value=content()["sets"]["a"]), "expected every file once, found twice: a.zip"),
        (changed("lists", value={"l.txt": {"title": "L"}}), "lists.l.txt: expected the keys"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, wrong: object, words: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(wrong))
    with pytest.raises(ConfigError, match=r"c\.json: ") as caught:
        load_catalogue(tmp_path / "c.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    for name in ("c.json", "deep.json", "none.json"):
        with pytest.raises(ConfigError, match=name):
            load_catalogue(tmp_path / name)


def test_the_shared_archives_come_with_the_package() -> None:
    assert NOISES.name in (Path(__file__).parents[2] / "pyproject.toml").read_text()
