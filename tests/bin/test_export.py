"""The command that exports: what it writes, what it says to people and to programs, what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ham.bin.front import main
from ham.model.export import open_onnx
from tests.frontends.signals import waveforms
from tests.tiny_system import DIM, write_model

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra `export`)")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `export`)")


def test_a_model_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "exp", "softmax")
    out = tmp_path / "model.onnx"
    assert main(["export", "--model", str(tmp_path / "exp"), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["least_cosine"] > 0.99999
    assert (said["format"], said["precision"], said["bytes"]) == ("onnx", "float32", out.stat().st_size)
    assert open_onnx(out)(waveforms(2, 9000).numpy()).shape == (2, DIM)


def test_wrong_requests_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "exp", "softmax")
    model, out = ["--model", str(tmp_path / "exp")], ["--out", str(tmp_path / "new/model.onnx")]
    monkeypatch.setitem(sys.modules, "onnx", None)
    for argv, words in (
        (["--model", str(tmp_path / "none"), *out], "nothing there"),
        (model, "--out"),
        ([*model, *out, "--format", "tflite"], "tflite"),
        ([*model, *out, "--format", "torch"], "the name says onnx, and --format torch"),
        ([*model, "--out", str(tmp_path / "new/m.pt2"), "--precision", "int8"], "expected float32 with --format torch"),
        ([*model, *out], 'pip install "ham-speaker[export]"'),
    ):
        assert main(["export", *argv]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert not (tmp_path / "new").exists()
