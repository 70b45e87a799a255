"""TensorBoard's files in the order of their runs, whatever the clock said: a resumed run purges what it replaces.

TensorBoard reads the files of a folder in the order of their names, which begin with the second at which they were
made. A file of a resumed run says from which step on it replaces what was read before it; where the clock stands
earlier than it did, or in the same second, it would be read first and purge nothing, and be purged itself.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

NAME = re.compile(r"events\.out\.tfevents\.(\d+)\.(.*)")


def keep_in_order(folder: Path) -> None:
    """Rename the files that would come after one that is made now, so that they come before it in the same order."""
    before = int(time.time())
    for path in sorted(folder.glob("events.out.tfevents.*"), reverse=True):
        if found := NAME.fullmatch(path.name):
            before = min(int(found[1]), before - 1)
            if before != int(found[1]):
                path.rename(path.with_name(f"events.out.tfevents.{before:010d}.{found[2]}"))
