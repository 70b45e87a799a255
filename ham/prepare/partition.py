"""The partition of speech into what is trained on and what is tested, given the roots for each.

Training takes a root's training list, or the ``train`` of its column ``split``, or without either every speaker that is
in no trial list of the root. A root without trial lists gets generated ones (trial_generation.py), over the ``test``
(without such: ``dev``) of its column ``split`` or the speakers that its training list does not name; where there is
neither and the root is for training too, a random fifth of its speakers (at least two; those with two utterances first)
becomes the test part. No speaker may be in both.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ham.data.names import extensions, plain_word
from ham.data.speech import Span
from ham.data.trial_generation import generate_trials
from ham.data.trials import Trials
from ham.errors import SHOWN, ConfigError, DataError, summarise
from ham.prepare.roots import Root, clashes, open_root, read_train_list, root_name
from ham.prepare.trial_list import read_trial_list, with_remarks
from ham.words import count

logger = logging.getLogger(__name__)

TEST_FRACTION = 0.2
"""Share of the speakers that is kept for testing where a root has neither a training list nor trial lists."""


@dataclass(frozen=True, eq=False)
class Subset:
    """The utterances of the training part or of a trial list.

    ``spans`` has those that are a part of their file; ``sessions`` is empty where the files' folders tell them.
    """

    wav: dict[str, Path]
    utt2spk: dict[str, str]
    trials: Trials | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)
    sessions: Mapping[str, str] = field(default_factory=dict)

    def without(self, utts: Collection[str]) -> Subset:
        """The subset without some utterances."""
        return replace(
            self,
            wav={utt: file for utt, file in self.wav.items() if utt not in utts},
            utt2spk={utt: spk for utt, spk in self.utt2spk.items() if utt not in utts},
            sessions={utt: session for utt, session in self.sessions.items() if utt not in utts},
        )


@dataclass(frozen=True, eq=False)
class Partition:
    """What is trained on, if anything, and the test lists by their names ``<root>/<list>``."""

    train: Subset | None
    tests: Mapping[str, Subset]

    @property
    def folders(self) -> dict[str, Subset]:
        """The subsets by the directories that they become, below the data folder."""
        tests = {f"test/{name}": subset for name, subset in self.tests.items()}
        return tests | ({"train": self.train} if self.train else {})

    @property
    def files(self) -> list[Path]:
        """The files of all subsets, each once."""
        return list(dict.fromkeys(file for subset in self.folders.values() for file in subset.wav.values()))


def make_partition(
    train_roots: Sequence[Path], test_roots: Sequence[Path], seed: int, unpacked: Path | None = None
) -> Partition:
    """Decide which utterances are trained on and which trials are tested; no audio is opened.

    Args:
        train_roots: the roots to train on.
        test_roots: the roots to test on; a root may be in both.
        seed: seed of generated trial lists and of the choice of test speakers.
        unpacked: where what shards hold may be unpacked.

    Returns:
        The partition, without a training part where all roots to train on say ``test`` in a column ``split``.

    Raises:
        ConfigError: if a root does not exist, or if two roots cannot be told apart.
        DataError: if there is nothing to train on or to test, if a root or one of its lists is not what the layout
            says, or if a speaker is in both the training part and a trial list.
    """
    roots = _open_roots([*train_roots, *test_roots], unpacked)
    train = [roots[path] for path in _places(train_roots)]
    test = [roots[path] for path in _places(test_roots)]
    _check_distinct(roots.values())
    _check_order(train)
    lists = {root.name: _test_lists(root, is_train=root in train, seed=seed) for root in test}
    train_paths = {root.name: _train_paths(root, lists.get(root.name)) for root in train}
    # A root whose column split never says train is no mistake.
    is_trained = any(train_paths[root.name] or not root.speech.splits for root in train)
    tests = {
        f"{root.name}/{name}": _test_subset(root, trials) for root in test for name, trials in lists[root.name].items()
    }
    if not is_trained and not tests:
        raise DataError(f"{', '.join(map(str, roots))}: expected something to train on or to test, found neither")
    partition = Partition(_train_subset(train, train_paths) if is_trained else None, tests)
    _check_disjoint(partition)
    return partition


def _places(paths: Iterable[Path]) -> list[Path]:
    """Absolute paths, each once."""
    return list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))  # noqa: PTH100  (keeps links)


def _open_roots(paths: Sequence[Path], unpacked: Path | None) -> dict[Path, Root]:
    places = _places(paths)
    for place in places:
        if not place.is_dir() and not place.is_file():
            made = "corpora that are fetched get theirs in stage 1"
            raise ConfigError(f"{place}: no such folder or table; expected speech as docs/data.md shows it; {made}")
    for one, other in clashes(places, root_name):
        raise ConfigError(f"{one} and {other} have the same name, and ids begin with it; rename one of them")
    for one, other in clashes(places, lambda place: str(place.resolve())):
        raise ConfigError(f"{one} and {other} are the same folder; name it in one way")
    return {place: open_root(place, unpacked) for place in places}


def _check_distinct(roots: Iterable[Root]) -> None:
    """No two roots may give the same id, as root `a` with speaker `b-c` and root `a-b` with speaker `c` do.

    Only speakers of Kaldi directories may be in several: there a name means one person.
    """
    seen: dict[str, Root] = {}
    for root in roots:
        for made in (*root.speakers.values(), *root.utts.values()):
            other = seen.setdefault(made, root)
            if other is not root and not (
                _have_own_ids(root, other) and made in root.speakers and made in other.speakers
            ):
                cure = "take it out of one" if _have_own_ids(root, other) else "rename one of them"
                raise ConfigError(f"{other.path} and {root.path} both give the id {made!r}; {cure}")


def _have_own_ids(*roots: Root) -> bool:
    return all(root.speech.has_own_ids for root in roots)


def _check_order(roots: Sequence[Root]) -> None:
    """Kaldi sorts by utterance and by speaker at once; within a root the words of the speakers see to it."""
    place = {speaker: root.path for root in roots for speaker in root.speakers.values()}
    for longer, shorter in extensions(place):
        raise ConfigError(
            f"{place[shorter]} and {place[longer]} give the speakers {shorter!r} and {longer!r}, whose utterances "
            "cannot be sorted by speaker too, as Kaldi wants it; rename one of the "
            f"{'speakers' if place[longer] == place[shorter] else 'roots'}"
        )


def _test_lists(root: Root, is_train: bool, seed: int) -> dict[str, Trials]:
    """The trial lists of a test root by name: its own, or generated ones."""
    if files := root.trial_lists:
        for one, other in clashes(files, lambda file: plain_word(file.stem)):
            raise DataError(f"{one} and {other} would both be the list {plain_word(one.stem)!r}; rename one")
        lists = {plain_word(file.stem): read_trial_list(root, file) for file in files}
        _check_models(root, lists)
        places = {plain_word(file.stem): str(file) for file in files}
        return {name: with_remarks(root, places[name], trials) for name, trials in lists.items()}
    utts = _test_speakers(root, is_train, seed)
    if not utts and root.speech.splits and is_train:
        logger.info("%s: no row has the split test, and there are no trial lists: nothing of it is tested", root.path)
        return {}
    return _made_lists(root, utts, seed)


def _made_lists(root: Root, utts: Mapping[str, Sequence[str]], seed: int) -> dict[str, Trials]:
    """Generated lists over speakers with their paths."""
    try:
        lists = generate_trials(
            {spk: _by_session(root, paths) for spk, paths in utts.items()},
            seed,
            {root.speakers[speaker]: sex for speaker, sex in root.sexes.items() if speaker in root.speakers},
        )
    except DataError as error:
        raise DataError(f"{root.path}: has no trials/*.txt, and {error}; add speech, or trial lists") from error
    lists = {name: with_remarks(root, f"{root.path}, list {name!r}", trials) for name, trials in lists.items()}
    made = ", ".join(f"{name!r} of {count(len(trials), 'trial')}" for name, trials in lists.items())
    why = "" if "hard" in lists else " (no list 'hard': speakers.tsv names no two speakers of one sex)"
    logger.info("%s: no trials/*.txt, made %s over %d speakers, seed %d%s", root.path, made, len(utts), seed, why)
    return lists


def _check_models(root: Root, lists: Mapping[str, Trials]) -> None:
    """A model's name says which recordings it has, in whatever list."""
    seen: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, trials in lists.items():
        for model, utts in trials.models.items():
            other, others = seen.setdefault(model, (name, utts))
            if others != utts:
                place = f"{root.lists}/enrol"
                raise DataError(f"{place}: {model!r} has other recordings in {name!r} than in {other!r}; rename one")


def _by_speaker(root: Root, paths: Iterable[str]) -> dict[str, list[str]]:
    """Paths by the ids of their speakers."""
    utts: dict[str, list[str]] = {}
    for path in paths:
        utts.setdefault(root.speakers[root.speaker(path)], []).append(path)
    return utts


def _by_session(root: Root, paths: Iterable[str]) -> dict[str, list[str]]:
    """Utterances by their sessions."""
    sessions: dict[str, list[str]] = {}
    for path in paths:
        sessions.setdefault(root.session(path), []).append(root.utts[path])
    return sessions


def _test_speakers(root: Root, is_train: bool, seed: int) -> dict[str, list[str]]:
    """The speakers of generated trials, with their paths."""
    utts = _by_speaker(root, root.utts)
    if root.train_list.exists():
        trained = _by_speaker(root, read_train_list(root))
        return {spk: paths for spk, paths in utts.items() if spk not in trained}
    if root.speech.splits:
        return _by_speaker(root, _split_for_tests(root))
    if not is_train:
        return utts
    rng = random.Random(f"speakers {seed} {root.name}")
    order = rng.sample(sorted(utts), len(utts))
    order.sort(key=lambda spk: len(utts[spk]) < 2)  # one utterance makes no target trial
    num_test = max(2, round(TEST_FRACTION * len(utts)))
    return {spk: utts[spk] for spk in sorted(order[:num_test])}


def _split_for_tests(root: Root) -> list[str]:
    """What a column ``split`` keeps for testing: ``test``, or ``dev`` where there is no such."""
    splits = Counter(root.speech.splits.values())
    wanted = "test" if splits["test"] else "dev"
    if wanted == "test" and splits["dev"]:
        logger.info("%s: %d rows of the split dev are left aside", root.path, splits["dev"])
    return [path for path, split in root.speech.splits.items() if split == wanted]


def _train_paths(root: Root, lists: Mapping[str, Trials] | None) -> list[str]:
    """The training part of a root; ``lists`` are its test lists where it is a test root."""
    if root.train_list.exists():
        return read_train_list(root)
    if root.speech.splits:
        return [path for path, split in root.speech.splits.items() if split == "train"]
    if lists is None:
        lists = {file.stem: read_trial_list(root, file) for file in root.trial_lists}
    tested_utts = {utt for trials in lists.values() for utt in trials.utts}
    tested = {root.speaker(path) for path, utt in root.utts.items() if utt in tested_utts}
    return [path for path in root.utts if root.speaker(path) not in tested]


def _subset(root: Root, paths: Sequence[str], trials: Trials | None = None, keep_sessions: bool = False) -> Subset:
    """Utterances of a root; their sessions are kept where the folders of the files do not tell them, or on demand."""
    known = {root.utts[path]: root.speech.utts[path] for path in paths}
    keep_sessions |= not root.speech.are_paths_sessions
    return Subset(
        wav={utt: Path(found.file) for utt, found in known.items()},
        utt2spk={utt: root.speakers[found.speaker] for utt, found in known.items()},
        trials=trials,
        spans={utt: found.span for utt, found in known.items() if found.span},
        sessions={utt: plain_word(found.session) for utt, found in known.items()} if keep_sessions else {},
    )


def _test_subset(root: Root, trials: Trials) -> Subset:
    return _subset(root, [path for path, utt in root.utts.items() if utt in trials.utts], trials)


def _train_subset(roots: Sequence[Root], paths: Mapping[str, Sequence[str]]) -> Subset:
    """The training parts of all roots together."""
    keep_sessions = not all(root.speech.are_paths_sessions for root in roots)
    subsets = [_subset(root, paths[root.name], keep_sessions=keep_sessions) for root in roots]
    train = Subset(
        wav={utt: file for subset in subsets for utt, file in subset.wav.items()},
        utt2spk={utt: spk for subset in subsets for utt, spk in subset.utt2spk.items()},
        spans={utt: span for subset in subsets for utt, span in subset.spans.items()},
        sessions={utt: session for subset in subsets for utt, session in subset.sessions.items()},
    )
    places = ", ".join(str(root.path) for root in roots)
    num_speakers = len(set(train.utt2spk.values()))
    if num_speakers < 2:
        raise DataError(
            f"{places}: training needs at least 2 speakers, found {num_speakers} outside the trial lists; "
            "add speakers, a root, or splits/train_list.txt"
        )
    if all(utt == spk for utt, spk in train.utt2spk.items()):
        raise DataError(
            f"{places}: every utterance is its own speaker; training needs to know who speaks: correct utt2spk"
        )
    return train


def _check_disjoint(partition: Partition) -> None:
    trained = set(partition.train.utt2spk.values()) if partition.train else set()
    for name, subset in partition.tests.items():
        if both := sorted(trained.intersection(subset.utt2spk.values())):
            shown = ", ".join(both[:SHOWN]) + (f" and {len(both) - SHOWN} more" if len(both) > SHOWN else "")
            raise DataError(
                f"{name}: {len(both)} of its speakers are in the training part too: {shown}; "
                "take them out of the training part (splits/train_list.txt, column split), or test on other speakers"
            )


def without_bad_utts(partition: Partition, errors: Mapping[str, str], max_bad_train_files: int) -> Partition:
    """Leave what cannot be used out of the training part, within a budget.

    Args:
        partition: what is trained on and tested.
        errors: what is wrong with utterances.
        max_bad_train_files: how many training utterances may be left out.

    Returns:
        The partition without them.

    Raises:
        DataError: if a test utterance cannot be used, or more training utterances than the budget allows.
    """
    tested = dict.fromkeys(utt for subset in partition.tests.values() for utt in subset.wav)
    if bad_tests := list(dict.fromkeys(errors[utt] for utt in tested if utt in errors)):
        raise DataError(f"test files are never left out, replace or unlist them: {summarise(bad_tests)}")
    train = partition.train
    left_out = {utt: errors[utt] for utt in train.wav if utt in errors} if train else {}
    if train is None or not left_out:
        return partition
    summary = summarise(list(left_out.values()))
    if len(left_out) > max_bad_train_files:
        allowed = f"--max_bad_train_files allows {max_bad_train_files}"
        raise DataError(f"{count(len(left_out), 'training file')} cannot be used and {allowed}: {summary}")
    logger.warning("%d of %d training files are left out: %s", len(left_out), len(train.wav), summary)
    kept = train.without(left_out)
    if len(set(kept.utt2spk.values())) < 2:
        raise DataError("training needs at least 2 speakers, and the files left out leave fewer; replace them")
    return replace(partition, train=kept)
