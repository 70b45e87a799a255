"""The configuration: every file of conf/, every kind of mistake."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml

from ham.config import Config, differences, from_dict, load_config, to_dict
from ham.data.sampler import num_batches
from ham.errors import ConfigError
from ham.losses import LOSSES
from ham.model.build import build_backbone, build_frontend, build_loss
from ham.report.published import read_published
from ham.train.blocks import remarks, resolve
from ham.train.schedules import MARGINS, RATES
from tests.self_supervised import marks

TOP = Path(__file__).parents[1]
SYSTEMS = sorted((TOP / "conf").glob("*.yaml"))
CASES = [pytest.param(path, marks=marks("w2v_bert") if path.stem == "w2vbert_mfa" else []) for path in SYSTEMS]


AUTHORS = {"ecapa_tdnn": 100, "ecapa_tdnn_vox1": 150, "ecapa_tdnn_cnceleb": 100}
"""The authors' recipe on each training set, and its epochs."""
WESPEAKER = ("resnet34", "ecapa_c512_wespeaker", "ecapa_c1024_wespeaker")


def system(name: str, loss: str | None = None, *changes: str) -> Config:
    return load_config(TOP / f"conf/{name}.yaml", changes, loss)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "system.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_every_system_is_accepted_by_its_parts_and_fits_on_a_page(path: Path) -> None:
    assert remarks(load_config(path), resolve(load_config(path))) == []
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_every_system_resolves_to_what_it_was(path: Path) -> None:
    config = load_config(path)
    full = resolve(config)
    assert to_dict(resolve(full)) == to_dict(full)
    assert to_dict(from_dict(to_dict(full))) == to_dict(full)
    assert [line for line in differences(to_dict(config), to_dict(full)) if "(absent)" not in line] == []


@pytest.mark.parametrize(
    ("name", "num_parameters", "millions"),
    [
        *((name, 15_444_544, 15.44) for name in AUTHORS),
        ("resnet34", 6_634_336, 6.6),
        ("ecapa_c512_wespeaker", 6_190_720, 6.19),
        ("ecapa_c1024_wespeaker", 14_657_088, 14.65),  # 14.657 cut off
        ("eres2netv2", 17_859_632, 17.86),
        ("redimnet2", 12_454_688, 12.46),  # 64,512 of them for group normalisation, which 12.3 M have not
    ],
)
def test_published_systems_have_the_published_size(name: str, num_parameters: int, millions: float) -> None:
    with torch.device("meta"):
        backbone = build_backbone(system(name))
    found = sum(p.numel() for p in backbone.parameters())
    assert found == num_parameters
    assert found / 1e6 == pytest.approx(millions, abs=0.01 if millions > 7 else 0.05)


@pytest.mark.parametrize("name", [*AUTHORS, *WESPEAKER])
def test_published_systems_train_on_every_speaker_with_crops_of_200_frames(name: str) -> None:
    config = system(name)
    assert config.data.valid_speakers == 0
    assert (config.data.crop_frames, config.data.batch_size, config.data.crops_per_utterance) == (200, 256, 1)
    assert (config.data.order, config.train.precision, config.train.clip_grad_norm) == ("shuffle", "float32", 0.0)
    assert build_frontend(config).crop_samples(200) == 32_240
    assert config.frontend.num_mel_bins == 80
    assert resolve(config).augment.options["snr"] == "published"


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_recipe(name: str) -> None:
    config = resolve(system(name))
    assert (config.train.epochs, config.train.average_last) == (AUTHORS[name], 5)
    tree = to_dict(config)
    assert tree["optimiser"] == {"name": "adam", "lr": 1e-3, "weight_decay": 2e-5}
    assert tree["schedule"] == {"name": "step", "warmup_epochs": 0.0, "gamma": 0.97, "step_epochs": 1}
    assert tree["augment"] == {
        "mode": "clean_plus_augmented", "joint_pass": False, "probability": 1.0, "weights": [], "peak_normalise": False,
        "kinds": ["reverb", "music", "speech", "noise"], "snr": "published",
    }  # fmt: skip
    assert config.data.min_utterance_s == 0
    assert (config.frontend.name, config.frontend.options) == ("mel", {"low_freq_hz": 20.0, "high_freq_hz": 7600.0})
    assert (config.spec_augment.max_time_width, config.spec_augment.max_freq_width) == (10, 8)
    assert config.data.speed_perturb == ()
    assert config.margin.name == "constant"
    assert config.backbone.embedding_dim == 192
    assert {key: config.backbone.options[key] for key in ("channels", "scale", "se_channels", "dilations")} == {
        "channels": 1024, "scale": 8, "se_channels": 128, "dilations": (2, 3, 4)
    }  # fmt: skip


def wespeakers_rate(step: int, batch: int) -> float:
    """Its exponential decrease, 10 steps an epoch: all of it times batch / 64, which a warm-up of 6 epochs reaches."""
    ratio = batch / 64
    coefficient = ratio * step / 60 if step < 60 else ratio
    return coefficient * 0.1 * math.exp(step / 1500 * math.log(5e-5 / 0.1))


def wespeakers_margin(step: int) -> float:
    """Its margin: epochs are counted from 1, so that those named 20 and 40 begin when 19 and 39 are done."""
    start, fixed = (20 - 1) * 10, (40 - 1) * 10
    if step < start:
        return 0.0
    return 0.2 if step >= fixed else 0.2 * (1 - math.exp((step - start) / (fixed - start) * math.log(1e-3)))


@pytest.mark.parametrize("name", WESPEAKER)
def test_wespeakers_recipe(name: str) -> None:
    config = resolve(system(name))
    assert (config.train.epochs, config.train.average_last) == (150, 10)
    assert config.optimiser.name == "sgd"
    assert config.optimiser.options == {"lr": 0.4, "momentum": 0.9, "weight_decay": 1e-4}
    rate = RATES[config.schedule.name](0.4, 150, **config.schedule.options)
    margin = MARGINS[config.margin.name](0.2, **config.margin.options)
    for step in (1, 30, 59, 60, 190, 195, 200, 300, 389, 390, 391, 1499):  # of 10 an epoch
        assert rate(step / 10) == pytest.approx(wespeakers_rate(step, config.data.batch_size), rel=1e-12)
        assert margin(step / 10) == pytest.approx(wespeakers_margin(step), abs=2.1e-4)
    augment = config.augment.options
    assert (config.augment.mode, augment["probability"], augment["peak_normalise"]) == ("replace", 0.6, True)
    weight = dict(zip(augment["kinds"], augment["weights"], strict=True))
    # One room or one file, half each; the file is any of MUSAN's, so that a kind counts by its number of files.
    assert weight["reverb"] == weight["noise"] + weight["music"] + weight["voice"]
    assert (weight["noise"], weight["music"], weight["voice"]) == (930, 660, 426)
    assert config.data.min_utterance_s == 1.0
    assert config.frontend.name == "kaldi_fbank"
    assert config.data.speed_perturb == (0.9, 1.1)
    assert config.backbone.embedding_dim == (256 if name == "resnet34" else 192)
    loss = build_loss(config, 3)
    assert (loss.name, loss.has_margin) == ("aam_softmax", True)
    assert config.loss.options["scale"] == 32
    assert config.loss.options["margin"] == 0.2


@pytest.mark.parametrize(
    ("name", "loss", "rates", "margin"),
    [
        ("eres2netv2", "aam_softmax", {0: 0, 2.5: 0.1, 70: 5e-5}, {20: 0, 50: 0.3}),
        ("redimnet2", "sphereface2", {0: 0, 120: 6e-5 * 1120 / 64}, {19: 0, 39: 0.2}),
    ],
)
def test_the_recipes_of_other_backbones(
    name: str, loss: str, rates: dict[float, float], margin: dict[float, float]
) -> None:
    config = resolve(system(name))
    rate = RATES[config.schedule.name](config.optimiser.options["lr"], config.train.epochs, **config.schedule.options)
    for epoch, expected in rates.items():
        assert rate(epoch) == pytest.approx(expected, rel=0.02, abs=1e-12)
    own = build_loss(config, 3)
    margins = MARGINS[config.margin.name](config.loss.options["margin"], **config.margin.options)
    assert {epoch: pytest.approx(margins(epoch), abs=1e-9) for epoch in margin} == margin
    assert (own.name, config.loss.options["scale"]) == (loss, 32)
    assert (config.data.valid_speakers, config.data.speed_perturb) == (0, (0.9, 1.1))
    weight = dict(zip(config.augment.options["kinds"], config.augment.options["weights"], strict=True))
    assert weight["reverb"] == weight["noise"] + weight["music"] + weight["voice"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", [*AUTHORS, *WESPEAKER])
def test_every_row_of_a_table_is_an_option_away(name: str, loss: str) -> None:
    needs_constant = name in WESPEAKER and not LOSSES[loss].has_margin
    row = resolve(system(name, loss, *(["margin.name=constant"] if needs_constant else [])))
    defaults = {**LOSSES[loss].options()}
    if name in WESPEAKER and loss == "aam_softmax":
        defaults["scale"] = 32
    assert row.loss.options == defaults
    if needs_constant:
        with pytest.raises(ConfigError, match="has no margin; use constant"):
            resolve(system(name, loss))


def test_the_crops_that_the_documentation_counts() -> None:
    text = (TOP / "docs/reproducing.md").read_text(encoding="utf-8")
    found = {}
    for line in text.partition("| configuration | utterances |")[2].splitlines()[2:]:
        if not line.startswith("|"):
            break
        name, *numbers = (cell.strip(" `").replace(",", "") for cell in line.strip("|").split("|"))
        found[name] = tuple(map(int, numbers))
    assert found.keys() == {*AUTHORS, *WESPEAKER} - {"ecapa_tdnn_cnceleb"}
    for name, numbers in found.items():
        config = system(name)
        num_utts = 148_642 if name == "ecapa_tdnn_vox1" else 1_092_009
        steps = num_batches(num_utts, config.data.batch_size)
        views = 2 if config.augment.mode == "clean_plus_augmented" else 1
        crops = steps * config.data.batch_size * views
        assert numbers == (num_utts, steps, views, crops, config.train.epochs, crops * config.train.epochs)


@pytest.mark.parametrize("corpus", ["voxceleb", "cnceleb"])
def test_published_numbers_are_of_systems_that_exist(corpus: str) -> None:
    published = read_published(TOP / f"egs/{corpus}/conf/published.yaml")
    assert {entry.config for entry in published} <= {path.stem for path in SYSTEMS}
    for entry in published:
        build_loss(system(entry.config, entry.system), 2)


def test_numbers_are_read_as_yaml_1_2_does(tmp_path: Path) -> None:
    path = write(tmp_path, "optimiser: {lr: 5e-5, weight_decay: 1E-4}\naugment: {mode: off}\n")
    config = load_config(path)
    assert config.optimiser.options == {"lr": 5e-5, "weight_decay": 1e-4}
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
        ("data: {order: balance}", ["data.order", "did you mean 'balanced'"]),
        ("data: {max_bad_crops: -1}", ["data.max_bad_crops", "at least 0"]),
        ("train: {checkpoint_steps: -5}", ["train.checkpoint_steps", "at least 0"]),
        ("optimiser: {lr: fast}", ["optimiser.lr", "a number", "'fast'"]),
        ("optimiser: {lr: .nan}", ["optimiser.lr", "a number", "nan"]),
        ("optimiser: {lr: 0}", ["optimiser.lr", "above 0"]),
        ("optimiser: {lr: true}", ["optimiser.lr", "a number"]),
        ("optimiser: {name: adma}", ["optimiser.name", "did you mean 'adam'"]),
        ("augment: {probability: 1.5}", ["augment.probability", "0 to 1"]),
        ("augment: {mode: replaced}", ["augment.mode", "did you mean 'replace'"]),
        ("augment: {joint: true}", ["unknown key 'augment.joint'", "the keys here are: mode, probability, kinds"]),
        ("augment: {kinds: noise}", ["augment.kinds", "a list"]),
        ("augment: {weights: [one]}", ["augment.weights[0]", "a number"]),
        ("augment: {snr: loud}", ["augment.snr", "published, exact"]),
        ("data: {min_utterance_s: -1}", ["data.min_utterance_s", "at least 0"]),
        ("data: {speed_perturb: [1.0]}", ["data.speed_perturb", "other than 1"]),
        ("features: stored", ["augment.mode: off"]),
        ("margin: {name: linear, start_epoch: 4, end_epoch: 2}", ["margin.end_epoch", "margin.start_epoch is 4"]),
        ("schedule: {name: cosine, gamma: 0}", ["schedule.gamma", "above 0"]),
        ("schedule: {name: cosine, gama: 1}", ["unknown key 'schedule.gama'", "did you mean 'schedule.gamma'"]),
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
        resolve(load_config(path), str(path))
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


def test_the_saved_configuration_of_an_experiment_is_a_configuration(tmp_path: Path) -> None:
    full = resolve(system("mini", "am_softmax"))
    saved = {**to_dict(full), "seed": 3, "fingerprint": {"ids": "ab"}, "materials": {}}
    path = write(tmp_path, yaml.safe_dump(saved))
    assert to_dict(resolve(load_config(path))) == to_dict(full)
    assert load_config(path, ["train.epochs=3"], "softmax").loss.options == {}
    with pytest.raises(ConfigError, match="unknown key 'seed'"):
        load_config(write(tmp_path, "seed: 3\n"))


def test_differences_names_each_leaf() -> None:
    old = to_dict(Config())
    new = to_dict(from_dict({"train": {"epochs": 7}, "loss": {"name": "am_softmax"}}))
    assert differences(old, new) == ["loss.name: ham_softmax -> am_softmax", "train.epochs: 100 -> 7"]
    assert differences(old, old) == []
