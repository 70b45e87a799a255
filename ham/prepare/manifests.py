"""Layouts of other toolkits: Kaldi's data directories, lhotse's manifests, wespeaker's shards.

======================  ===========================================================================================
layout                  what is read
======================  ===========================================================================================
Kaldi data directory    ``wav.scp`` without pipes, ``utt2spk`` and, where they are, ``segments`` and ``spk2gender``, in
                        any order. Ids stay; those that do not begin with their speaker become ``<speaker>-<id>``
lhotse                  ``*recordings*.jsonl[.gz]`` with ``*supervisions*.jsonl[.gz]``; a supervision is an utterance
wespeaker shards        ``shard.list``: tar files of ``<key>.wav`` (or flac ...) and ``<key>.spk``; they are unpacked
======================  ===========================================================================================
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from ham.audio.decoding import EXTENSIONS
from ham.corpora.layouts import name_problem as member_problem
from ham.data.speech import Span, Speech, Utterance, extension_of, name_problem
from ham.data.text_lines import raise_all, read_lines
from ham.errors import DataError
from ham.files import replacing
from ham.prepare.tables import Row, base_of, json_objects, not_used, speech_of, text_lines
from ham.words import count

_FIX = "Kaldi: `utils/fix_data_dir.sh {folder}`"


def read_kaldi(folder: Path) -> Speech:
    """Read a Kaldi data directory; an id's middle, ``<speaker>-<session>-<number>``, is its session where it has one.

    With ``segments``, what was cut out of one recording is one session.

    Returns:
        The utterances; lists name them by the ids that the directory has.

    Raises:
        DataError: if a line has another form, if files disagree, for a pipe, or for the second channel of a file.
    """
    if not (folder / "utt2spk").is_file():
        raise DataError(f"{folder}: expected wav.scp and utt2spk, found no utt2spk; write its lines '<utt> <spk>'")
    _check_channels(folder / "reco2file_and_channel")
    wav = _table(folder / "wav.scp", "<id> <path>")
    utt2spk = _table(folder / "utt2spk", "<utt> <spk>")
    has_segments = (folder / "segments").exists()
    parts = _segments(folder / "segments", wav) if has_segments else {utt: (utt, None) for utt in wav}
    _check_same(folder, parts, utt2spk, "segments" if has_segments else "wav.scp")
    raise_all([f"{folder}/wav.scp: {key!r}: {problem}" for key, path in wav.items() if (problem := _wav_problem(path))])
    base = base_of(folder / "wav.scp", (path for path in wav.values() if not path.startswith("/")))
    utts = {}
    for utt, speaker in sorted(utt2spk.items()):
        recording, span = parts[utt]
        own = utt.removeprefix(speaker).lstrip("-_") or utt
        session = recording if has_segments else own.rpartition("-")[0] or own
        words = (utt,) if utt.startswith(speaker) else (f"{speaker}-{utt}",)
        utts[utt] = Utterance(os.path.join(base, wav[recording]), speaker, session, words, span)  # noqa: PTH118
    genders = folder / "spk2gender"
    sexes = _table(genders, "<spk> <sex>") if genders.exists() else {}
    sessions = "recordings are sessions" if has_segments else "sessions are the middle of <speaker>-<session>-<number>"
    layout = f"Kaldi data directory{' with segments' if has_segments else ''}, {sessions}{_mapped(utts)}"
    return Speech(str(folder / "utt2spk"), utts, layout, is_table=True, has_own_ids=True, sexes=sexes)


def _check_channels(path: Path) -> None:
    """Refuse recordings that are one channel of a file: its channels would be averaged, and voices mixed."""
    lines = [line.split() for line in read_lines(path)] if path.exists() else []
    raise_all(
        [
            f"{path}:{number}: expected channel A, found {' '.join(row)[:200]!r}; write each channel to a file of its "
            "own, `sox IN OUT remix 2`, and name that"
            for number, row in enumerate(lines, 1)
            if row[2:] not in (["A"], ["1"])
        ]
    )


def _mapped(utts: Mapping[str, Utterance]) -> str:
    """How ids were changed, for the log."""
    changed = [(utt, found.words[0]) for utt, found in utts.items() if found.words[0] != utt]
    if not changed:
        return ""
    utt, made = changed[0]
    ids = count(len(changed), "id")
    return f"; in front of {ids} without their speaker at the beginning it is written: {utt!r} becomes {made!r}"


def _table(path: Path, form: str) -> dict[str, str]:
    """Lines of a key and a value, in any order; the value of a ``<path>`` may hold spaces."""
    table, problems = dict[str, str](), list[str]()
    for number, line in enumerate(read_lines(path), 1):
        row = line.split(None, 1 if form.endswith("<path>") else -1)
        if len(row) != 2:
            problems.append(f"{path}:{number}: expected '{form}', found {line[:200]!r}; correct the line")
        elif row[0] in table:
            problems.append(f"{path}:{number}: {row[0]!r} was there before; remove one")
        else:
            table[row[0]] = row[1].strip()
    raise_all(problems if table or problems else [f"{path}: is empty; {_FIX.format(folder=path.parent)}"])
    return table


def _segments(path: Path, wav: Mapping[str, str]) -> dict[str, tuple[str, Span | None]]:
    """The recording and the part of it that each utterance is; an end of -1 is the recording's."""
    found, problems = dict[str, tuple[str, Span | None]](), list[str]()
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        try:
            utt, recording, *times = fields
            start, end = map(float, times)
        except ValueError:
            problems.append(
                f"{path}:{number}: expected '<utt> <recording> <start> <end>', found {line[:200]!r}; correct it"
            )
            continue
        if not (0 <= start < math.inf and (end == -1 or start < end < math.inf)):
            problems.append(
                f"{path}:{number}: expected 0 <= start < end in seconds, found {line[:200]!r}; correct the line"
            )
        elif recording not in wav:
            problems.append(f"{path}:{number}: {recording!r} is not in wav.scp; {_FIX.format(folder=path.parent)}")
        elif utt in found:
            problems.append(f"{path}:{number}: {utt!r} was there before; remove one")
        found[utt] = recording, Span(start, None if end == -1 else end)
    raise_all(problems if found or problems else [f"{path}: is empty; list the segments, or remove it"])
    return found


def _check_same(folder: Path, parts: Mapping[str, object], utt2spk: Mapping[str, str], name: str) -> None:
    cure = _FIX.format(folder=folder)
    raise_all(
        [f"{folder}/{name}: {utt!r} is not in utt2spk; {cure}" for utt in parts if utt not in utt2spk]
        + [f"{folder}/utt2spk: {utt!r} is not in {name}; {cure}" for utt in utt2spk if utt not in parts]
    )


def _wav_problem(path: str) -> str | None:
    """What is wrong with the second field of a line of ``wav.scp``."""
    if path.endswith("|") or path.startswith("|"):
        words = [word for word in path.split() if extension_of(word) in EXTENSIONS]
        cure = "run its command once, keep the output in a file and name that"
        if path.startswith("flac ") and len(words) == 1:
            cure = f"name the file itself, {words[0]}, it can be read"
        return f"expected the path of an audio file, found a pipe, {path[:200]!r}; {cure}"
    if re.search(r"\.ark(:\d+)?$", path):
        return (
            f"expected the path of an audio file, found a Kaldi archive, {path[:200]!r}; `wav-copy` makes files of it"
        )
    return name_problem(path)


def lhotse_pair(folder: Path) -> list[Path]:
    """The manifests of a folder: each ``*recordings*.jsonl[.gz]`` that has a ``*supervisions*`` of the same name."""
    found = [path for path in folder.glob("*recordings*.jsonl*") if not path.name.startswith(".")]
    return sorted(path for path in found if _supervisions(path).is_file())


def _supervisions(recordings: Path) -> Path:
    return recordings.with_name(recordings.name.replace("recordings", "supervisions"))


def read_lhotse(recordings: Path) -> Speech:
    """Read lhotse's manifests of recordings and supervisions.

    Args:
        recordings: the file of recordings; that of the supervisions lies beside it, and either may be given.

    Returns:
        The utterances; lists name them by the ids of the supervisions.

    Raises:
        DataError: if an entry lacks what is needed, or if a recording is no file of one channel.
    """
    recordings = recordings.with_name(recordings.name.replace("supervisions", "recordings"))
    known: dict[str, tuple[str, float]] = {}
    for number, entry in json_objects(recordings):
        try:
            known[str(entry["id"])] = _source(entry), float(str(entry["duration"]))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"{recordings}:{number}: expected a recording that is one file, {_lacks(error)}") from error
    rows, table = list[Row](), _supervisions(recordings)
    for number, entry in json_objects(table):
        try:
            rows.append(Row(number, _supervised(entry, known)))
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{table}:{number}: expected a supervision of a speaker, {_lacks(error)}") from error
    return speech_of(table, rows, "lhotse manifests", "recordings are sessions")


def _lacks(error: Exception) -> str:
    return (
        f"found no {error}; correct the entry" if isinstance(error, KeyError) else f"found {error}; correct the entry"
    )


def _source(entry: Mapping[str, object]) -> str:
    """The file of a recording; ``ValueError`` for a command, an address, or several channels, which would be mixed."""
    sources = entry["sources"]
    if not isinstance(sources, list) or len(sources) != 1:
        raise ValueError("several sources")
    (source,) = sources
    if source["type"] != "file":
        raise ValueError(f"the type {source['type']!r}, not 'file'")
    if len(source["channels"]) > 1:
        raise ValueError(f"{len(source['channels'])} channels, which would be mixed")
    return str(source["source"])


def _supervised(entry: Mapping[str, object], known: Mapping[str, tuple[str, float]]) -> dict[str, str]:
    recording = str(entry["recording_id"])
    path, duration_s = known[recording]
    start, length = float(str(entry["start"])), float(str(entry["duration"]))
    values = {"id": str(entry["id"]), "path": path, "session": recording}
    for ours, theirs in (("speaker", "speaker"), ("sex", "gender")):
        if entry.get(theirs) is not None:
            values[ours] = str(entry[theirs])
    if start > 0 or start + length < duration_s - 1e-3:
        values |= {"start_s": repr(start), "end_s": repr(start + length)}
    return values


def read_shards(table: Path, folder: Path | None) -> Speech:
    """Unpack wespeaker's shards, those that are not unpacked yet, and read them.

    Args:
        table: ``shard.list``, a tar file in each line.
        folder: where the audio goes; a folder for each shard is made in it.

    Returns:
        The utterances; lists name them by their keys.

    Raises:
        DataError: if a shard is missing or damaged, holds something else, or does not fit on the disk.
    """
    if folder is None:
        raise DataError(f"{table}: expected a place for what the shards hold; give --data_dir")
    lines = [line.strip() for line in text_lines(table)]
    base = base_of(table, (line for line in lines if not line.startswith("/")))
    shards = [Path(os.path.join(base, line)) for line in lines]  # noqa: PTH118
    _check_space(table, shards, folder)
    unused = set[str]()
    rows = [
        Row(number, {"id": key, "path": file, "speaker": speaker})
        for number, shard in enumerate(shards, 1)
        for key, file, speaker in _unpacked(shard, folder / shard.name.split(".")[0], unused)
    ]
    return speech_of(table, rows, f"wespeaker shards, unpacked to {folder}{not_used(unused)}")


def _check_space(table: Path, shards: list[Path], folder: Path) -> None:
    raise_all(
        [f"{table}:{n}: no file {str(shard)!r}; correct it" for n, shard in enumerate(shards, 1) if not shard.is_file()]
    )
    names = [shard.name.split(".")[0] for shard in shards]
    raise_all(
        [
            f"{table}: several shards have the name {name!r}; rename one"
            for name in {n for n in names if names.count(n) > 1}
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(shard.stat().st_size for shard in shards if not (folder / shard.name.split(".")[0]).exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: expected {needed / 1e9:.1f} GB free for the audio of {table}, found {free / 1e9:.1f} GB; "
            "free some"
        )


def _unpacked(shard: Path, folder: Path, unused: set[str]) -> list[tuple[str, str, str]]:
    """Key, file and speaker of what a shard holds; files that are there with the right size and time are kept.

    The extensions of other members are added to ``unused``.
    """
    files, speakers, targets = dict[str, str](), dict[str, str](), set[Path]()
    folder.mkdir(exist_ok=True)
    stamp_ns = shard.stat().st_mtime_ns
    try:
        with tarfile.open(shard) as tar:
            for member, content in _members(shard, tar):
                key, extension = os.path.splitext(member.name)  # noqa: PTH122
                if extension == ".spk":
                    speakers[key] = content.read().decode().strip()
                elif extension.lower() in EXTENSIONS:
                    target = folder / f"{key.replace('/', '_')}{extension}"
                    if key in files or target in targets:
                        raise DataError(f"{shard}: {key!r} is there twice, or {target.name!r} is; make it again")
                    files[key] = str(target)
                    targets.add(target)
                    _copy(content, target, member.size, stamp_ns)
                else:
                    unused.add(f"<key>{extension}")
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise DataError(f"{shard}: is no whole tar file ({error}); copy it again") from error
    if files.keys() != speakers.keys() or not files:
        odd = min(files.keys() ^ speakers.keys(), default="")
        raise DataError(f"{shard}: expected <key>.wav and <key>.spk of every key, found {odd!r} alone; make it again")
    return [(key, files[key], speakers[key]) for key in sorted(files)]


def _members(shard: Path, tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for member in tar:
        if problem := member_problem(member.name):
            raise DataError(f"{shard}: the member {member.name!a} {problem}; do not use this archive")
        if not member.isdir():
            content = tar.extractfile(member) if member.isfile() else None
            if content is None:
                raise DataError(f"{shard}: the member {member.name!a} is a link or a device; do not use this archive")
            yield member, content


def _copy(content: IO[bytes], target: Path, size: int, stamp_ns: int) -> None:
    """Write a file with the time of its shard, unless it is there."""
    if target.exists() and (target.stat().st_size, target.stat().st_mtime_ns) == (size, stamp_ns):
        return
    with replacing(target) as part:
        with part.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        os.utime(part, ns=(stamp_ns, stamp_ns))
