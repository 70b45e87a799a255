"""The parts of a step of training, by the names that the profile and the benchmarks show."""

from __future__ import annotations

from collections.abc import Callable

PARTS = ("waiting", "copy", "augment", "features", "backbone", "loss", "optimiser")
"""In their order; backbone and loss with their ways back, speeds within ``augment``. With a teacher there is
one more, ``teacher``."""

Enter = Callable[[str], None]
"""What is called at the beginning of each part."""


def unwatched(part: str) -> None:
    """Stands where nobody measures the parts."""
