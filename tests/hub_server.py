"""A server that plays the Hugging Face hub for models: it tells of them, gives their files, and takes new versions.

with HubServer(token="t") as hub:
    hub.put("owner/name", {"model.json": b"..."})
    hub.answers["/resolve/"] = 500           # every address that holds it is answered with this status
    hub.cut["model.safetensors"] = 1000      # the connection closes after so many bytes of the file
    ... hub.url, hub.repos, hub.requests ...
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

CODES = {401: "RepoNotFound", 403: "GatedRepo", 404: "RepoNotFound"}


@dataclass
class Repo:
    """A model: its files by name, and who may see it."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for name, data in sorted(self.files.items()):
            digest.update(name.encode() + data)
        return digest.hexdigest()


class HubServer:
    """The hub; to be used in a ``with`` statement.

    Args:
        token: whoever sends it may see private models and publish.
    """

    def __init__(self, token: str = "hf_right") -> None:
        self.token, self.repos = token, dict[str, Repo]()
        self.answers: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.requests: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def put(self, name: str, files: dict[str, bytes], **properties: bool) -> Repo:
        self.repos[name] = Repo(dict(files), **properties)
        return self.repos[name]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+)(?:/(resolve|tree|revision)/([^/]+)/?(.*))?", path)
        if not self._troubled(path) and (repo := self._repo(found[1] if found else "")):
            assert found
            self._model(found[1], repo, found[2], found[3], found[4])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.requests.append(f"POST {path}")
        if self._troubled(path):
            return
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif not self._known():
            self._refuse(401, "Unauthorized")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            there = name in self.hub.repos
            if not there:
                self.hub.put(name, {}, private=asked.get("visibility") == "private")
            self._json({"url": f"{self.hub.url}/{name}", "name": name}, 409 if there else 200)
        elif "/preupload/" in path:
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            files = [{"path": one["path"], **mode} for one in json.loads(body)["files"]]
            self._json({"files": files})
        else:
            self._commit(path, body)

    def _commit(self, path: str, body: bytes) -> None:
        name = "/".join(path.split("/")[3:5])
        repo = self.hub.repos[name]
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "file":
                repo.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "deletedFile":
                del repo.files[line["value"]["path"]]
        self._json(
            {"commitUrl": f"{self.hub.url}/{name}/commit/{repo.commit}", "commitOid": repo.commit, "success": True}
        )

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _troubled(self, path: str) -> bool:
        for part, status in self.hub.answers.items():
            if part in path:
                self._refuse(status)
                return True
        for part, said in self.hub.bodies.items():
            if part in path:
                self._send(200, said, {"Content-Type": "text/html"})
                return True
        return False

    def _repo(self, name: str) -> Repo | None:
        """The model, if whoever asks may see it."""
        repo = self.hub.repos.get(name)
        if repo and repo.gated and not self._known():
            self._refuse(403)
        elif repo is None or (repo.private and not self._known()):
            self._refuse(404 if self._known() else 401)
        else:
            return repo
        return None

    def _model(self, name: str, repo: Repo, kind: str | None, revision: str | None, rest: str) -> None:
        if revision not in (None, "main", repo.commit):
            self._refuse(404, "RevisionNotFound")
        elif kind == "resolve":
            self._file(repo, rest)
        elif kind == "tree":
            entries = [{"type": "file", "path": one, "size": len(data), "oid": "0"} for one, data in repo.files.items()]
            self._json(entries)
        else:
            siblings = [{"rfilename": one} for one in repo.files]
            self._json({"id": name, "sha": repo.commit, "private": repo.private, "siblings": siblings})

    def _file(self, repo: Repo, name: str) -> None:
        if name not in repo.files:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": repo.commit})
            return
        data = repo.files[name]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": repo.commit}
        self._send(200, data, headers, self.hub.cut.get(name))

    def _json(self, answer: object, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        code = code or CODES.get(status, "")
        self._send(status, b'{"error": "refused"}', {**(headers or {}), **({"X-Error-Code": code} if code else {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True
