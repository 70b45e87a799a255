"""The table of archives and lists, and the files that replace it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ham.corpora.catalogue import BUILT_IN, LISTS, SETS, dump_catalogue, load_catalogue
from ham.errors import ConfigError

MD5 = re.compile(r"[0-9a-f]{32}")


def test_the_sets_and_lists_of_the_recipe_are_there() -> None:
    assert list(SETS) == ["vox1_dev", "vox1_test", "vox2_dev", "vox2_test", "musan", "rirs", "cn1", "cn2"]
    assert len(LISTS) == 6
    assert load_catalogue(None) is BUILT_IN


@pytest.mark.parametrize("name", SETS)
def test_a_set_hangs_together(name: str) -> None:
    one = SETS[name]
    assert one.name == name
    assert all(MD5.fullmatch(part.md5) and part.expected_size > 0 for part in one.parts)
    assert len({part.md5 for part in one.parts}) == len(one.parts)
    assert one.joined_name.endswith(one.kind)
    assert bool(one.mirror_path) == (one.source == "voxceleb")
    assert bool(one.openslr_path) == (one.source == "openslr")
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
    assert all(one.url.endswith("/" + name) for name, one in LISTS.items())


def test_only_compressed_speech_gets_a_copy() -> None:
    wav = SETS["vox2_dev"].converted_bytes("wav")
    assert wav == pytest.approx(2360.2 * 3600 * 32_000, rel=0.01)
    assert 0.5 * wav < SETS["vox2_dev"].converted_bytes("flac") < 0.7 * wav
    assert SETS["vox2_dev"].converted_bytes("store") == 0
    assert [name for name in SETS if SETS[name].converted_bytes("wav")] == ["vox2_dev", "vox2_test"]


def test_a_written_catalogue_reads_back(tmp_path: Path) -> None:
    dump_catalogue(BUILT_IN, tmp_path / "c.json")
    again = load_catalogue(tmp_path / "c.json")
    assert dict(again.sets) == dict(SETS)
    assert dict(again.lists) == dict(LISTS)
    assert again.openslr_urls == BUILT_IN.openslr_urls


def content() -> dict[str, Any]:
    part = {"name": "a.zip", "size": 3, "md5": "0" * 32}
    one = {"name": "a", "parts": [part], "joined_name": "a.zip", "joined_md5": None, "joined_size": None}
    return {"sets": [{**one, "kind": "zip", "source": "openslr"}], "lists": [], "openslr_urls": ["http://h/r"]}


def test_addresses_that_are_left_out_stay(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content()))
    read = load_catalogue(tmp_path / "c.json")
    assert list(read.sets) == ["a"]
    assert read.openslr_urls == ("http://h/r",)
    assert read.official_url == BUILT_IN.official_url


def changed(*path: str | int, value: object) -> dict[str, Any]:
    made = content()
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return made


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "expected an object"),
        (changed("set", value=[]), "did you mean 'sets'"),
        ({"sets": []}, "missing: lists"),
        (changed("sets", value={}), "sets: expected an array"),
        (changed("sets", 0, "parts", value=[]), "at least one part"),
        (changed("sets", 0, "kind", value="rar"), "zip, tar.gz"),
        (changed("sets", 0, "source", value="me"), "voxceleb, openslr"),
        (changed("sets", 0, "parts", 0, "name", value="../a.zip"), "plain file name"),
        (changed("sets", 0, "parts", 0, "name", value="a.part"), "plain file name"),
        (changed("sets", 0, "parts", 0, "name", value="checksums.json"), "plain file name"),
        (changed("sets", 0, "joined_name", value="/etc/a"), "plain file name"),
        (changed("sets", 0, "name", value="a/b"), "plain file name"),
        (changed("sets", 0, "parts", 0, "md5", value="ABC"), "32 hexadecimal"),
        (changed("sets", 0, "parts", 0, "size", value=-1), "whole number"),
        (changed("sets", 0, "hours", value="long"), "finite number"),
        (changed("sets", value=content()["sets"] * 2), "found twice: a.zip"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, wrong: object, words: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(wrong))
    with pytest.raises(ConfigError, match=r"c\.json") as caught:
        load_catalogue(tmp_path / "c.json")
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    (tmp_path / "digits.json").write_text("9" * 5000)
    for name in ("c.json", "deep.json", "digits.json", "none.json"):
        with pytest.raises(ConfigError, match="expected a JSON file"):
            load_catalogue(tmp_path / name)
