"""The command that estimates: small systems, wrong requests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from ham.bin import estimate
from ham.cli import run

TINY = {
    "backbone": {"name": "ecapa_tdnn", "embedding_dim": 8, "channels": 16, "mfa_channels": 24, "scale": 4},
    "loss": {"name": "am_softmax"},
    "data": {"crop_frames": 50, "batch_size": 16, "crops_per_utterance": 3, "valid_speakers": 0},
    "augment": {"mode": "off"},
    "train": {"epochs": 7, "average_last": 2},
}


@pytest.mark.parametrize("change", ["augment.mode=off", "data.speed_perturb=[0.9, 1.1]", "optimiser.name=sgd"])
def test_the_command_times_real_steps(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    config = tmp_path / "tiny.yaml"
    blocks = {key: str(value).replace("'", "") for key, value in TINY.items() if key != "augment"}
    config.write_text("".join(f"{key}: {value}\n" for key, value in blocks.items()) + "augment: {mode: off}\n")
    sizes = ["--num_utts", "100", "--num_speakers", "9"]
    assert run(estimate.main, ["--config", str(config), "--set", change, "--device", "cpu", *sizes]) == 0
    line = capsys.readouterr().out.strip()
    found = re.fullmatch(
        r"(\d+) s, ([\d.]+) GB: 7 epochs x 18 steps x 16 crops x 1 views at ([\d.e+]+) crops/s "
        r"\(3 steps of 16 crops timed on cpu\)",
        line,
    )
    assert found, line
    assert float(found[1]) == pytest.approx(7 * 18 * 16 / float(found[3]), rel=0.02, abs=1)


def test_sizes_must_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text("loss: {name: am_softmax}\n")
    assert run(estimate.main, ["--config", str(config)]) == 2
    assert "expected a prepared --data_dir, or --num_utts and --num_speakers; found neither" in capsys.readouterr().err
    assert run(estimate.main, ["--config", str(config), "--data_dir", str(tmp_path)]) == 2
    assert f"found no {tmp_path}/train" in capsys.readouterr().err
