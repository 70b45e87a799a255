"""Embeddings for TensorBoard's projector: a run of their own beside the training's curves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from ham.errors import DataError, naming
from ham.files import replacing_folder

logger = logging.getLogger(__name__)

RUN = "projector"
"""The folder, and TensorBoard's name for the run."""

_CONFIG = "projector_config.pbtxt"  # by which TensorBoard knows such a folder

MOST_ROWS = 10_000
"""Points that the projector in a browser still turns smoothly; of more, that many are taken evenly."""


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run of the projector."""
    return (folder / _CONFIG).is_file()


def write_projector(
    board: Path, embeddings: NDArray[np.float32], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> Path:
    """Write the projector's files (``projector_config.pbtxt``, tensors, metadata), in place of older ones.

    Args:
        board: folder that TensorBoard reads, ``<experiment>/tensorboard``.
        embeddings: shape ``(N, D)``.
        columns: at least two names of what is known of an embedding.
        rows: for each embedding as many texts; without tabs and line breaks.

    Returns:
        The run's folder, ``<board>/projector``.

    Raises:
        DataError: if something else has that name.
    """
    chosen = list(range(len(embeddings)))
    if len(chosen) > MOST_ROWS:
        logger.info("%s: %d of %d embeddings, evenly taken", board / RUN, MOST_ROWS, len(embeddings))
        chosen = [at * len(embeddings) // MOST_ROWS for at in range(MOST_ROWS)]
    target = board / RUN
    if target.exists() and not is_run(target):
        raise DataError(f"{target}: expected a run with {_CONFIG} to replace, found something else; move it away")
    with naming(target), replacing_folder(target) as part, SummaryWriter(str(part)) as writer:
        writer.add_embedding(
            torch.from_numpy(np.ascontiguousarray(embeddings[chosen])),
            metadata=[list(rows[at]) for at in chosen],
            metadata_header=list(columns),
            tag="test",
        )
    return target
