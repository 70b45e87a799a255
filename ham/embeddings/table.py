"""Tables of embeddings in memory and on disk: ``embeddings.npz`` and its kin, Kaldi's archives, CSV, Parquet."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ham.errors import SHOWN, ConfigError, DataError
from ham.files import replacing


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
            raise DataError(f"{self.place}: expected one embedding an utterance, found several for {first_few(twice)}")
        bad = np.flatnonzero(~np.isfinite(self.embeddings).all(axis=1))
        if len(bad):
            found = f"NaN or infinity in those of {first_few([self.utts[row] for row in bad])}"
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
            raise DataError(f"{self.place}: {wanted_by} needs the embedding of {first_few(missing)}; {cure}") from None


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
            raise DataError(f"{table.place}: expected a direction, found an embedding of zeros for {first_few(zero)}")
        means[position] = (rows / lengths if unit else rows).mean(axis=0)
    kept = [row for row, utt in enumerate(table.utts) if utt not in models]
    utts = (*(table.utts[row] for row in kept), *models)
    return EmbeddingTable(utts, np.concatenate([table.embeddings[kept], means]), table.place)


def first_few(utts: Sequence[str]) -> str:
    """The first names of a list and how many more there are, for messages."""
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


def write_embeddings(
    path: Path,
    utts: Sequence[str],
    embeddings: NDArray[np.float32],
    source: str = "",
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write ``embeddings.npz`` (``utts`` (N,), ``embeddings`` (N, D) float32), in place only when complete.

    Args:
        path: the file.
        utts: utterance ids.
        embeddings: a row of each.
        source: what they were made from; :func:`read_source` gives it back.
        extra: further arrays by name.
    """
    arrays = {"utts": np.array(utts), "embeddings": embeddings.astype(np.float32), "source": np.array(source)}
    with replacing(path) as part, part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, **(extra or {}))


def read_source(path: Path) -> str | None:
    """What the embeddings of a file were made from.

    Args:
        path: the file.

    Returns:
        What :func:`write_embeddings` was given; None if there is no file, or one that is damaged or does not say.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays["source"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write_table(path: Path, utts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
    """Write embeddings in the format that the file's ending names, in place only when complete.

    - ``.npz``: :func:`write_embeddings`.
    - ``.ark``: Kaldi's, with ``.scp`` beside it, which names the archive by its absolute path.
    - ``.csv``: a line of heads ``utt,e0,e1,...``, then one for each utterance, nine significant digits.
    - ``.parquet``: columns ``utt`` (text) and ``embedding`` (list of D float32).

    Args:
        path: the file; its folder is made where needed.
        utts: utterance ids.
        embeddings: a row of each, shape ``(N, D)``.

    Raises:
        ConfigError: if the ending is another one, or a package that its format needs is missing.
        DataError: if the format cannot hold the path or an id.
    """
    check_format(path)
    _WRITERS[path.suffix](path.absolute(), utts, embeddings.astype(np.float32, copy=False))


def read_table(path: Path) -> EmbeddingTable:
    """Read embeddings in the format that the file's ending names, as :func:`write_table` writes them.

    Args:
        path: the file; of Kaldi's two the archive, since lines of an ``.scp`` may be commands.

    Returns:
        The checked table.

    Raises:
        ConfigError: as :func:`write_table`.
        DataError: if the file is missing, is something else, names an utterance twice, or holds NaN or infinity.
    """
    check_format(path)
    if path.suffix == ".npz":
        return read_embeddings(path)
    try:
        utts, rows = _READERS[path.suffix](path)
        return EmbeddingTable(tuple(utts), np.array(rows, np.float32), str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected embeddings, found nothing; is it the right path?") from error
    except (ValueError, TypeError, KeyError, StopIteration) as error:
        raise DataError(f"{path}: expected embeddings as write_table writes them, found something else") from error


def check_format(path: Path) -> None:
    """Refuse a file that :func:`write_table` cannot write, before there is anything to write.

    Args:
        path: the file.

    Raises:
        ConfigError: if its ending is unknown or pyarrow is missing.
        DataError: if Kaldi's specifiers cannot hold the path.
    """
    if path.suffix not in _WRITERS:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(_WRITERS)}, found '{path.suffix}'")
    if path.suffix == ".parquet":
        _parquet()
    if path.suffix == ".ark" and "," in str(path.absolute()):
        raise DataError(f"{path}: Kaldi's specifiers cannot hold a comma; choose another folder for the format ark")


def _parquet() -> Any:
    try:
        import pyarrow.parquet  # an extra
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install pyarrow") from None
    return pyarrow


def _write_npz(path: Path, utts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
    write_embeddings(path, utts, embeddings)


def _write_ark(path: Path, utts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
    import kaldiio  # only whoever asks for this format needs it

    if blank := [utt for utt in utts if not utt or any(map(str.isspace, utt))]:
        raise DataError(f"{path}: Kaldi's ids cannot hold white space, as '{blank[0]}' does; choose another format")
    with replacing(path.with_suffix(".scp")) as index, replacing(path) as part:
        with kaldiio.WriteHelper(f"ark,scp:{part},{index}") as writer:
            for utt, row in zip(utts, embeddings, strict=True):
                writer(utt, row)
        index.write_text(index.read_text(encoding="utf-8").replace(f" {part}:", f" {path}:"), encoding="utf-8")


def _write_csv(path: Path, utts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["utt", *(f"e{at}" for at in range(embeddings.shape[1]))])
        writer.writerows([utt, *map("{:.9g}".format, row)] for utt, row in zip(utts, embeddings.tolist(), strict=True))


def _write_parquet(path: Path, utts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
    arrow = _parquet()
    rows = arrow.FixedSizeListArray.from_arrays(arrow.array(embeddings.ravel()), embeddings.shape[1])
    with replacing(path) as part:
        arrow.parquet.write_table(arrow.table({"utt": list(utts), "embedding": rows}), part)


def _read_ark(path: Path) -> tuple[Sequence[str], Sequence[NDArray[np.float32]]]:
    import kaldiio

    with path.open("rb") as stream:
        try:
            utts, rows = zip(*kaldiio.load_ark(stream), strict=True)
        except (OSError, RuntimeError) as error:  # what kaldiio raises of files that are no archives
            raise ValueError(str(error)) from error
    return utts, rows


def _read_csv(path: Path) -> tuple[Sequence[str], Sequence[Sequence[float]]]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        if next(reader)[0] != "utt":
            raise ValueError("expected the head utt")
        lines = list(reader)
    return [line[0] for line in lines], [[float(number) for number in line[1:]] for line in lines]


def _read_parquet(path: Path) -> tuple[Sequence[str], Sequence[Sequence[float]]]:
    columns = _parquet().parquet.read_table(path).to_pydict()
    return columns["utt"], columns["embedding"]


_WRITERS: Mapping[str, Callable[[Path, Sequence[str], NDArray[np.float32]], None]] = {
    ".npz": _write_npz,
    ".ark": _write_ark,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
_READERS: Mapping[str, Callable[[Path], tuple[Sequence[str], Any]]] = {
    ".ark": _read_ark,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}

FORMATS = tuple(suffix[1:] for suffix in _WRITERS)
"""What :func:`write_table` can write, by the file's ending."""
