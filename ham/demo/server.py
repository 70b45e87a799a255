"""The demo's HTTP server: a page, its style and its script, and answers of JSON, by the standard library.

Who may ask: names other than the server's own in ``Host`` are refused, or a foreign page could make its name point here
and read the answers; so are questions that carry another page's ``Origin``.

How much: a question holds at most :data:`MOST_BYTES`, and has :data:`WHOLE_S` to come, whatever the client does.
:data:`MOST_QUESTIONS` are in memory, of which one is with the model; whoever comes then is told to come again. A
connection beyond :data:`MOST_CONNECTIONS` waits in the system's queue.

The body of a question is one audio file or, for ``/verify``, two of which the first has ``?first=`` bytes; there is no
form to take apart.
"""

from __future__ import annotations

import io
import ipaddress
import json
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from ham.demo.answers import LONGEST_S, Answers
from ham.errors import ConfigError, HamError
from ham.words import clip

logger = logging.getLogger(__name__)

MOST_BYTES = 50_000_000
"""Of a question's body: two recordings of 4 minutes, as 16-bit mono at 48 kHz, are 46 MB."""

MOST_QUESTIONS = 8
"""Bodies in memory at once."""

MOST_CONNECTIONS = 64
"""Connections with a thread of their own."""

IDLE_S, WHOLE_S = 10.0, 60.0
"""Seconds without a byte, and of a whole request, after which a client is given up."""

POLL_S = 0.1
"""Seconds after which Ctrl-C is heeded at the latest."""

RETRY_S = 2
"""Seconds after which one who was told that the demo is busy may ask again."""

_BLOCK = 1 << 16

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Content(NamedTuple):
    """A file of the page: its type and its bytes."""

    kind: str
    body: bytes


class RefusalError(Exception):
    """A question that gets no answer.

    Args:
        status: of HTTP.
        sentence: what was expected, what was found.
        headers: further ones of the reply.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers or {}


class Server(socketserver.ThreadingTCPServer):
    """Serves until it is interrupted, see :meth:`serve_forever`.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        answers: what is asked.
        page: files of the page by their path.

    Raises:
        ConfigError: if the address cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = True  # Ctrl-C waits for nobody
    request_queue_size = 256

    def __init__(self, host: str, port: int, answers: Answers, page: Mapping[str, Content]) -> None:
        self.host, self.answers, self.page = host, answers, page
        self.questions = threading.BoundedSemaphore(MOST_QUESTIONS)
        self.model = threading.Lock()
        self._connections = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._ending = False
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            found = getattr(error, "strerror", None) or str(error)
            cure = "--port 0 takes a free port, --host 127.0.0.1 is this machine"
            raise ConfigError(f"--host {host} --port {port}: cannot be listened on ({found}); {cure}") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def is_own(self, name: str) -> bool:
        """Whether a request to a name is meant for this server.

        A name that is not its own may point here because somebody wants it to. A server for other machines cannot know
        by which addresses they reach it, but nobody makes a number point elsewhere.
        """
        if name in {self.host, "localhost", "127.0.0.1", "::1"}:
            return True
        return not _is_loopback(self.host) and (name == socket.gethostname().lower() or _is_number(name))

    def end(self, *_: Any) -> None:
        """Have :meth:`serve_forever` raise KeyboardInterrupt between two connections; a handler of signals.

        Raised wherever the signal comes, it would take a connection away from the thread that has just begun with it.
        """
        self._ending = True

    def service_actions(self) -> None:
        """What is done between two connections."""
        if self._ending:
            raise KeyboardInterrupt

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, as soon as there is one."""
        while not self._connections.acquire(timeout=POLL_S):
            self.service_actions()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line for a client who left; for a bug its traceback, but not to the client."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            logger.warning("%s left before its answer (%s)", client_address[0], error.strerror or error)
            return
        logger.exception("a bug in the demo")
        request.sendall(b'HTTP/1.0 500 \r\nContent-Type: application/json\r\n\r\n{"error": "a bug in the demo"}')


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    server_version, sys_version = "ham", ""
    default_request_version = "HTTP/1.0"  # a reply without a head, as to HTTP/0.9, says no status

    def setup(self) -> None:
        """Read with a limit of time."""
        super().setup()
        self.rfile = io.BufferedReader(_Patient(self.connection))

    def do_GET(self) -> None:
        """Answer, or refuse in a sentence."""
        try:
            self._check_sender()
            self._answer()
        except RefusalError as refusal:
            self._refuse(refusal.status, str(refusal), refusal.headers)
        except HamError as error:
            self._refuse(400, str(error).removeprefix(f"{self.server.answers.database}: "))

    def do_POST(self) -> None:
        """The same; :meth:`_answer` knows which method a place wants."""
        self.do_GET()

    def _check_sender(self) -> None:
        """Refuse requests that were made for another server, or by another server's page."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.is_own(_split("//" + hosts[0]).hostname or ""):
            found = ", ".join(hosts) or "none"
            raise RefusalError(421, f"expected the header Host to name this server, {self.server.url}, found {found}")
        origin = self.headers.get("Origin")
        if origin is not None and _split(origin).netloc != hosts[0]:
            raise RefusalError(403, f"expected a request of this server's own page, found one of {origin}")

    def _answer(self) -> None:
        place = _split(self.path)
        if place.path in self.server.page or place.path == "/speakers":
            self._expect("GET")
            if place.path == "/speakers":
                return self._send_json(200, self.server.answers.speakers())
            return self._send(200, *self.server.page[place.path])
        if place.path not in _QUESTIONS:
            raise RefusalError(404, f"nothing is at {clip(place.path)}; the page is at /")
        self._expect("POST")
        length, words = self._announced(), _words(place.query)
        if not self.server.questions.acquire(blocking=False):
            sentence = f"busy: {MOST_QUESTIONS} others are being answered; ask again in {RETRY_S} seconds"
            raise RefusalError(503, sentence, {"Retry-After": str(RETRY_S)})
        try:
            body = self._body(length)
            with self.server.model:
                document = _QUESTIONS[place.path](self.server.answers, body, words)
        finally:
            self.server.questions.release()
        return self._send_json(200, document)

    def _expect(self, method: str) -> None:
        if self.command != method:
            raise RefusalError(405, f"expected {method}, found {self.command}", {"Allow": method})

    def _announced(self) -> int:
        """How long the body will be."""
        lengths = self.headers.get_all("Content-Length") or []
        if not lengths or "Transfer-Encoding" in self.headers:
            raise RefusalError(411, "expected the length of the body in the header Content-Length, found none")
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
            raise RefusalError(400, f"expected one number in Content-Length, found {clip(', '.join(lengths))}")
        if len(lengths[0]) > 18 or int(lengths[0]) > MOST_BYTES:
            limits = f"{MOST_BYTES // 1_000_000} MB in all and {LONGEST_S / 60:.0f} minutes each"
            raise RefusalError(413, f"too large: expected recordings of at most {limits}; cut or compress them")
        return int(lengths[0])

    def _body(self, expected: int) -> bytes:
        try:
            body = self.rfile.read(expected)
        except TimeoutError:
            sentence = f"the recording has not arrived within {WHOLE_S:.0f} seconds, or stalled for {IDLE_S:.0f}"
            raise RefusalError(408, sentence) from None
        if len(body) != expected:
            raise RefusalError(400, f"expected {expected} bytes as Content-Length says, found {len(body)}")
        return body

    def _refuse(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        logger.warning("%d for %s: %s", status, *(_printable(text) for text in (clip(self.requestline), sentence)))
        self._send_json(status, {"error": sentence}, headers)
        self._linger()

    def _linger(self) -> None:
        """Let a client that still sends finish: most of them read only then that they were refused."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(MOST_BYTES // _BLOCK):
                if not self.rfile.read(_BLOCK):
                    return

    def _send_json(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(document, allow_nan=False).encode(), headers)

    def _send(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        described = {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS, **(headers or {})}
        for name, value in described.items():
            self.send_header(name, value)
        self.end_headers()
        self.connection.settimeout(IDLE_S)
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base class does not understand, in a sentence instead of its page.

        Args:
            code: status of HTTP.
            message: what is wrong.
            explain: more of it.
        """
        self._refuse(code, message or explain or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests that were answered; :meth:`_refuse` tells of the others."""


class _Patient(io.RawIOBase):
    """What a client sends, which must not pause for long, nor all in all take too long."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._end = connection, time.monotonic() + WHOLE_S

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes and give how many came."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(IDLE_S, left))
        return self._connection.recv_into(buffer)


def _verify(answers: Answers, body: bytes, words: Mapping[str, str]) -> dict[str, Any]:
    first = words.get("first", "")
    if not (first.isascii() and first.isdecimal() and len(first) < 10 and 0 < int(first) < len(body)):
        found = f"{clip(first) or 'nothing'} for {len(body)} bytes"
        raise RefusalError(400, f"expected two recordings, and in ?first= the length of the first, found {found}")
    return answers.verify(body[: int(first)], body[int(first) :], words.get("threshold"))


_QUESTIONS: Mapping[str, Callable[[Answers, bytes, Mapping[str, str]], dict[str, Any]]] = {
    "/hear": lambda answers, body, _words: answers.hear(body),
    "/verify": _verify,
    "/enrol": lambda answers, body, words: answers.enrol(body, words.get("name", "")),
    "/identify": lambda answers, body, _: answers.identify(body),
    "/remove": lambda answers, _body, words: answers.remove([words.get("name", "")]),
}
"""What can be asked, by path."""


def _split(url: str) -> Any:
    """The parts of an address."""
    try:
        return urlsplit(url)
    except ValueError:
        raise RefusalError(400, f"expected an address, found {clip(url)}") from None


def _words(query: str) -> dict[str, str]:
    """What follows the question mark; of words that are there twice the last."""
    try:
        found = parse_qs(query, errors="strict", max_num_fields=8)
    except ValueError:
        raise RefusalError(400, f"expected words in UTF-8 after the question mark, found {clip(query)}") from None
    return {name: values[-1] for name, values in found.items()}


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_number(host) and ipaddress.ip_address(host).is_loopback)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
