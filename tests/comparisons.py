"""Made-up systems, their scores and trial list, for the tests of tables and pages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.data.kaldi_dir import write_data_dir
from ham.data.trials import Trials
from ham.score.curves import summarise_scores, write_curves
from ham.score.results import Results, evaluate, write_results
from ham.score.score_file import Scores, write_scores

NUM_SPEAKERS = 8
LISTS = ("x/all", "x/hard")


def trials() -> Trials:
    """All pairs of two utterances each of the speakers."""
    utts = [f"s{s}-u{u}" for s in range(NUM_SPEAKERS) for u in range(2)]
    pairs = [(a, b) for i, a in enumerate(utts) for b in utts[i + 1 :]]
    enrol, test = (tuple(side) for side in zip(*pairs, strict=True))
    return Trials(enrol, test, np.array([a[:2] == b[:2] for a, b in pairs], dtype=np.int8))


def write_lists(folder: Path) -> None:
    """Data directories of two lists with the same trials."""
    for name in LISTS:
        utts = sorted({*trials().enrol, *trials().test})
        for utt in utts:
            (folder / f"{utt}.wav").touch()
        write_data_dir(
            folder / "data/test" / name,
            wav={utt: folder / f"{utt}.wav" for utt in utts},
            utt2spk={utt: utt[:2] for utt in utts},
            utt2dur=dict.fromkeys(utts, 1.0),
            trials=trials(),
        )


def scores_of(system: str, seed: int, trial_list: str, backend: str) -> NDArray[np.float32]:
    """Scores of a system; ``b`` is worse than ``a``."""
    labels = trials().labels
    key = [ord(letter) for letter in system + trial_list + backend]
    noise = np.random.default_rng([seed, *key]).normal(size=len(labels))
    return ((3.0 if system == "a" else 1.5) * labels + noise - 1).astype(np.float32)


def write_system(
    folder: Path, system: str, seed: int, backends: tuple[str, ...] = ("cosine",), lists: tuple[str, ...] = LISTS
) -> Path:
    """An experiment as stages 4 to 6 leave it.

    Args:
        folder: where to write it.
        system: its loss.
        seed: of its training.
        backends: what it was scored with.
        lists: what it was scored on.

    Returns:
        Its folder.
    """
    exp, pairs, numbers, curves = folder / f"{system}{seed}", trials(), [], []
    speakers = [utt[:2] for utt in pairs.enrol], [utt[:2] for utt in pairs.test]
    for trial_list in lists:
        for backend in backends:
            values = scores_of(system, seed, trial_list, backend)
            write_scores(exp / "scores" / f"{trial_list}.{backend}", Scores(pairs.enrol, pairs.test, values))
            calibrated = backend.endswith("+llr")
            found = evaluate(trial_list, backend, values, pairs.labels, *speakers, calibrated=calibrated)
            numbers.append(found)
            curves.append(summarise_scores(trial_list, backend, values, pairs.labels))
    command = f"./run.sh --loss {system} --seed {seed}"
    write_results(exp / "results.json", Results(f"{system}{seed}", seed, "c0ffee" * 6, {}, command, tuple(numbers)))
    write_curves(exp / "curves.json", curves)
    (exp / "config.yaml").write_text(f"loss: {{name: {system}}}\ntrain: {{epochs: 3}}\nseed: {seed}\n")
    epochs = [{"event": "epoch", "epoch": e, "step": e, "loss": 9.0 / e, "valid_eer": 0.2 / e} for e in (1, 2, 3)]
    log = [{"event": "start", "hardware": "a processor"}, *epochs]
    (exp / "train.jsonl").write_text("".join(json.dumps(event) + "\n" for event in log))
    return exp


PUBLISHED = """\
- {config: big, system: a, list: x/all, backend: cosine, eer: 1.048, min_dcf_p01: 0.119, source: a log}
- {config: big, system: b, list: x/all, backend: cosine, eer: 20, source: a paper}
- {config: big, system: a, list: x/hard, backend: cosine+crops, eer: 2.5, source: a log}
- {config: small, system: a, list: x/all, backend: cosine, eer: 3.5, source: a log}
"""
