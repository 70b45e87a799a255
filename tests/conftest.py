"""What holds for all tests: one thread, since they run side by side with whatever else the machine does; and Ctrl-C.

A shell that runs the tests in the background has its children ignore Ctrl-C, and so would the commands that the tests
start and interrupt.
"""

from __future__ import annotations

import signal

import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
