"""conf/tables.yaml: those of the corpora, what a file means, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.bin._system_options import CHANGE
from ham.config import load_config
from ham.errors import ConfigError
from ham.losses import LOSSES
from ham.score.backends import parse_backends
from ham.sweep.tables import OF_MODEL, System, read_tables
from ham.train.estimate import Sizes

TOP = Path(__file__).parents[2]
FILES = sorted(TOP.glob("egs/*/conf/tables.yaml"))


def test_every_corpus_has_tables() -> None:
    assert len(FILES) == len([*TOP.glob("egs/*/conf/corpus.sh")]) == len([*TOP.glob("egs/*/tables.sh")])


@pytest.mark.parametrize("path", FILES, ids=[path.parts[-3] for path in FILES])
def test_what_a_table_names_is_there(path: Path) -> None:
    seeds, tables = read_tables(path, "data")
    assert seeds
    for table in tables.values():
        assert table.reference in table.losses
        assert parse_backends([table.backends])
        for row in {*table.losses, *table.systems}:
            system = table.system(row)
            assert system.loss in LOSSES
            changes = [change for change in CHANGE.split(f"{table.changes} {system.changes}".strip()) if change]
            config = "small" if table.config == OF_MODEL else table.config
            load_config(TOP / f"conf/{config}.yaml", changes, system.loss)


def write(folder: Path, text: str) -> Path:
    path = folder / "tables.yaml"
    path.write_text(text)
    return path


def test_what_a_file_means(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
seeds: [1, 4]
tables:
  small: {losses: [softmax, big_margin], backends: all, systems: {big_margin: {loss: am_softmax, set: loss.margin=1}}}
  other:
    config: small
    losses: [softmax]
    backends: cosine
    data_dir: "{data_dir}_2"
    options: {archives: "{data_dir}/archives", chunk_s: 2.5}
    sizes: {num_utts: 5, num_speakers: 2, num_test_utts: 3, num_trials: 4}
    on_request: true
    set: train.epochs=2 loss.scale=20
""",
    )
    seeds, tables = read_tables(path, "/d")
    assert seeds == (1, 4)
    small, other = tables["small"], tables["other"]
    assert (small.config, small.reference, small.data_dir, small.sizes, small.on_request) == (
        "small", "softmax", "/d", None, False,
    )  # fmt: skip
    assert small.system("big_margin") == System("am_softmax", "loss.margin=1")
    assert small.system("softmax") == System("softmax")
    assert (small.changes, other.changes) == ("", "train.epochs=2 loss.scale=20")
    assert other.options == ("--archives", "/d/archives", "--chunk_s", "2.5")
    assert (other.config, other.data_dir, other.sizes, other.on_request) == ("small", "/d_2", Sizes(5, 2, 3, 4), True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "tables.yaml: expected a block of keys, found \\[\\]"),
        ("seed: [1]", "expected keys among seeds, tables, found 'seed'; did you mean 'seeds'"),
        ("seeds: 1", "seeds: expected a list, found 1"),
        ("seeds: [x]", "seeds: expected a whole number of at least 0, found 'x'"),
        ("seeds: [1]\ntables: {a: {losses: []}}", "a: losses: expected some, found none"),
        ("seeds: [1]\ntables: {a: {losses: [b]}}", "a: backends: expected words, found nothing"),
        ("seeds: [1]\ntables: {a: {losses: [b], backend: all}}", "found 'backend'; did you mean 'backends'"),
        (
            "seeds: [1]\ntables: {a: {losses: [b], backends: all, sizes: {num_utts: 1}}}",
            "a: sizes: num_speakers: expected a whole number of at least 0, found nothing",
        ),
        (
            "seeds: [1]\ntables: {a: {losses: [b], backends: all, systems: {b: x}}}",
            "a: systems: b: expected a block of keys, found 'x'",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_tables(write(tmp_path, text), "data")
