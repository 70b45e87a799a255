"""``ham demo`` as a process: what it prints, how it ends, what a wrong request costs, how much memory many clients."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

import ham
from ham.bin.front import main
from ham.enrolment.database import ModelKey, SpeakerDatabase
from tests.demo.serving import PATIENCE_S, wav, write_demo_model

REPOSITORY = Path(ham.__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_model(tmp_path_factory.mktemp("model") / "exp")


@contextmanager
def running(model: Path, folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, whose temporary files are in a folder, and the first line that it prints."""
    command = [sys.executable, "-m", "ham", "demo", "--model", str(model), "--device", "cpu", "--port", "0", *words]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def ask(url: str, path: str, body: bytes) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    connection.request("POST", path, body)
    return connection.getresponse().status


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_without_a_trace(model: Path, tmp_path: Path, ending: signal.Signals) -> None:
    with running(model, tmp_path) as (process, line):
        url = line.removesuffix(" (Ctrl-C ends it)")
        assert urlsplit(url).hostname == "127.0.0.1"
        assert ask(url, "/enrol?name=Ada", wav()) == 200
        assert list(tmp_path.glob("ham_demo_*/speakers.db"))
        with ExitStack() as silent:  # who says nothing keeps nobody, and some have just come
            for _ in range(20):
                silent.enter_context(socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)))
            process.send_signal(ending)
            out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out, err) == (130, "", "error: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_speakers_outlive_it_in_a_file_of_their_own(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(model, tmp_path, "--db", "known.db", "--json") as (_, line):
        assert ask(json.loads(line)["url"], "/enrol?name=Ada", wav()) == 200
    assert main(["list", "--db", str(tmp_path / "known.db")]) == 0
    assert capsys.readouterr().out.startswith("Ada: 1 recording, 3.0 s")
    assert [path.name for path in tmp_path.glob("*.wav")] == []


def test_200_uploads_at_once_need_the_memory_of_a_few(model: Path, tmp_path: Path) -> None:
    body = wav(np.zeros(2_000_000, np.int16))
    with running(model, tmp_path) as (process, line):
        url = line.split()[0]
        assert ask(url, "/hear", body) == 200
        before = highest_memory(process.pid)
        with ThreadPoolExecutor(200) as pool:
            found = set(pool.map(lambda _: ask(url, "/hear", body), range(200)))
        assert found <= {200, 503}
        assert highest_memory(process.pid) - before < 400e6  # their files alone: 800 MB


def highest_memory(pid: int) -> int:
    """Bytes that a process has held at most."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("no /proc tells how much memory a process has held")
    return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "70000"], "--port 70000: expected a number up to 65535"),
        (["--port", "-1"], "expected a whole number of at least 0"),
        (["--host", "203.0.113.7"], "--host 203.0.113.7 --port 7860: cannot be listened on"),
        (["--db", "."], "found a folder"),
        (["--model", "nowhere"], "model nowhere: expected"),
        (["file.wav"], "expected options only"),
    ],
)
def test_a_wrong_request_is_a_sentence(
    model: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--model", str(model), *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err


def test_a_port_that_is_taken_is_a_sentence(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["demo", "--model", str(model), "--port", str(port)]) == 2
    assert f"--host 127.0.0.1 --port {port}: cannot be listened on (Address already in use)" in capsys.readouterr().err


def test_speakers_of_another_model_are_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SpeakerDatabase(tmp_path / "speakers.db", ModelKey("others", 8), write=True, create=True):
        pass
    assert main(["demo", "--model", str(model), "--db", str(tmp_path / "speakers.db")]) == 2
    assert "holds embeddings of another model" in capsys.readouterr().err
