"""The code of a page of docs/, for tests that run it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[1] / "docs"


def code_blocks(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def load(name: str, path: Path) -> ModuleType:
    """A module from a file that lies anywhere, under a name; the caller takes it out of ``sys.modules``."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def with_entry(table: Path, imported: str) -> str:
    """The text of a table of names with an import more, and what it imports as the last line of ``_CLASSES``."""
    before, schema, after = table.read_text(encoding="utf-8").partition("from ham.schema")
    classes, end, rest = after.partition("\n)\n")
    assert schema
    assert end
    return f"{before}{imported}{schema}{classes}\n    {imported.split()[-1]},{end}{rest}"
