"""The configuration: every file of conf/, every kind of mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ham.bin._system import check_parts
from ham.config import Config, differences, from_dict, load_config, to_dict
from ham.errors import ConfigError

TOP = Path(__file__).parents[1]
SYSTEMS = sorted((TOP / "conf").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "system.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda p: p.stem)
def test_every_system_is_accepted_by_its_parts_and_fits_on_a_page(path: Path) -> None:
    check_parts(load_config(path))
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_numbers_are_read_as_yaml_1_2_does(tmp_path: Path) -> None:
    path = write(tmp_path, "optimiser: {lr: 5e-5, weight_decay: 1E-4}\naugment: {mode: off}\n")
    config = load_config(path)
    assert config.optimiser.lr == 5e-5
    assert config.optimiser.weight_decay == 1e-4
    assert config.augment.mode == "off"


def test_round_trip_keeps_everything() -> None:
    config = from_dict({"loss": {"name": "am_softmax", "margin": 0.3}, "data": {"speed_perturb": [0.9, 1.1]}})
    assert config.loss.options == {"margin": 0.3}
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config
    assert from_dict(to_dict(config)) == config


def test_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == Config()


def test_another_loss_drops_the_options_of_the_files_loss(tmp_path: Path) -> None:
    path = write(tmp_path, "loss: {name: ham_softmax, margin: 0.4}\n")
    assert load_config(path, loss="ham_softmax").loss.options == {"margin": 0.4}
    assert load_config(path, loss="softmax").loss.options == {}
    assert load_config(path, ["loss.scale=20"], loss="am_softmax").loss.options == {"scale": 20}


def test_changes_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {epochs: 3, average_last: 1}\n")
    assert load_config(path, ["train.epochs=7", "optimiser.lr=1e-2"]).train.epochs == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("los: {name: softmax}", ["unknown key 'los'", "did you mean 'loss'"]),
        ("train: {epoch: 3}", ["unknown key 'train.epoch'", "did you mean 'train.epochs'"]),
        ("train: {epochs: 3.5}", ["train.epochs", "a whole number", "3.5"]),
        ("train: {epochs: 0, average_last: 1}", ["train.epochs", "at least 1"]),
        ("train: {epochs: 2, average_last: 5}", ["train.average_last", "cannot be averaged"]),
        ("data: {order: balance}", ["data.order", "did you mean 'balanced'"]),
        ("data: {max_bad_crops: -1}", ["data.max_bad_crops", "at least 0"]),
        ("train: {checkpoint_steps: -5}", ["train.checkpoint_steps", "at least 0"]),
        ("optimiser: {lr: fast}", ["optimiser.lr", "a number", "'fast'"]),
        ("optimiser: {lr: .nan}", ["optimiser.lr", "a number", "nan"]),
        ("optimiser: {lr: 0}", ["optimiser.lr", "above 0"]),
        ("optimiser: {lr: true}", ["optimiser.lr", "a number"]),
        ("optimiser: {name: adma}", ["optimiser.name", "did you mean 'adam'"]),
        ("augment: {probability: 1.5}", ["augment.probability", "0 to 1"]),
        ("augment: {kinds: noise}", ["augment.kinds", "a list"]),
        ("data: {speed_perturb: [1.0]}", ["data.speed_perturb", "other than 1"]),
        ("features: stored", ["augment.mode: off"]),
        ("margin: {start_epoch: 4, end_epoch: 2}", ["margin.end_epoch"]),
        ("curvature: {name: linear, end_epoch: 101}", ["curvature.end_epoch", "train.epochs (100)", "found 101"]),
        ("curvature: {name: linear, start_epoch: 4, end_epoch: 2}", ["curvature.end_epoch"]),
        ("curvature: {start: 0}", ["curvature.start", "above 0"]),
        ("train: 3", ["train", "a block of keys", "3"]),
        ("- a\n- b", ["expected blocks"]),
        ("train: {epochs: 1, epochs: 2}", ["given twice"]),
        ("train: [", ["not YAML"]),
    ],
)
def test_a_mistake_is_one_line_with_place_and_cure(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("change", ["train.epochs", "=3", "train.epochs.deep=3", "train.epochs=["])
def test_a_malformed_change_is_refused(tmp_path: Path, change: str) -> None:
    with pytest.raises(ConfigError, match=r"--set|expected"):
        load_config(write(tmp_path, "train: {epochs: 5}"), [change])


def test_a_loss_is_named_once(tmp_path: Path) -> None:
    path = write(tmp_path, "loss: {name: ham_softmax}\n")
    assert load_config(path, ["loss.name=am_softmax"]).loss.name == "am_softmax"
    with pytest.raises(ConfigError, match=r"--set loss\.name=am_softmax: contradicts --loss ham_softmax"):
        load_config(path, ["loss.name=am_softmax"], loss="ham_softmax")


def test_a_missing_file_names_the_others(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(ConfigError, match=r"system\.yaml"):
        load_config(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({"loss": {"name": "ham_sofmax"}}, "ham_softmax"),
        ({"loss": {"name": "ham_softmax", "magrin": 0.2}}, "margin"),
        ({"backbone": {"name": "ecapa"}}, "ecapa_tdnn"),
        ({"frontend": {"name": "mels"}}, "mel"),
        ({"loss": {"name": "softmax"}, "margin": {"name": "linear"}}, "no margin"),
        ({"loss": {"name": "am_softmax"}, "curvature": {"name": "linear"}}, "has no curvature to set"),
        ({"loss": {"name": "ham_softmax"}, "curvature": {"name": "linear", "start": 0.5}}, "no meaning"),
        (
            {
                "loss": {"name": "ham_softmax", "geometry": "lorentz", "learn_curvature": True},
                "curvature": {"name": "linear"},
            },
            "is learnt",
        ),
    ],
)
def test_the_parts_refuse_what_they_do_not_know(tree: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        check_parts(from_dict(tree))


def test_differences_names_each_leaf() -> None:
    old = to_dict(Config())
    new = to_dict(from_dict({"train": {"epochs": 7}, "loss": {"name": "am_softmax"}}))
    assert differences(old, new) == ["loss.name: ham_softmax -> am_softmax", "train.epochs: 100 -> 7"]
    assert differences(old, old) == []
