"""What a training writes down and shows while it runs: a log in JSON lines, TensorBoard, a progress bar."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ham.errors import DataError, naming
from ham.files import write_text
from ham.train.event_files import keep_in_order

FIRST = {"loss": "1_loss", "distill_loss": "1_loss_distill", "valid_eer": "2_eer", "lr": "3_rate"}
"""What TensorBoard shows before all else, and under which name."""


class Monitor:
    """Writes each event to ``train.jsonl`` and TensorBoard, and drives the progress bar.

    Args:
        folder: the experiment's folder.
        first_epoch: the epoch (from 1) that comes first; events of it and of later ones, left by a run that was
            stopped, are dropped.
        first_step: the steps that are done; those of the first epoch are kept.
        total_steps: steps of the whole training, for the progress bar.
    """

    def __init__(self, folder: Path, *, first_epoch: int, first_step: int, total_steps: int) -> None:
        self._log_path, self._events = folder / "train.jsonl", folder / "tensorboard"
        drop_from(self._log_path, first_epoch, first_step)
        self._log = self._log_path.open("a", encoding="utf-8")
        with _one_report(), naming(self._events):
            keep_in_order(self._events)
            self._board = SummaryWriter(str(self._events), purge_step=first_step + 1)
        self._bar = tqdm(total=total_steps, initial=first_step, unit="step", desc="train", dynamic_ncols=True)
        self._open = ExitStack()

    def __enter__(self) -> Monitor:
        self._open.enter_context(self._log)
        self._open.callback(self._close_board)
        self._open.callback(self._bar.close)
        self._open.enter_context(_one_report())
        return self

    def _close_board(self) -> None:
        with naming(self._events):
            self._board.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self._log_path):  # which tries once more to write what did not fit
            self._open.close()

    def start(self, facts: Mapping[str, str]) -> None:
        """Log what holds for all that follows, such as the hardware."""
        self._write({"event": "start", **facts})

    def advance(self, num_steps: int = 1) -> None:
        """Move the progress bar; the time left that it shows follows from it."""
        self._bar.update(num_steps)

    def step(self, step: int, values: Mapping[str, float | int]) -> None:
        """Log a step and show it on the bar."""
        self._write({"event": "step", "step": step, **values})
        shown = ("loss", "distill_loss", "accuracy", "lr", "margin", "curvature", "crops_per_s")
        self._curves("train", step, {key: values[key] for key in shown if key in values})
        self._bar.set_postfix_str(_postfix(values))

    def epoch(self, step: int, values: Mapping[str, float | int]) -> None:
        """Log an epoch."""
        self._write({"event": "epoch", "step": step, **values})
        self._curves("epoch", step, values)
        with naming(self._events):
            self._board.flush()

    def _curves(self, group: str, step: int, values: Mapping[str, float | int]) -> None:
        """Add a point to each curve."""
        with naming(self._events):
            for key, value in values.items():
                self._board.add_scalar(_tag(group, key), value, step)

    def _write(self, record: Mapping[str, Any]) -> None:
        """Append a line."""
        with naming(self._log_path):
            self._log.write(json.dumps({k: _json_number(v) for k, v in record.items()}) + "\n")
            self._log.flush()


class Silence(Monitor):
    """What the processes after the first one write and show: nothing."""

    def __init__(self, folder: Path, *, first_epoch: int, first_step: int, total_steps: int) -> None:
        """Open no file."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, facts: Mapping[str, str]) -> None:
        """Say nothing."""

    def advance(self, num_steps: int = 1) -> None:
        """Show nothing."""

    def step(self, step: int, values: Mapping[str, float | int]) -> None:
        """Write nothing."""

    def epoch(self, step: int, values: Mapping[str, float | int]) -> None:
        """Write nothing."""


def _tag(group: str, key: str) -> str:
    """The name of a curve; TensorBoard shows them in the order of their names."""
    return key if key.startswith("diag/") else f"{FIRST.get(key, key)}/{group}"


@contextmanager
def _one_report() -> Iterator[None]:
    """TensorBoard writes in a thread and hands its error on; the thread's own traceback would be a second report."""
    before = threading.excepthook

    def _hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            before(args)

    threading.excepthook = _hook
    try:
        yield
    finally:
        threading.excepthook = before


def drop_from(path: Path, epoch: int, step: int = 0) -> None:
    """Remove the lines of ``epoch`` after ``step`` and later ones, and a last line that was cut off; in one move.

    Raises:
        DataError: if another line is damaged; then the file stays as it is.
    """
    if not path.exists():
        return
    kept, lines = [], path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            own, place = int(record.get("epoch", 0)), int(record.get("step", 0))
        except (ValueError, TypeError, AttributeError):
            if number == len(lines):
                break
            raise DataError(
                f"{path}:{number}: expected an event of the training in JSON, found something else; remove that line "
                "or put back a copy of the file, and go on with --resume"
            ) from None
        if own < epoch or (own == epoch and record.get("event") == "step" and place <= step):
            kept.append(line.decode() + "\n")
    write_text(path, "".join(kept))


def _json_number(value: Any) -> Any:
    """JSON has no NaN: such a value is written as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _postfix(values: Mapping[str, float | int]) -> str:
    """The bar's text."""
    shown = {"loss": ".3f", "accuracy": ".1%", "lr": ".2e", "margin": ".2f", "crops_per_s": ".0f"}
    names = {"accuracy": "acc", "crops_per_s": "crops/s"}
    return " ".join(f"{names.get(k, k)} {values[k]:{form}}" for k, form in shown.items() if k in values)
