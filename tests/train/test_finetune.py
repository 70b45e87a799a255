"""The configuration of a large-margin fine-tuning."""

from __future__ import annotations

import pytest

from ham.config import from_dict, to_dict
from ham.errors import ConfigError
from ham.losses import LOSSES
from ham.train.blocks import resolve
from ham.train.finetune import large_margin

PUBLISHED = {
    "optimiser": {"name": "sgd", "lr": 0.4},
    "schedule": {"name": "exponential", "warmup_epochs": 6, "final_lr": 2e-4},
    "margin": {"name": "exponential", "start_epoch": 19, "end_epoch": 39},
    "train": {"epochs": 150, "average_last": 10},
}


def test_the_published_settings() -> None:
    data = {"batch_size": 256, "speed_perturb": [0.9, 1.1], "valid_speakers": 20}
    before = resolve(from_dict({"loss": {"name": "aam_softmax", "scale": 32}, "data": data, **PUBLISHED}))
    after = to_dict(resolve(large_margin(before, "exp/x")))
    assert (after["data"]["crop_frames"], after["data"]["batch_size"], after["data"]["speed_perturb"]) == (600, 128, [])
    assert (after["loss"]["margin"], after["loss"]["scale"], after["margin"]) == (0.5, 32, {"name": "constant"})
    assert after["optimiser"] == {"name": "sgd", "lr": 2e-4, "weight_decay": 2e-5, "momentum": 0.9}
    assert after["schedule"] == {"name": "exponential", "warmup_epochs": 1.0, "final_lr": 5e-5}
    assert (after["train"]["epochs"], after["train"]["average_last"]) == (5, 1)
    assert after["data"]["valid_speakers"] == 20
    changed = {"data", "loss", "margin", "optimiser", "schedule", "train"}
    rest = {key: value for key, value in to_dict(before).items() if key not in changed}
    assert rest == {key: value for key, value in after.items() if key not in changed}


@pytest.mark.parametrize("name", LOSSES)
def test_every_margin_grows_by_the_same_factor_and_no_margin_is_refused(name: str) -> None:
    before = resolve(from_dict({"loss": {"name": name}}))
    if LOSSES[name].has_margin:
        after = resolve(large_margin(before, "exp/x"))
        assert after.loss.options["margin"] == pytest.approx(2.5 * before.loss.options["margin"])
    else:
        with pytest.raises(ConfigError, match=f"exp/x: stage 8 .* and the loss {name} has none; train one that has"):
            large_margin(before, "exp/x")


def test_a_scheduled_curvature_ends_where_it_was() -> None:
    curvature = {"name": "linear", "start": 1.0, "end_epoch": 50}
    before = resolve(from_dict({"loss": {"name": "ham_softmax"}, "curvature": curvature}))
    after = resolve(large_margin(before, "exp/x"))
    assert after.curvature.name == "constant"
    assert after.loss.options["curvature"] == before.loss.options["curvature"]


def test_what_a_start_from_weights_did_is_not_done_again() -> None:
    train = {"init_centres": "class_means", "interpolate": 0.5, "freeze_epochs": 2, "freeze": ["first"]}
    after = large_margin(resolve(from_dict({"train": train})), "exp/x").train
    assert (after.init_centres, after.interpolate, after.freeze_epochs) == ("loaded", 0.0, 0)
    assert after.freeze == ("first",)
