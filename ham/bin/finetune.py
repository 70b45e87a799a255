"""Stage 8: write the configuration of a large-margin fine-tuning, and print its path.

It lies in `<experiment>_lm/large_margin.yaml`; run.sh then trains, embeds, scores and reports that experiment.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ham.cli import Parser, at_least, run
from ham.config import load_config, to_dict
from ham.errors import ConfigError
from ham.files import write_text
from ham.train.blocks import resolve
from ham.train.experiment_name import FINETUNED
from ham.train.finetune import large_margin
from ham.train.request import MATERIALS, read_request


def main(argv: Sequence[str]) -> None:
    """Write the configuration.

    Args:
        argv: the arguments without the command's name.
    """
    parser = Parser(prog="ham.bin.finetune", description=__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="the experiment that is fine-tuned")
    parser.add_argument("--seed", type=at_least(0), default=1, help="must be the experiment's")
    parser.add_argument("--musan", default="", help="not empty: MUSAN is used, as the experiment did")
    parser.add_argument("--rirs", default="", help="not empty: room responses are used, as the experiment did")
    options = parser.parse_args(argv)
    folder: Path = options.exp_dir
    if not (folder / "average.pt").exists():
        raise ConfigError(f"{folder}: expected average.pt, found none; run stages 4 and 5 before stage 8")
    _check_same(folder, options)
    saved = folder / "config.yaml"
    config = large_margin(resolve(load_config(saved), str(saved)), str(folder))
    target = folder.with_name(folder.name + FINETUNED) / "large_margin.yaml"
    write_text(target, yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None))
    print(target)


def _check_same(folder: Path, options: Any) -> None:
    """Refuse another seed, which keeps other speakers aside, and other augmentation than the experiment had."""
    saved = read_request(folder)
    if saved.get("seed") != options.seed:
        found = f"expected --seed {saved.get('seed')}, with which it was trained, found {options.seed}"
        raise ConfigError(f"{folder}: {found}")
    for name, what in MATERIALS.items():
        used = name in saved.get("materials", {})
        if used != bool(getattr(options, name)):
            raise ConfigError(f"{folder}: {what}: trained {'with' if used else 'without'}, fine-tune it likewise")


if __name__ == "__main__":
    sys.exit(run(main))
