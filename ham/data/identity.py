"""Which audio an experiment was made from, and how the audio that is there now differs from it.

The description that an experiment keeps holds digests (of the ids, the speakers, and the checksums of all recordings),
so that the same speech in another place, or packed again, counts as the same. The checksums themselves are kept beside
it, 4 bytes a recording, so that a message can name the recordings that differ.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ham.data.ids import lines_digest
from ham.data.store import ArrayStore
from ham.files import replacing

Identity = Mapping[str, int | str]
"""``utterances`` (how many), and digests: ``ids``, ``audio`` and, of training speech, ``speakers``."""

SUMS_FILE = "audio_crc32.npz"
"""The checksums of the recordings, in the experiment's folder, an array for each store."""


def identity(store: ArrayStore, utt2spk: Mapping[str, str] | None = None) -> dict[str, int | str]:
    """Describe what a store holds, wherever it lies; ``utt2spk`` is given where speakers matter."""
    ids, audio = store.digests
    found: dict[str, int | str] = {"utterances": len(store), "ids": ids, "audio": audio}
    if utt2spk is not None:
        found["speakers"] = lines_digest(utt2spk[utt] for utt in store.utts)
    return found


def changes(what: str, old: Identity, store: ArrayStore, new: Identity, sums: NDArray[np.uint32] | None) -> list[str]:
    """Say in words how audio differs from what was used.

    Args:
        what: its name: ``training``, ``noise (--musan)``.
        old: description of what was used.
        store: the audio now.
        new: its description.
        sums: checksums of what was used; None if they are lost.

    Returns:
        One clause for each difference, none if there is none.
    """
    if old == new:
        return []
    if old.get("ids") != new["ids"]:
        before, now = old.get("utterances"), new["utterances"]
        return [f"the {what} recordings changed: {before} -> {now}" if before != now else f"the {what} ids changed"]
    found = [] if old.get("speakers") == new.get("speakers") else [f"the speakers of the {what} recordings changed"]
    if old.get("audio") == new["audio"]:
        return found
    which = ""
    if sums is not None and len(sums) == len(store) and len(differ := np.flatnonzero(sums != store.sums)):
        which = f": {len(differ)} of {len(store)} recordings, first {store.utts[int(differ[0])]}"
    return [*found, f"the {what} audio changed{which}"]


def write_sums(folder: Path, stores: Mapping[str, ArrayStore]) -> None:
    """Keep the checksums of all recordings of an experiment, whose audio comes by name, in the experiment's folder."""
    arrays: dict[str, Any] = {name: np.array(store.sums) for name, store in stores.items()}
    with replacing(folder / SUMS_FILE) as part, part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_sums(folder: Path) -> dict[str, NDArray[np.uint32]]:
    """What :func:`write_sums` wrote, by name; nothing where the file is missing or damaged: messages then say less."""
    try:
        with np.load(folder / SUMS_FILE, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
