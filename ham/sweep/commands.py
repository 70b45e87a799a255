"""The command lines of a table: preparing its data, one for every row, and what puts the finished rows side by side."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ham.losses import LOSSES
from ham.sweep.tables import Table
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
    """

    top: Path
    corpus: str
    exp_root: Path
    seeds: tuple[int, ...]
    changes: str = ""
    handed_on: tuple[str, ...] = ()
    finetuned: bool = False

    def config(self, table: Table) -> Path:
        """The file of a table's configuration."""
        return self.top / "conf" / f"{table.config}.yaml"

    def changes_of(self, table: Table, row: str) -> str:
        """All changes of a row's configuration."""
        return f"{table.system(row).changes} {self.changes}".strip()

    def is_finetuned(self, table: Table, row: str) -> bool:
        """Whether a row is fine-tuned as well."""
        return self.finetuned and LOSSES[table.system(row).loss].has_margin

    def options_check(self, table: Table) -> list[str]:
        """The command that refuses options which ``run.sh`` does not have."""
        return self._run("--corpus", self.corpus, *table.options, *self.handed_on, "--help")

    def preparation(self, table: Table) -> list[str]:
        """The command of stages 1 to 3."""
        options = ["--corpus", self.corpus, "--config", table.config, "--stop_stage", "3"]
        return self._run(*options, "--data_dir", table.data_dir, *self._further(table, self.changes))

    def rows(self, table: Table) -> list[Row]:
        """The experiments, all rows with the first seed before those with the second."""
        return [self._row(table, row, seed) for seed in self.seeds for row in table.losses]

    def _row(self, table: Table, row: str, seed: int) -> Row:
        name, loss = default_name(table.config, row, seed), table.system(row).loss
        options = ["--corpus", self.corpus, "--config", table.config, "--loss", loss, "--seed", str(seed)]
        options += ["--exp_name", name] if row != loss else []
        options += ["--stop_stage", "8"] if self.is_finetuned(table, row) else []
        options += ["--stage", "4", "--resume", "true", "--backends", table.backends, "--data_dir", table.data_dir]
        metas = sorted(Path(table.data_dir).glob("store/*/meta.json"))
        return Row(
            name=name,
            folder=self.exp_root / name,
            command=tuple(self._run(*options, *self._further(table, self.changes_of(table, row)))),
            sources=(self.config(table), self.top / "egs" / self.corpus / "conf" / "corpus.sh", *metas),
            finetuned=self.is_finetuned(table, row),
        )

    def _run(self, *options: str) -> list[str]:
        return [str(self.top / "run.sh"), *options]

    def _further(self, table: Table, changes: str) -> Iterator[str]:
        yield from (*table.options, *self.handed_on)
        if changes:
            yield from ("--set", changes)

    def out(self, table: Table) -> Path:
        """The folder of a finished table."""
        return self.exp_root / "tables" / table.name

    def comparison(self, table: Table) -> list[str]:
        """The command that puts the finished rows side by side, with published numbers where the corpus has some."""
        ends = [(row, end) for row in table.losses for end in ["", *[FINETUNED] * self.is_finetuned(table, row)]]
        systems = [
            f"{row}{end}="
            + ",".join(f"{self.exp_root / default_name(table.config, row, seed)}{end}" for seed in self.seeds)
            for row, end in ends
        ]
        published = self.top / "egs" / self.corpus / "conf" / "published.yaml"
        beside = ["published", "--published", str(published), "--published_config", table.config]
        return [
            *("python", "-m", "ham.bin.compare", "--data_dir", table.data_dir, "--systems", *systems),
            *("--reference", table.reference, "--backends", table.backends, *(beside if published.exists() else [])),
            *("--title", f"{self.corpus}, {table.name}", "--out", str(self.out(table))),
        ]

    def hierarchy(self, table: Table) -> list[str]:
        """The command that measures what is left of the hierarchy of speakers."""
        folders = [str(row.folder) for row in self.rows(table)]
        return ["python", "-m", "ham.bin.hierarchy", "--data_dir", table.data_dir, "--exp_dirs", *folders]
