"""The command lines of a table: preparing its data, one for every row, and what puts the finished rows side by side."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ham.losses import LOSSES
from ham.model.directory import SUMS
from ham.sweep.tables import OF_MODEL, Table
from ham.train.experiment_name import FINETUNED, default_name


@dataclass(frozen=True)
class Row:
    """One experiment of a table.

    Attributes:
        name: of the experiment.
        folder: the experiment's.
        command: what trains, embeds, scores and reports it.
        sources: files that say what it is made from.
        finetuned: whether the command fine-tunes it as well (stage 8).
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    sources: tuple[Path, ...]
    finetuned: bool = False

    def checksum(self) -> str:
        """Checksum of the sources that are there, as ``cksum`` prints it."""
        content = b"".join(path.read_bytes() for path in self.sources if path.is_file())
        return subprocess.run(["cksum"], input=content, stdout=subprocess.PIPE, check=True).stdout.decode()


@dataclass(frozen=True)
class Sweep:
    """What the commands of all tables of a call share.

    Attributes:
        top: the recipe's folder, in which ``run.sh`` lies.
        corpus: folder of ``egs/``.
        exp_root: folder of the experiments.
        seeds: of every row.
        changes: of every row's configuration, as ``--set`` takes them; a system's own come first.
        handed_on: further options of ``run.sh``, and their values.
        finetuned: whether rows whose loss has a margin are fine-tuned as well (stage 8), and stand beside.
        model: model directory that the rows of a table of :data:`~ham.sweep.tables.OF_MODEL` start from.
    """

    top: Path
    corpus: str
    exp_root: Path
    seeds: tuple[int, ...]
    changes: str = ""
    handed_on: tuple[str, ...] = ()
    finetuned: bool = False
    model: Path | None = None

    def start(self, table: Table) -> Path | None:
        """The model that a table's rows start from; None where they start from nothing."""
        return self.model if table.config == OF_MODEL else None

    def config(self, table: Table) -> Path:
        """The file of a table's configuration."""
        start = self.start(table)
        return start / "config.yaml" if start else self.top / "conf" / f"{table.config}.yaml"

    def name(self, table: Table, row: str, seed: int) -> str:
        """The name of an experiment."""
        start = self.start(table)
        return default_name(start.resolve().name if start else table.config, row, seed)

    def changes_of(self, table: Table, row: str) -> str:
        """All changes of a row's configuration."""
        return " ".join(filter(None, (table.changes, table.system(row).changes, self.changes)))

    def is_finetuned(self, table: Table, row: str) -> bool:
        """Whether a row is fine-tuned as well."""
        return self.finetuned and LOSSES[table.system(row).loss].has_margin

    def options_check(self, table: Table) -> list[str]:
        """The command that refuses options which ``run.sh`` does not have."""
        return self._run("--corpus", self.corpus, *table.options, *self.handed_on, "--help")

    def preparation(self, table: Table) -> list[str]:
        """The command of stages 1 to 3."""
        options = ["--corpus", self.corpus, *self._system(table), "--stop_stage", "3"]
        if self.start(table):  # the configuration of an imported model names no loss
            options += ["--loss", table.system(table.losses[0]).loss]
        changes = f"{table.changes} {self.changes}".strip()
        return self._run(*options, "--data_dir", table.data_dir, *self._further(table, changes))

    def _system(self, table: Table) -> list[str]:
        return ["--config", str(self.config(table)) if self.start(table) else table.config]

    def baseline(self, table: Table) -> list[Row]:
        """The model that the rows start from, measured as it is, as an experiment of its name; none without one."""
        start = self.start(table)
        if start is None:
            return []
        name = start.resolve().name
        options = ["--corpus", self.corpus, "--stage", "5", "--model", str(start), "--exp_name", name]
        options += ["--backends", table.backends, "--data_dir", table.data_dir, *self._further(table, "")]
        return [Row(name, self.exp_root / name, tuple(self._run(*options)), self._sources(table))]

    def rows(self, table: Table) -> list[Row]:
        """The experiments, all rows with the first seed before those with the second."""
        return [self._row(table, row, seed) for seed in self.seeds for row in table.losses]

    def _row(self, table: Table, row: str, seed: int) -> Row:
        name, loss, start = self.name(table, row, seed), table.system(row).loss, self.start(table)
        options = ["--corpus", self.corpus, *self._system(table), "--loss", loss, "--seed", str(seed)]
        options += ["--init_from", str(start)] if start else []
        options += ["--exp_name", name] if start or row != loss else []
        options += ["--stop_stage", "8"] if self.is_finetuned(table, row) else []
        options += ["--stage", "4", "--resume", "true", "--backends", table.backends, "--data_dir", table.data_dir]
        return Row(
            name=name,
            folder=self.exp_root / name,
            command=tuple(self._run(*options, *self._further(table, self.changes_of(table, row)))),
            sources=self._sources(table),
            finetuned=self.is_finetuned(table, row),
        )

    def _sources(self, table: Table) -> tuple[Path, ...]:
        """Configuration, corpus and data, and the checksums of the model that the rows start from."""
        start, metas = self.start(table), sorted(Path(table.data_dir).glob("store/*/meta.json"))
        own = [start / SUMS] if start else []
        return self.config(table), self.top / "egs" / self.corpus / "conf" / "corpus.sh", *metas, *own

    def _run(self, *options: str) -> list[str]:
        return [str(self.top / "run.sh"), *options]

    def _further(self, table: Table, changes: str) -> Iterator[str]:
        yield from (*table.options, *self.handed_on)
        if changes:
            yield from ("--set", changes)

    def out(self, table: Table) -> Path:
        """The folder of a finished table."""
        start = self.start(table)
        return self.exp_root / "tables" / (f"{start.resolve().name}_{table.name}" if start else table.name)

    def comparison(self, table: Table) -> list[str]:
        """The command that puts the finished rows side by side, with published numbers where the corpus has some."""
        ends = [(row, end) for row in table.losses for end in ["", *[FINETUNED] * self.is_finetuned(table, row)]]
        baseline = self.baseline(table)
        systems = [f"{row.name}={row.folder}" for row in baseline]
        systems += [
            f"{row}{end}=" + ",".join(f"{self.exp_root / self.name(table, row, seed)}{end}" for seed in self.seeds)
            for row, end in ends
        ]
        published = self.top / "egs" / self.corpus / "conf" / "published.yaml"
        beside = ["published", "--published", str(published), "--published_config", table.config]
        against = ["--reference", baseline[0].name, "--reference_backends", table.backends] if baseline else []
        return [
            *("python", "-m", "ham.bin.compare", "--data_dir", table.data_dir, "--systems", *systems),
            *(against or ("--reference", table.reference)),
            *("--backends", table.backends, *(beside if published.exists() else [])),
            *("--title", f"{self.corpus}, {self.out(table).name}", "--out", str(self.out(table))),
        ]

    def hierarchy(self, table: Table) -> list[str]:
        """The command that measures what is left of the hierarchy of speakers."""
        folders = [str(row.folder) for row in self.rows(table)]
        return ["python", "-m", "ham.bin.hierarchy", "--data_dir", table.data_dir, "--exp_dirs", *folders]
