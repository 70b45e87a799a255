"""A server that plays the owners' site, openslr and its mirrors, the trial lists' site and the Hugging Face mirror.

with Server(miniature.archives, key="k") as server:
    server.misbehave("vox1_dev_wav_partab", 1, Trouble(cut=1000))     # its first GET ends after 1000 bytes
    server.misbehave("musan.tar.gz", ALWAYS, Trouble(status=500))
    ... server.official_url, server.lists_url, server.openslr_urls, server.hf_endpoint ...
    server.requests                                                  # what was asked for
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

ALWAYS = 0
"""In place of a request's number: every request that has no trouble of its own."""

OPENSLR_NUMBERS = {"musan": 17, "rirs_noises": 28, "cn-celeb": 82}
MIRROR_REPO = "ProgramComputer/voxceleb"
COMMIT = hashlib.sha1(b"the mirror's only commit").hexdigest()
BLOCK = 1 << 14


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with one request; nothing by default.

    Attributes:
        status: an answer of this status instead of the file; 0 is none.
        retry_after_s: with ``status``: the header ``Retry-After``.
        stall: bytes after which nothing more comes, though the connection stays open.
        cut: bytes after which the connection is closed.
        wrong: whether the bytes are others, as many as expected.
        changed: whether it is another file by now: other bytes, another ETag.
        page: whether a page of HTML comes instead, with status 200, as from a site that wants a form filled in.
        no_ranges: whether a request for a part of the file is answered with the whole.
        rate: bytes a second, in small pieces; 0 is as fast as it goes.
    """

    status: int = 0
    retry_after_s: int | None = None
    stall: int | None = None
    cut: int | None = None
    wrong: bool = False
    changed: bool = False
    page: bool = False
    no_ranges: bool = False
    rate: float = 0.0


@dataclass
class Request:
    """A request that has come.

    Attributes:
        method: ``GET`` or ``HEAD``.
        site: ``official``, ``lists``, ``openslr``, ``mirror``, ``cdn`` or ``api``.
        name: the file that was asked for.
        range: the header ``Range``, or nothing.
        status: what was answered.
        sent: bytes of the file that were handed to the network.
    """

    method: str
    site: str
    name: str
    range: str
    status: int = 0
    sent: int = 0


class Server:
    """The sites in one; to be used in a ``with`` statement.

    Args:
        folder: the files to serve, under their true names.
        key: what the owners' site asks for.
        rate: bytes a second of every answer with a file, 0 for as fast as it goes.
    """

    def __init__(self, folder: Path, key: str = "", rate: float = 0.0) -> None:
        self.folder, self.key, self.rate = folder, key, rate
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self._troubles: dict[tuple[str, int], Trouble] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, also the answers that stall."""
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def hf_endpoint(self) -> str:
        """For ``HF_ENDPOINT``."""
        return self.url

    @property
    def cdn_url(self) -> str:
        """Where the mirror keeps the bytes: for its clients another host."""
        return f"http://localhost:{self._http.server_address[1]}/cdn"

    @property
    def official_url(self) -> str:
        """The owners' address, to which ``?key=...&file=...`` is added."""
        return f"{self.url}/download/voxceleb"

    @property
    def lists_url(self) -> str:
        """The folder of the trial lists."""
        return f"{self.url}/~vgg/data/voxceleb/meta"

    @property
    def openslr_urls(self) -> list[str]:
        """The folders that hold ``17/``, ``28/`` and ``82/``."""
        return [f"{self.url}/{site}/resources" for site in ("openslr", "elda", "us")]

    def misbehave(self, name: str, number: int, trouble: Trouble) -> None:
        """Let something go wrong.

        Args:
            name: of the file.
            number: of the GET for this file, from 1; or :data:`ALWAYS`.
            trouble: what.
        """
        self._troubles[name, number] = trouble

    def forget(self) -> None:
        """Behave from now on, with no request remembered."""
        with self._lock:
            self._troubles.clear()
            self._counts.clear()
            self.requests.clear()

    def asked(self, name: str = "") -> list[Request]:
        """The requests for a file, or all."""
        return [request for request in list(self.requests) if name in ("", request.name)]

    def note(self, request: Request) -> Trouble:
        """Remember a request and say what goes wrong with it; a HEAD is only troubled by :data:`ALWAYS`."""
        with self._lock:
            self.requests.append(request)
            always = self._troubles.get((request.name, ALWAYS), Trouble())
            if request.method == "HEAD" or request.site == "mirror":  # the mirror's GET only names another address
                return always if always.status else Trouble()
            self._counts[request.name] += 1
            return self._troubles.get((request.name, self._counts[request.name]), always)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that were killed or gave up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        site, name = self._locate(unquote(parts.path), query)
        request = Request(self.command, site, name, self.headers.get("Range", ""))
        trouble = self.owner.note(request)
        if trouble.status:
            return self._refuse(request, trouble.status, trouble.retry_after_s)
        if site == "official" and query.get("key") != [self.owner.key]:
            return self._refuse(request, 401)
        if site == "api":
            return self._api(request, unquote(parts.path))
        if not site or not (self.owner.folder / name).is_file():
            return self._refuse(request, 404)
        if site == "mirror":
            return self._redirect(request)
        return self._send(request, trouble)

    def _locate(self, path: str, query: dict[str, list[str]]) -> tuple[str, str]:
        """The site and the file that a path means; no site if it is none of ours."""
        name = path.rsplit("/", 1)[-1]
        if path == "/download/voxceleb":
            return "official", (query.get("file") or [""])[0]
        if path == f"/~vgg/data/voxceleb/meta/{name}":
            return "lists", name
        if path.startswith("/api/"):
            return "api", name
        if path.startswith("/cdn/"):
            return "cdn", name
        number = next((n for start, n in OPENSLR_NUMBERS.items() if name.startswith(start)), 0)
        if re.fullmatch(rf"/(openslr|elda|us)/resources/{number}/{re.escape(name)}", path):
            return "openslr", name
        folder = name[:4] if name.startswith("vox") else "-"
        if re.fullmatch(rf"/datasets/{MIRROR_REPO}/resolve/(main|{COMMIT})/{folder}/{re.escape(name)}", path):
            return "mirror", name
        return "", name

    def _refuse(self, request: Request, status: int, retry_after_s: int | None = None) -> None:
        body = b"<html><body>This request is not answered.</body></html>\n"
        headers = {"Content-Type": "text/html", "Content-Length": str(len(body)), "X-Repo-Commit": COMMIT}
        if retry_after_s is not None:
            headers["Retry-After"] = str(retry_after_s)
        if status == 404 and "/resolve/" in self.path:
            headers["X-Error-Code"] = "EntryNotFound"
        self._head(request, status, headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, request: Request, status: int, headers: dict[str, str]) -> None:
        request.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _redirect(self, request: Request) -> None:
        """As the hub does with large files: size and checksum are told, the bytes are elsewhere."""
        path = self.owner.folder / request.name
        etag = hashlib.sha256(path.read_bytes()).hexdigest()
        headers = {"Location": f"{self.owner.cdn_url}/{request.name}", "X-Repo-Commit": COMMIT, "Content-Length": "0"}
        headers |= {"X-Linked-Size": str(path.stat().st_size), "X-Linked-ETag": f'"{etag}"', "ETag": f'"{etag}"'}
        self._head(request, 302, headers)

    def _api(self, request: Request, path: str) -> None:
        """What the hub tells of a data set: its commit and its files."""
        if not path.startswith(f"/api/datasets/{MIRROR_REPO}"):
            return self._refuse(request, 404)
        files = [p for p in sorted(self.owner.folder.iterdir()) if p.name.startswith("vox")]
        names = [{"rfilename": f"{p.name[:4]}/{p.name}", "size": p.stat().st_size} for p in files]
        answer: object = {"id": MIRROR_REPO, "sha": COMMIT, "private": False, "siblings": names}
        if "/tree/" in path:
            answer = [{"type": "file", "path": n["rfilename"], "size": n["size"], "oid": COMMIT} for n in names]
        body = json.dumps(answer).encode()
        self._head(request, 200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)
        return None

    def _send(self, request: Request, trouble: Trouble) -> None:
        data = (self.owner.folder / request.name).read_bytes()
        if trouble.wrong or trouble.changed:
            data = data[::-1]
        if trouble.page:
            data = b"<html><body><form>Please ask for access.</form></body></html>\n"
        etag = f'"{hashlib.md5(b"changed" * trouble.changed + request.name.encode()).hexdigest()}"'
        headers = {"ETag": etag, "Content-Type": "text/html" if trouble.page else "application/octet-stream"}
        if not trouble.no_ranges and not trouble.page:
            headers["Accept-Ranges"] = "bytes"
            first, last, status = self._asked_range(len(data), etag)
        else:
            first, last, status = 0, len(data), 200
        if status == 416:
            self._head(request, 416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
            return
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{len(data)}"
        self._head(request, status, {**headers, "Content-Length": str(last - first)})
        if self.command == "GET":
            self._stream(request, data[first:last], trouble)

    def _asked_range(self, size: int, etag: str) -> tuple[int, int, int]:
        """First byte, the byte after the last, and the status."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or self.headers.get("If-Range", etag) != etag:
            return 0, size, 200
        first, last = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
        return (first, last, 206) if first < last else (first, last, 416)

    def _stream(self, request: Request, data: bytes, trouble: Trouble) -> None:
        rate = trouble.rate or self.owner.rate
        block = max(1, min(BLOCK, int(rate / 50))) if rate else BLOCK
        ends = [end for end in (trouble.cut, trouble.stall) if end is not None]
        for start in range(0, min([len(data), *ends]), block):
            piece = data[start : min([start + block, len(data), *ends])]
            self.wfile.write(piece)
            self.wfile.flush()
            request.sent += len(piece)
            if rate:
                time.sleep(len(piece) / rate)
        if trouble.stall is not None:
            self.owner.stopped.wait(60)
        if ends:
            self.close_connection = True
