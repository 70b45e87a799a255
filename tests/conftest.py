"""What holds for all tests: one thread, since they run side by side with whatever else the machine does."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
