"""Enrolled speakers: time and memory for 100,000 of them, or errors of identification: python -m benchmarks.enrolment.

Without further options: random embeddings, the database in a temporary folder, each time the fastest of several runs.

With ``--model M --data_dir DIR``, a data directory of stage 2 with speakers new to the model, and its audio
in ``--store``: its speakers are drawn 20 times into thirds. The first are enrolled, the second are strangers, the third
are a cohort that fits. The first recordings of each speaker enrol, the others are identified.

* P@1, P@10: the speaker is the first candidate, or among ten.
* FNIR: the speaker is not named, at a threshold of the cosine where 1 % of the strangers' recordings are, chosen on
  these; FNIR by AS-Norm: likewise of the normalised score.
* strangers named: at the threshold where one comparison errs with p = 1 % / N, found with the third speakers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ham
from benchmarks.scoring import status_bytes
from ham.data.kaldi_dir import invert, read_data_dir
from ham.data.store import ArrayStore
from ham.enrolment.database import Gallery, ModelKey, Recording, SpeakerDatabase, unit
from ham.enrolment.search import LIST_FALSE_ALARM, Candidate, Search
from ham.provenance import hardware
from ham.report.text_tables import text_table

Array = NDArray[np.float32]
NUM_DRAWS, REPEATS = 20, 3


def fastest(work: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Shortest time of several runs in seconds, and shortest processor time, which other programs disturb less."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return min(wall for wall, _ in times), min(processor for _, processor in times)


def measure_speed(num_speakers: int, dim: int, cohort_size: int) -> tuple[dict[str, tuple[float, float]], list[float]]:
    """Times of each step, see :func:`fastest`; MB of the file, and of the loaded matrix with the names."""
    generator, key = np.random.default_rng(0), ModelKey("f" * 64, dim)
    rows, probes = (generator.standard_normal((num, dim), np.float32) for num in (num_speakers, 1000))
    cohort = generator.standard_normal((cohort_size, dim), np.float32)
    people = {f"speaker {n:06d}": [Recording(f"{n}.wav", n.to_bytes(32), 5.0, rows[n])] for n in range(num_speakers)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voices.db"

        def all_at_once() -> None:
            with SpeakerDatabase(path, key, write=True, create=True) as known:
                known.add(people)

        def one_more() -> None:
            with SpeakerDatabase(path, key, write=True) as known:
                known.add({"one more": [Recording("x", b"x", 5.0, probes[0])]})
                known.remove(["one more"])

        def load() -> Gallery:
            with SpeakerDatabase(path, key) as known:
                return known.gallery()

        seconds = {"enrol all in one change": fastest(all_at_once, 1)}
        seconds["open, check, enrol one more, remove it"] = fastest(one_more)
        before = status_bytes("VmRSS")
        gallery = load()
        sizes = [path.stat().st_size / 1e6, (status_bytes("VmRSS") - before) / 1e6]
        seconds["open and load all"] = fastest(load)
    for name, search in {
        "by cosine": Search(gallery, as_norm=False),
        "ranked by AS-Norm, 1,000 of the enrolled": Search(gallery),
        f"ranked by AS-Norm, cohort of {cohort_size:,}": Search(gallery, cohort),
    }.items():
        seconds[f"one recording, {name}"] = fastest(lambda: search(probes[:1], 10))  # noqa: B023 - called at once
        seconds[f"1,000 recordings, {name}"] = fastest(lambda: search(probes, 10))  # noqa: B023
    return seconds, sizes


def mean_direction(embeddings: Array) -> Array:
    """What stands for a speaker."""
    mean: Array = unit(unit(embeddings).mean(axis=0, keepdims=True))[0]
    return mean


def measure_errors(
    speakers: list[Array], cohort: Array | None, num_enrol: int
) -> tuple[int, dict[str, dict[str, float]]]:
    """Mean number of enrolled speakers, and mean rates in % by what ranks.

    Args:
        speakers: embeddings of each one's recordings.
        cohort: the model's.
        num_enrol: recordings that enrol a speaker.
    """
    rates: dict[str, list[list[float]]] = {}
    sizes: list[int] = []
    for draw in range(NUM_DRAWS):
        order = np.random.default_rng(draw).permutation(len(speakers))
        known, strangers, third = ([speakers[n] for n in part] for part in np.array_split(order, 3))
        known = [rows for rows in known if len(rows) > num_enrol]
        gallery = Gallery(
            tuple(map(str, range(len(known)))), np.stack([mean_direction(rows[:num_enrol]) for rows in known])
        )
        fitting, sizes = np.stack([mean_direction(rows) for rows in third]), [*sizes, len(known)]
        searches = {
            "cosine": Search(gallery, as_norm=False),
            "AS-Norm, the enrolled": Search(gallery, least_others=2),
            "AS-Norm, other speakers of the same corpora": Search(gallery, fitting),
            **({} if cohort is None else {"AS-Norm, the model's cohort": Search(gallery, cohort)}),
        }
        truth = [str(n) for n, rows in enumerate(known) for _ in rows[num_enrol:]]
        sets = [np.concatenate(rows) for rows in ([rows[num_enrol:] for rows in known], strangers, third)]
        for name, search in searches.items():
            own, others = (search(probes, 10) for probes in sets[:2])
            rates.setdefault(name, []).append(_rates(truth, own, others, gallery, sets[2]))
    columns = ("P@1", "P@10", "FNIR", "strangers named", "FNIR by AS-Norm")
    return round(np.mean(sizes)), {
        name: dict(zip(columns, 100 * np.mean(found, axis=0), strict=True)) for name, found in rates.items()
    }


def _rates(
    truth: list[str], own: list[list[Candidate]], others: list[list[Candidate]], gallery: Gallery, third: Array
) -> list[float]:
    """Rates of one draw, in the order of the columns."""
    first = np.array([one[0].name == name for one, name in zip(own, truth, strict=True)])
    among = [name in [candidate.name for candidate in one] for one, name in zip(own, truth, strict=True)]
    mine, theirs = (np.array([one[0].score for one in found]) for found in (own, others))
    compared = unit(third) @ gallery.embeddings.T
    bound = np.quantile(compared, 1 - LIST_FALSE_ALARM / len(gallery.names))
    rates = [first.mean(), np.mean(among), _fnir(first, mine, theirs), np.mean(theirs >= bound)]
    if own[0][0].as_norm is None:
        return [*rates, np.nan]
    mine, theirs = (np.array([one[0].as_norm for one in found]) for found in (own, others))
    return [*rates, _fnir(first, mine, theirs)]


def _fnir(first: NDArray[np.bool_], mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    return 1 - float(np.mean(first & (mine > np.quantile(theirs, 1 - LIST_FALSE_ALARM))))


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_speakers", type=int, default=100_000, help="enrolled speakers")
    parser.add_argument("--embedding_dim", type=int, default=192, help="length of an embedding")
    parser.add_argument("--cohort", type=int, default=5994, help="speakers of the cohort")
    parser.add_argument("--model", help="measure errors of this model instead")
    parser.add_argument("--data_dir", type=Path, help="with --model: speakers that it has not seen")
    parser.add_argument("--store", type=Path, help="with --model: their audio, of stage 3")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/enrolment.json"), help="where to write")
    options = parser.parse_args()
    content: dict[str, object] = {"hardware": hardware(), "threads": torch.get_num_threads()}
    if options.model:
        encoder, store = ham.load(options.model), ArrayStore(options.store)
        position = {utt: index for index, utt in enumerate(store.utts)}
        embeddings = encoder.embed_recordings(store, progress="embedding")
        utts = invert(read_data_dir(options.data_dir).utt2spk).values()
        speakers = [embeddings[[position[utt] for utt in some]] for some in utts]
        for num_enrol in (1, 3):
            num, found = measure_errors(speakers, encoder.cohort, num_enrol)
            content[f"{num} enrolled by {num_enrol}"] = found
            rows = [
                [name, *(f"{rate:.1f}".replace("nan", "") for rate in rates.values())] for name, rates in found.items()
            ]
            head = ["ranked by", *next(iter(found.values()))]
            print(f"{num} enrolled by {num_enrol} recordings\n" + text_table(head, rows) + "\n")
    else:
        seconds, sizes = measure_speed(options.num_speakers, options.embedding_dim, options.cohort)
        content |= {"seconds and processor seconds": seconds, "MB of the file and in memory": sizes}
        rows = [[name, "", *(f"{value:.3f}" for value in both)] for name, both in seconds.items()]
        print(text_table(["step", "", "s", "processor s"], rows))
        print(f"\nthe file has {sizes[0]:.0f} MB; loaded it takes {sizes[1]:.0f} MB")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
