"""Recordings of noise of many lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.data.store import ArrayStore, write_store


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3000, 30000, 21)
    items = [(f"u{i:02d}", rng.normal(0, 3000, n).astype(np.int16)) for i, n in enumerate(lengths)]
    write_store(tmp_path / "s", items, {"sample_rate": 16000})
    return ArrayStore(tmp_path / "s")
