"""Small archives with the inner layout of the corpora's, for tests: joined, in parts, hostile."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ham.corpora.catalogue import ArchiveSet, Catalogue, RemoteFile, load_catalogue
from ham.corpora.layouts import Layout

Files = Mapping[str, bytes]

EGS = Path(__file__).parents[1] / "egs"
VOXCELEB, CNCELEB = (load_catalogue(EGS / corpus / "conf/archives.yaml") for corpus in ("voxceleb", "cnceleb"))
SETS = {**VOXCELEB.sets, **CNCELEB.sets}
"""The archives of all corpora."""
LISTS = VOXCELEB.lists
LAYOUT = Layout("place", "folder", "folder/<name>.wav", r".+\.wav")
"""What an archive holds, where that does not matter."""


def write_catalogue(catalogue: Catalogue, path: Path) -> None:
    """Write a catalogue to a file that ``--catalogue`` takes; JSON is YAML too."""
    content = dataclasses.asdict(catalogue)
    for kind in ("sets", "lists"):
        for entry in content[kind].values():
            del entry["name"]
    plain = {**content, "sets": {name: without_nothing(entry) for name, entry in content["sets"].items()}}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def without_nothing(entry: dict[str, Any]) -> dict[str, Any]:
    """A block without keys that say nothing."""
    parts = [{key: value for key, value in part.items() if value is not None} for part in entry["parts"]]
    return {key: value for key, value in {**entry, "parts": parts}.items() if value is not None}


def speech(num_samples: int = 16000, seed: int = 0) -> NDArray[np.float32]:
    """A gliding tone in a little noise: any shift of it shows."""
    rng, time = np.random.default_rng(seed), np.arange(num_samples) / 16000
    tone = 0.3 * np.sin(2 * np.pi * (300 + 150 * np.sin(3 * time + seed)) * time)
    return (tone + 0.01 * rng.standard_normal(num_samples)).astype(np.float32)


def m4a(
    samples: NDArray[np.float32], rate: int = 16000, codec: str = "aac", first: int | None = 0, **options: str
) -> bytes:
    """Encode ``(N,)`` or ``(channels, N)`` samples; without a time of the ``first`` one there is no edit list."""
    samples = np.atleast_2d(samples)
    layout = "stereo" if len(samples) == 2 else "mono"
    with (
        tempfile.NamedTemporaryFile(suffix=".m4a") as file,
        av.open(file.name, "w", format="ipod", options=options) as container,
    ):
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 64000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, first
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
        container.close()
        return Path(file.name).read_bytes()


def noise_files(pattern: str, number: int, size: int = 2000, seed: int = 0) -> dict[str, bytes]:
    """Files that cannot be packed tighter; ``pattern`` has the fields of ``str.format`` for a speaker and a number."""
    rng = np.random.default_rng(seed)
    return {pattern.format(i // 5, i % 5): rng.bytes(size + int(rng.integers(size))) for i in range(number)}


def zip_of(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of files, with their folders as Info-ZIP has them."""
    file, folders = io.BytesIO(), dict[str, None]()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            above = [f"{'/'.join(name.split('/')[:depth])}/" for depth in range(1, name.count("/") + 1)]
            for folder in above:
                if folder not in folders and folder.strip("/.") and name.count("..") == 0:
                    folders[folder] = archive.writestr(zipfile.ZipInfo(folder), b"")
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = 0o100644 << 16, method
            archive.writestr(info, content)
    return file.getvalue()


def tar_of(files: Files, compresslevel: int = 1) -> bytes:
    """A tar.gz of files."""
    file = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", compresslevel, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def write_archive(
    folder: Path, name: str, content: bytes, num_parts: int = 1, speakers: int | None = None, files: int | None = None
) -> ArchiveSet:
    """Write an archive under the true names of a set, joined or in parts, and describe it."""
    folder.mkdir(parents=True, exist_ok=True)
    real, size = SETS[name], -(-len(content) // num_parts)
    names = [real.joined_name] if num_parts == 1 else [f"{real.joined_name}_part{letter}" for letter in "abcdefgh"]
    parts = []
    for index, part in enumerate(names[:num_parts]):
        piece = content[index * size : (index + 1) * size]
        (folder / part).write_bytes(piece)
        parts.append(RemoteFile(part, hashlib.md5(piece).hexdigest(), len(piece)))
    counts = {"num_speakers": speakers, "num_files" if name in ("musan", "rirs") else "num_utts": files}
    return ArchiveSet(name, tuple(parts), real.layout, real.joined_name, audio=real.audio, **counts)


def tree(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for the lock that every program takes anew."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
