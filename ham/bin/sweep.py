"""Whole tables of results: every loss of a configuration with every seed, the published numbers beside.

A row is an ordinary experiment, `./run.sh --config C --loss L --seed S`; what is done is not done again, so that this
can be stopped, killed and called again. Options that are not named here go to run.sh.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

import ham
from ham.bin._system_options import read_config
from ham.cli import Parser, above_zero, boolean, normalise, run
from ham.config import Config, to_dict
from ham.errors import ConfigError, DataError
from ham.files import write_text
from ham.losses import LOSSES
from ham.model.build import pick_device
from ham.model.directory import MODEL
from ham.schema import choose
from ham.score.backends import parse_backends, possible_backends
from ham.sweep.commands import Sweep
from ham.sweep.jobs import choose_gpus, environment, run_rows, say
from ham.sweep.tables import OF_MODEL, Table, read_tables
from ham.train.estimate import Estimate, estimate, read_sizes
from ham.train.finetune import large_margin

TOP = Path(ham.__file__).parents[1]
"""The recipe's folder."""

OF_ROWS = ("corpus", "config", "loss", "stage", "stop_stage", "exp_name", "resume", "seed")
"""Options of ``run.sh`` that each row sets."""


def main(argv: Sequence[str]) -> None:
    """Make the tables, or tell what that would take.

    Args:
        argv: the arguments without the command's name.
    """
    options, handed_on = _parser().parse_known_args(normalise(argv))
    for word in handed_on:
        if word.startswith("--") and word[2:].partition("=")[0] in OF_ROWS:
            allowed = "the options are --configs, --losses, --seeds and those of run.sh"
            raise ConfigError(f"{word.partition('=')[0]}: set by each row; {allowed}")
    if options.crops_per_s is not None and not options.dry_run:
        raise ConfigError("--crops_per_s: expected --dry_run beside it, which alone estimates times")
    words = _listed("gpus", options.gpus, "[0-9]{1,6}", 'how many GPUs, 2, or numbers of some, "0 2"')
    gpus = choose_gpus([int(word) for word in words]) if words else ()
    if gpus and options.device not in (None, "auto", "cuda"):
        raise ConfigError(f"--device {options.device}: contradicts --gpus {options.gpus}")
    sweep, tables = _request(options, handed_on)
    for table in tables:
        _check(sweep, table, options.device or "auto")
    if options.dry_run:
        _show_plan(sweep, tables, options, len(gpus) or 1)
    else:
        _make(sweep, tables, gpus)


def _parser() -> Parser:
    parser = Parser(prog="egs/<corpus>/tables.sh", description=__doc__)
    parser.add_argument("corpus", help="a folder of egs/, whose conf/tables.yaml has the tables")
    parser.add_argument("--configs", help="names of the tables to make; default: all but those on request")
    parser.add_argument("--losses", help="losses of the rows; default: those of the table")
    parser.add_argument("--seeds", help='seeds of the rows, "1 2 3"; default: those of the corpus')
    parser.add_argument("--backends", help="ways of scoring; default: those of the table")
    parser.add_argument("--reference", help="the loss that the others are compared with")
    parser.add_argument("--gpus", help='how many GPUs, 2, or numbers of some, "0 2": as many rows at once')
    parser.add_argument(
        "--finetuned", type=boolean, nargs="?", const=True, default=False,
        help="true: fine-tune the rows whose loss has a margin as well (stage 8), as rows <loss>_lm",
    )  # fmt: skip
    parser.add_argument("--lm_set", help="changes of the fine-tunings, likewise as run.sh takes them")
    parser.add_argument(
        "--model", type=Path, help="model directory that the rows of a table of fine-tunings start from"
    )
    parser.add_argument("--set", help="changes of every row, as run.sh takes them")
    parser.add_argument("--data_dir", help="folder of the data; default: egs/<corpus>/data")
    parser.add_argument("--exp_root", help="folder of the experiments; default: egs/<corpus>/exp")
    parser.add_argument("--device", help="where to compute: auto, cpu, cuda or cuda:N; default: auto")
    parser.add_argument(
        "--dry_run", type=boolean, nargs="?", const=True, default=False,
        help="print every command with its estimated time and disk, and do nothing",
    )  # fmt: skip
    parser.add_argument(
        "--crops_per_s", type=above_zero("crops a second"), metavar="N",
        help="with --dry_run: times from so many crops a second (views counted, as a training shows them), not from "
        "steps timed here",
    )  # fmt: skip
    return parser


def _listed(name: str, text: str | None, form: str, expected: str) -> tuple[str, ...]:
    """The words of an option, each of a form and there once."""
    words = tuple((text or "").split())
    for at, word in enumerate(words):
        if not re.fullmatch(form, word):
            raise ConfigError(f"--{name}: expected {expected}, found '{word}'")
        if word in words[:at]:
            raise ConfigError(f"--{name}: expected each once, found '{word}' twice")
    return words


def _request(options: Any, handed_on: Iterable[str]) -> tuple[Sweep, list[Table]]:
    """What is asked for: the tables, with what the command line says in place of conf/tables.yaml."""
    seeds = _listed("seeds", options.seeds, "0|[1-9][0-9]{0,14}", 'whole numbers, "1 2 3"')
    losses = _listed("losses", options.losses, r"\S+", "names of losses")
    corpus = TOP / "egs" / options.corpus
    usual, tables = read_tables(corpus / "conf" / "tables.yaml", options.data_dir or str(corpus / "data"))
    names = _listed("configs", options.configs, r"\S+", "names of tables")
    for name in names:
        if name not in tables:
            raise ConfigError(f"--configs: unknown table '{name}'; choose from: {' '.join(tables)}")
    sweep = Sweep(
        top=TOP,
        corpus=options.corpus,
        exp_root=Path(options.exp_root or corpus / "exp"),
        seeds=tuple(map(int, seeds)) or usual,
        changes=options.set or "",
        handed_on=(*handed_on, *(word for name in ("exp_root", "device", "lm_set") for word in _given(options, name))),
        finetuned=options.finetuned,
        model=options.model,
    )
    chosen = [tables[name] for name in names] or [table for table in tables.values() if not table.on_request]
    _check_model(options.model, chosen)
    return sweep, [_changed(table, losses, options) for table in chosen]


def _check_model(model: Path | None, tables: Iterable[Table]) -> None:
    """A table of fine-tunings needs a model, and no other table takes one."""
    if model is not None and not (model / MODEL).is_file():
        raise ConfigError(f"--model {model}: expected a model directory, found no {MODEL} there")
    for table in tables:
        if (table.config == OF_MODEL) != (model is not None):
            found = f"found {'none' if model is None else model}"
            needed = "a model directory, which its rows start from" if model is None else "no model to start from"
            raise ConfigError(f"--model: table {table.name}: expected {needed}, {found}")


def _given(options: Any, name: str) -> list[str]:
    value = getattr(options, name)
    return [] if value is None else [f"--{name}", value]


def _changed(table: Table, losses: tuple[str, ...], options: Any) -> Table:
    for row in losses:
        choose(f"--losses: table {table.name}", row, dict.fromkeys((*LOSSES, *table.systems)))
    losses = losses or table.losses
    if options.reference and table.config == OF_MODEL:
        found = f"found '{options.reference}'"
        raise ConfigError(f"--reference: table {table.name}: expected none, rows are compared with the model, {found}")
    reference = options.reference or (table.reference if table.reference in losses else losses[0])
    if reference not in losses:
        raise ConfigError(f"--reference: expected one of {' '.join(losses)}, found '{reference}'")
    return replace(table, losses=losses, backends=options.backends or table.backends, reference=reference)


def _check(sweep: Sweep, table: Table, device: str) -> None:
    """Refuse a wrong request before any row is trained; run.sh knows its options best."""
    _call(sweep.options_check(table), stdout=subprocess.DEVNULL)
    backends = parse_backends([table.backends])
    for row in table.losses:
        possible_backends(backends, LOSSES[_config(sweep, table, row).loss.name])
    pick_device(device)


def _config(sweep: Sweep, table: Table, row: str) -> Config:
    changes = [sweep.changes_of(table, row)]
    return read_config(argparse.Namespace(config=sweep.config(table), loss=table.system(row).loss, set=changes))


def _call(command: Sequence[str], **further: Any) -> None:
    """Call run.sh; where it fails it has said why, and its status is that of this command."""
    status = subprocess.run(command, env=environment(), check=False, **further).returncode
    if status:
        sys.exit(status if status > 0 else 128 - status)


def _make(sweep: Sweep, tables: Iterable[Table], gpus: Sequence[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):  # end the rows too, which may not be of this process's group
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    all_done = True
    for table in tables:
        _call(sweep.preparation(table))
        status = run_rows([*sweep.baseline(table), *sweep.rows(table)], gpus)
        if status > 1:
            sys.exit(status)
        all_done &= status == 0 and _compare(sweep, table)
    if not all_done:
        raise DataError("rows failed; call again to try those that are not done, the others are kept")


def _compare(sweep: Sweep, table: Table) -> bool:
    """Put the finished rows side by side; whether that could be done."""
    say(f"table {table.name} in {sweep.out(table)}")
    done = _call_own(sweep.comparison(table))
    if table.hierarchy and done.returncode == 0:
        done = _call_own(sweep.hierarchy(table), stdout=subprocess.PIPE)
        if done.returncode == 0:
            write_text(sweep.out(table) / "hierarchy.md", done.stdout)
            print(done.stdout)
    return done.returncode == 0


def _call_own(command: Sequence[str], **further: Any) -> subprocess.CompletedProcess[str]:
    """Call a command of ham.bin; a folder ham/ where the user stands is not meant."""
    safe = environment(PYTHONSAFEPATH="1")
    return subprocess.run([sys.executable, *command[1:]], env=safe, text=True, check=False, **further)


def _show_plan(sweep: Sweep, tables: Iterable[Table], options: Any, num_at_once: int) -> None:
    """Print every command, with an estimate where the size of the data is known."""
    seconds, num_bytes, unknown = 0.0, 0.0, ""
    for table in tables:
        parts = _estimates(sweep, table, options)
        if not parts:
            unknown = ", the tables without an estimate left out"
            found_nothing = f"expected prepared data, or sizes in conf/tables.yaml, found no {table.data_dir}/train"
            print(f"# table {table.name}: no estimate: {found_nothing}")
        for what, found in zip((f"table {table.name}: a row", "its fine-tuning (stage 8)"), parts, strict=False):
            print(f"# {what} trains for about {_duration(found.seconds)} and takes {found.gigabytes} GB")
            print(f"# {found.words}")
        if parts:
            print("# stages 1 to 3 and 5 to 7 come on top")
        for command in (sweep.preparation(table), *(row.command for row in sweep.baseline(table))):
            print(shlex.join(command))
        for row in sweep.rows(table):
            own = parts[: 1 + row.finetuned]
            row_seconds, row_bytes = sum(one.seconds for one in own), sum(one.num_bytes for one in own)
            seconds, num_bytes = seconds + row_seconds, num_bytes + row_bytes
            print(shlex.join(row.command) + (f"  # {_duration(row_seconds)}, {row_bytes / 1e9:.3f} GB" if own else ""))
        print(shlex.join(sweep.comparison(table)))
        if table.hierarchy:
            print(shlex.join(sweep.hierarchy(table)))
    there = next(path for path in (sweep.exp_root, *sweep.exp_root.absolute().parents) if path.exists())
    training = f"{_duration(seconds / num_at_once)} of training, {num_bytes / 1e9:.3f} GB{unknown}"
    print(f"# all rows: {training}; free: {shutil.disk_usage(there).free / 1e9:.1f} GB")


def _estimates(sweep: Sweep, table: Table, options: Any) -> list[Estimate]:
    """What a row of a table costs, and its fine-tuning where there is one; none while the size of the data is unknown.

    A crop of a fine-tuning is longer, and a given speed counts for it as many times less.
    """
    sizes = read_sizes(Path(table.data_dir)) or table.sizes
    if sizes is None:
        return []
    backends = parse_backends([table.backends])
    first = next((row for row in table.losses if sweep.is_finetuned(table, row)), None)
    configs = [(_config(sweep, table, table.losses[0]), table.losses[0])]
    configs += [(_finetuning(_config(sweep, table, first), options.lm_set), first)] if first else []
    found = []
    for config, row in configs:
        speed = options.crops_per_s
        longer = config.data.crop_frames / configs[0][0].data.crop_frames
        one = estimate(
            config,
            sizes,
            pick_device(options.device or "auto"),
            num_backends=len(backends),
            crops=any(backend.crops for backend in backends),
            crops_per_s=None if speed is None else speed / longer,
        )
        slower = f", for crops {longer:g} times as long" if speed is not None and longer != 1 else ""
        found.append(replace(one, words=f"{one.words}{slower}, loss {row}"))
    return found


def _finetuning(config: Config, changes: str | None) -> Config:
    """What stage 8 makes of a configuration, by way of a file as there."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large_margin.yaml"
        write_text(path, yaml.safe_dump(to_dict(large_margin(config, "--finetuned"))))
        return read_config(argparse.Namespace(config=path, loss="", set=[changes or ""]))


def _duration(seconds: float) -> str:
    """A duration in words."""
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


if __name__ == "__main__":
    sys.exit(run(main))
