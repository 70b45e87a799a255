"""Sets in small archives, and what must come of them, for the tests of unpacking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ham.corpora.catalogue import ArchiveSet
from ham.corpora.records import read_unpacked
from ham.corpora.unpack import unpack
from ham.errors import DataError
from tests.packed import Files, noise_files, tar_of, tree, write_archive, zip_of

VOX = "wav/id1000{}/-video_{}/00001.wav"
CN = "CN-Celeb2_flac/data/id{}/singing-01-{:03d}.flac"


def below(files: Files, start: str, place: str) -> dict[str, bytes]:
    """The files below ``start``, where they belong below the folder of corpora."""
    return {place + name.removeprefix(start): content for name, content in files.items() if name.startswith(start)}


class Case:
    """A set in a folder, and what must come out."""

    def __init__(self, folder: Path, name: str, number: int, num_parts: int, size: int = 2000) -> None:
        self.archives, self.corpora, is_zip = folder / "archives", folder / "corpora", name != "cn2"
        files = noise_files(VOX if is_zip else CN, number, size)
        self.expected = below(files, "wav/" if is_zip else "CN", "vox1/wav/" if is_zip else "CN")
        self.speakers, self.files = len({name.split("/")[-3 if is_zip else -2] for name in files}), len(files)
        if is_zip:
            self.content = zip_of({**files, "wav/readme.txt": b"left out"})
        else:
            self.content = tar_of({**files, "CN-Celeb2_flac/README.TXT": b"left out"})
            self.expected["CN-Celeb2_flac/spk.lst"] = b"id0\n"
            self.content = tar_of({"CN-Celeb2_flac/spk.lst": b"id0\n", **files, "CN-Celeb2_flac/README.TXT": b"x"})
        self.entry = write_archive(self.archives, name, self.content, num_parts, self.speakers, self.files)

    def run(self, **options: object) -> dict[str, bytes]:
        """Unpack; everything but the records, which are checked for being complete."""
        unpack(self.entry, self.archives, self.corpora, **options)  # type: ignore[arg-type]
        found = tree(self.corpora)
        record = json.loads(found.pop(f"{self.entry.name}.unpacked.json"))
        assert record["complete"] is True
        assert (record["num_files"], record["num_speakers"], record["num_missing"]) == (self.files, self.speakers, 0)
        found.pop("vox1/splits/vox1_dev.txt", None)
        return found


def make(folder: Path, content: Files, name: str = "vox1_dev", **counts: int) -> ArchiveSet:
    pack = tar_of if name in ("musan", "cn1", "cn2") else zip_of
    return write_archive(folder / "archives", name, pack(content), **counts)


def refused(entry: ArchiveSet, folder: Path, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        unpack(entry, folder / "archives", folder / "corpora", **options)
    assert "\n" not in str(caught.value)
    assert read_unpacked(entry, folder / "corpora") is None
    return str(caught.value)
