"""Trained weights to start from: what fits, which row a centre gets, what is said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from ham.config import Config, from_dict, to_dict
from ham.errors import CheckpointError, ConfigError
from ham.model import checkpoint
from ham.model.build import build_backbone, build_loss
from ham.model.directory import pack
from ham.train.blocks import resolve
from ham.train.initial import Initial, classes, described, read_initial, seen_in_validation, start_from

SPEEDS = {"data": {"speed_perturb": [0.9, 1.1]}}


def system(loss: str = "am_softmax", data: Mapping[str, Any] = MappingProxyType({}), **options: Any) -> Config:
    backbone = {"name": "resnet18", "width": 4, "embedding_dim": 8}
    return resolve(from_dict({"backbone": backbone, "loss": {"name": loss, **options}, "data": data}))


def write(path: Path, config: Config, speakers: str, **further: Any) -> Path:
    """A checkpoint with random weights."""
    backbone, loss = build_backbone(config), build_loss(config, len(classes(speakers, config)))
    parts = {"backbone": backbone.state_dict(), "loss": loss.state_dict()}
    checkpoint.save(path, {"config": to_dict(config), "speakers": list(speakers), **parts, **further})
    return path


def start(initial: Initial, config: Config, speakers: str) -> tuple[dict[str, torch.Tensor], torch.nn.Module]:
    """The backbone's weights and the loss, after the start."""
    numbered = classes(speakers, config)
    backbone, loss = build_backbone(config), build_loss(config, len(numbered))
    start_from(initial, backbone, loss, config, numbered)
    return backbone.state_dict(), loss


def test_the_same_speakers_have_the_same_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = system()
    initial = read_initial(write(tmp_path / "average.pt", config, "abc").parent)
    backbone, loss = start(initial, config, "abc")
    assert all(torch.equal(backbone[name], value) for name, value in initial.backbone.items())
    assert torch.equal(loss.weight, initial.loss["weight"])
    number = len(initial.backbone)
    assert f"average.pt: backbone: {number} of {number} weights loaded\n" in caplog.text
    assert "centres: 3 loaded, by speaker and speed; 0 are new, 0 of those" in caplog.text


@pytest.mark.parametrize("loss_name", ["am_softmax", "eh_am_softmax", "subcenter_aam_softmax"])
def test_centres_follow_their_speakers(tmp_path: Path, loss_name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = system(loss_name)
    initial = read_initial(write(tmp_path / "epoch_0001.pt", config, "abcd"))
    _, loss = start(initial, config, "dxb")
    found = loss.state_dict()
    for name, given in initial.loss.items():
        if given.ndim:
            assert torch.equal(found[name][[0, 2]], given[[3, 1]])
            assert not torch.equal(found[name][1], given[0])
    assert (
        "centres: 2 loaded, by speaker and speed; 1 are new, 2 of those that were there are not needed" in caplog.text
    )


@pytest.mark.parametrize("loss_name", ["aam_softmax", "ham_softmax"])
def test_the_head_without_speeds_has_the_rows_of_speed_1(tmp_path: Path, loss_name: str) -> None:
    initial = read_initial(write(tmp_path / "x.pt", system(loss_name, **SPEEDS), "abcd"))
    assert len(initial.loss["weight"]) == 12
    _, loss = start(initial, system(loss_name), "abcd")
    assert torch.equal(loss.weight, initial.loss["weight"][:4])


def test_a_model_directory_starts_what_its_experiment_starts(tmp_path: Path) -> None:
    rest = {"num_speakers": 3, "seed": 1, "command": "", "valid_speakers": []}
    write(tmp_path / "exp/average.pt", system(), "abc", **rest)
    pack(tmp_path / "exp", tmp_path / "model")
    initial, expected = read_initial(tmp_path / "model"), read_initial(tmp_path / "exp")
    assert (initial.digest, initial.config, initial.classes) == (expected.digest, expected.config, expected.classes)
    _, loss = start(initial, system(), "cab")
    assert torch.equal(loss.weight, expected.loss["weight"][[2, 0, 1]])
    pack(tmp_path / "exp", tmp_path / "nameless", anonymous=True)
    backbone, _ = start(read_initial(tmp_path / "nameless"), system(), "abc")
    assert all(torch.equal(backbone[name], value) for name, value in expected.backbone.items())


def test_speeds_keep_their_rows(tmp_path: Path) -> None:
    initial = read_initial(write(tmp_path / "x.pt", system(**SPEEDS), "ab"))
    config = system(data={"speed_perturb": [1.1]})
    _, loss = start(initial, config, "ba")
    assert torch.equal(loss.weight, initial.loss["weight"][[1, 0, 5, 4]])


@pytest.mark.parametrize(
    ("config", "speakers", "said"),
    [
        (system("softmax"), "abc", "none loaded, they were those of am_softmax and are those of softmax now"),
        (system(), "xyz", "none loaded, no speaker of 3 classes was trained there"),
    ],
)
def test_other_speakers_or_another_loss_leave_fresh_centres(
    tmp_path: Path, config: Config, speakers: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    initial = read_initial(write(tmp_path / "x.pt", system(), "abc"))
    torch.manual_seed(3)
    backbone, loss = start(initial, config, speakers)
    torch.manual_seed(3)
    build_backbone(config)
    assert torch.equal(loss.weight, build_loss(config, 3).weight)
    assert all(torch.equal(backbone[name], value) for name, value in initial.backbone.items())
    assert said in caplog.text


def test_another_geometry_has_other_centres(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    initial = read_initial(write(tmp_path / "x.pt", system("ham_softmax"), "abc"))
    start(initial, system("ham_softmax", geometry="lorentz"), "abc")
    assert "those of ham_softmax published and are those of ham_softmax lorentz now" in caplog.text


def test_what_does_not_fit_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = system()
    path = write(tmp_path / "x.pt", config, "abc")
    state = checkpoint.load(path)
    names = [*state["backbone"]]
    state["backbone"]["extra.weight"] = state["backbone"].pop(names[0])
    state["backbone"][names[1]] = torch.zeros(1, 1)
    checkpoint.save(path, state)
    start(read_initial(path), config, "abc")
    total = len(names)
    assert (
        f"{total - 2} of {total} weights loaded; 1 not, the backbone has none of the name (extra.weight, ...)"
        in caplog.text
    )
    assert f"1 not, the backbone has another shape ({names[1]} (1, 1), ...)" in caplog.text
    assert f"2 of the backbone's {total} are new ({names[0]}, ...)" in caplog.text


def test_nothing_that_fits_is_refused(tmp_path: Path) -> None:
    initial = read_initial(write(tmp_path / "x.pt", system(), "abc"))
    config = resolve(from_dict({"backbone": {"name": "ecapa_tdnn", "channels": 16, "embedding_dim": 8}}))
    with pytest.raises(ConfigError, match=r"x\.pt: none .* fits the backbone ecapa_tdnn; they are of resnet18"):
        start(initial, config, "abc")


def test_wrong_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--init_from .*expected an experiment with average\.pt, which stage 5 makes"
    ):
        read_initial(tmp_path)
    with pytest.raises(ConfigError, match=r"--init_from .*none\.pt"):
        read_initial(tmp_path / "none.pt")
    checkpoint.save(tmp_path / "x.pt", {"config": to_dict(system())})
    with pytest.raises(CheckpointError, match="expected a checkpoint of a training, found no entry 'backbone'"):
        read_initial(tmp_path / "x.pt")


def test_the_digest_is_that_of_the_weights_and_the_average_counts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write(tmp_path / "a.pt", system(), "abc")
    one = read_initial(path)
    state = checkpoint.load(path)
    checkpoint.save(tmp_path / "b.pt", {**state, "seed": 7})
    assert described(read_initial(tmp_path / "b.pt")) == {"init_from": one.digest}
    moved = {"backbone": state["backbone"], "loss": {"weight": state["loss"]["weight"] + 1}}
    checkpoint.save(tmp_path / "c.pt", {**state, "ema": {**moved, "steps": 3}})
    averaged = read_initial(tmp_path / "c.pt")
    assert averaged.digest != one.digest
    assert torch.equal(averaged.loss["weight"], moved["loss"]["weight"])
    assert described(None) == {}


def test_validation_speakers_that_were_trained_on_are_told(tmp_path: Path) -> None:
    initial = read_initial(write(tmp_path / "x.pt", system(), "abc"))
    assert seen_in_validation(initial, "xyz") == ""
    assert "trained on 2 of the 3 validation speakers" in seen_in_validation(initial, "xab")
