"""Training further, on a small data directory: from trained weights, with parts frozen, longer, shorter, fine-tuned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ham.bin import finetune, train
from ham.data.kaldi_dir import read_data_dir, write_data_dir
from ham.errors import ConfigError, DataError
from ham.model import checkpoint
from tests.bin.test_train import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A packed one, without speakers aside, so that other tests may say what they keep."""
    lab = Lab(tmp_path)
    lab.pack()
    return lab


def state(lab: Lab, epoch: int) -> dict[str, Any]:
    return checkpoint.load(lab.exp_dir / f"checkpoints/epoch_{epoch:04d}.pt")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def events(lab: Lab) -> list[dict[str, Any]]:
    lines = (lab.exp_dir / "train.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "epoch"]


@pytest.mark.parametrize("loss", ["am_softmax", "ham_softmax"])
def test_what_is_frozen_does_not_move(lab: Lab, loss: str) -> None:
    changes = (f"loss.name={loss}", "train.average_last=2")
    lab.train(changes=changes)
    lab.extract()
    start = checkpoint.load(lab.exp_dir / "average.pt")
    base, lab.exp_dir = lab.exp_dir, lab.exp_dir.with_name("frozen")
    lab.train("--init_from", str(base), changes=(*changes, "train.freeze=[backbone]"))
    assert same(state(lab, 2)["backbone"], start["backbone"])  # the statistics of batch normalisation too
    assert not torch.equal(state(lab, 2)["loss"]["weight"], start["loss"]["weight"])
    lab.exp_dir = lab.exp_dir.with_name("part")
    lab.train(
        "--init_from", str(base), changes=(*changes, "train.freeze=[stem, blocks.0]", "train.rate_factors={embed: 0.5}")
    )
    moved = {
        name for name, value in state(lab, 2)["backbone"].items() if not torch.equal(value, start["backbone"][name])
    }
    assert not any(name.startswith(("stem.", "blocks.0.")) for name in moved)
    assert {"stem_norm.weight", "stem_norm.running_mean", "blocks.1.norm1.running_mean"} <= moved


def test_a_factor_of_the_rate_is_one(lab: Lab) -> None:
    """A step of plain gradient descent is as long as its rate."""
    plain = (
        "train.epochs=1",
        "optimiser.name=sgd",
        "optimiser.momentum=0",
        "optimiser.weight_decay=0",
        "data.batch_size=16",
    )
    found = {}
    for factor in (1, 0.25):
        lab.exp_dir = lab.exp_dir.with_name(f"x{factor}")
        lab.train("--seed", "3", changes=(*plain, f"train.rate_factors.backbone={factor}"))
        found[factor] = state(lab, 1)
    lab.exp_dir = lab.exp_dir.with_name("slow")
    lab.train("--seed", "3", changes=(*plain, "optimiser.lr=1e-9"))
    start = state(lab, 1)
    name = next(name for name, value in start["backbone"].items() if value.ndim == 4)
    steps = {factor: one["backbone"][name] - start["backbone"][name] for factor, one in found.items()}
    torch.testing.assert_close(steps[0.25], 0.25 * steps[1], rtol=1e-2, atol=1e-7)
    assert torch.equal(found[1]["loss"]["weight"], found[0.25]["loss"]["weight"])


def test_the_start_is_a_part_of_the_experiment_by_its_weights(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lab.train()
    lab.extract()
    base, lab.exp_dir = lab.exp_dir, lab.exp_dir.with_name("further")
    lab.train("--init_from", str(base))
    assert "centres: 4 loaded, by speaker and speed; 0 are new" in caplog.text
    assert "validation EER" in caplog.text
    assert not torch.equal(state(lab, 2)["loss"]["weight"], checkpoint.load(base / "average.pt")["loss"]["weight"])
    copied = lab.exp_dir.with_name("copy.pt")
    copied.write_bytes((base / "average.pt").read_bytes())
    lab.train("--init_from", str(copied))
    assert "trained already, 2 epochs" in caplog.text
    with pytest.raises(ConfigError, match=r"init_from: [0-9a-f]+ -> \(absent\)"):
        lab.train()
    with pytest.raises(ConfigError, match=r"init_from: [0-9a-f]+ -> [0-9a-f]+"):
        lab.train("--init_from", str(lab.exp_dir / "checkpoints/epoch_0002.pt"))
    train.main([
        *("--data_dir", str(lab.data_dir), "--exp_dir", str(lab.exp_dir.with_name("again")), "--device", "cpu"),
        *("--config", str(lab.exp_dir / "config.yaml")),
    ])  # fmt: skip
    assert "init_from" not in yaml.safe_load((lab.exp_dir.with_name("again") / "config.yaml").read_text())


def test_other_validation_speakers_are_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.train(changes=("data.valid_speakers=0",))
    base, lab.exp_dir = lab.exp_dir, lab.exp_dir.with_name("further")
    lab.train("--init_from", str(base / "checkpoints/epoch_0002.pt"))
    assert "was trained on 2 of the 2 validation speakers" in caplog.text


def test_more_epochs_are_those_of_a_longer_training(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    longer = ("train.epochs=4", "train.average_last=4")
    lab.train(changes=longer)
    whole, lab.exp_dir = state(lab, 4), lab.exp_dir.with_name("grown")
    lab.train(changes=("train.average_last=4",))
    with pytest.raises(ConfigError, match="stopped after epoch 2 of 4; go on with --resume"):
        lab.train(changes=longer)
    lab.train("--resume", "true", changes=longer)
    assert (
        "train.epochs grows from 2 to 4: the rate goes on at 0.000941, as if it had been so from the start"
        in caplog.text
    )
    assert same(state(lab, 4)["backbone"], whole["backbone"])
    assert same(state(lab, 4)["loss"], whole["loss"])
    with pytest.raises(ConfigError, match=r"train\.epochs: 4 -> 3"):
        lab.train("--resume", "true", changes=("train.epochs=3", "train.average_last=4"))


def test_a_schedule_of_the_whole_length_says_where_it_jumps(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    cosine = ("schedule.name=cosine", "schedule.final_lr=1e-5")
    lab.train(changes=cosine)
    lab.train("--resume", "true", changes=(*cosine, "train.epochs=4"))
    assert "grows from 2 to 4: the rate goes on at 0.000505, where it was 1e-05 (schedule cosine)" in caplog.text


def rates(monkeypatch: pytest.MonkeyPatch, eers: list[float]) -> None:
    """Validation finds these EERs."""
    left = iter(eers)
    monkeypatch.setattr("ham.train.experiment.validation_eer", lambda *_, **__: next(left))


def test_the_best_epochs_stay_and_the_training_ends_early(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rates(monkeypatch, [0.3, 0.1, 0.2, 0.1, 0.15])
    changes = ("train.epochs=9", "train.average_last=2", "train.keep=best", "train.early_stop=3")
    lab.train(changes=changes)
    assert "no lower validation EER in 3 epochs: ended (train.early_stop)" in caplog.text
    assert checkpoint.saved_epochs(lab.exp_dir / "checkpoints") == [2, 4, 5]
    assert [event["valid_eer"] for event in events(lab)] == [0.3, 0.1, 0.2, 0.1, 0.15]
    lab.train(changes=changes)
    assert "trained already, 5 epochs" in caplog.text
    lab.extract()
    average = checkpoint.load(lab.exp_dir / "average.pt")
    assert average["epochs"] == [2, 4]
    expected = (state(lab, 2)["loss"]["weight"].double() + state(lab, 4)["loss"]["weight"].double()) / 2
    assert torch.equal(average["loss"]["weight"], expected.float())


def test_an_early_end_is_found_after_a_stop_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ("train.epochs=6", "train.early_stop=2", "train.keep=all")
    rates(monkeypatch, [0.1, 0.2])
    with pytest.raises(StopIteration):  # stands for the end of the process
        lab.train(changes=changes)
    rates(monkeypatch, [0.3])
    lab.train("--resume", "true", changes=changes)
    assert checkpoint.saved_epochs(lab.exp_dir / "checkpoints") == [1, 2, 3]


def test_without_validation_speakers_nothing_is_best(lab: Lab) -> None:
    for change in ("train.keep=best", "train.early_stop=2"):
        with pytest.raises(ConfigError, match=r"go by the validation speakers, and data\.valid_speakers is 0"):
            lab.train(changes=("data.valid_speakers=0", change))


def test_validation_speakers_without_pairs_are_not_enough(lab: Lab) -> None:
    lab.keep_one_recording_each()
    lab.pack()
    with pytest.raises(DataError, match="expected 2 validation speakers, found 0 with two utterances each"):
        lab.train(changes=("train.keep=best",))


def test_a_moving_average_goes_on_after_a_stop(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ("train.ema=0.9", "train.epochs=3", "train.keep=all")
    lab.train(changes=changes)
    whole, plain = state(lab, 3), lab.exp_dir
    lab.extract()
    average = checkpoint.load(plain / "average.pt")
    assert same(average["backbone"], whole["ema"]["backbone"])
    assert not same(average["backbone"], whole["backbone"])
    (plain / "checkpoints/epoch_0003.pt").unlink()
    lab.train("--resume", "true", changes=changes)
    again = state(lab, 3)
    assert again["ema"]["steps"] == whole["ema"]["steps"]
    for part in ("backbone", "loss"):
        assert same(again[part], whole[part])
        assert same(again["ema"][part], whole["ema"][part])


def ask(lab: Lab, *extra: str) -> None:
    finetune.main(["--exp_dir", str(lab.exp_dir), *extra])


def test_stage_8_derives_from_the_saved_configuration(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("data.speed_perturb=[0.9,1.1]", "loss.margin=0.1")
    lab.train("--seed", "2", changes=changes)
    with pytest.raises(ConfigError, match=r"expected average\.pt, found none; run stages 4 and 5 before stage 8"):
        ask(lab, "--seed", "2")
    lab.extract()
    with pytest.raises(ConfigError, match="expected --seed 2, with which it was trained, found 1"):
        ask(lab)
    with pytest.raises(ConfigError, match=r"noise \(--musan\): trained without, fine-tune it likewise"):
        ask(lab, "--seed", "2", "--musan", "m")
    ask(lab, "--seed", "2")
    path = Path(capsys.readouterr().out.strip())
    assert path == lab.exp_dir.with_name("a_lm") / "large_margin.yaml"
    tree = yaml.safe_load(path.read_text())
    assert (tree["loss"]["margin"], tree["data"]["crop_frames"], tree["data"]["speed_perturb"]) == (0.25, 600, [])
    assert tree["backbone"] == yaml.safe_load((lab.exp_dir / "config.yaml").read_text())["backbone"]
    small = ["--set", "data.crop_frames=20", "train.epochs=1"]
    train.main([
        *("--data_dir", str(lab.data_dir), "--exp_dir", str(path.parent), "--device", "cpu", "--config", str(path)),
        *(*small, "--seed", "2", "--init_from", str(lab.exp_dir)),
    ])  # fmt: skip
    assert checkpoint.load(path.parent / "checkpoints/epoch_0001.pt")["num_speakers"] == 4
    assert checkpoint.load(lab.exp_dir / "average.pt")["num_speakers"] == 12


def test_stage_8_wants_a_margin(lab: Lab) -> None:
    lab.train(changes=("loss.name=softmax",))
    lab.extract()
    with pytest.raises(
        ConfigError, match="exp/a: stage 8 fine-tunes with a larger margin, and the loss softmax has none"
    ):
        ask(lab)


def test_speakers_that_are_not_the_same_start_afresh(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lab.train(changes=("data.valid_speakers=0",))
    base, lab.exp_dir = lab.exp_dir, lab.exp_dir.with_name("further")
    old = read_data_dir(lab.data_dir / "train")
    names = {utt: utt.replace("s0-", "t0-") for utt in old.utt2spk}
    wav = {names[utt]: Path(path) for utt, path in old.wav.items()}
    write_data_dir(
        lab.data_dir / "train",
        dict(sorted(wav.items())),
        {name: name[:2] for name in sorted(wav)},
        {names[utt]: seconds for utt, seconds in old.utt2dur.items()},
    )
    lab.pack()
    lab.train("--init_from", str(base / "checkpoints/epoch_0002.pt"), changes=("data.valid_speakers=0",))
    assert (
        "centres: 5 loaded, by speaker and speed; 1 are new, 1 of those that were there are not needed" in caplog.text
    )


def test_a_model_is_adapted_by_one_command(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lab.train(changes=("train.average_last=2",))
    lab.extract()
    start = checkpoint.load(lab.exp_dir / "average.pt")
    base, lab.exp_dir = lab.exp_dir, lab.exp_dir.with_name("adapted")
    changes = ("train.freeze_epochs=1", "train.init_centres=class_means", "train.interpolate=0.25", "train.keep=all")
    lab.train("--init_from", str(base), changes=(*changes, "loss.name=ham_softmax", "train.average_last=1"))
    assert "centres: at the means of 16 crops of 4 classes" in caplog.text
    assert same(state(lab, 1)["backbone"], start["backbone"])
    assert not torch.equal(state(lab, 2)["backbone"]["embed.weight"], start["backbone"]["embed.weight"])
    assert state(lab, 1)["loss"]["weight"].norm(dim=1).min() > 0.1  # they start with 0.003 otherwise
    lab.extract()
    average = checkpoint.load(lab.exp_dir / "average.pt")
    expected = 0.25 * start["backbone"]["embed.weight"] + 0.75 * state(lab, 2)["backbone"]["embed.weight"]
    torch.testing.assert_close(average["backbone"]["embed.weight"], expected)
    assert torch.equal(average["loss"]["weight"], state(lab, 2)["loss"]["weight"])


@pytest.mark.parametrize("change", ["train.init_centres=class_means", "train.interpolate=0.5"])
def test_what_needs_trained_weights_is_refused_without(lab: Lab, change: str) -> None:
    key = change.partition("=")[0]
    with pytest.raises(ConfigError, match=f"{key}.*: expected a trained model .* found no --init_from"):
        lab.train(changes=(change,))
