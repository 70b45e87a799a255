"""Miniatures of VoxCeleb, MUSAN, RIRS_NOISES and CN-Celeb: the true names, parts and inner layout, and little speech.

The voices are those of ``egs/mini``; the m4a files come from the AAC encoder of PyAV. The same bytes come every time.
``python -m tests.miniature DIR`` makes them by hand; DIR then holds ``archives/`` (what the owners serve), ``tree/``
(what is inside) and ``catalogue.json`` (sizes, checksums and counts, for ``--catalogue``).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from ham.corpora.catalogue import ArchiveSet, RemoteFile, TrialListFile
from tests.packed import LISTS, SETS, VOXCELEB, write_catalogue

TOP = Path(__file__).parents[1]
SAMPLE_RATE = 16000
Samples = NDArray[np.int16]
Sessions = list[list[Samples]]

VOX1_DEV = ("id10001", "id10002", "id10003", "id10005", "id10006", "id11251")
VOX1_TEST = ("id10270", "id10271", "id10272", "id10309")
VOX2_DEV = ("id00012", "id00015", "id00016", "id00018", "id00019", "id00020", "id09271", "id09272")
VOX2_TEST = ("id00017", "id00061")
CN1_DEV = ("id00000", "id00001", "id00010", "id00011", "id00799")
CN1_EVAL = ("id00800", "id00801", "id00802", "id00999")
CN2 = ("id10000", "id10001", "id10002", "id11999")
VOX_SETS = {"vox1_dev": VOX1_DEV, "vox1_test": VOX1_TEST, "vox2_dev": VOX2_DEV, "vox2_test": VOX2_TEST}

MUSAN = ("noise/free-sound/noise-free-sound-000", "music/fma/music-fma-000", "speech/librivox/speech-librivox-000")
GENRES = ("entertainment", "interview", "live_broadcast", "singing")


@dataclass(frozen=True)
class Miniature:
    """Where the parts of a finished miniature are."""

    root: Path

    @property
    def archives(self) -> Path:
        """What the owners serve: archives and parts under their true names, and the trial lists."""
        return self.root / "archives"

    @property
    def catalogue(self) -> Path:
        """For ``--catalogue``."""
        return self.root / "catalogue.json"

    def tree(self, name: str) -> Path:
        """What is inside the archive of a set, unpacked."""
        return self.root / "tree" / name


def build(root: Path) -> Miniature:
    """Make everything below ``root``, which is empty or missing.

    Args:
        root: where to.

    Returns:
        The finished miniature.
    """
    made, tree = Miniature(root), root / "tree"
    made.archives.mkdir(parents=True)
    voices = _speech(root / "voices")
    for name, speakers in VOX_SETS.items():
        _write_vox(tree / name, name, speakers, voices)
    _write_cn1(tree / "cn1" / "CN-Celeb_flac", voices)
    _write_cn2(tree / "cn2" / "CN-Celeb2_flac", voices)
    _write_musan(tree / "musan" / "musan")
    _write_rirs(tree / "rirs" / "RIRS_NOISES")
    lists = _trial_lists(tree)
    for name, lines in lists.items():
        _write_lines(made.archives / name, lines)
    entries = {name: _list_entry(made.archives / name) for name in lists}
    sets = {name: _pack(tree / name, made.archives, name) for name in SETS}
    write_catalogue(replace(VOXCELEB, sets=sets, lists=entries), made.catalogue)
    return made


def _speech(scratch: Path) -> Iterator[Sessions]:
    """Speaker after speaker: two sessions of two utterances of 3 to 4 s, by the generator of ``egs/mini``."""
    number = sum(map(len, (*VOX_SETS.values(), CN1_DEV, CN1_EVAL, CN2)))
    counts = [*("--num_train_speakers", str(number - 2), "--num_test_speakers", "2"), *("--num_sessions", "2")]
    command = [sys.executable, TOP / "egs/mini/local/make_corpus.py", "--out", scratch, "--num_utterances", "2"]
    environment = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *counts, "--num_workers", "2"], env=environment, check=True, capture_output=True)
    found = []
    for speaker in sorted((scratch / "wav").iterdir()):
        sessions = [sorted(session.iterdir()) for session in sorted(speaker.iterdir())]
        found.append([[soundfile.read(path, dtype="int16")[0] for path in paths] for paths in sessions])
    shutil.rmtree(scratch)
    return iter(found)


def video_name(speaker: str, number: int) -> str:
    """Eleven characters as YouTube draws them; some begin with a dash or an underscore, as in the real corpus."""
    digest = hashlib.md5(f"{speaker} {number}".encode()).hexdigest()
    return {0: "-", 1: "_"}.get(int(digest[0], 16) % 4, "x") + digest[1:8] + "_" + digest[8:10].upper()


def _write_vox(tree: Path, name: str, speakers: Sequence[str], voices: Iterator[Sessions]) -> None:
    """Two videos of two utterances of 1.4 to 2.4 s for each speaker; the numbers of a video have gaps."""
    above = {"vox1_dev": "wav", "vox1_test": "wav", "vox2_dev": "dev/aac", "vox2_test": "aac"}[name]
    rng = np.random.default_rng(list(name.encode()))
    for speaker, sessions in zip(speakers, voices, strict=False):
        for video, utterances in enumerate(sessions):
            folder = tree / above / speaker / video_name(speaker, video)
            folder.mkdir(parents=True)
            for number, samples in enumerate(utterances):
                cut = samples[: int(rng.integers(22400, 38400))]
                _write_speech(folder / f"{3 * number + 1:05d}{'.m4a' if 'aac' in above else '.wav'}", cut)


def _write_speech(path: Path, samples: Samples) -> None:
    if path.suffix == ".m4a":
        write_m4a(path, samples)
    else:
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")


def write_m4a(path: Path, samples: Samples) -> None:
    """Encode speech as VoxCeleb2 is encoded: AAC in MPEG-4, one channel, 16 kHz.

    Args:
        path: where to.
        samples: shape ``(N,)``.
    """
    options = {"fflags": "+bitexact"}  # no version of the encoder in the file
    with av.open(path, "w", format="ipod", options=options) as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"flags": "+bitexact"})
        stream.bit_rate = 64000
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def _cn_speaker(data: Path, speaker: str, sessions: Sessions, rng: np.random.Generator) -> dict[str, Samples]:
    """Two genres of four utterances of less than 2 s, ``<genre>-<session>-<number>.flac``."""
    (data / speaker).mkdir(parents=True)
    genres, written = rng.permutation(GENRES), {}
    for genre, utterances in zip(genres, sessions, strict=False):
        pieces = [piece for samples in utterances for piece in np.array_split(samples[: 2 * 31000], 2)]
        for number, piece in enumerate(pieces, 1):
            name = f"{genre}-01-{number:03d}.flac"
            _write_speech(data / speaker / name, piece)
            written[name] = piece
    return written


def _write_cn1(tree: Path, voices: Iterator[Sessions]) -> None:
    """``data/`` holds everybody; ``eval/`` copies of the evaluation speakers' utterances under longer names."""
    rng = np.random.default_rng(82)
    for speaker, sessions in zip(CN1_DEV, voices, strict=False):
        _cn_speaker(tree / "data", speaker, sessions, rng)
    lists: dict[str, list[str]] = {name: [] for name in ("enroll.lst", "enroll.map", "test.lst", "trials.lst")}
    for folder in ("enroll", "test", "lists"):
        (tree / "eval" / folder).mkdir(parents=True)
    for speaker, sessions in zip(CN1_EVAL, voices, strict=False):
        written = list(_cn_speaker(tree / "data", speaker, sessions, rng).items())
        _write_speech(tree / f"eval/enroll/{speaker}-enroll.flac", np.concatenate([x for _, x in written[:2]]))
        lists["enroll.lst"].append(f"{speaker}-enroll enroll/{speaker}-enroll.wav")
        names = [f"{speaker}/{name}".replace(".flac", ".wav") for name, _ in written[:2]]
        lists["enroll.map"].append(" ".join([f"{speaker}-enroll", *names]))
        for name, samples in written[3:7]:
            _write_speech(tree / f"eval/test/{speaker}-{name}", samples)
            lists["test.lst"].append(f"test/{speaker}-{name}".replace(".flac", ".wav"))
    for speaker, test in product(CN1_EVAL, lists["test.lst"]):
        lists["trials.lst"].append(f"{speaker}-enroll {test} {int(test.startswith(f'test/{speaker}-'))}")
    for name, lines in lists.items():
        _write_lines(tree / "eval/lists" / name, lines)
    _write_lines(tree / "dev/dev.lst", CN1_DEV)
    _write_lines(tree / "README.TXT", ["CN-Celeb in miniature"])


def _write_cn2(tree: Path, voices: Iterator[Sessions]) -> None:
    rng = np.random.default_rng(822)
    for speaker, sessions in zip(CN2, voices, strict=False):
        _cn_speaker(tree / "data", speaker, sessions, rng)
    _write_lines(tree / "spk.lst", CN2)
    _write_lines(tree / "README.TXT", ["CN-Celeb2 in miniature"])


def _write_musan(tree: Path) -> None:
    rng = np.random.default_rng(17)
    for path in (
        "noise/free-sound/noise-free-sound-000",
        "music/fma/music-fma-000",
        "speech/librivox/speech-librivox-000",
    ):
        folder = (tree / path).parent
        folder.mkdir(parents=True)
        for name in ("ANNOTATIONS", "LICENSE"):
            _write_lines(folder / name, [f"{path}0 in miniature"])
        for number in range(2):
            noise = np.cumsum(rng.normal(size=40000 + 8000 * number))
            noise = 8000 * (noise - noise.mean()) / np.abs(noise - noise.mean()).max()
            soundfile.write(tree / f"{path}{number}.wav", noise.astype(np.int16), SAMPLE_RATE, subtype="PCM_16")
    _write_lines(tree / "README", ["MUSAN in miniature"])


def _write_rirs(tree: Path) -> None:
    """Three sizes of simulated rooms, and what else the archive brings: it is not a room response of this recipe."""
    rng = np.random.default_rng(28)
    rooms = [f"simulated_rirs/{size}room/Room00{room}" for size in ("small", "medium", "large") for room in (1, 2)]
    for index, room in enumerate(rooms):
        decay = np.exp(-np.arange(3200) / (200 + 100 * index))
        _write_wav(tree / f"{room}/{Path(room).name}-00001.wav", rng.normal(size=3200) * decay * 4000)
    for size in ("small", "medium", "large"):
        _write_lines(tree / f"simulated_rirs/{size}room/rir_list", ["--rir-id 1 --room-id Room001"])
    _write_wav(tree / "pointsource_noises/noise-free-sound-0000.wav", rng.normal(size=8000) * 1000)
    _write_wav(tree / "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav", rng.normal(size=8000) * 1000)
    _write_lines(tree / "README", ["RIRS_NOISES in miniature"])


def _write_wav(path: Path, samples: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(samples, -32768, 32767).astype(np.int16), SAMPLE_RATE, subtype="PCM_16")


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _trial_lists(tree: Path) -> dict[str, list[str]]:
    """O over the test speakers, E and H over all of VoxCeleb1; the original lists hold a few trials more."""
    utts = {s: sorted((tree / s / "wav").glob("*/*/*.wav")) for s in ("vox1_test", "vox1_dev")}
    names = {s: ["/".join(path.parts[-3:]) for path in paths] for s, paths in utts.items()}
    everybody = names["vox1_dev"] + names["vox1_test"]
    lists = {}
    for number, (original, cleaned, pool) in enumerate(
        (
            ("veri_test.txt", "veri_test2.txt", names["vox1_test"]),
            ("list_test_all.txt", "list_test_all2.txt", everybody),
            ("list_test_hard.txt", "list_test_hard2.txt", everybody),
        )
    ):
        rng = np.random.default_rng(number)
        pairs = [pair for pair in combinations(pool, 2) if pair[0].split("/")[:2] != pair[1].split("/")[:2]]
        target = [f"1 {a} {b}" for a, b in pairs if a.split("/")[0] == b.split("/")[0]]
        others = [f"0 {a} {b}" for a, b in pairs if a.split("/")[0] != b.split("/")[0]]
        chosen = [others[i] for i in rng.choice(len(others), len(target), replace=False)]
        trials = [line for pair in zip(target, chosen, strict=True) for line in pair]
        lists[original], lists[cleaned] = trials, trials[:-3]
    return lists


def _pack(tree: Path, archives: Path, name: str) -> ArchiveSet:
    """Write a set's archive, in its parts; the last part is the smallest, as it is in truth."""
    real, paths = SETS[name], sorted(tree.rglob("*"))
    whole = zip_bytes(tree, paths) if real.is_zip else tar_bytes(tree, paths)
    number = len(real.parts)
    size = -(-2 * len(whole) // (2 * number - 1)) if number > 1 else len(whole)
    parts = []
    for index, part in enumerate(real.parts):
        data = whole[index * size : (index + 1) * size]
        (archives / part.name).write_bytes(data)
        exact = None if part.size is None else len(data)  # where the owners do not tell it, neither do we
        parts.append(RemoteFile(part.name, hashlib.md5(data).hexdigest(), exact, len(data)))
    return replace(
        real,
        parts=tuple(parts),
        joined_md5=hashlib.md5(whole).hexdigest(),
        joined_size=real.joined_size and len(whole),
        unpacked_size=sum(path.stat().st_size for path in paths if path.is_file()),
        hours=real.hours and 0.01,
        **_counts(name, tree),
    )


def zip_bytes(tree: Path, paths: Iterable[Path]) -> bytes:
    """Pack files as Info-ZIP does, folders included.

    Args:
        tree: what names are relative to.
        paths: files and folders.

    Returns:
        The archive.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in paths:
            info = zipfile.ZipInfo(path.relative_to(tree).as_posix() + "/" * path.is_dir(), (2018, 1, 1, 0, 0, 0))
            info.external_attr = (0o40755 if path.is_dir() else 0o100644) << 16
            info.compress_type = zipfile.ZIP_STORED if path.is_dir() else zipfile.ZIP_DEFLATED
            archive.writestr(info, b"" if path.is_dir() else path.read_bytes())
    return file.getvalue()


def tar_bytes(tree: Path, paths: Iterable[Path]) -> bytes:
    """Pack files as GNU tar and gzip do, folders included.

    Args:
        tree: what names are relative to.
        paths: files and folders.

    Returns:
        The archive.
    """
    file = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in paths:
            info = tarfile.TarInfo(path.relative_to(tree).as_posix())
            info.type, info.mode = (tarfile.DIRTYPE, 0o755) if path.is_dir() else (tarfile.REGTYPE, 0o644)
            data = b"" if path.is_dir() else path.read_bytes()
            info.size, info.mtime = len(data), 1514764800
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _counts(name: str, tree: Path) -> dict[str, int]:
    """Speakers and utterances as the owners count them: CN-Celeb's are those of ``data/``."""
    if name in ("musan", "rirs"):
        return {"num_files": len(list(tree.rglob("*/*.wav" if name == "musan" else "simulated_rirs/**/*.wav")))}
    found = [path for path in tree.rglob("id*/**/*.*") if path.is_file()]
    speakers = {next(part for part in path.parts[::-1] if part.startswith("id")) for path in found}
    return {"num_speakers": len(speakers), "num_utts": len(found)}


def _list_entry(path: Path) -> TrialListFile:
    lines = path.read_text(encoding="utf-8").splitlines()
    num_target = sum(line.startswith("1 ") for line in lines)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    built_in = LISTS[path.name]
    return TrialListFile(path.name, built_in.title, num_target, len(lines) - num_target, md5)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
