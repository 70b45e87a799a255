"""Stage 7: write RESULTS.md and report.html of an experiment and print its table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ham.cli import Parser, run
from ham.files import lock_folder, write_text
from ham.model import checkpoint
from ham.report import experiment_page
from ham.report.experiment import markdown, read_experiment
from ham.report.text_tables import table, text_table

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Last parts of the names of batch normalisation's statistics, which are not learnt parameters."""


def main(argv: Sequence[str]) -> None:
    """Report an experiment.

    Args:
        argv: the arguments without the command's name.
    """
    parser = Parser(prog="python -m ham.bin.report", description=__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment with results.json")
    exp_dir = parser.parse_args(argv).exp_dir
    with lock_folder(exp_dir, "stage 7"):
        experiment = read_experiment(exp_dir, _parameters(exp_dir / "average.pt"))
        write_text(exp_dir / "RESULTS.md", markdown(experiment))
        links = [("geometry.html", "Geometry of the embeddings")] if (exp_dir / "geometry.html").exists() else []
        write_text(exp_dir / "report.html", experiment_page.render(experiment, links))
    print(text_table(*table(experiment.results.results)))
    print()
    for name in ("RESULTS.md", "report.html", *(name for name, _ in links)):
        print(exp_dir / name)


def _parameters(path: Path) -> dict[str, int]:
    """Number of learnt parameters of the averaged model's parts; empty if there is no such model."""
    if not path.exists():
        return {}
    state = checkpoint.load(path)
    return {part: _count(state[part]) for part in ("backbone", "loss") if part in state}


def _count(weights: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for name, tensor in weights.items() if name.rpartition(".")[2] not in _BUFFERS)


if __name__ == "__main__":
    sys.exit(run(main))
