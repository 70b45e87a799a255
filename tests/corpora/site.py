"""A small web server that serves files and misbehaves as it is told."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

Manner = Callable[["Handler"], None]
"""What a request is answered with."""


class Site:
    """``files`` by path; ``manners`` by path: each answers one request, then the file is served as it should be."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.manners: dict[str, deque[Manner]] = {}
        self.always: dict[str, Manner] = {}
        self.requests: list[tuple[str, Message]] = []
        self.over = threading.Event()
        self.server = _Server(("127.0.0.1", 0), type("Bound", (Handler,), {"site": self}))
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def then(self, path: str, *manners: Manner) -> None:
        self.manners.setdefault(path, deque()).extend(manners)

    def ranges(self, path: str) -> list[str | None]:
        return [headers["Range"] for asked, headers in self.requests if urlsplit(asked).path == path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is no news."""


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @property
    def file(self) -> bytes:
        return self.site.files[urlsplit(self.path).path]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.site.requests.append((self.path, self.headers))
        waiting = self.site.manners.get(path)
        if waiting:
            waiting.popleft()(self)
        elif path in self.site.always:
            self.site.always[path](self)
        elif path in self.site.files:
            serve()(self)
        else:
            status(404)(self)

    def head(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def etag_of(content: bytes) -> str:
    return f'"{hashlib.sha1(content).hexdigest()}"'


def status(code: int, body: bytes = b"no", **headers: str) -> Manner:
    def _answer(handler: Handler) -> None:
        handler.head(code, Content_Length=str(len(body)), **headers)
        handler.wfile.write(body)

    return _answer


def redirect(location: str) -> Manner:
    return status(302, b"", Location=location)


def serve(
    *,
    ranges: bool = True,
    if_range: bool = True,
    etag: str | None = None,
    modified: str | None = None,
    content: bytes | None = None,
    end: int | None = None,
    after: Callable[[Handler], None] | None = None,
    pace: tuple[int, float] | None = None,
    length: bool = True,
) -> Manner:
    """Serve the file; ``end`` stops after so many bytes of the answer and then does ``after``; ``pace`` trickles."""

    def _answer(handler: Handler) -> None:
        whole = handler.file if content is None else content
        tag = etag_of(whole) if etag is None else etag
        named = handler.headers["If-Range"]
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        partial = ranges and asked is not None and (not if_range or named in (None, tag, modified))
        start = int(asked[1]) if asked is not None and partial else 0
        headers = {"ETag": tag} if tag else {}
        headers |= {"Last_Modified": modified} if modified else {}
        headers |= {"Content_Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"} if partial else {}
        headers |= {"Content_Length": str(len(whole) - start)} if length else {"Connection": "close"}
        if partial and start >= len(whole):
            return status(416)(handler)
        handler.head(206 if partial else 200, **headers)
        rest = whole[start:][:end]
        step, wait_s = pace or (1 << 16, 0.0)
        for place in range(0, len(rest), step):
            handler.wfile.write(rest[place : place + step])
            if wait_s:
                time.sleep(wait_s)
        if after is not None:
            handler.wfile.flush()
            after(handler)
        return None

    return _answer


def cut(handler: Handler) -> None:
    """End the connection in the middle."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def reset(handler: Handler) -> None:
    """End the connection as a crash does."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def stall(handler: Handler) -> None:
    """Send nothing more, and do not hang up either."""
    handler.close_connection = True
    handler.site.over.wait()
