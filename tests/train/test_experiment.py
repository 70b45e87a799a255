"""Putting the parts of a training together; stage 4's own tests train with what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ham.config import Config, from_dict
from ham.data.batches import TrainingSet
from ham.data.store import ArrayStore
from ham.errors import ConfigError
from ham.train.blocks import resolve
from ham.train.experiment import Prepared, build_loop, build_speed, build_step

CPU = torch.device("cpu")


def tiny(**blocks: Any) -> Config:
    small = {"name": "resnet18", "width": 4, "embedding_dim": 8}
    data = {"batch_size": 8, "crop_frames": 20, **blocks.pop("data", {})}
    return resolve(from_dict({"backbone": small, "loss": {"name": "am_softmax"}, "data": data, **blocks}))


@pytest.fixture
def prepared(store: ArrayStore, data: TrainingSet) -> Prepared:
    return Prepared(store, {utt: utt[:2] for utt in store.utts}, data, (), {"ids": "ab"})


def test_every_speed_makes_classes_of_its_own() -> None:
    assert build_speed(tiny(), 7) == (None, 7)
    speed, num_classes = build_speed(tiny(data={"speed_perturb": [0.9, 1.1]}), 7)
    assert speed is not None
    assert num_classes == 21
    step = build_step(tiny(data={"speed_perturb": [0.9, 1.1]}), num_classes, speed, CPU)
    assert step.loss.weight.shape == (21, 8)


@pytest.mark.parametrize(
    ("augment", "views"),
    [({"mode": "off"}, 1), ({"mode": "replace", "kinds": ["noise"]}, 1), ({"joint_pass": True}, 2)],
)
def test_the_step_takes_what_the_mode_says(augment: dict[str, Any], views: int) -> None:
    step = build_step(tiny(augment=augment), 4, None, CPU)
    assert step.views == views
    assert step.joint_pass == bool(augment.get("joint_pass"))
    assert (step.augmenter is None) == (augment.get("mode") == "off")


def test_the_step_has_the_options_of_the_training() -> None:
    plain = build_step(tiny(), 4, None, CPU)
    assert (plain.precision, plain.accumulate, plain.backbone.recompute) == (None, 1, False)
    assert not plain.scaler.is_enabled()
    options = {"precision": "float16", "accumulate": 4, "recompute": True}
    step = build_step(tiny(train=options), 4, None, CPU)
    assert (step.precision, step.accumulate, step.backbone.recompute) == (torch.float16, 4, True)
    assert step.scaler.is_enabled()


@pytest.mark.parametrize("parts", [3, 8])
def test_parts_of_a_batch_must_fit(parts: int) -> None:
    with pytest.raises(
        ConfigError, match=r"train\.accumulate: expected a divisor of data\.batch_size 8 that leaves at"
    ):
        tiny(train={"accumulate": parts})


def test_the_loop_has_the_values_of_the_configuration(prepared: Prepared, tmp_path: Path) -> None:
    config = tiny(
        augment={"mode": "off"},
        optimiser={"name": "sgd", "lr": 0.4},
        schedule={"name": "exponential", "final_lr": 0.1},
        margin={"name": "linear", "end_epoch": 2},
        train={"epochs": 4, "average_last": 1, "fused": True},
    )
    loop = build_loop(prepared, config, tmp_path, seed=3, device=CPU, command="made so")
    assert isinstance(loop.optimiser, torch.optim.SGD)
    assert loop.optimiser.defaults["fused"]
    assert loop.schedules.at(2) == pytest.approx({"lr": 0.2, "margin": 0.2, "curvature": None})
    assert loop.steps_per_epoch == 3
    loop.run()
    state = torch.load(tmp_path / "checkpoints/epoch_0004.pt", weights_only=True)
    assert (state["seed"], state["command"], state["num_speakers"]) == (3, "made so", 4)
    assert state["config"]["optimiser"] == {"name": "sgd", "lr": 0.4, "weight_decay": 2e-5, "momentum": 0.9}
    assert state["fingerprint"] == {"ids": "ab"}
