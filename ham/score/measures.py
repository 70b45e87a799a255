"""Scores of trials from a table of embeddings: cosine, or the negative of a distance.

A score is always higher for "same speaker". Trials are taken in blocks, so that memory does not grow with the length
of the list, and row by row, so that a score depends on its own trial only.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.errors import SHOWN, DataError

BLOCK = 512
"""Trials scored at once: 2 x 512 x 192 float64 are 1.6 MB, which stays in the processor's cache."""

ROW_BLOCK = 1024
"""Embeddings normalised at once, for the same reason."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""Row by row: ``(B, D)`` and ``(B, D)`` give ``(B,)``, each at least 0."""


@dataclass(frozen=True)
class EmbeddingTable:
    """The embeddings of many utterances, one row each.

    Attributes:
        utts: utterance ids, no two alike.
        embeddings: as they leave the backbone, float32, shape ``(N, D)``, all finite.
        place: the file they come from, for error messages.
    """

    utts: tuple[str, ...]
    embeddings: NDArray[np.float32]
    place: str = "embeddings"
    _row: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.utts):
            found = f"{len(self.utts)} ids and an array of shape {self.embeddings.shape}"
            raise DataError(f"{self.place}: expected one row of numbers an utterance, found {found}")
        self._row.update({utt: row for row, utt in enumerate(self.utts)})
        if len(self._row) != len(self.utts):
            twice = [utt for row, utt in enumerate(self.utts) if self._row[utt] != row]
            raise DataError(f"{self.place}: expected one embedding an utterance, found several for {_some(twice)}")
        bad = np.flatnonzero(~np.isfinite(self.embeddings).all(axis=1))
        if len(bad):
            found = f"NaN or infinity in those of {_some([self.utts[row] for row in bad])}"
            raise DataError(f"{self.place}: expected finite embeddings, found {found}; did the training diverge?")

    def rows(self, utts: Sequence[str], wanted_by: str = "the trial list") -> NDArray[np.int64]:
        """Look up where utterances are.

        Args:
            utts: utterance ids, in any order, as often as wanted.
            wanted_by: what needs them, for the error message.

        Returns:
            The row of each, shape ``(len(utts),)``.

        Raises:
            DataError: if an utterance has no embedding; nothing is ever left out.
        """
        try:
            return np.fromiter((self._row[utt] for utt in utts), np.int64, len(utts))
        except KeyError:
            missing = list(dict.fromkeys(utt for utt in utts if utt not in self._row))
            cure = "extract the embeddings again (stage 5)"
            raise DataError(f"{self.place}: {wanted_by} needs the embedding of {_some(missing)}; {cure}") from None


def with_models(
    table: EmbeddingTable, models: Mapping[str, Sequence[str]], unit: bool, wanted_by: str = "the trial list"
) -> EmbeddingTable:
    r"""Add a row for each enrolment model: the mean of its recordings' embeddings.

    .. math:: m = \frac1n \sum_i \frac{x_i}{|x_i|} \;\text{(unit)} \quad\text{or}\quad m = \frac1n \sum_i x_i

    The cosine takes the mean of directions, so that each recording counts the same. A hyperbolic distance takes the
    mean of the embeddings as they left the backbone, before the loss clips and maps them: where the map is the
    exponential one they are tangent vectors at the origin, and this is the log-Euclidean mean there.

    Args:
        table: the embeddings.
        models: the recordings of each model, at least one.
        unit: whether each recording is scaled to length 1 first.
        wanted_by: what needs them, for the error message.

    Returns:
        A table that holds the models too, in place of rows that had their names; the same table if there are none.

    Raises:
        DataError: if a recording has no embedding, or one of zeros where a direction is needed.
    """
    if not models:
        return table
    means = np.empty((len(models), table.embeddings.shape[1]), np.float32)
    for position, utts in enumerate(models.values()):
        rows = table.embeddings[table.rows(utts, wanted_by)].astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if unit and not lengths.all():
            zero = [utt for utt, length in zip(utts, lengths[:, 0], strict=True) if length == 0]
            raise DataError(f"{table.place}: expected a direction, found an embedding of zeros for {_some(zero)}")
        means[position] = (rows / lengths if unit else rows).mean(axis=0)
    kept = [row for row, utt in enumerate(table.utts) if utt not in models]
    utts = (*(table.utts[row] for row in kept), *models)
    return EmbeddingTable(utts, np.concatenate([table.embeddings[kept], means]), table.place)


def _some(utts: Sequence[str]) -> str:
    more = f" and {len(utts) - SHOWN} more" if len(utts) > SHOWN else ""
    return ", ".join(utts[:SHOWN]) + more


def read_embeddings(path: Path) -> EmbeddingTable:
    """Read ``embeddings.npz``: ``utts`` (N,) and ``embeddings`` (N, D).

    Args:
        path: the file.

    Returns:
        The checked table.

    Raises:
        DataError: if the file is missing, is something else, names an utterance twice, or holds NaN or infinity.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            utts, embeddings = arrays["utts"], arrays["embeddings"]
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected embeddings, found nothing; run stage 5 with the same --backends") from error
    except (KeyError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        expected = "expected a .npz file with 'utts' and 'embeddings'"
        raise DataError(f"{path}: {expected}, found something else; extract it again (stage 5)") from error
    if utts.ndim != 1 or utts.dtype.kind != "U" or embeddings.dtype.kind != "f":
        found = f"{utts.dtype} {utts.shape} and {embeddings.dtype} {embeddings.shape}"
        raise DataError(f"{path}: expected 'utts' (N,) of text and 'embeddings' (N, D) of numbers, found {found}")
    return EmbeddingTable(tuple(utts.tolist()), embeddings.astype(np.float32, copy=False), str(path))


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
        raise DataError(f"{table.place}: expected a direction, found an embedding of zeros for {_some(bad)}")
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
