"""Marks on the folders that the recipe makes, so that only such folders are ever replaced or removed.

The mark is a hidden file. Its first line is the folder's name among those that are made together, so that a copy
elsewhere is nobody's but the user's; a line ``<CRC-32> <file>`` follows for each file that was written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ham.errors import DataError
from ham.files import crc32_of, write_text


def mark_name(stage: int) -> str:
    """Name of the file that says which stage of run.sh made a folder."""
    return f".made_by_stage_{stage}"


def write_mark(folder: Path, stage: int, name: str) -> None:
    """Mark a folder that was just written, and is complete.

    Args:
        folder: the folder.
        stage: of run.sh, that made it.
        name: what it is called among those that are made together, ``train`` or ``test/<root>/<list>``.
    """
    lines = [name, *(f"{crc32_of(folder / file):08x} {file}" for file in _files(folder))]
    write_text(folder / mark_name(stage), "".join(f"{line}\n" for line in lines))


def check_ours(folder: Path, stage: int, name: str, is_damaged: Callable[[Path], bool] = lambda _: False) -> None:
    """Refuse to replace or remove what the user may still want; nothing, and an empty folder, may be replaced.

    Args:
        folder: what would be replaced.
        stage: that would do it.
        name: as in :func:`write_mark`.
        is_damaged: whether changed files are of no use to anyone, and may be written again.

    Raises:
        DataError: if there is something that the stage did not write, or that was changed since.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if problem := _problem(folder, stage, name, is_damaged):
        raise DataError(f"{folder}: expected a folder that stage {stage} wrote, but {problem}")


def _problem(folder: Path, stage: int, name: str, is_damaged: Callable[[Path], bool]) -> str | None:
    mark = folder / mark_name(stage)
    if not folder.is_dir():
        return "it is a file; move it away"
    if not mark.is_file():
        return f"it lacks the mark {mark.name}; move it away, or remove it"
    owner, *lines = mark.read_text(encoding="utf-8").splitlines() or [""]
    written = {file: crc for crc, _, file in (line.partition(" ") for line in lines)}
    found = [file for file in _files(folder) if file != mark.name]
    if others := [file for file in found if file not in written]:
        return f"it also holds {others[0]!r}; move it away"
    if owner != name:
        return f"it is a copy of {owner!r}; move it away"
    changed = [file for file in found if f"{crc32_of(folder / file):08x}" != written[file]]
    if changed and not is_damaged(folder):
        return f"{changed[0]!r} was changed since; move it away, or remove it to have it written again"
    return None


def _files(folder: Path) -> list[str]:
    """All that is not a folder, by its path within, sorted."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )
