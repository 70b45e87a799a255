"""A command that is started while another program is at work in its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

import pytest

from ham.cli import run
from ham.files import lock_folder


def status_after_waiting(
    main: Callable[[Sequence[str]], None], arguments: Sequence[object], folder: Path, caplog: pytest.LogCaptureFixture
) -> int:
    """Run a command whose folder another program has locked; it must say that it waits, and go on when that has ended.

    Args:
        main: the command.
        arguments: its command line.
        folder: what is locked, and stays as it is meanwhile.
        caplog: what the command says.

    Returns:
        The command's exit status.
    """
    statuses: list[int] = []
    ours = Thread(target=lambda: statuses.append(run(main, [str(one) for one in arguments])))
    with lock_folder(folder, "another"), caplog.at_level("INFO"):
        before = sorted(folder.iterdir())
        ours.start()
        while "waits until another program has ended: another" not in caplog.text:
            assert ours.is_alive()
            time.sleep(0.01)
        assert sorted(folder.iterdir()) == before
    ours.join()
    return statuses[0]
