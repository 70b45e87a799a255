"""The program of docs/export.md that needs neither torch nor this package gives this package's score."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ham
from ham.model.export import export_model, speech_like
from tests.tiny_system import write_model

CONSUMER = Path(__file__).parents[2] / "docs/onnx_consumer.py"
WITHOUT = (
    "import sys, runpy; sys.modules.update(torch=None, ham=None); runpy.run_path(sys.argv.pop(1), None, '__main__')"
)


def consume(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, CONSUMER, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=arguments[0].parent, check=False)


def test_the_score_is_that_of_the_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra `export`)")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `export`)")
    write_model(tmp_path / "exp", "softmax")
    encoder = ham.load(tmp_path / "exp", "cpu")
    export_model(encoder, tmp_path / "model.onnx")
    one, other = tmp_path / "one.wav", tmp_path / "other.flac"
    soundfile.write(one, speech_like(40000, 100.0), 16000)
    noise = np.random.default_rng(0).normal(0, 0.1, (25000, 2))
    soundfile.write(other, noise, 16000)
    done = consume(tmp_path / "model.onnx", one, other)
    assert float(done.stdout) == pytest.approx(encoder.score(one, other), abs=1e-4)
    soundfile.write(one, noise, 8000)
    done = consume(tmp_path / "model.onnx", one, other)
    assert (done.returncode, done.stdout) == (1, "")
    assert "expected 16000 Hz, found 8000" in done.stderr
