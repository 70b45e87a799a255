"""What an experiment is made of: where it goes on, and what makes it another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ham.config import from_dict
from ham.data.identity import identity
from ham.data.store import ArrayStore
from ham.errors import CheckpointError, ConfigError
from ham.model import checkpoint
from ham.train.blocks import resolve
from ham.train.request import Place, describe, find_place, write_request


def request(store: ArrayStore, seed: int = 1, **blocks: Any) -> dict[str, Any]:
    config = resolve(from_dict({"train": {"epochs": 3}, **blocks}))
    return describe(config, seed, identity(store), {})


def save(folder: Path, epoch: int, step: int | None = None) -> None:
    paths = folder / "checkpoints"
    path = checkpoint.epoch_path(paths, epoch) if step is None else checkpoint.step_path(paths, epoch, step)
    checkpoint.save(path, {"x": torch.zeros(1)})


def test_an_experiment_goes_on_after_its_newest_checkpoint(store: ArrayStore, tmp_path: Path) -> None:
    asked, stores, folder = request(store), {"train": store}, tmp_path / "exp"
    assert find_place(folder, asked, stores, resume=False) == Place(0, None)
    write_request(folder, asked)
    save(folder, 1, 2)
    save(folder, 1)
    assert find_place(folder, asked, stores, resume=True) == Place(1, None)
    with pytest.raises(ConfigError, match="stopped after epoch 1 of 3; go on with --resume"):
        find_place(folder, asked, stores, resume=False)
    save(folder, 2, 5)
    save(folder, 2, 6)
    assert find_place(folder, asked, stores, resume=True) == Place(2, 6)
    with pytest.raises(ConfigError, match="stopped after step 6, in epoch 2 of 3"):
        find_place(folder, asked, stores, resume=False)
    save(folder, 3)
    assert find_place(folder, asked, stores, resume=False) == Place(3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2}, r"seed: 1 -> 2"),
        ({"schedule": {"name": "cosine"}}, r"schedule.name: step -> cosine"),
        ({"loss": {"name": "am_softmax"}}, r"loss.name: ham_softmax -> am_softmax"),
        ({"data": {"num_workers": 3, "max_bad_crops": 4}}, ""),
        ({"train": {"epochs": 3, "checkpoint_steps": 7}}, ""),
        ({"schedule": {"final_lr": 1e-4}, "optimiser": {"momentum": 0.5}}, ""),  # nothing takes them here
    ],
)
def test_another_number_is_another_experiment(
    change: dict[str, Any], said: str, store: ArrayStore, tmp_path: Path
) -> None:
    write_request(tmp_path, request(store))
    save(tmp_path, 3)
    now = request(store, **change)
    if said:
        with pytest.raises(ConfigError, match=said):
            find_place(tmp_path, now, {"train": store}, resume=False)
    else:
        assert find_place(tmp_path, now, {"train": store}, resume=False) == Place(3)


def test_a_request_with_options_of_every_choice_is_the_same(store: ArrayStore, tmp_path: Path) -> None:
    """As it was written once, when a block held the options of all."""
    asked = request(store)
    old = yaml.safe_load(yaml.safe_dump(asked))
    old["schedule"] |= {"final_lr": 5e-5}
    old["curvature"] |= {"start": 1.0, "start_epoch": 0.0, "end_epoch": 0.0}
    write_request(tmp_path, old)
    save(tmp_path, 3)
    assert find_place(tmp_path, asked, {"train": store}, resume=False) == Place(3)


def test_checkpoints_without_a_configuration_are_refused(store: ArrayStore, tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"config\.yaml: cannot be read .* but there are checkpoints"):
        find_place(tmp_path, request(store), {"train": store}, resume=True)
