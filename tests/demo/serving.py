"""A demo that a test talks to: started in a thread, asked in whole requests or in raw bytes."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile
from numpy.typing import ArrayLike

import ham
from ham.demo.answers import Answers
from ham.demo.page import render
from ham.demo.server import Server
from ham.score.decisions import OperatingPoint
from tests.speaking import RATE, thresholds, voice, write_decisions
from tests.tiny_system import write_model

PATIENCE_S = 300


def write_demo_model(folder: Path) -> Path:
    """An untrained model, for which a voice is its own speaker and nobody else's; its folder."""
    write_model(folder, "ham_softmax")
    decisions = thresholds(eer=0.9999, far_1=0.9999)
    missing = OperatingPoint("far_0_1", None, None, None, None, None, "too few trials")
    write_decisions(folder, replace(decisions, points=(*decisions.points, missing)))
    return folder


def wav(samples: ArrayLike | None = None, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    """A file of samples; of a voice of 3 s without."""
    file = io.BytesIO()
    soundfile.write(file, voice() if samples is None else samples, rate, subtype, format=form)
    return file.getvalue()


@contextmanager
def demo(model: Path, database: Path, host: str = "127.0.0.1") -> Iterator[Server]:
    """A server in a thread, on a free port."""
    encoder = ham.load(model, "cpu")
    with Server(host, 0, Answers(encoder, database), render(encoder, "until this demo ends")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(PATIENCE_S)


def ask(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Status and document of a whole request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def raw(server: Server, request: bytes, *, end: bool = False) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of the answer to bytes.

    Args:
        server: the demo.
        request: what is sent; ``HOST`` in it becomes the server's own name.
        end: whether the client then says that no more will come.
    """
    port = server.server_address[1]
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(request.replace(b"HOST", f"127.0.0.1:{port}".encode()))
        if end:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while block := connection.recv(1 << 16):
            received += block
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body
