"""Stage 3: pack the audio of the data directories, and filterbanks where the configuration asks for them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ham.audio import SAMPLE_RATE
from ham.bin._system_options import add_config, read_config
from ham.cli import Parser, boolean, run
from ham.config import Config, to_dict
from ham.data.kaldi_dir import Segment, read_data_dir, trial_dirs
from ham.data.pack import pack_audio, pack_features
from ham.data.store import ArrayStore
from ham.errors import ConfigError, DataError
from ham.files import lock_folder
from ham.model.build import build_frontend
from ham.words import count

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Pack every store that is not there yet."""
    parser = Parser(prog="ham.bin.make_store", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds train/ and test/")
    parser.add_argument("--musan", type=Path, help="the unpacked MUSAN: noise/, music/, speech/")
    parser.add_argument("--rirs", type=Path, help="the unpacked RIRS_NOISES or another folder of room responses")
    parser.add_argument("--num_workers", type=int, default=2, help="decoding threads")
    parser.add_argument(
        "--verify", type=boolean, default=False, help="true: read the stores again and compare their checksums"
    )
    add_config(parser)
    options = parser.parse_args(argv)
    if options.num_workers < 1:
        raise ConfigError(f"--num_workers: expected at least 1, found {options.num_workers}")
    config = read_config(options)
    with lock_folder(options.data_dir, "stage 3", wait=True):
        _make(options, config)


def _make(options: Any, config: Config) -> None:
    """Do it, alone in the data folder."""
    wanted = speech(options.data_dir)
    for name, folder, pattern in (("musan", options.musan, "musan"), ("rirs", options.rirs, "rirs")):
        if folder is not None:
            wanted[name] = Recordings(noise_recordings(folder, pattern), {}, {})
    for name, recordings in wanted.items():
        store = options.data_dir / "store" / name
        _pack(store, recordings, options.num_workers)
        if options.verify:
            _verify(store)
    if config.features == "stored" and "train" in wanted:
        _pack_features(options.data_dir / "store", config)
        if options.verify:
            _verify(options.data_dir / "store" / "train_features")


class Recordings(NamedTuple):
    """What a store is made of: the files, the parts of them that utterances are, durations in seconds where known."""

    wav: Mapping[str, Path]
    segments: Mapping[str, Segment]
    durations: Mapping[str, float]


def speech(data_dir: Path) -> dict[str, Recordings]:
    """The stores ``train`` and ``test``; one of them is missing where there is nothing to train on or to test.

    Raises:
        DataError: if both are, or as :func:`test_recordings`.
    """
    found = {}
    has_tests = any(data_dir.glob("test/*/*/trials"))
    if (data_dir / "train").exists() or not has_tests:
        train = read_data_dir(data_dir / "train")
        found["train"] = Recordings(train.wav, train.segments, train.utt2dur)
    if has_tests:
        found["test"] = test_recordings(data_dir)
    return found


def test_recordings(data_dir: Path) -> Recordings:
    """The recordings of all test lists together; an utterance of several lists comes once.

    Raises:
        DataError: if two lists give one utterance different files or parts of files.
    """
    wav, segments, durations = dict[str, Path](), dict[str, Segment](), dict[str, float]()
    for folder in trial_dirs(data_dir / "test"):
        data = read_data_dir(folder)
        for utt, file in data.wav.items():
            part = data.segments.get(utt)
            if wav.setdefault(utt, file) != file or (part and segments.setdefault(utt, part) != part):
                raise DataError(f"{folder}/wav.scp: {utt} is {file} here and {wav[utt]} in another list; run stage 2")
        durations.update({utt: data.utt2dur[utt] for utt in data.segments})
    return Recordings(wav, segments, durations)


def noise_recordings(folder: Path, what: str) -> dict[str, Path]:
    """All recordings below a folder of noises or room responses, by their path with dashes.

    For MUSAN the ids begin with ``noise``, ``music`` and ``speech``, the folders that it consists of.

    Raises:
        ConfigError: if the folder does not hold them.
        DataError: if two of them would have one id.
    """
    if not folder.is_dir():
        raise ConfigError(f"--{what} {folder}: no such folder")
    base = folder / "simulated_rirs" if (folder / "simulated_rirs").is_dir() else folder
    files = sorted(p for p in base.rglob("[!.]*") if p.suffix.lower() in (".wav", ".flac"))
    missing = [name for name in ("noise", "music", "speech") if not (folder / name).is_dir()]
    if what == "musan" and missing:
        raise ConfigError(f"--musan {folder}: expected the folders noise, music and speech; missing: {missing[0]}")
    if not files:
        raise ConfigError(f"--{what} {folder}: expected wav or flac files below it, found none")
    found: dict[str, Path] = {}
    for file in files:
        utt = "-".join(file.relative_to(base).with_suffix("").parts).replace(" ", "_")
        if utt in found:
            raise DataError(f"{file}: becomes {utt}, as {found[utt]} does; rename or remove one of them")
        found[utt] = file
    return {utt: file.resolve() for utt, file in found.items()}


def _pack(path: Path, recordings: Recordings, num_workers: int) -> None:
    """Pack one audio store and say what it holds."""
    started = time.perf_counter()
    made = pack_audio(
        path,
        recordings.wav,
        sample_rate=SAMPLE_RATE,
        num_workers=num_workers,
        durations=recordings.durations,
        segments=recordings.segments,
    )
    store = ArrayStore(path)
    hours = float(np.sum(store.lengths)) / SAMPLE_RATE / 3600
    took = f"packed in {time.perf_counter() - started:.1f} s" if made else "is up to date"
    logger.info("%s: %s, %.2f h, %s", path, count(len(store), "recording"), hours, took)


def _verify(path: Path) -> None:
    """Read a whole store and compare every checksum."""
    ArrayStore(path).check_shards(contents=True)
    logger.info("%s: every recording has its checksum", path)


def _pack_features(stores: Path, config: Config) -> None:
    """Pack the training filterbanks; test utterances are computed when they are embedded."""
    path = stores / "train_features"
    frontend = build_frontend(config)
    described = {"frontend": to_dict(config)["frontend"]}
    made = pack_features(path, ArrayStore(stores / "train"), frontend, described)
    logger.info("%s: filterbanks %s", path, "packed" if made else "are up to date")


if __name__ == "__main__":
    sys.exit(run(main))
