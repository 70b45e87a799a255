"""The trial lists of a corpus, found by name and read with their data directories."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ham.data.kaldi_dir import DataDir, Trials, read_data_dir, trial_dirs
from ham.data.trial_remarks import NO_RATES
from ham.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialList:
    """A trial list: its name, its data directory and the trials in it."""

    name: str
    data: DataDir
    trials: Trials

    @property
    def notes(self) -> tuple[str, ...]:
        """What its numbers cannot tell."""
        if self.trials.one_kind and not self.trials.notes:  # a data directory from elsewhere
            return (NO_RATES,)
        return self.trials.notes

    @property
    def num_speakers(self) -> int:
        """Speakers of both sides."""
        return len({*self.speakers(self.trials.enrol), *self.speakers(self.trials.test)})

    def speakers(self, utts: Sequence[str]) -> list[str]:
        """The speaker of each utterance or enrolment model.

        Args:
            utts: utterances of the data directory, or models of its trials.

        Returns:
            One speaker each.
        """
        models = self.trials.models
        return [self.data.utt2spk[models[utt][0] if utt in models else utt] for utt in utts]


def find_lists(data_dir: Path, wanted: Sequence[str]) -> list[str]:
    """Names of the trial lists to score.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        wanted: names ``<root>/<list>``, roots, or ``all``; several may share one word, separated by spaces or commas.

    Returns:
        Names ``<root>/<list>`` in sorted order.

    Raises:
        DataError: if there are no trial lists.
        ConfigError: if a name is not among them.
    """
    base = data_dir / "test"
    found = sorted(folder.relative_to(base).as_posix() for folder in trial_dirs(base))
    words = " ".join(wanted).replace(",", " ").split()
    chosen = {word: [name for name in found if word in ("all", name, name.split("/")[0])] for word in words}
    for word, names in chosen.items():
        if not names:
            raise ConfigError(f"--test_sets: unknown trial list {word!r}: expected all or some of {' '.join(found)}")
    return [name for name in found if any(name in names for names in chosen.values())]


def read_list(data_dir: Path, name: str) -> TrialList:
    """Read a trial list.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        name: ``<root>/<list>``.

    Returns:
        The list with its data directory.

    Raises:
        DataError: if the directory is damaged or has no trials.
    """
    data = read_data_dir(data_dir / "test" / name)
    if data.trials is None:
        raise DataError(f"{data.path}: expected the file trials, found none; prepare the data (stage 2)")
    return TrialList(name, data, data.trials)


def rated_lists(data_dir: Path, wanted: Sequence[str]) -> list[TrialList]:
    """Read the trial lists that have an error rate; those of one kind of trials are said and left out.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        wanted: as in :func:`find_lists`.

    Returns:
        The lists, sorted by their names.

    Raises:
        DataError: if none is left.
        ConfigError: if a name is not among the lists.
    """
    lists = [read_list(data_dir, name) for name in find_lists(data_dir, wanted)]
    kept = [trial_list for trial_list in lists if not trial_list.trials.one_kind]
    left_out = ", ".join(trial_list.name for trial_list in lists if trial_list not in kept)
    if not kept:
        raise DataError(f"{data_dir}/test: expected targets and non-targets, found one kind in {left_out}; add trials")
    if left_out:
        logger.info("left out, with trials of one kind and so no error rate: %s", left_out)
    return kept
