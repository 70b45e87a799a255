"""Trial lists and models of a root, as people write them.

A line of ``trials/<list>.txt`` has a label and two names, a path relative to ``wav/`` each; the first may be a model of
``enrol/<list>.txt``, lines ``<model> <path> [<path> ...]``. The form is found from the content:

=========================  ===========================================
form                       line
=========================  ===========================================
label first (VoxCeleb)     ``1|0 <enrol> <test>``
label last                 ``<enrol> <test> 1|0``
word last (Kaldi)          ``<enrol> <test> target|nontarget``
word first                 ``target|nontarget <enrol> <test>``
=========================  ===========================================

All lines of a file have one form. Fields are apart by white space, a tab, a comma or a semicolon, and may be in quotes;
a name may hold such characters where only one reading of the line names files that there are. Empty lines and a
heading (``label,enrol,test``) are left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ham.data.names import Spellings, halves, plain_word, quoted, unquoted
from ham.data.text_lines import numbered_lines, raise_all
from ham.data.trial_remarks import Recording, refusals, remarks
from ham.data.trials import Trials, label_problems, model_problem
from ham.errors import DataError
from ham.prepare.roots import Root, missing

logger = logging.getLogger(__name__)

_DIGITS = {"0": 0, "1": 1}
_WORDS = {"nontarget": 0, "target": 1}
_FIRST = re.compile(r"\s*([\"']?)(?P<label>\w+)\1(?:\s*[\t,;]\s*|\s+)(?P<rest>.*)", re.DOTALL)
_LAST = re.compile(r"(?P<rest>.*?)(?:\s*[\t,;]\s*|\s+)([\"']?)(?P<label>\w+)\2\s*", re.DOTALL)
_HEADING = re.compile(
    r"(is_?)?(labels?|targets?|key|same(_?speaker)?)"
    r"|((enrol\w*|test|model|reference|trial|utt|utterance|segment|speaker|wav|audio|file|path)[12ab]?"
    r"([_-]?(path|file|wav|audio|utt|id|name|model|[12ab]))*)"
)
_LOOKED_AT = 1000  # lines in which the form is looked for: of a list that names no file of the root, all fail


@dataclass(frozen=True)
class Form:
    """A form of trial lists: its name, what a line of it looks like, and where which label stands."""

    name: str
    line: str
    is_first: bool
    labels: Mapping[str, int]

    def parts(self, line: str) -> tuple[int, str] | None:
        """The label of a line and the rest of it; None if the label does not stand there."""
        found = (_FIRST if self.is_first else _LAST).fullmatch(line)
        return (self.labels[found["label"]], found["rest"]) if found and found["label"] in self.labels else None


FORMS = (
    Form("label first", "1|0 <path> <path>", True, _DIGITS),
    Form("label last", "<path> <path> 1|0", False, _DIGITS),
    Form("target|nontarget last", "<path> <path> target|nontarget", False, _WORDS),
    Form("target|nontarget first", "target|nontarget <path> <path>", True, _WORDS),
)
"""The forms that are known; the first is the recipe's own."""


@dataclass(frozen=True)
class _Names:
    """The ids of what a list may name on its two sides."""

    root: Root
    models: Mapping[str, str]
    spellings: Spellings

    def enrol(self, text: str) -> str | None:
        """The id of a model or file that a line means on its left side; None if there is none."""
        model = text if text in self.models else self.spellings.find(text)
        return self.models[model] if model is not None else self.test(text)

    def test(self, text: str) -> str | None:
        """The id of a file that a line means on its right side; None if there is none."""
        file = self.root.find(text)
        return None if file is None else self.root.utts[file]


def read_trial_list(root: Root, path: Path) -> Trials:
    """Read a trial list of a root and its models; every line becomes a trial, repeated ones too.

    Args:
        root: the root whose files the list names.
        path: the list; ``enrol/<same name>`` of the root holds its models, if there are any.

    Returns:
        The trials with the ids of utterances and models.

    Raises:
        DataError: if a line has another form or names a file that is not there, if a repeated trial changes its
            label, or if a model is not what it should be.
    """
    models = _read_models(root, root.models_of(path))
    ids = {name: f"{root.name}-{plain_word(name)}" for name in models}
    names = _Names(root, ids, Spellings(ids))
    lines = list(numbered_lines(path))
    if lines and _is_heading(lines[0][1]):
        del lines[0]
    rows = _rows(path, lines, names)
    recordings = {ids[name]: tuple(root.utts[file] for file in files) for name, files in models.items()}
    labels = np.array([label for _, _, label in rows], dtype=np.int8)
    trials = Trials(
        tuple(row[0] for row in rows), tuple(row[1] for row in rows), labels, dict(sorted(recordings.items()))
    )
    raise_all(label_problems(path, trials, [number for number, _ in lines]))
    return trials


def with_remarks(root: Root, place: str, trials: Trials) -> Trials:
    """Warn of what a list cannot tell, and note it.

    Args:
        root: the root whose utterances they are.
        place: the list, for the message.
        trials: its trials.

    Returns:
        The trials with their notes.

    Raises:
        DataError: if they can tell nothing at all.
    """
    recordings = {}
    for file, utt in root.utts.items():
        speaker = root.speaker(file)
        recordings[utt] = Recording(root.speakers[speaker], root.session(file), root.sexes.get(speaker))
    raise_all([f"{place}: {problem}" for problem in refusals(trials, recordings)])
    notes = remarks(trials, recordings)
    if notes:
        logger.warning("%s: %s", place, "; ".join(notes))
    return replace(trials, notes=tuple(notes))


def _is_heading(line: str) -> bool:
    """Whether a first line names columns, each of its three words by a usual name of one."""
    words = [unquoted(word).lower() for word in re.split(r"[\s,;]+", line.strip())]
    return len(words) == 3 and all(map(_HEADING.fullmatch, words))


def _rows(path: Path, lines: Sequence[tuple[int, str]], names: _Names) -> list[tuple[str, str, int]]:
    """The trials, each the ids of its two sides and its label."""
    if not lines:
        raise DataError(f"{path}: is empty; list the trials, or remove it")
    form, first = _form(lines, names)
    rows, problems = [], []
    for number, line in lines:
        row = _row(form, line, names)
        if row is None:
            problems.append(f"{path}:{number}: {_problem(form, first, line, names)}")
        else:
            rows.append(row)
    raise_all(problems)
    logger.info("%s: %d trials, %s", path, len(rows), form.name)
    return rows


def _form(lines: Sequence[tuple[int, str]], names: _Names) -> tuple[Form, int]:
    """The form of the first line that can be read in one, or that looks like one, and that line's number."""
    looked_at = lines[:_LOOKED_AT]
    for number, line in looked_at:
        for form in FORMS:
            if _row(form, line, names) is not None:
                return form, number
    return next(((form, number) for number, line in looked_at for form in FORMS if form.parts(line)), (FORMS[0], 0))


def _row(form: Form, line: str, names: _Names) -> tuple[str, str, int] | None:
    """The trial of a line; None if it has another form, names something else, or can be read in two ways."""
    fields = line.split()
    if len(fields) == 3 and form.labels.keys() & {fields[0 if form.is_first else 2]}:
        one, other, word = (*fields[1:], fields[0]) if form.is_first else fields
        utts, models = names.root.utts, names.models
        if other in utts and (one in models or one in utts):
            return models.get(one) or utts[one], utts[other], form.labels[word]
    parts = form.parts(line)
    found = list(_readings(parts[1], names)) if parts else []
    return (*found[0], parts[0]) if parts and len(found) == 1 else None


def _readings(rest: str, names: _Names) -> Iterator[tuple[str, str]]:
    """The ways to read two names that there are."""
    for one, other in halves(rest):
        enrol, test = names.enrol(one), names.test(other)
        if enrol is not None and test is not None:
            yield enrol, test


def _problem(form: Form, first: int, line: str, names: _Names) -> str:
    """What is wrong with a line that :func:`_row` cannot read."""
    for other in FORMS:
        if other is not form and _row(other, line, names) is not None:
            return f"expected '{form.line}' as in line {first}, found '{other.line}'; write all lines alike"
    parts = form.parts(line)
    if parts is None:
        return _no_label(form, line)
    if len(list(_readings(parts[1], names))) > 1:
        return f"names that hold blanks or commas can be read in two ways in {quoted(line)}; put them in quotes"
    fields = next(iter(halves(parts[1])), None) if re.search(r"[\t,;]", parts[1]) else parts[1].split()
    if fields is None or len(fields) != 2:
        found = len(line.split())
        cure = "; names with blanks: separate the fields by tabs" if found > 3 else ""
        return f"expected '{form.line}', found {found} fields: {quoted(line)}{cure}"
    one, other_name = map(unquoted, fields)
    return missing(names.root, one if names.enrol(one) is None else other_name)


def _no_label(form: Form, line: str) -> str:
    fields = line.split()
    if len(fields) != 3:
        return f"expected '{form.line}', found {len(fields)} fields: {quoted(line)}"
    found = quoted(fields[0 if form.is_first else 2])
    one, zero = ("1", "0") if form.labels is _DIGITS else ("target", "nontarget")
    return f"expected the label {one} (same speaker) or {zero}, found {found}; write '{form.line}'"


def _read_models(root: Root, path: Path) -> dict[str, list[str]]:
    """The recordings of each model, paths relative to ``wav/``; nothing without the file."""
    if not path.exists():
        return {}
    speakers = {utt: root.speakers[root.speaker(file)] for file, utt in root.utts.items()}
    models, problems, ids = dict[str, list[str]](), [], dict[str, str]()
    for number, line in numbered_lines(path):
        name, *texts = _model_fields(root, line)
        files = [root.find(text) or text for text in texts]
        problem = _model_problem(root, name, files, speakers)
        other = ids.setdefault(plain_word(name), name)
        if problem is None and (name in models or other != name):
            problem = f"{quoted(other)} was there before; remove one" if name in models else _same_id(other, name)
        if problem:
            problems.append(f"{path}:{number}: {problem}")
        models.setdefault(name, files)
    raise_all(problems if models else [f"{path}: is empty; list the models, or remove it"])
    return models


def _same_id(one: str, other: str) -> str:
    return f"{quoted(one)} and {quoted(other)} would both be the model {plain_word(one)!r}; rename one"


def _model_fields(root: Root, line: str) -> list[str]:
    """The fields of a line of models: by white space or, where that names no files, by tabs, commas or semicolons."""
    ways = [line.split(), *([unquoted(field) for field in re.split(mark, line)] for mark in "\t,;" if mark in line)]
    for fields in ways:
        if len(fields) > 1 and all(root.find(field) is not None for field in fields[1:]):
            return fields
    return ways[0]


def _model_problem(root: Root, name: str, files: Sequence[str], speakers: Mapping[str, str]) -> str | None:
    if not files:
        return f"expected '<model> <path> [<path> ...]', found {quoted(name)}"
    if name in root.utts:
        return f"the model {quoted(name)} has the name of a file; rename it"
    if lacking := [file for file in files if file not in root.utts]:
        return missing(root, lacking[0])
    return model_problem(f"{root.name}-{plain_word(name)}", [root.utts[file] for file in files], speakers)
