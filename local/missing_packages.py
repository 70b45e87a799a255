"""Print the packages of requirement files that this Python lacks or has in another version, on one line.

    python local/missing_packages.py FILE...

Runs in a new virtual environment, so only the standard library and what pip brings are used.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement  # part of every environment that can install


def missing(files: list[str]) -> list[str]:
    """The requirements of the files that are not met."""
    found = []
    for name in files:
        for line in Path(name).read_text(encoding="utf-8").splitlines():
            text = line.partition("#")[0].strip()
            if text and not is_met(Requirement(text)):
                found.append(text.partition(";")[0].strip())
    return found


def is_met(requirement: Requirement) -> bool:
    """Whether a requirement concerns this Python and is installed."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    print(*missing(sys.argv[1:]))
