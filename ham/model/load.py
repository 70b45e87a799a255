"""A trained system by its name: an experiment's folder, a model directory, or ``owner/name`` at the hub."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.embeddings.directions import unit_rows
from ham.embeddings.table import read_embeddings, read_source
from ham.errors import ConfigError, DataError
from ham.model.encoder import SpeakerEncoder
from ham.score.decisions import Decisions

HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?", re.ASCII)
"""``owner/name``, or ``owner/name@revision``: a branch, a tag or a commit."""


def load(model: Path | str, device: str = "auto") -> SpeakerEncoder:
    """Load a trained system, ready to embed speech and to compare speakers.

    Args:
        model: an experiment's folder (it has ``average.pt``), a model directory (``model.json``), or ``owner/name``,
            which is fetched from the hub unless the cache has it. A folder of that name comes first.
        device: where to embed: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The system.

    Raises:
        ConfigError: if there is no such model or device.
        HamError: if the model is damaged, naming the file.
    """
    folder = find(model)
    if (folder / "model.json").exists():
        from ham.model.directory import load_directory

        return load_directory(folder, device)
    return load_experiment(folder, device)


def find(model: Path | str) -> Path:
    """Find the folder of a model; one at the hub is fetched.

    Args:
        model: as :func:`load` takes it.

    Returns:
        A folder with ``model.json`` or ``average.pt``.

    Raises:
        ConfigError: if there is no such model.
        HamError: if it cannot be fetched.
    """
    folder = Path(model)
    if not folder.exists() and HUB_ID.fullmatch(str(model)):
        from ham.model.hub import fetch

        return fetch(str(model))
    if not (folder / "model.json").exists() and not (folder / "average.pt").exists():
        expected = "an experiment's folder (average.pt), a model directory (model.json) or owner/name at the hub"
        found = "one with neither" if folder.is_dir() else "a file" if folder.exists() else "nothing there"
        raise ConfigError(f"model {model}: expected {expected}, found {found}")
    return folder


def load_experiment(folder: Path, device: str = "auto") -> SpeakerEncoder:
    """Load the averaged model of an experiment, with the thresholds and the cohort that stages 5 and 6 left.

    Raises:
        HamError: if a file of it is damaged, naming the file.
    """
    encoder = SpeakerEncoder.load(folder, device)
    cohort = read_cohort(folder / "training" / "cohort.npz", encoder.fingerprint)
    return replace(encoder, decisions=read_decisions(folder / "results.json", encoder.fingerprint), cohort=cohort)


def read_decisions(path: Path, digest: str) -> Decisions | None:
    """The thresholds of the cosine that ``results.json`` holds, if they are of these weights.

    Args:
        path: the file.
        digest: of the weights.

    Returns:
        The thresholds; None if there is no file, or none in it, or others' ones.

    Raises:
        DataError: if the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, whose = content.get("decisions", {}).get("cosine"), content.get("fingerprint")
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError):
        raise DataError(f"{path}: expected results, found something else; score the trials again (stage 6)") from None
    decisions = None if found is None else Decisions.from_dict(found, str(path))
    return decisions if whose == digest else None


def read_cohort(path: Path, digest: str) -> NDArray[np.float32] | None:
    """The unit mean embeddings of training speakers that stage 5 left, if these weights made them.

    Args:
        path: ``cohort.npz``.
        digest: of the weights.

    Returns:
        Shape ``(S, D)``; None if there are none, or others' ones.
    """
    source = read_source(path)
    if source is None or source.split(" ")[0] != digest:
        return None
    return unit_rows(read_embeddings(path).embeddings, str(path)).astype(np.float32)
