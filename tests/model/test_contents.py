"""What is read of an experiment: its average, made where it is missing, and what its command says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ham.config import Config
from ham.errors import CheckpointError, ConfigError
from ham.model import checkpoint
from ham.model.average import KEPT
from ham.model.contents import Contents, of_experiment, refuse_not_finite
from tests.tiny_system import write_model


def write_checkpoint(exp: Path, epochs: int) -> None:
    """The only checkpoint of a training of so many epochs."""
    write_model(exp, "softmax")
    state = torch.load(exp / "average.pt", weights_only=True)
    (exp / "average.pt").unlink()
    state["config"]["train"]["epochs"] = epochs
    checkpoint.save(checkpoint.epoch_path(exp / "checkpoints", 1), {**dict.fromkeys(KEPT, 1), **state})


def test_a_finished_training_is_averaged_first(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, epochs=1)
    found = of_experiment(tmp_path)
    assert found.state["epochs"] == [1]
    assert (tmp_path / "average.pt").exists()
    assert found.name == tmp_path.name
    assert (found.results, found.decisions, found.cohort, found.commit, found.init_from) == (None, None, None, None, "")


def test_an_unfinished_one_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, epochs=2)
    with pytest.raises(CheckpointError, match="stopped after epoch 1 of 2"):
        of_experiment(tmp_path)
    with pytest.raises(ConfigError, match="found neither"):
        of_experiment(tmp_path / "nothing")


def test_the_saved_configuration_says_what_it_started_from(tmp_path: Path) -> None:
    write_model(tmp_path, "softmax")
    (tmp_path / "config.yaml").write_text("seed: 1\ninit_from: f00d\n")
    assert of_experiment(tmp_path, licence=" a \n b ").init_from == "f00d"
    assert of_experiment(tmp_path, licence=" a \n b ").licence == "a b"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("./run.sh", {"corpus": "mini"}),
        ("'/my recipe/run.sh' --corpus voxceleb --train-set 'a b'", {"corpus": "voxceleb", "train_set": "a b"}),
        ("./run.sh --corpus=folder --set", {"corpus": "folder", "set": ""}),
        ("python -m ham.bin.train", {}),
        ("./run.sh 'open", {}),
        ("", {}),
    ],
)
def test_options_of_the_command(command: str, expected: dict[str, str]) -> None:
    assert Contents(Path(), "x", {"command": command}, Config(), "", 0).command == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_weight_that_is_not_finite_is_named(value: float) -> None:
    refuse_not_finite(Path("x"), {"a": torch.ones(2), "count": torch.tensor(3)})
    with pytest.raises(CheckpointError, match=r"x: .* in b;"):
        refuse_not_finite(Path("x"), {"a": torch.ones(2), "b": torch.tensor([1, value])})
