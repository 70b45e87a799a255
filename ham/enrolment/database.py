"""Enrolled speakers in one SQLite file: names, and the embedding of each recording by which somebody is known.

A speaker stands for the mean direction of the recordings, as an enrolment model of stage 6 does. The file holds which
model made the embeddings, and those of another are refused: a cosine between two models means nothing.

Every change is one transaction: it is there whole or not at all, whenever the program is killed. The journal is a
rollback journal, deleted after each change, and not SQLite's write-ahead log: a database is then one file, which can
be copied between changes, lies on a network folder, and can be read where nothing may be written. Readers go on while
a change is being prepared, and wait milliseconds for its last step. What is removed is overwritten in the file.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ham.data.names import plain_spelling, quoted
from ham.embeddings.directions import unit_rows
from ham.errors import ConfigError, DataError

APPLICATION_ID = 0x68616D53
"""Marks the file as one of this kind: "hamS"."""

VERSION = 1
"""Of the tables; a file with a higher one was made by a newer program."""

BUSY_S = 30.0
"""How long another program that writes is waited for."""

LONGEST_NAME = 200
"""Characters of a name."""

_ROWS = 4096  # held at once while the matrix is filled

_LEAST_BYTES = 512  # of any SQLite database

_REFUSED_KINDS = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no text, line and paragraph separators

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE model (fingerprint TEXT NOT NULL, embedding_dim INTEGER NOT NULL);
CREATE TABLE speakers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, embedding BLOB NOT NULL);
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY, speaker INTEGER NOT NULL REFERENCES speakers, audio BLOB NOT NULL, source TEXT NOT NULL,
    duration_s REAL NOT NULL, enrolled TEXT NOT NULL, embedding BLOB NOT NULL, UNIQUE (audio, speaker)
);
CREATE INDEX recordings_of_speaker ON recordings (speaker);
"""

_DAMAGED = "is damaged; restore a copy of it, or enrol the speakers again into another file"

_SENTENCES: Mapping[int, str] = MappingProxyType(
    {
        sqlite3.SQLITE_ERROR: _DAMAGED,  # a table is not what this module made
        sqlite3.SQLITE_CORRUPT: _DAMAGED,
        sqlite3.SQLITE_NOTADB: "expected a database of enrolled speakers, found another kind of file; choose another",
        sqlite3.SQLITE_BUSY: f"another program has been writing for {BUSY_S:g} s; wait until it has ended",
        sqlite3.SQLITE_CANTOPEN: "cannot be opened; is its folder there, and may you read it and write there?",
        sqlite3.SQLITE_PERM: "cannot be opened; give yourself permission",
        sqlite3.SQLITE_READONLY: "cannot be written to; give yourself permission, or work on a copy",
        sqlite3.SQLITE_FULL: "the disk is full, nothing was changed; free some space",
        sqlite3.SQLITE_IOERR: "the system refuses to read or write it, nothing was changed; is the disk full?",
    }
)


class ModelKey(NamedTuple):
    """Which model embeddings are of.

    Attributes:
        fingerprint: of its weights.
        embedding_dim: ``D``.
    """

    fingerprint: str
    embedding_dim: int


@dataclass(frozen=True)
class Recording:
    """A recording to enrol.

    Attributes:
        source: its path or name.
        audio: a digest of its samples, by which it is known again.
        duration_s: its length.
        embedding: shape ``(D,)``.
    """

    source: str
    audio: bytes
    duration_s: float
    embedding: NDArray[np.float32]


class Speaker(NamedTuple):
    """An enrolled speaker.

    Attributes:
        name: the name.
        num_recordings: how many recordings.
        duration_s: their length together.
        enrolled: when the last of them was enrolled, UTC.
    """

    name: str
    num_recordings: int
    duration_s: float
    enrolled: str


@dataclass(frozen=True)
class Gallery:
    """The enrolled speakers.

    Attributes:
        names: in the order of the alphabet, no two alike.
        embeddings: of length 1, the mean direction of each one's recordings, shape ``(S, D)``.
    """

    names: tuple[str, ...]
    embeddings: NDArray[np.float32]


def unit(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale rows ``(N, D)`` to length 1, see :func:`ham.embeddings.directions.unit_rows`."""
    return unit_rows(embeddings, "enrolment").astype(np.float32)


def checked_name(text: str) -> str:
    """A speaker's name in Unicode's normal form C, without blanks around it.

    Args:
        text: as the user wrote it.

    Returns:
        The name; two spellings that look alike because letters were composed otherwise are one.

    Raises:
        ConfigError: if it is empty, too long, or holds control characters.
    """
    name = plain_spelling(text).strip()
    wrong = next((char for char in name if unicodedata.category(char) in _REFUSED_KINDS), None)
    if not name:
        raise ConfigError("expected the name of a speaker, found an empty one")
    if wrong is not None:
        raise ConfigError(f"expected a name without control characters, found U+{ord(wrong):04X} in {quoted(name)}")
    if len(name) > LONGEST_NAME:
        raise ConfigError(f"expected a name of at most {LONGEST_NAME} characters, found {quoted(name)}")
    return name


class SpeakerDatabase(AbstractContextManager["SpeakerDatabase"]):
    """A database of enrolled speakers, closed at the end of a ``with``.

    Args:
        path: the file.
        model: whose embeddings are added or searched for; None where no embedding is touched.
        write: whether it will be changed: then it is checked as a whole first, so that no damage is built upon.
        create: whether to make it where there is none; needs ``model``.

    Raises:
        DataError: if it is missing, damaged, something else, of another model or a newer program, or cannot be opened.
    """

    def __init__(self, path: Path, model: ModelKey | None = None, *, write: bool = False, create: bool = False) -> None:
        self.path = path
        if path.is_dir():
            raise DataError(f"{path}: expected a database of enrolled speakers, found a folder; name a file in it")
        if not create and not path.exists():
            raise DataError(f"{path}: expected a database of enrolled speakers, found nothing; `ham enrol` makes it")
        if path.exists() and 0 < path.stat().st_size < _LEAST_BYTES:
            raise DataError(f"{path}: {_SENTENCES[sqlite3.SQLITE_NOTADB]}")  # which SQLite takes for empty, and fills
        mode = "rwc" if create else "rw"  # a reader too must be able to undo what a killed writer has left half done
        with self._sentences():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None
            )
        try:
            with self._sentences():
                self._open(model, write=write, create=create)
        except DataError:
            self._connection.close()
            raise

    def __exit__(self, *_: object) -> None:
        """Close the file; what was changed is in it already."""
        self._connection.close()

    def _open(self, model: ModelKey | None, *, write: bool, create: bool) -> None:
        self._connection.text_factory = lambda raw: raw.decode(errors="replace")
        self._connection.execute("PRAGMA secure_delete = ON")
        self._connection.execute(f"PRAGMA query_only = {not write}")
        if create and model is not None:
            self._create(model)
        self._check_kind()
        if write and self._one("PRAGMA quick_check(1)")[0] != "ok":
            raise DataError(f"{self.path}: {_DAMAGED}")
        self.model = ModelKey(*self._one("SELECT fingerprint, embedding_dim FROM model"))
        if model is not None and model != self.model:
            theirs, ours = (f"{key.fingerprint[:12]}, {key.embedding_dim} numbers" for key in (self.model, model))
            cure = "use that model, or enrol the speakers again into another file"
            raise DataError(f"{self.path}: holds embeddings of another model ({theirs}) than this one ({ours}); {cure}")

    def _create(self, model: ModelKey) -> None:
        """Make the tables if the file is empty; of two programs that come at once, one does."""
        with self._transaction("IMMEDIATE"):
            if self._is_empty():
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO model VALUES (?, ?)", model)

    def _is_empty(self) -> bool:
        return self._one("PRAGMA application_id")[0] == 0 and not self._one("SELECT count(*) FROM sqlite_master")[0]

    def _check_kind(self) -> None:
        kind, version = (self._one(f"PRAGMA {name}")[0] for name in ("application_id", "user_version"))
        expected = f"{self.path}: expected a database of enrolled speakers"
        if self._is_empty():
            raise DataError(f"{expected}, found an empty file; `ham enrol` fills it")
        if kind != APPLICATION_ID:
            raise DataError(f"{expected}, found another program's SQLite database; choose another file")
        if version != VERSION:
            raise DataError(f"{expected} of version {VERSION}, found version {version}; use the program that made it")

    def _one(self, sql: str, *values: object) -> tuple[Any, ...]:
        """The first row of an answer."""
        row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        if row is None:
            raise DataError(f"{self.path}: {_DAMAGED}")
        return row

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        """One view of the file, and all changes or, after any error, none; IMMEDIATE waits for other writers first."""
        with self._sentences(), self._connection:
            self._connection.execute(f"BEGIN {kind}")
            yield

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn what SQLite refuses into a sentence; a wrong use of it stays the bug that it is."""
        try:
            yield
        except sqlite3.Error as error:
            sentence = _SENTENCES.get(getattr(error, "sqlite_errorcode", -1) & 0xFF)
            if sentence is None:
                raise
            raise DataError(f"{self.path}: {sentence}") from error

    def holders(self, audio: bytes) -> tuple[str, ...]:
        """Names of the speakers who have a recording already.

        Args:
            audio: the digest of its samples.

        Returns:
            None, one, or, if it was enrolled under several, their names.
        """
        sql = "SELECT name FROM recordings JOIN speakers ON speakers.id = speaker WHERE audio = ? ORDER BY name"
        with self._sentences():
            return tuple(name for (name,) in self._connection.execute(sql, (audio,)))

    def add(self, speakers: Mapping[str, Sequence[Recording]]) -> int:
        """Add recordings of speakers, new ones or more of those there are, all of them or none.

        Args:
            speakers: recordings by name, at least one of each; one that a speaker has already does not count again.

        Returns:
            How many were added.

        Raises:
            ConfigError: if a name cannot be one.
            DataError: if an embedding has another dimension or no direction, or the file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = {checked_name(name): [self._row(one, now) for one in found] for name, found in speakers.items()}
        with self._transaction("IMMEDIATE"):
            return sum(self._add(name, recordings) for name, recordings in rows.items())

    def _row(self, recording: Recording, now: str) -> tuple[object, ...]:
        if recording.embedding.shape != (self.model.embedding_dim,):
            found = f"one of shape {recording.embedding.shape}"
            raise DataError(f"{recording.source}: expected {self.model.embedding_dim} numbers, found {found}")
        blob = _to_blob(unit(recording.embedding[None])[0])
        return recording.audio, recording.source, recording.duration_s, now, blob

    def _add(self, name: str, recordings: list[tuple[object, ...]]) -> int:
        execute = self._connection.execute
        execute("INSERT OR IGNORE INTO speakers (name, embedding) VALUES (?, x'')", (name,))
        speaker = self._one("SELECT id FROM speakers WHERE name = ?", name)[0]
        columns = "speaker, audio, source, duration_s, enrolled, embedding"
        sql = f"INSERT OR IGNORE INTO recordings ({columns}) VALUES (?, ?, ?, ?, ?, ?)"
        num_added = self._connection.executemany(sql, [(speaker, *recording) for recording in recordings]).rowcount
        blobs = execute("SELECT embedding FROM recordings WHERE speaker = ? ORDER BY audio", (speaker,)).fetchall()
        mean = self._matrix(blobs).mean(axis=0, dtype=np.float64)
        execute("UPDATE speakers SET embedding = ? WHERE id = ?", (_to_blob(unit(mean[None])[0]), speaker))
        return num_added

    def remove(self, names: Sequence[str]) -> None:
        """Remove speakers with all their recordings, all of them or none.

        Args:
            names: who.

        Raises:
            ConfigError: if one of them is not enrolled.
        """
        with self._transaction("IMMEDIATE"):
            for name in map(checked_name, names):
                row = self._connection.execute("SELECT id FROM speakers WHERE name = ?", (name,)).fetchone()
                if row is None:
                    cure = "`ham list` shows who is enrolled"
                    raise ConfigError(f"{self.path}: expected an enrolled speaker, found {quoted(name)}; {cure}")
                self._connection.execute("DELETE FROM recordings WHERE speaker = ?", row)
                self._connection.execute("DELETE FROM speakers WHERE id = ?", row)

    def speakers(self) -> list[Speaker]:
        """Who is enrolled, in the order of the names."""
        sql = (
            "SELECT name, count(*), sum(duration_s), max(enrolled) FROM recordings JOIN speakers "
            "ON speakers.id = speaker GROUP BY name ORDER BY name"
        )
        with self._sentences():
            return [Speaker(*row) for row in self._connection.execute(sql)]

    def gallery(self) -> Gallery:
        """All enrolled speakers in memory.

        Returns:
            Their names and embeddings.

        Raises:
            DataError: if an embedding is damaged.
        """
        with self._transaction("DEFERRED"):
            embeddings = np.empty((self._one("SELECT count(*) FROM speakers")[0], self.model.embedding_dim), np.float32)
            names: list[str] = []
            cursor = self._connection.execute("SELECT name, embedding FROM speakers ORDER BY name")
            while rows := cursor.fetchmany(_ROWS):
                embeddings[len(names) : len(names) + len(rows)] = self._matrix([row[1:] for row in rows])
                names += [name for name, _ in rows]
        return Gallery(tuple(names), embeddings)

    def _matrix(self, blobs: Sequence[tuple[bytes]]) -> NDArray[np.float32]:
        """Stored embeddings ``(N, D)``, each of which must still have the length 1 that it was given."""
        expected = 4 * self.model.embedding_dim
        if not all(isinstance(blob, bytes) and len(blob) == expected for (blob,) in blobs):
            raise DataError(f"{self.path}: {_DAMAGED}")
        found = np.frombuffer(b"".join(blob for (blob,) in blobs), "<f4").reshape(len(blobs), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.einsum("nd,nd->n", found, found)
        if not (np.abs(lengths - 1) < 1e-3).all():
            raise DataError(f"{self.path}: {_DAMAGED}")
        return found.astype(np.float32, copy=False)


def _to_blob(embedding: NDArray[np.float32]) -> bytes:
    return embedding.astype("<f4").tobytes()
