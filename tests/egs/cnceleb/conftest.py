from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

LOCAL = Path(__file__).parents[3] / "egs" / "cnceleb" / "local"
sys.path.insert(0, str(LOCAL))


@pytest.fixture(scope="session")
def prepare() -> Callable[[Sequence[str]], None]:
    """``main`` of prepare.py, which the other corpora have too: it is loaded by its path, under a name of its own."""
    spec = importlib.util.spec_from_file_location("cnceleb_prepare", LOCAL / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[Sequence[str]], None] = module.main
    return main
