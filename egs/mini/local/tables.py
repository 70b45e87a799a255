"""The text files of `mini`: training list, trial lists, and the tables that tell the hierarchy exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from plan import HEARD_STREAM, TRIALS_STREAM, Request, Speaker
from trials import Recordings, make_trials, nontarget_blocks, target_blocks
from voices import Session, Voice


def write_lists(speakers: Sequence[Speaker], root: Path, request: Request) -> None:
    """Write the training list and both trial lists.

    Args:
        speakers: the plan.
        root: the corpus's folder.
        request: seed and counts.
    """
    recordings = {s.name: s.paths(request.num_utterances) for s in speakers}
    train = [s.name for s in speakers if s.split == "train"]
    paths = {name: [path for session in recordings[name] for path in session] for name in train}
    if request.unequal:
        paths = _unequal(paths, np.random.default_rng((request.seed, HEARD_STREAM)))
    lines = [f"{name} {path}" for name in train for path in paths[name]]
    _write_lines(root / "splits" / "train_list.txt", lines)
    test: Recordings = {s.name: recordings[s.name] for s in speakers if s.split == "test"}
    cells = {s.name: s.cell for s in speakers}
    for index, (name, chosen) in enumerate((("all", None), ("hard", cells))):
        rng = np.random.default_rng((request.seed, TRIALS_STREAM, index))
        trials = make_trials(target_blocks(test), nontarget_blocks(test, chosen), rng)
        _write_lines(root / "trials" / f"{name}.txt", (f"{label} {enrol} {other}" for label, enrol, other in trials))


def write_tables(speakers: Sequence[Speaker], root: Path) -> None:
    """Write ``speakers.tsv`` and ``sessions.tsv``: the hierarchy and every parameter, one row each.

    Args:
        speakers: the plan.
        root: the corpus's folder.
    """
    voice_names, session_names = (
        [field.name for field in fields(kind)] for kind in (Voice, type(speakers[0].sessions[0]))
    )
    with_age = speakers[0].age is not None
    lines = ["\t".join(["speaker", "sex", "accent", "split", *["age"] * with_age, *voice_names])]
    lines += [
        "\t".join([s.name, s.sex, s.accent, s.split, *[str(s.age)] * with_age, *_cells(s.voice)]) for s in speakers
    ]
    _write_lines(root / "speakers.tsv", lines)
    lines = ["\t".join(["speaker", "session", *session_names])]
    lines += ["\t".join([s.name, f"s{i}", *_cells(x)]) for s in speakers for i, x in enumerate(s.sessions, 1)]
    _write_lines(root / "sessions.tsv", lines)


def _unequal(paths: Mapping[str, Sequence[str]], rng: np.random.Generator) -> dict[str, list[str]]:
    """Of each speaker the first utterances, from 2 to all, as many of few as of many on a logarithmic scale."""
    return {
        name: list(every[: round(min(2, len(every)) * (len(every) / min(2, len(every))) ** rng.uniform())])
        for name, every in paths.items()
    }


def _cells(row: Voice | Session) -> list[str]:
    """A dataclass's values as text; several numbers of one field are separated by commas."""
    values = (getattr(row, field.name) for field in fields(row))
    return [",".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
