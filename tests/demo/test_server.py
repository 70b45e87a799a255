"""The demo's server over real connections: odd requests get one sentence, many at once all get an answer."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ham.demo import answers as answers_module
from ham.demo import server as server_module
from ham.demo.answers import Answers
from ham.demo.server import MOST_BYTES, MOST_QUESTIONS, Server
from ham.errors import ConfigError
from tests.demo.serving import PATIENCE_S, ask, demo, raw, wav, write_demo_model
from tests.speaking import voice

EMPTY = b"POST %s HTTP/1.1\r\nHost: HOST\r\n%s\r\nContent-Length: 0\r\n\r\n"
LENGTH = b"POST /hear HTTP/1.1\r\nHost: HOST\r\nContent-Length: %s\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: HOST\r\nContent-Length: %d\r\n\r\n%s"
GET = b"GET %s HTTP/1.1\r\nHost: HOST\r\n\r\n"
VOICE = wav()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_model(tmp_path_factory.mktemp("model") / "exp")


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with demo(model, tmp_path_factory.mktemp("server") / "speakers.db") as running:
        yield running


def post(path: bytes, body: bytes) -> bytes:
    return POST % (path, len(body), body)


ODD = [
    (b"no version", b"GET /\r\n\r\n", 421, "to name this server"),
    (b"no host", b"GET / HTTP/1.0\r\n\r\n", 421, "found none"),
    (b"two hosts", b"GET / HTTP/1.1\r\nHost: HOST\r\nHost: localhost\r\n\r\n", 421, "to name this server"),
    (b"another host", b"GET / HTTP/1.1\r\nHost: evil.example:7860\r\n\r\n", 421, "found evil.example:7860"),
    (b"a number that is not bound", b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", 421, "found 10.0.0.1"),
    (b"no host name", b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", 400, "expected an address"),
    (b"another page asks", EMPTY % (b"/hear", b"Origin: http://evil.example"), 403, "found one of http://evil.example"),
    (b"another port's page asks", EMPTY % (b"/remove?name=x", b"Origin: http://127.0.0.1:1"), 403, "own page"),
    (b"a page without an origin asks", EMPTY % (b"/hear", b"Origin: null"), 403, "found one of null"),
    (b"unknown path", GET % b"/nothing", 404, "nothing is at /nothing"),
    (b"path traversal", GET % b"/../../../../etc/passwd", 404, "nothing is at"),
    (b"encoded traversal", GET % b"/%2e%2e/%2e%2e/etc/passwd", 404, "nothing is at"),
    (b"traversal from the page", GET % b"/page/../server.py", 404, "nothing is at"),
    (b"a long path", GET % (b"/" + b"a" * 5000), 404, "characters"),
    (b"a path that is no address", GET % b"http://[", 400, "expected an address"),
    (b"too long a line", GET % (b"/" + b"a" * 70000), 414, "Request-URI Too Long"),
    (b"too many headers", b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "oo many headers"),
    (b"no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "Bad request"),
    (b"an unknown version", b"GET / HTTP/9.9\r\nHost: HOST\r\n\r\n", 505, "Invalid HTTP version"),
    (b"an unknown method", b"BREW / HTTP/1.1\r\nHost: HOST\r\n\r\n", 501, "Unsupported method"),
    (b"a question by GET", GET % b"/verify", 405, "expected POST, found GET"),
    (b"the page by POST", post(b"/", b"x"), 405, "expected GET, found POST"),
    (b"the speakers by POST", post(b"/speakers", b"x"), 405, "expected GET, found POST"),
    (b"no length", b"POST /hear HTTP/1.1\r\nHost: HOST\r\n\r\n", 411, "Content-Length, found none"),
    (b"chunks", EMPTY % (b"/hear", b"Transfer-Encoding: chunked"), 411, "Content-Length"),
    (b"a length in letters", LENGTH % b"many", 400, "found many"),
    (b"a length in other digits", LENGTH % "١٢".encode(), 400, "expected one number"),
    (b"a length below zero", LENGTH % b"-5", 400, "found -5"),
    (b"two lengths", LENGTH % b"1\r\nContent-Length: 2", 400, "found 1, 2"),
    (b"a huge length", LENGTH % b"60000000", 413, "at most 50 MB in all and 5 minutes"),
    (b"a length beyond numbers", LENGTH % (b"9" * 5000), 413, "too large"),
    (b"nothing", post(b"/hear", b""), 400, "the recording: is empty"),
    (b"garbage", post(b"/hear", b"garbage" * 100), 400, "the recording: is not audio of a kind"),
    (b"half a file", post(b"/hear", VOICE[: len(VOICE) // 2]), 400, "the recording: "),
    (b"a header alone", post(b"/hear", VOICE[:44]), 400, "the recording: "),
    (b"zip", post(b"/identify", b"PK\x03\x04" + bytes(100)), 400, "the recording: is not audio"),
    (b"a broken m4a", post(b"/hear", b"\x00\x00\x00\x18ftypM4A " + bytes(50)), 400, "the recording: "),
    (b"a broken mp3", post(b"/hear", b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(90)), 400, "the recording: "),
    (b"too short", post(b"/hear", wav(voice(0.05))), 400, "expected at least 0.1 s"),
    (b"not a number", post(b"/hear", wav(np.full(16000, np.nan), subtype="FLOAT")), 400, "the recording: "),
    (b"one recording", post(b"/verify", VOICE), 400, "found nothing for"),
    (b"a length that is none", post(b"/verify?first=1e3", VOICE * 2), 400, "found 1e3 for"),
    (b"a first one beyond the end", post(b"/verify?first=999999", VOICE), 400, "found 999999 for"),
    (b"a wrong second one", post(b"/verify?first=%d" % len(VOICE), VOICE + b"RIFF"), 400, "recording B: "),
    (b"a wrong cut", post(b"/verify?first=50", VOICE * 2), 400, "recording A: "),
    (b"an unknown threshold", post(b"/verify?threshold=low&first=%d" % len(VOICE), VOICE * 2), 400, "low"),
    (b"a threshold beyond", post(b"/verify?threshold=7&first=%d" % len(VOICE), VOICE * 2), 400, "from -1 to 1"),
    (b"no name", post(b"/enrol", VOICE), 400, "found an empty one"),
    (b"a blank name", post(b"/enrol?name=%20%20", VOICE), 400, "found an empty one"),
    (b"a name with a line break", post(b"/enrol?name=a%0Ab", VOICE), 400, "control characters"),
    (b"a long name", post(b"/enrol?name=" + b"a" * 300, VOICE), 400, "at most 200 characters"),
    (b"a name in Latin-1", post(b"/enrol?name=%E9", VOICE), 400, "UTF-8"),
    (b"many words", post(b"/enrol?" + b"a=b&" * 20, VOICE), 400, "after the question mark"),
    (b"silence enrolled", post(b"/enrol?name=x", wav(np.zeros(48000))), 400, "not enrolled: It is silent"),
    (b"a stranger removed", post(b"/remove?name=Nobody", b""), 400, "found 'Nobody'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "status", "words"), [odd[1:] for odd in ODD], ids=[odd[0].decode() for odd in ODD]
)
def test_an_odd_request_gets_one_sentence_and_one_line(
    request_: bytes, status: int, words: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    found, headers, body = raw(server, request_)
    document = json.loads(body)
    assert (found, list(document)) == (status, ["error"])
    assert words in document["error"]
    assert "\n" not in document["error"]
    assert "Traceback" not in document["error"]
    assert "/tmp" not in document["error"]
    assert headers["Content-Type"] == "application/json"
    assert len(caplog.records) == 1
    line = caplog.records[0].getMessage()
    assert line.isprintable()
    assert len(line) < 2500
    assert ask(server, "GET", "/speakers") == (200, {"speakers": []})


def test_answers_are_those_of_the_model(server: Server) -> None:
    one, other = VOICE, wav(voice(4, 200), form="FLAC")
    status, found = ask(server, "POST", f"/verify?first={len(one)}", one + other)
    encoder = server.answers.encoder
    expected = encoder.score((voice(), 16000), (voice(4, 200), 16000))
    assert (status, found["decision"]) == (200, "different")
    assert found["score"] == pytest.approx(expected, abs=1e-3)  # of 16 bits
    assert found["threshold_from"].startswith("eer, measured on 12 speakers")
    assert ask(server, "POST", f"/verify?first={len(one)}", one + one)[1]["decision"] == "same"
    low = ask(server, "POST", f"/verify?first={len(one)}&threshold=-1", one + other)[1]
    assert (low["decision"], low["threshold"]) == ("same", -1)
    heard = ask(server, "POST", "/hear", other)[1]
    assert heard["quality"]["duration_s"] == 4


def test_names_of_every_script_are_enrolled_and_found(server: Server) -> None:
    other = wav(voice(4, 200))
    name = "Zoë%20%C5%81ukasz%20%E6%9D%8E%20%F0%9F%99%82".replace("ë", "%C3%AB")
    assert ask(server, "POST", f"/enrol?name={name}", VOICE)[1] == {
        "name": "Zoë Łukasz 李 🙂",
        "added": 1,
        "others": [],
    }
    assert ask(server, "POST", "/enrol?name=%3Cb%3EAda", other)[1]["name"] == "<b>Ada"
    assert ask(server, "POST", "/identify", VOICE)[1]["name"] == "Zoë Łukasz 李 🙂"
    names = [one["name"] for one in ask(server, "GET", "/speakers")[1]["speakers"]]
    assert names == ["<b>Ada", "Zoë Łukasz 李 🙂"]
    assert ask(server, "POST", f"/remove?name={name}", b"") == (200, {"removed": ["Zoë Łukasz 李 🙂"]})
    assert ask(server, "POST", "/remove?name=%3Cb%3EAda", b"")[0] == 200
    assert ask(server, "GET", "/speakers")[1] == {"speakers": []}


def test_the_page_forbids_requests_to_anywhere_else(server: Server) -> None:
    for path in ("/", "/style.css", "/script.js"):
        status, headers, body = raw(server, GET % path.encode())
        assert status == 200
        assert len(body) == int(headers["Content-Length"])
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"].strip() == "ham"
        assert b"//" not in body.replace(b"// ", b"").replace(b"http://www.w3.org", b"")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:7860", "LOCALHOST"])
def test_a_forwarded_port_is_no_other_host(server: Server, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert ask(server, "GET", "/speakers", **headers)[0] == 200


def test_a_server_for_all_is_reached_by_its_addresses_and_by_its_name(model: Path, tmp_path: Path) -> None:
    with demo(model, tmp_path / "speakers.db", "0.0.0.0") as everywhere:
        for host, status in (("10.0.0.1:7860", 200), (socket.gethostname(), 200), ("evil.example", 421)):
            assert ask(everywhere, "GET", "/speakers", Host=host)[0] == status


def test_a_body_that_ends_early_is_told(server: Server) -> None:
    status, _, body = raw(server, POST % (b"/hear", 1000, b"short"), end=True)
    assert (status, json.loads(body)["error"]) == (400, "expected 1000 bytes as Content-Length says, found 5")


def test_a_body_that_is_longer_than_announced_is_cut(server: Server) -> None:
    assert raw(server, POST % (b"/hear", len(VOICE), VOICE + b"more"))[0] == 200


def test_a_client_that_stalls_is_told_and_keeps_nobody_waiting(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(server_module, "IDLE_S", 0.2)
        status, _, body = raw(server, POST % (b"/hear", 1000, b"short"))
    assert (status, "has not arrived" in json.loads(body)["error"]) == (408, True)
    assert ask(server, "POST", "/hear", VOICE)[0] == 200


def test_a_client_that_drips_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "WHOLE_S", 0.5)
    with socket.create_connection(("127.0.0.1", server.server_address[1]), PATIENCE_S) as connection:
        connection.sendall(b"POST /hear HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        connection.settimeout(0.05)
        received, end = b"", time.monotonic() + PATIENCE_S
        while b"408" not in received and time.monotonic() < end:
            with suppress(OSError):  # nothing has come, or the server has hung up and what it said comes next
                connection.sendall(b"x")
            with suppress(OSError):
                received += connection.recv(1000)
    assert received.startswith(b"HTTP/1.0 408")


def test_half_a_request_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "IDLE_S", 0.2)
    with socket.create_connection(("127.0.0.1", server.server_address[1]), PATIENCE_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert connection.recv(1000) == b""


def test_a_large_body_that_is_refused_still_reads_why(server: Server) -> None:
    status, found = ask(server, "POST", "/hear", bytes(MOST_BYTES + 1))
    assert (status, "at most 50 MB in all and 5 minutes" in found["error"]) == (413, True)


@pytest.mark.parametrize(("name", "value"), [("LONGEST_S", 2.0), ("MOST_SAMPLES", 32000)])
def test_long_recordings_are_refused(server: Server, monkeypatch: pytest.MonkeyPatch, name: str, value: float) -> None:
    monkeypatch.setattr(answers_module, name, value)
    status, found = ask(server, "POST", "/hear", VOICE)
    assert (status, "the recording: expected at most" in found["error"]) == (400, True)


def until(true: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not (callable(true) and true()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_who_comes_when_all_places_are_taken_is_told_to_come_again(server: Server) -> None:
    with ThreadPoolExecutor(MOST_QUESTIONS) as pool:
        with server.model:
            waiting = [pool.submit(ask, server, "POST", "/hear", VOICE) for _ in range(MOST_QUESTIONS)]
            until(lambda: server.questions._value == 0)
            status, headers, body = raw(server, post(b"/hear", VOICE))
            assert (status, headers["Retry-After"]) == (503, "2")
            assert json.loads(body)["error"].startswith("busy: 8 others")
            assert ask(server, "GET", "/speakers")[0] == 200
        assert {one.result()[0] for one in waiting} == {200}
    assert ask(server, "POST", "/hear", VOICE)[0] == 200


def test_200_at_once_are_all_answered(server: Server) -> None:
    body, path = VOICE * 2, f"/verify?first={len(VOICE)}"
    start = threading.Barrier(200)

    def one(number: int) -> tuple[int, str]:
        start.wait(PATIENCE_S)
        if number % 4 == 3:
            return raw(server, GET % b"/")[0], "page"
        status, found = ask(server, "POST", path, body)
        return status, found.get("decision", found.get("error", "")[:4])

    with ThreadPoolExecutor(200) as pool:
        found = Counter(pool.map(one, range(200)))
    assert found[200, "page"] == 50
    assert found[200, "same"] >= MOST_QUESTIONS
    assert found[200, "same"] + found[503, "busy"] == 150
    until(lambda: server.questions._value == MOST_QUESTIONS)


def test_clients_who_leave_cost_a_line_at_most(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.server_address[1]), PATIENCE_S) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not closed
            connection.sendall(post(b"/hear", VOICE))
    assert ask(server, "POST", "/hear", VOICE)[0] == 200
    until(lambda: server.questions._value == MOST_QUESTIONS)
    assert not any(record.exc_info for record in caplog.records)


def test_a_bug_is_told_without_its_traceback(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Answers, "hear", lambda *_: 1 / 0)
    status, found = ask(server, "POST", "/hear", VOICE)
    assert (status, found) == (500, {"error": "a bug in the demo"})
    until(lambda: logging.ERROR in [record.levelno for record in caplog.records])
    assert "ZeroDivisionError" in caplog.text
    assert server.questions._value == MOST_QUESTIONS


def test_an_address_that_is_taken_or_is_none_is_a_sentence(server: Server, model: Path) -> None:
    for host, port, words in (
        ("127.0.0.1", server.server_address[1], "in use"),
        ("203.0.113.7", 0, "cannot be listened on"),
        ("no such host", 0, "cannot be listened on"),
        ("127.0.0.1", 70000, "cannot be listened on"),
    ):
        with pytest.raises(ConfigError, match=words):
            Server(host, port, server.answers, server.page)
