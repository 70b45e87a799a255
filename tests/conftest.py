"""What holds for all tests: one thread, since they run side by side with whatever else the machine does; and Ctrl-C.

Tests marked ``gpu`` are skipped where there is no GPU.

A shell that runs the tests in the background has its children ignore Ctrl-C, and so would the commands that the tests
start and interrupt.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU"))
