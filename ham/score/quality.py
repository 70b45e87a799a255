"""Quality measures of recordings that a calibration may weigh beside the score: duration, length, radius."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.score.measures import Distance, distance_scores

Rows = NDArray[np.int64]


def quality_columns(
    name: str, values: NDArray[np.floating[Any]], enrol: Rows, test: Rows, *, ratio: bool = False
) -> dict[str, Any]:
    """Columns of a quality measure: the lesser and the greater of the two sides.

    A score does not depend on which side is which, and so neither do these; a weighted sum of them can be the sum of
    the two sides and their absolute difference, but not their ratio.

    Args:
        name: the measure's.
        values: of each utterance, by row of the embeddings' table, shape ``(N,)``.
        enrol: row of each trial's enrolment side.
        test: row of each trial's test side.
        ratio: whether the greater divided by the lesser is a column too.

    Returns:
        ``<name>/lesser``, ``<name>/greater`` and, where wanted, ``<name>/ratio``, shape ``(M,)``.
    """
    lesser, greater = (choose(values[enrol], values[test]) for choose in (np.minimum, np.maximum))
    found = {f"{name}/lesser": lesser, f"{name}/greater": greater}
    if ratio:
        with np.errstate(divide="ignore", invalid="ignore"):  # a calibration refuses what is not finite
            found[f"{name}/ratio"] = greater / lesser
    return found


def durations(table: EmbeddingTable, utt2dur: Mapping[str, float], rows: Rows) -> NDArray[np.float64]:
    """Durations in seconds by row of a table.

    Args:
        table: the embeddings.
        utt2dur: durations in seconds.
        rows: rows of the table whose duration is wanted, repeated or not.

    Returns:
        Shape ``(N,)``, NaN in the other rows.

    Raises:
        DataError: if an utterance that is wanted has no duration above 0.
    """
    found = np.full(len(table.utts), math.nan)
    wanted = np.unique(rows)
    found[wanted] = [utt2dur.get(table.utts[row], math.nan) for row in wanted]
    bad = wanted[~(found[wanted] > 0)]
    if len(bad):
        utt = table.utts[bad[0]]
        raise DataError(f"{table.place}: expected a duration above 0 s for {utt}, found {utt2dur.get(utt, 'none')}")
    return found


def embedding_norms(table: EmbeddingTable) -> NDArray[np.float64]:
    """Euclidean length of each embedding as it leaves the backbone.

    Args:
        table: the embeddings.

    Returns:
        Shape ``(N,)``.
    """
    squares: NDArray[np.float64] = np.einsum("nd,nd->n", table.embeddings, table.embeddings, dtype=np.float64)
    return np.sqrt(squares)


def hyperbolic_radii(table: EmbeddingTable, distance: Distance) -> NDArray[np.float64]:
    """Hyperbolic distance of each embedding from the origin, which the embedding 0 is mapped to.

    Args:
        table: the embeddings.
        distance: row by row, as :func:`ham.score.measures.distance_scores` takes it.

    Returns:
        Shape ``(N,)``.

    Raises:
        DataError: if a distance is not finite.
    """
    rows = np.arange(len(table.utts))
    return -distance_scores(table, rows, rows, lambda x, _: distance(x, torch.zeros_like(x))).astype(np.float64)
