"""One file, by a server that misbehaves in every way there is."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ham.corpora.fetch import ATTEMPTS_BEFORE_NEXT, Fetcher, Limits, StoppedError, UnreachableError, state_path
from ham.corpora.web import PLACEHOLDER, Address, RefusedError, Secret
from ham.errors import DownloadError
from tests.corpora.site import Handler, Manner, Site, cut, etag_of, redirect, reset, serve, stall, status

FILE = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
MD5 = hashlib.md5(FILE).hexdigest()
LIMITS = Limits(3, backoff_s=0.01, max_backoff_s=0.04, stall_s=60.0, least_bytes_per_s=10_000, progress_bytes=50_000)
"""A busy machine is silent too: only servers that are meant to be are given up soon."""
DATES = ("Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT")


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        running.files["/f"] = FILE
        yield running


class Loader:
    """Fetches ``/f`` of one or several sites, each time as a new run of the program would."""

    def __init__(self, part: Path) -> None:
        self.part = part
        self.moved = 0
        self.limits = LIMITS

    def __call__(self, *sites: Site | Address, size: int | None = None, most: int | None = 10**6) -> str:
        addresses = [one if isinstance(one, Address) else Address(one.url("/f"), "--lists_url") for one in sites]
        with Fetcher(self.limits) as fetcher:
            return fetcher.fetch(addresses, self.part, size, self._advance, most)

    def _advance(self, num_bytes: int) -> None:
        self.moved += num_bytes

    def leave(self, num_bytes: int, content: bytes = FILE, **edition: object) -> None:
        """What a killed run leaves behind."""
        self.part.write_bytes(content[:num_bytes])
        known = {"host": "127.0.0.1", "etag": etag_of(content), "last_modified": "", "total": len(content)}
        state_path(self.part).write_text(json.dumps({**known, **edition}))


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port at which nobody listens, nor can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def hang_up(handler: Handler) -> None:
    """End the connection, and take no other."""
    handler.server.socket.close()
    cut(handler)


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    return Loader(tmp_path / "f.zip.part")


@pytest.mark.parametrize("content", [FILE, b"", b"x"])
def test_a_file(site: Site, load: Loader, content: bytes) -> None:
    site.files["/f"] = content
    assert load(site, size=len(content)) == hashlib.md5(content).hexdigest()
    assert load.part.read_bytes() == content
    assert load.moved == len(content)


TROUBLES: dict[str, list[Manner]] = {
    "500 and then 503": [status(500), status(503, Retry_After="0")],
    "429": [status(429)],
    "cut at once": [cut],
    "reset at once": [reset],
    "cut before the first byte": [serve(end=0, after=cut)],
    "cut in the middle": [serve(end=100_000, after=cut), serve(end=100_000, after=cut)],
    "reset in the middle": [serve(end=100_000, after=reset)],
    "silence before the answer": [stall],
    "silence in the middle": [serve(end=100_000, after=stall)],
    "a trickle": [serve(pace=(100, 0.1))],
    "cut, and no ranges": [serve(ranges=False, end=100_000, after=cut), serve(ranges=False)],
    "cut, and no tags": [serve(etag="", end=100_000, after=cut), serve(etag="")],
    "a weak tag": [serve(etag='W/"1"', end=100_000, after=cut), serve(etag='W/"1"')],
    "no length": [serve(length=False)],
    "ten cuts": [serve(end=60_000, after=cut)] * 3 + [serve(end=10_000, after=cut), serve(end=55_000, after=cut)],
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_passing_troubles(site: Site, load: Loader, trouble: str) -> None:
    if trouble.startswith(("silence", "a trickle")):
        load.limits = replace(LIMITS, stall_s=0.25)
    site.then("/f", *TROUBLES[trouble])
    assert load(site) == MD5
    assert load.part.read_bytes() == FILE
    assert load.moved == len(FILE)
    assert not site.manners["/f"]


class Endless:
    """An answer that does not end; ``sent`` counts its bytes."""

    def __init__(self, announced: int | None) -> None:
        self.announced, self.sent = announced, 0

    def __call__(self, handler: Handler) -> None:
        if self.announced is None:
            handler.head(200, Connection="close")
        else:
            handler.head(200, Content_Length=str(self.announced))
        try:
            while self.sent < 10**9:
                handler.wfile.write(bytes(1 << 16))
                self.sent += 1 << 16
        except OSError:
            handler.close_connection = True


@pytest.mark.parametrize(
    ("known", "words", "tries"),
    [
        ({"size": 32_000}, "expected at most 32000 bytes, found more, 3 times in a row", 3),
        ({"most": 64_000}, "expected at most 64000 bytes, found more, 3 times in a row", 3),
        ({"most": None}, "expected an answer that says its length, found one without", 1),
    ],
)
def test_an_answer_without_length_cannot_fill_the_disk(
    site: Site, load: Loader, known: dict[str, int | None], words: str, tries: int
) -> None:
    site.always["/f"] = endless = Endless(None)
    with pytest.raises(DownloadError, match=words):
        load(site, **known)
    assert not load.part.exists() or load.part.stat().st_size == 0
    assert len(site.ranges("/f")) == tries
    assert endless.sent < 50_000_000 * tries  # what the sockets hold, and no more


def test_an_announced_length_beyond_the_known_one_is_refused(site: Site, load: Loader) -> None:
    site.always["/f"] = endless = Endless(10**9)
    with pytest.raises(RefusedError, match="expected at most 64000 bytes, found 1000000000"):
        load(site, most=64_000)
    assert not load.part.exists()
    assert endless.sent < 50_000_000


def test_without_a_network_there_is_one_short_attempt(
    load: Loader, deaf_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    load.limits = replace(LIMITS, num_attempts=8, backoff_s=60.0)
    nobody = [Address(f"http://127.0.0.1:{deaf_port}/f", "--openslr_urls") for _ in range(2)]
    with pytest.raises(UnreachableError) as caught:
        load(*nobody)
    assert "no connection (Connection refused); look at this machine's network" in str(caught.value)
    assert not [record for record in caplog.records if "again in" in record.getMessage()]


def test_a_server_that_was_there_is_waited_for(load: Loader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Site() as site:
        site.files["/f"] = FILE
        site.always["/f"] = serve(end=100_000, after=hang_up)
        with pytest.raises(DownloadError, match=r"no connection .*, 3 times in a row"):
            load(site)


def test_a_cut_is_gone_on_from(site: Site, load: Loader) -> None:
    site.then("/f", serve(end=100_000, after=cut), serve(end=50_000, after=cut))
    load(site)
    assert site.ranges("/f") == [None, "bytes=100000-", "bytes=150000-"]
    assert site.requests[1][1]["If-Range"] == etag_of(FILE)


def test_a_killed_run_is_gone_on_from(site: Site, load: Loader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    load.leave(250_000)
    assert load(site, size=len(FILE)) == MD5
    assert site.ranges("/f") == ["bytes=250000-"]
    assert load.moved == 50_000
    assert "computing its checksum" in caplog.text


def test_a_whole_file_of_a_killed_run_is_only_read(site: Site, load: Loader) -> None:
    load.leave(len(FILE))
    assert load(site) == MD5
    assert site.requests == []


@pytest.mark.parametrize(
    "manners",
    [
        [serve()],  # the server compares tags itself and sends the whole
        [serve(if_range=False), serve()],  # it does not, and sends the rest of another file
        [serve(if_range=False, etag=""), serve()],  # without a tag, the length must do
    ],
)
def test_a_file_that_changed_is_loaded_anew(site: Site, load: Loader, manners: list[Manner]) -> None:
    load.leave(250_000, OTHER + b"longer")
    site.then("/f", *manners)
    assert load(site) == MD5
    assert load.part.read_bytes() == FILE
    assert load.moved == len(FILE) - 250_000


def test_a_date_tells_editions_of_one_length_apart(site: Site, load: Loader) -> None:
    load.leave(250_000, OTHER, etag="", last_modified=DATES[0])
    site.then("/f", serve(if_range=False, etag="", modified=DATES[1]))
    assert load(site) == MD5
    assert site.requests[0][1]["If-Range"] == DATES[0]
    assert site.ranges("/f") == ["bytes=250000-", None]


def test_a_file_that_became_shorter_is_loaded_anew(site: Site, load: Loader) -> None:
    load.leave(len(OTHER) - 10, OTHER)
    site.files["/f"] = FILE[:1000]
    site.then("/f", serve(if_range=False))
    assert load(site) == hashlib.md5(FILE[:1000]).hexdigest()
    assert load.part.read_bytes() == FILE[:1000]


def test_a_file_that_changes_between_two_cuts_is_no_mixture(site: Site, load: Loader) -> None:
    site.then("/f", serve(content=OTHER, end=200_000, after=cut))
    assert load(site) == MD5
    assert load.part.read_bytes() == FILE


@pytest.mark.parametrize("state", [None, "", "{}", "[1]", '{"host": 3}', '{"host": "127.0.0.1", "total": "many"}'])
def test_bytes_of_unknown_origin_are_not_used(site: Site, load: Loader, state: str | None) -> None:
    load.part.write_bytes(OTHER[:1000])
    if state is not None:
        state_path(load.part).write_text(state)
    assert load(site) == MD5
    assert site.ranges("/f") == [None]


def test_more_bytes_than_the_file_has_are_not_used(site: Site, load: Loader) -> None:
    load.leave(len(FILE), FILE, total=1000)
    assert load(site) == MD5
    load.leave(1000, FILE, total=2000)  # the catalogue knows better
    assert load(site, size=len(FILE)) == MD5


def test_a_file_of_the_wrong_length_is_not_even_begun(site: Site, load: Loader) -> None:
    with pytest.raises(RefusedError, match=f"f.zip: 127.0.0.1: expected 5 bytes, found {len(FILE)}; it may have moved"):
        load(site, size=5)
    assert not load.part.exists()


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refusal_is_taken_at_once(site: Site, load: Loader, code: int) -> None:
    site.always["/f"] = status(code)
    with pytest.raises(RefusedError, match=f"^f.zip: 127.0.0.1: answered {code}"):
        load(site)
    assert len(site.requests) == 1


def test_patience_ends_and_what_came_is_kept(site: Site, load: Loader) -> None:
    site.then("/f", serve(end=60_000, after=cut))
    site.always["/f"] = status(500)
    with pytest.raises(DownloadError, match=r"answered 500 Internal Server Error, 3 times in a row; .* goes on"):
        load(site)
    assert len(site.requests) == 1 + LIMITS.num_attempts - 1  # the cut after progress is the first of the row
    del site.always["/f"]
    assert load(site) == MD5
    assert site.ranges("/f")[-1] == "bytes=60000-"


def test_a_server_that_always_cuts_before_any_progress_does_not_hold_us_for_ever(site: Site, load: Loader) -> None:
    site.always["/f"] = serve(ranges=False, end=100_000, after=cut)  # the same bytes again and again
    with pytest.raises(DownloadError, match="the connection was cut, 3 times in a row"):
        load(site)


def test_the_next_server_is_tried(site: Site, load: Loader) -> None:
    with Site() as second:
        second.files["/f"] = FILE
        site.always["/f"] = status(500)
        assert load(site, second) == MD5
        assert len(site.requests) == ATTEMPTS_BEFORE_NEXT
        site.always["/f"] = status(404)
        load.part.unlink()
        assert load(site, second) == MD5
        second.always["/f"] = status(404)
        load.part.unlink()
        with pytest.raises(RefusedError, match=r"answered 404.*; f\.zip: .*answered 404"):
            load(site, second)


def test_another_server_goes_on_only_with_a_file_it_can_recognise(site: Site, load: Loader) -> None:
    elsewhere = Address(site.url("/f", "localhost"), "--openslr_urls")
    load.leave(250_000)
    assert load(elsewhere) == MD5
    load.leave(250_000, last_modified=DATES[0])
    site.then("/f", serve(etag='"its own"', modified=DATES[0]))
    assert load(elsewhere) == MD5
    load.leave(250_000, OTHER, last_modified=DATES[0])
    site.then("/f", serve(modified=DATES[1]))
    assert load(elsewhere) == MD5
    assert site.ranges("/f") == [None, "bytes=250000-", "bytes=250000-"]
    assert load.part.read_bytes() == FILE


def test_redirects_of_every_request(site: Site, load: Loader) -> None:
    site.files["/cdn"] = FILE
    site.always["/f"] = redirect(site.url("/cdn", "localhost"))
    site.then("/cdn", serve(end=100_000, after=cut))
    assert load(site) == MD5
    assert site.ranges("/cdn") == [None, "bytes=100000-"]


def test_a_tag_that_repeats_the_key_is_not_written_down(site: Site, load: Loader) -> None:
    address = Address(site.url(f"/f?key={PLACEHOLDER}"), "--official_url", secret=Secret("s3cret", "test"))
    site.then("/f", serve(etag='"s3cret"', end=100_000, after=cut), serve(etag='"s3cret"'))
    assert load(address) == MD5
    assert site.ranges("/f") == [None, "bytes=100000-"]
    assert all(b"s3cret" not in path.read_bytes() for path in load.part.parent.iterdir())


def test_errors_have_no_history(site: Site, load: Loader) -> None:
    site.always["/f"] = reset
    with pytest.raises(DownloadError) as caught:
        load(site)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_stopping_wakes_those_who_wait(site: Site, load: Loader) -> None:
    site.always["/f"] = serve(end=1000, after=stall)
    with Fetcher(LIMITS) as fetcher:

        def _stop_soon(num_bytes: int) -> None:
            if num_bytes > 0:
                threading.Timer(0.1, fetcher.stop).start()

        started = time.monotonic()
        with pytest.raises(StoppedError):
            fetcher.fetch([Address(site.url("/f"), "--lists_url")], load.part, None, _stop_soon)
    assert time.monotonic() - started < LIMITS.stall_s / 2
    assert load.part.read_bytes() == FILE[:1000]


def test_a_write_that_fails_names_the_file(site: Site, load: Loader) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as near to a full disk as a test comes
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            load(site)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(load.part)
    assert load(site) == MD5


def test_pauses_double_up_to_a_limit_and_vary() -> None:
    limits = Limits(backoff_s=1.0, max_backoff_s=10.0)
    for num_failures, longest in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (5000, 10.0)]:
        pauses = [limits.pause_s(num_failures) for _ in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 40
    assert limits.pause_s(1, asked_s=7.0) == 7.0
    assert limits.pause_s(1, asked_s=1e9) == 10.0
