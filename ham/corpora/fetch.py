"""One file from the web, until it is whole: resumed, retried, and never a mixture.

What is loaded so far lies in ``NAME.part``; ``NAME.part.json`` beside it says of which edition of the file (its entity
tag, date and length, and the server that gave them). A piece is added only to bytes of the same edition: the request
names the edition (``If-Range``), and the answer's length, tag and date are compared once more. Otherwise loading
begins again. The md5 is computed from the bytes as they arrive; after a restart of the program the file is read once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

import httpx2

from ham.corpora.checksums import md5_of
from ham.corpora.web import (
    PLACEHOLDER,
    Address,
    NoConnectionError,
    PassingError,
    RefusedError,
    Web,
    check_answer,
    judge,
)
from ham.errors import DownloadError
from ham.files import write_text

logger = logging.getLogger(__name__)

ATTEMPTS_BEFORE_NEXT = 3
"""Failures in a row after which the next server is tried, where a file has several."""


class StoppedError(DownloadError):
    """Loading was ended from outside; what has come is kept."""


class UnreachableError(DownloadError):
    """No server could be connected to: there is no network, or not to there."""


@dataclass(frozen=True)
class Limits:
    """How patient loading is.

    ``num_attempts`` failures in a row end it; a failure after ``progress_bytes`` new bytes is the first of a new row.
    Pauses double from ``backoff_s`` up to ``max_backoff_s``, each shortened by a random part, at most one half. A
    server that is silent for ``stall_s``, or sends fewer than ``least_bytes_per_s`` for so long, counts as gone.
    """

    num_attempts: int = 8
    backoff_s: float = 1.0
    max_backoff_s: float = 120.0
    stall_s: float = 60.0
    least_bytes_per_s: int = 1024
    progress_bytes: int = 2**20

    def pause_s(self, num_failures: int, asked_s: float = 0.0) -> float:
        """The pause after so many failures in a row; random, so that many clients do not come back as one.

        Args:
            num_failures: how many there were, at least 1.
            asked_s: what the server asks for; it is granted up to ``max_backoff_s``.

        Returns:
            Seconds.
        """
        longest = min(self.max_backoff_s, self.backoff_s * 2.0 ** min(num_failures - 1, 30))
        return max(longest * random.uniform(0.5, 1.0), min(asked_s, self.max_backoff_s))


class Fetcher:
    """Loads files; one for all threads of a download.

    Args:
        limits: how patient it is.
        insecure: do not verify certificates.
        num_connections: how many files are loaded at the same time.
    """

    def __init__(self, limits: Limits, *, insecure: bool = False, num_connections: int = 4) -> None:
        self._limits = limits
        self._web = Web(limits.stall_s, insecure=insecure, num_connections=num_connections)
        self._stop = threading.Event()
        self._reached = False  # whether any server has answered: only then is a lost connection worth waiting for
        self._open: set[httpx2.Response] = set()
        self._guard = threading.Lock()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._web.close()

    def stop(self) -> None:
        """End all loading soon, also where a thread waits for a silent server."""
        self._stop.set()
        with self._guard:
            streams = [response.extensions.get("network_stream") for response in self._open]
        for stream in streams:
            connection = stream.get_extra_info("socket") if stream is not None else None
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise if loading is to end.

        Raises:
            StoppedError: after :meth:`stop`.
        """
        if self._stop.is_set():
            raise StoppedError("stopped")

    def fetch(
        self,
        addresses: Sequence[Address],
        part: Path,
        size: int | None,
        advance: Callable[[int], None],
        most: int | None = None,
    ) -> str:
        """Load a file, going on from what is there; no answer can write more than is known to be right.

        Args:
            addresses: where it is, in the order to try.
            part: where it is collected, ``NAME.part``.
            size: its length in bytes if that is known; another length is refused before anything is loaded.
            advance: called with the number of bytes as they come; a negative one where loading begins again.
            most: bytes that it has at the most, where ``size`` is not known; without either, a server must say the
                length.

        Returns:
            The md5 of the whole file.

        Raises:
            RefusedError: if no server gives the file, with the cure.
            UnreachableError: if no connection to the last server could be made, and none to any server before.
            DownloadError: if the servers failed too often; the next call goes on from here.
            StoppedError: after :meth:`stop`.
        """
        transfer = _Transfer(part, size, most, advance)
        errors: list[DownloadError] = []
        for number, address in enumerate(addresses, start=1):
            is_last = number == len(addresses)
            error = self._exhaust(transfer, address, self._limits.num_attempts if is_last else ATTEMPTS_BEFORE_NEXT)
            if error is None:
                return transfer.md5(self.check)
            errors.append(error)
            if not is_last:
                logger.warning("%s; trying %s", error, addresses[number].host)
        kinds = {type(error) for error in errors}
        raise (kinds.pop() if len(kinds) == 1 else DownloadError)("; ".join(map(str, errors)))

    def _exhaust(self, transfer: _Transfer, address: Address, num_attempts: int) -> DownloadError | None:
        """Load from one server until the file is whole (None), or the server has failed for good."""
        place = f"{transfer.name}: {address.host}"
        failures, best = 0, transfer.offset
        while not transfer.complete:
            self.check()
            problem = self._attempt(transfer, address)
            if isinstance(problem, RefusedError):
                return RefusedError(f"{transfer.name}: {problem}")
            if problem is None:
                continue
            self.check()
            if isinstance(problem, NoConnectionError) and not self._reached:
                cure = "look at this machine's network and at HTTPS_PROXY; the next run goes on from here"
                return UnreachableError(f"{place}: {problem}; {cure}")
            failures = 1 if transfer.offset >= best + self._limits.progress_bytes else failures + 1
            best = max(best, transfer.offset)
            if failures >= num_attempts:
                cure = "look at the connection; the next run goes on from here"
                return DownloadError(f"{place}: {problem}, {failures} times in a row; {cure}")
            pause = self._limits.pause_s(failures, problem.wait_s)
            logger.info("%s: %s; again in %.1f s", place, problem, pause)
            self._stop.wait(pause)
        return None

    def _attempt(self, transfer: _Transfer, address: Address) -> PassingError | RefusedError | None:
        """One request and what was wrong with it; exceptions of the HTTP library hold requests and end here."""
        try:
            with self._answer(transfer, address) as response:
                self._receive(transfer, address, response)
        except (PassingError, RefusedError) as error:
            return error
        except httpx2.HTTPError as error:
            return judge(error, address)
        return None

    @contextlib.contextmanager
    def _answer(self, transfer: _Transfer, address: Address) -> Iterator[httpx2.Response]:
        response = self._web.get(address, transfer.range_headers(address.host))
        self._reached = True
        with self._guard:
            self._open.add(response)
        try:
            self.check()
            yield response
        finally:
            with self._guard:
                self._open.discard(response)
            response.close()

    def _receive(self, transfer: _Transfer, address: Address, response: httpx2.Response) -> None:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and transfer.offset:
            transfer.restart()
            raise PassingError("the file there has changed; beginning again")
        check_answer(address, response)
        transfer.accept(address, response)
        since, before = time.monotonic(), transfer.offset
        with transfer.writing() as write:
            for piece in response.iter_raw():
                write(piece)
                self.check()
                elapsed = time.monotonic() - since
                if elapsed >= self._limits.stall_s:
                    if transfer.offset - before < self._limits.least_bytes_per_s * elapsed:
                        raise PassingError(f"slower than {self._limits.least_bytes_per_s} bytes/s for {elapsed:.0f} s")
                    since, before = time.monotonic(), transfer.offset
        transfer.finish()


@dataclass(frozen=True)
class _Edition:
    """Which edition of a file some bytes belong to."""

    host: str
    etag: str = ""
    last_modified: str = ""
    total: int | None = None

    def if_range(self, host: str) -> str:
        """What to name in ``If-Range``; a tag must be strong and means something to its own server only."""
        if self.etag and not self.etag.startswith("W/") and host == self.host:
            return self.etag
        return self.last_modified

    def fits(self, other: _Edition) -> bool:
        """Whether the lengths are known and equal, and neither tag nor date speaks against it."""
        same_tags = self.host != other.host or self.etag == other.etag or not (self.etag and other.etag)
        dates = (self.last_modified, other.last_modified)
        same_dates = dates[0] == dates[1] or not all(dates)
        return same_tags and same_dates and self.total is not None and self.total == other.total


class _Transfer:
    """The file on the disk while it grows: its bytes, edition and md5."""

    def __init__(self, part: Path, size: int | None, most: int | None, advance: Callable[[int], None]) -> None:
        self.name = part.name.removesuffix(".part")
        self.offset = part.stat().st_size if part.exists() else 0
        self.complete = False
        self._part = part
        self._state = state_path(part)
        self._size = size
        self._most = most if size is None else size
        self._advance = advance
        self._edition = _read_state(self._state)
        self._digest = None if self.offset else hashlib.md5(usedforsecurity=False)
        if self.offset:
            self._look_back()

    def _look_back(self) -> None:
        """What an earlier run left: whole, a beginning, or bytes of which nobody knows what they are."""
        total = self._edition.total if self._edition else None
        if total is None or self.offset > total or self._misfit(total):
            self.restart()
        self.complete = self.offset == total

    def restart(self) -> None:
        """Throw away what is loaded: the bytes before the note on them, so that the note is never wrong."""
        with self._part.open("wb") as file:
            os.fsync(file.fileno())
        self._state.unlink(missing_ok=True)
        self._advance(-self.offset)
        self.offset, self._edition = 0, None
        self._digest = hashlib.md5(usedforsecurity=False)

    def range_headers(self, host: str) -> dict[str, str]:
        """Headers that ask for the rest of this edition only; none where the beginning is wanted."""
        if not self.offset or self._edition is None:
            return {}
        if_range = self._edition.if_range(host)
        if not if_range and host != self._edition.host:
            return {}  # another server, and nothing to recognise the file by
        return {"Range": f"bytes={self.offset}-", **({"If-Range": if_range} if if_range else {})}

    def accept(self, address: Address, response: httpx2.Response) -> None:
        """Take note of what the answer holds, and begin again unless it continues what is loaded."""
        found = _edition(address, response)
        if problem := self._misfit(found.total):
            raise RefusedError(f"{address.host}: {problem}; {address.login_cure or address.moved}")
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            if _range_start(response) == self.offset and self._edition is not None and self._edition.fits(found):
                return
            self.restart()
            raise PassingError("the file there has changed; beginning again")
        if self.offset:
            logger.info("%s: %s: has another edition or cannot resume; beginning again", self.name, address.host)
        self.restart()
        self._edition = found
        write_text(self._state, json.dumps(asdict(found)) + "\n")

    def _misfit(self, total: int | None) -> str:
        """What speaks against a file of the length that a server says, None where it says none."""
        if total is None:
            return "" if self._most is not None else "expected an answer that says its length, found one without"
        if self._size is not None and total != self._size:
            return f"expected {self._size} bytes, found {total}"
        if self._most is not None and total > self._most:
            return f"expected at most {self._most} bytes, found {total}"
        return ""

    @contextlib.contextmanager
    def writing(self) -> Iterator[Callable[[bytes], None]]:
        """Gives what appends bytes to the file; a full disk is reported with the file's name."""
        try:
            with self._part.open("ab") as file:
                yield lambda piece: self._append(file.write, piece)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(self._part)) from None

    def _append(self, write: Callable[[bytes], int], piece: bytes) -> None:
        total = self._edition.total if self._edition else None
        most = self._most if total is None else total
        if most is not None and self.offset + len(piece) > most:
            self.restart()
            raise PassingError(f"expected at most {most} bytes, found more")
        write(piece)
        if self._digest is not None:
            self._digest.update(piece)
        self.offset += len(piece)
        self._advance(len(piece))

    def finish(self) -> None:
        """The answer has ended: see whether the file has."""
        total = self._edition.total if self._edition else None
        wanted = self._size if total is None else total
        if wanted is not None and self.offset < wanted:
            raise PassingError(f"the answer ended at byte {self.offset} of {wanted}")
        self.complete = True

    def md5(self, check: Callable[[], None]) -> str:
        """The md5: from the bytes as they came where all came in this run, else by reading the file once."""
        if self._digest is not None:
            return self._digest.hexdigest()
        logger.info("%s: whole; computing its checksum, since it was begun in an earlier run", self.name)
        return md5_of(self._part, lambda _: check())


def state_path(part: Path) -> Path:
    """Where the edition of a half-loaded file is noted.

    Args:
        part: ``NAME.part``.

    Returns:
        ``NAME.part.json``.
    """
    return part.with_name(part.name + ".json")


def _read_state(path: Path) -> _Edition | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        edition = _Edition(**content)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    texts = (edition.host, edition.etag, edition.last_modified)
    known = all(isinstance(text, str) for text in texts) and isinstance(edition.total, int)
    return edition if known else None


def _edition(address: Address, response: httpx2.Response) -> _Edition:
    """The edition that an answer belongs to; a tag in which the server repeats the key is not kept."""
    headers = response.headers
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        total = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("content-range", "").strip())
        length = total.group(1) if total else ""
    else:
        length = headers.get("content-length", "")
    tag, date = headers.get("etag", ""), headers.get("last-modified", "")
    if address.secret is not None and PLACEHOLDER in address.secret.hide(tag + " " + date):
        tag = date = ""
    return _Edition(address.host, tag, date, int(length) if length.isdecimal() else None)


def _range_start(response: httpx2.Response) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("content-range", "").strip())
    return int(found.group(1)) if found else None
