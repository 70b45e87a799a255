"""The same speech in every layout: 6 speakers, 2 sessions each, 2 utterances of each session, all of other lengths."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16000
SPEAKERS = ("ann", "bob", "cyd", "dan", "eve", "fay")


class Clip(NamedTuple):
    """An utterance of the corpus."""

    speaker: str
    session: str
    number: str
    samples: NDArray[np.float32]

    @property
    def key(self) -> str:
        """An id that begins with the speaker."""
        return f"{self.speaker}-{self.session}-{self.number}"


def clips() -> list[Clip]:
    """The corpus, from a seed."""
    rng = np.random.default_rng(0)
    return [
        Clip(speaker, session, number, rng.uniform(-0.5, 0.5, 2000 + 3 * n).astype(np.float32))
        for n, (speaker, session, number) in enumerate(
            (speaker, session, number) for speaker in SPEAKERS for session in ("10", "20") for number in ("1", "2")
        )
    ]


def write(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    """Write audio, as its extension says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def write_lines(path: Path, *lines: str) -> Path:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _folders(form: str) -> Callable[[Path], Path]:
    def _make(place: Path) -> Path:
        for clip in clips():
            write(place / form.format(*clip[:3]), clip.samples)
        return place

    return _make


def _table(name: str, heading: str, form: str) -> Callable[[Path], Path]:
    def _make(place: Path) -> Path:
        rows = []
        for clip in clips():
            path = write(place / "audio" / f"{clip.key}.wav", clip.samples).relative_to(place)
            rows.append(form.format(clip=clip, path=path, place=place, n=len(clip.samples)))
        return write_lines(place / name, *([heading] if heading else []), *rows)

    return _make


def kaldi(place: Path) -> Path:
    """A Kaldi directory, out of order, with paths from three folders above."""
    wav, spk = [], []
    for clip in reversed(clips()):
        path = write(place.parent / "audio" / f"{clip.key}.flac", clip.samples)
        wav.append(f"{clip.key} {path.relative_to(place.parent)}")
        spk.append(f"{clip.key} {clip.speaker}")
    write_lines(place / "wav.scp", *wav)
    write_lines(place / "utt2spk", *spk)
    write_lines(place / "spk2gender", *(f"{spk} {'fm'[n % 2]}" for n, spk in enumerate(SPEAKERS)))
    return place


def long_recordings(folder: Path) -> dict[str, tuple[Path, int, int]]:
    """Each session as one file with pauses; the file of each utterance, and where it begins and ends in it."""
    parts: dict[str, tuple[Path, int, int]] = {}
    pieces: dict[Path, list[NDArray[np.float32]]] = {}
    for clip in clips():
        path = folder / f"{clip.speaker}_{clip.session}.wav"
        own = pieces.setdefault(path, [])
        own.append(np.zeros(777, np.float32))
        start = sum(map(len, own))
        own.append(clip.samples)
        parts[clip.key] = path, start, start + len(clip.samples)
    for path, own in pieces.items():
        write(path, np.concatenate([*own, np.zeros(50, np.float32)]))
    return parts


def kaldi_segments(place: Path) -> Path:
    """A Kaldi directory with segments and ids that do not begin with their speakers."""
    parts = long_recordings(place / "audio")
    recordings = sorted({path for path, _, _ in parts.values()})
    write_lines(place / "wav.scp", *(f"rec_{path.stem} {path}" for path in recordings))
    write_lines(place / "utt2spk", *(f"u-{key} {key.split('-')[0]}" for key in parts))
    write_lines(
        place / "segments",
        *(f"u-{key} rec_{path.stem} {start / RATE:.7f} {end / RATE:.7f}" for key, (path, start, end) in parts.items()),
    )
    return place


def speechbrain(place: Path) -> Path:
    """SpeechBrain's CSV, its parts in samples, its paths with a placeholder."""
    rows = [
        f"{key},{(end - start) / RATE},$data_root/{path.relative_to(place)},{start},{end},{key.split('-')[0]}"
        for key, (path, start, end) in long_recordings(place / "audio").items()
    ]
    return write_lines(place / "train.csv", "ID,duration,wav,start,stop,spk_id", *rows)


def lhotse(place: Path) -> Path:
    """Manifests of recordings and supervisions, compressed."""
    parts = long_recordings(place / "audio")
    lengths = {path: soundfile.info(path).frames for path, _, _ in parts.values()}
    recordings = [
        {
            "id": path.stem,
            "sources": [{"type": "file", "channels": [0], "source": str(path)}],
            "sampling_rate": RATE,
            "num_samples": length,
            "duration": length / RATE,
        }
        for path, length in lengths.items()
    ]
    supervisions = [
        {
            "id": key,
            "recording_id": path.stem,
            "start": start / RATE,
            "duration": (end - start) / RATE,
            "channel": 0,
            "speaker": key.split("-")[0],
        }
        for key, (path, start, end) in parts.items()
    ]
    for name, rows in (("recordings", recordings), ("supervisions", supervisions)):
        with gzip.open(place / f"my_{name}_all.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    return place


def shards(place: Path) -> Path:
    """wespeaker's shards, two of them."""
    for clip in clips():
        write(place / "raw" / f"{clip.key}.wav", clip.samples)
        (place / "raw" / f"{clip.key}.spk").write_text(clip.speaker)
    names = []
    for number, half in enumerate((SPEAKERS[:3], SPEAKERS[3:])):
        with tarfile.open(place / f"shards_00000000{number}.tar", "w") as tar:
            for file in sorted((place / "raw").iterdir()):
                if file.name.split("-")[0] in half:
                    tar.add(file, file.name)
        names.append(str(place / f"shards_00000000{number}.tar"))
    for file in [*(place / "raw").iterdir()]:
        file.unlink()
    (place / "raw").rmdir()
    write_lines(place / "shard.list", *names)
    return place


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "wav with sessions": _folders("wav/{0}/{1}/{2}.wav"),
    "wav without sessions": _folders("wav/{0}/{1}_{2}.wav"),
    "flat": _folders("{0}/{1}_{2}.flac"),
    "sessions without wav": _folders("{0}/{1}/{2}.wav"),
    "LibriSpeech": _folders("{0}/{1}/{0}-{1}-000{2}.flac"),
    "LibriSpeech with parts": _folders("train-clean-100/{0}/{1}/{0}-{1}-000{2}.flac"),
    "Kaldi": kaldi,
    "Kaldi with segments": kaldi_segments,
    "raw.list": _table("raw.list", "", '{{"key": "{clip.key}", "wav": "{place}/{path}", "spk": "{clip.speaker}"}}'),
    "shards": shards,
    "SpeechBrain": speechbrain,
    "CSV": _table("my.csv", "path,speaker,session", "{path},{clip.speaker},{clip.session}"),
    "CSV without a heading": _table("my.csv", "", "{path},{clip.speaker}"),
    "TSV of other names": _table("my.tsv", "Speaker_ID\tlength\tfile_name", "{clip.speaker}\t{n}\t{path}"),
    "semicolons": _table("list.txt", "speaker;path;id", "{clip.speaker}; {path}; x{clip.key}"),
    "Hugging Face": _table("metadata.csv", "file_name,speaker_id", "{path},{clip.speaker}"),
    "lhotse": lhotse,
}
"""What makes each layout in a folder; it returns the root to give."""

WITH_SEGMENTS = {"Kaldi with segments", "SpeechBrain", "lhotse"}
WITHOUT_SESSIONS = {"wav without sessions", "flat", "raw.list", "shards", "CSV without a heading"} | {
    "TSV of other names",
    "semicolons",
    "Hugging Face",
}
