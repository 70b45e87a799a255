"""The log of a run."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from ham.cli import run
from ham.errors import DataError
from ham.train.monitor import Monitor, drop_from


def read(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_events_are_lines_of_json_and_curves(tmp_path: Path) -> None:
    with Monitor(tmp_path, first_epoch=1, first_step=0, total_steps=4) as monitor:
        monitor.start({"hardware": "two cores"})
        monitor.step(2, {"epoch": 1, "loss": 1.5, "lr": 1e-3})
        monitor.epoch(4, {"epoch": 1, "loss": 1.25, "valid_eer": float("nan")})
    start, step, epoch = read(tmp_path)
    assert start == {"event": "start", "hardware": "two cores"}
    assert step == {"event": "step", "step": 2, "epoch": 1, "loss": 1.5, "lr": 1e-3}
    assert epoch == {"event": "epoch", "step": 4, "epoch": 1, "loss": 1.25, "valid_eer": None}
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    names = ["1_loss/epoch", "1_loss/train", "2_eer/epoch", "3_rate/train", "epoch/epoch"]
    assert sorted(board.Tags()["scalars"]) == names
    assert [event.value for event in board.Scalars("1_loss/train")] == [1.5]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    lines = [json.dumps({"event": "step", "epoch": e, "step": e * 10 + k}) for e in (1, 2, 3) for k in (1, 2)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + '\n{"event": "st', encoding="utf-8")
    with Monitor(tmp_path, first_epoch=3, first_step=20, total_steps=30) as monitor:
        monitor.step(31, {"epoch": 3})
    assert [r["step"] for r in read(tmp_path)] == [11, 12, 21, 22, 31]


def test_steps_before_a_checkpoint_within_an_epoch_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    events = [("step", 1, 10), ("epoch", 1, 12), ("step", 2, 20), ("step", 2, 22), ("epoch", 2, 24), ("step", 3, 30)]
    path.write_text("".join(json.dumps({"event": v, "epoch": e, "step": s}) + "\n" for v, e, s in events))
    drop_from(path, 2, 20)
    assert [(r["event"], r["epoch"], r["step"]) for r in read(tmp_path)] == events[:3]


def test_no_log_is_no_trouble(tmp_path: Path) -> None:
    drop_from(tmp_path / "train.jsonl", 1)
    assert list(tmp_path.iterdir()) == []


def one_line(folder: Path, work: Callable[[Monitor], None], capfd: pytest.CaptureFixture[str]) -> str:
    """What a command says that a full disk stops, beside its progress bar."""

    def main(argv: Sequence[str]) -> None:
        with Monitor(folder, first_epoch=1, first_step=0, total_steps=4) as monitor:
            work(monitor)

    assert run(main, []) == 1
    err = capfd.readouterr().err
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if "error:" in line)
    assert "No space left on device; free some space" in line
    return line


def test_curves_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work(monitor: Monitor) -> None:
        monkeypatch.setattr(RecordWriter, "write", full)
        for step in range(4):
            monitor.epoch(step, {"loss": 1.0})

    before = threading.excepthook
    assert str(tmp_path / "tensorboard") in one_line(tmp_path, work, capfd)
    assert threading.excepthook is before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_the_log_on_a_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def work(monitor: Monitor) -> None:
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            os.dup2(full.fileno(), monitor._log.fileno())
        monitor.step(1, {"loss": 1.0})

    assert str(tmp_path / "train.jsonl") in one_line(tmp_path, work, capfd)


def test_a_file_where_the_curves_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tensorboard").write_text("")

    def main(argv: Sequence[str]) -> None:
        Monitor(tmp_path, first_epoch=1, first_step=0, total_steps=4)

    assert run(main, []) == 1
    assert f"{tmp_path}/tensorboard: " in capsys.readouterr().err


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"{", b"5", b"[]", b'{"epoch": null}', b'{"epoch": "x"}', b"\0\0"])
def test_a_damaged_line_is_named_and_nothing_is_lost_but_a_cut_last_one(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    good = [json.dumps({"event": "step", "epoch": 1, "step": step}).encode() for step in (1, 2)]
    path.write_bytes(b"\n".join([good[0], junk, good[1]]))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"train\.jsonl:2: expected an event of the training in JSON"):
        drop_from(path, 2)
    assert path.read_bytes() == before
    path.write_bytes(b"\n".join([*good, junk]))
    drop_from(path, 2)
    assert path.read_bytes() == b"\n".join([*good, b""])
