"""Scores of trials from a table of embeddings: cosine, or the negative of a distance.

A score is always higher for "same speaker". Trials are taken in blocks, so that memory does not grow with the length
of the list, and row by row, so that a score depends on its own trial only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.embeddings.table import EmbeddingTable, first_few
from ham.errors import DataError

BLOCK = 512
"""Trials scored at once: 2 x 512 x 192 float64 are 1.6 MB, which stays in the processor's cache."""

ROW_BLOCK = 1024
"""Embeddings normalised at once, for the same reason."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""Row by row: ``(B, D)`` and ``(B, D)`` give ``(B,)``, each at least 0."""


def cosine_scores(
    table: EmbeddingTable, enrol: NDArray[np.int64], test: NDArray[np.int64], block: int = BLOCK
) -> NDArray[np.float32]:
    r"""Cosine of the angle between the two embeddings of every trial.

    .. math:: s(x, y) = \frac{\langle x, y \rangle}{|x| |y|}

    Every utterance is normalised once, in float64, however many trials it is in.

    Args:
        table: the embeddings.
        enrol: row of each trial's enrolment side, shape ``(M,)``.
        test: row of each trial's test side, shape ``(M,)``.
        block: trials at once.

    Returns:
        Scores in -1..1 up to rounding, shape ``(M,)``.

    Raises:
        DataError: if an embedding is zero and so has no direction.
    """
    return _inner_products(_directions(table, np.union1d(enrol, test)), enrol, test, block)


def cosine_matrix(table: EmbeddingTable, enrol: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of every row of one side with every row of the other, from one matrix product.

    Args:
        table: the embeddings.
        enrol: rows, shape ``(M,)``.
        test: rows, shape ``(N,)``.

    Returns:
        Scores in -1..1 up to rounding, shape ``(M, N)``.

    Raises:
        DataError: if an embedding is zero and so has no direction.
    """
    unit = _directions(table, np.union1d(enrol, test))
    return unit[enrol] @ unit[test].T


def crop_scores(
    table: EmbeddingTable, crops: EmbeddingTable, enrol: Sequence[str], test: Sequence[str], wanted_by: str
) -> NDArray[np.float32]:
    r"""Mean of the full utterances' cosine and of the cosines between all crops of the two sides.

    .. math:: s(x, y) = \frac12 \cos(x, y) + \frac1{2 K^2} \sum_{i, j} \cos(x_i, y_j)

    The protocol of the released HAM-Softmax scripts for VoxCeleb1-O (K = 5 crops of 3 s). The mean over pairs of crops
    is the inner product of the mean directions, so that it costs one more cosine.

    Args:
        table: embeddings of full utterances.
        crops: of their crops, called ``<utt>/<number>``, the same number of each utterance.
        enrol: enrolment side of each trial.
        test: test side of each trial.
        wanted_by: what needs them, for error messages.

    Returns:
        Scores in -1..1 up to rounding, shape ``(M,)``.

    Raises:
        DataError: if an utterance has no embedding or no crops, or an embedding is zero.
    """
    names = list(dict.fromkeys((*enrol, *test)))
    full, (at, num_crops) = table.rows(names, wanted_by), _crop_rows(crops, names, wanted_by)
    whole = _directions(table, full)[full]
    parts = _directions(crops, at)[at].reshape(len(names), num_crops, -1).mean(axis=1, dtype=np.float64)
    both = np.concatenate([whole, parts.astype(np.float32)], axis=1) * np.float32(np.sqrt(0.5))
    row = {name: position for position, name in enumerate(names)}
    left, right = ([row[name] for name in side] for side in (enrol, test))
    return _inner_products(both, np.asarray(left, np.int64), np.asarray(right, np.int64), BLOCK)


def _crop_rows(crops: EmbeddingTable, names: Sequence[str], wanted_by: str) -> tuple[NDArray[np.int64], int]:
    """Rows of the crops of all utterances, those of one behind each other, and how many each has."""
    num_crops = sum(utt.rpartition("/")[0] == names[0] for utt in crops.utts)
    if not num_crops:
        raise DataError(f"{crops.place}: {wanted_by} needs crops of {names[0]}; extract them (stage 5, cosine+crops)")
    wanted = [f"{name}/{number + 1}" for name in names for number in range(num_crops)]
    return crops.rows(wanted, wanted_by), num_crops


def _inner_products(
    rows: NDArray[np.float32], enrol: NDArray[np.int64], test: NDArray[np.int64], block: int
) -> NDArray[np.float32]:
    scores = np.empty(len(enrol), dtype=np.float32)
    for start in range(0, len(enrol), block):
        part = slice(start, start + block)
        scores[part] = np.einsum("md,md->m", rows[enrol[part]], rows[test[part]])
    return scores


def _directions(table: EmbeddingTable, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of length 1, divided in float64; a row that is wanted must not be zero, which has no direction."""
    unit, zero = np.empty_like(table.embeddings), np.empty(len(table.utts), dtype=bool)
    for start in range(0, len(unit), ROW_BLOCK):
        part = slice(start, start + ROW_BLOCK)
        rows = table.embeddings[part].astype(np.float64)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        zero[part] = norm[:, 0] == 0
        unit[part] = rows / np.where(norm == 0, 1, norm)
    bad = [table.utts[row] for row in wanted[zero[wanted]]]
    if bad:
        raise DataError(f"{table.place}: expected a direction, found an embedding of zeros for {first_few(bad)}")
    return unit


def distance_scores(
    table: EmbeddingTable,
    enrol: NDArray[np.int64],
    test: NDArray[np.int64],
    distance: Distance,
    block: int = BLOCK,
) -> NDArray[np.float32]:
    """Negative distance between the two embeddings of every trial, computed in float64.

    Args:
        table: the embeddings, given to ``distance`` as they left the backbone.
        enrol: row of each trial's enrolment side, shape ``(M,)``.
        test: row of each trial's test side, shape ``(M,)``.
        distance: row by row distance, for instance ``loss.distance`` of a hyperbolic loss.
        block: trials at once.

    Returns:
        Scores, at most 0, shape ``(M,)``.

    Raises:
        DataError: if a distance is not finite.
    """
    embeddings = torch.from_numpy(table.embeddings).double()
    scores = np.empty(len(enrol), dtype=np.float32)
    with torch.inference_mode(), _one_thread():
        for start in range(0, len(enrol), block):
            left, right = (torch.from_numpy(side[start : start + block]) for side in (enrol, test))
            scores[start : start + block] = -distance(embeddings[left], embeddings[right]).numpy()
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        pair = f"{table.utts[enrol[bad[0]]]} and {table.utts[test[bad[0]]]}"
        raise DataError(f"{table.place}: expected finite distances, found {scores[bad[0]]:g} between {pair}")
    return scores


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small blocks gain nothing from threads; on a busy machine they wait for each other and lose a factor of 10."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
