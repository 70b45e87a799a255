"""Targets of whole recordings: what they are, for which crops, and that they are found once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ham.augment.speed import speed_perturb
from ham.data.batches import Batch, CropBatches, TrainingSet
from ham.data.sampler import plan_epoch
from ham.data.store import ArrayStore, write_store
from ham.errors import DataError
from ham.train import experiment, recording_targets
from ham.train.recording_targets import recording_targets as find_targets
from ham.train.step import TrainingStep
from tests.train.test_distill import VIEWS, Lab, a_batch, a_teacher, lab, stop_after, taught

__all__ = ["lab"]  # a fixture

Make = Callable[..., TrainingStep]

LENGTHS = (9000, 4001, 16000, 5203, 7000)
CHANGES = ("train.checkpoint_steps=5", "distill.hears=recording", "data.speed_perturb=[0.9]")


@pytest.fixture
def audio(tmp_path: Path) -> ArrayStore:
    rng = np.random.default_rng(0)
    items = [(f"u{i}", rng.normal(0, 3000, size).astype(np.int16)) for i, size in enumerate(LENGTHS)]
    write_store(tmp_path / "audio", items, {"sample_rate": 16000})
    return ArrayStore(tmp_path / "audio")


def test_each_is_the_embedding_of_the_whole_recording_at_its_speed(
    audio: ArrayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_targets, "MAX_S", 0.75)
    teacher, indices, speeds = a_teacher(), np.array([4, 0, 2]), (1.0, 0.8, 1.25)
    table = find_targets(teacher, audio, indices, speeds, tmp_path)
    assert table.shape == (3, 3, 6)
    for row, index in enumerate(indices.tolist()):
        wave = torch.from_numpy(audio.read(index)[:12000]).float()[None] / 32768
        for column, speed in enumerate(speeds):
            played = speed_perturb(wave, speed, int(wave.shape[1] / speed)) if speed != 1 else wave
            torch.testing.assert_close(table[row, column][None], teacher.network(played), rtol=1e-4, atol=1e-5)


def test_they_are_found_once_for_a_teacher(audio: ArrayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = a_teacher(), audio, np.arange(5), (1.0, 0.9), tmp_path
    first = find_targets(*asked)
    with monkeypatch.context() as patch:
        patch.setattr(recording_targets, "extract", None)
        assert torch.equal(find_targets(*asked), first)
    other = replace(a_teacher(seed=8), digest="another")
    assert not torch.allclose(find_targets(other, *asked[1:]), first)
    (tmp_path / "teacher.npz").write_bytes(b"torn")
    assert torch.equal(find_targets(*asked), first)


def test_a_recording_that_cannot_be_read_is_named(audio: ArrayStore, tmp_path: Path) -> None:
    shard = audio.path / "shard-00000.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(DataError, match="u4"):
        find_targets(a_teacher(), ArrayStore(audio.path), np.arange(5), (1.0,), tmp_path)


@pytest.mark.parametrize("speed", [True, False])
@pytest.mark.parametrize("views", VIEWS)
def test_a_crop_is_compared_with_its_recording_at_its_speed(
    views: str, speed: bool, store: ArrayStore, data: TrainingSet, make_step: Make
) -> None:
    step = taught(make_step, lesson={"hears": "recording"}, speed=speed, **VIEWS[views])
    step.distillation.recordings = table = torch.randn(24, 3 if speed else 1, 6)
    met: list[Tensor] = []
    step.distillation.register_forward_pre_hook(lambda _, given: met.append(given[1]))
    batch = a_batch(store, data, step)
    step(batch)
    version = torch.zeros(8, dtype=torch.int64)
    for part in batch.drawn.speeds.parts if speed else ():
        version[part.rows] = part.version
    assert len(set(version.tolist())) == (3 if speed else 1)
    expected = torch.stack([table[entry, v] for entry, v in zip(batch.entries, version, strict=True)])
    assert len(met) == (2 if views == "two passes" else 1)
    for targets in met:
        assert torch.equal(targets, expected.repeat(len(targets) // 8, 1))


def test_crops_of_stored_features_have_targets_too(make_step: Make, tmp_path: Path) -> None:
    items = [(f"s{i % 4}-u{i}", np.random.default_rng(i).normal(size=(60, 24)).astype(np.float32)) for i in range(8)]
    write_store(tmp_path / "features", items, {"sample_rate": 16000})
    features = ArrayStore(tmp_path / "features")
    data = TrainingSet(np.arange(8), np.arange(8) % 4, ("a", "b", "c", "d"))
    step = taught(make_step, lesson={"hears": "recording"})
    step.distillation.recordings = table = torch.randn(8, 1, 6)
    met: list[Tensor] = []
    step.distillation.register_forward_pre_hook(lambda _, given: met.append(given[1]))
    batch = CropBatches(features, data, plan_epoch(8, seed=1, epoch=1), 8, 40)[0]
    step.backward(step.draws(batch, torch.Generator()))
    assert torch.equal(met[0], table[batch.entries, 0])


def test_a_resumed_training_needs_no_second_pass_and_is_the_one_that_was_not_stopped(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lab.train("whole", changes=CHANGES)
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            lab.train("stopped", changes=CHANGES)
    shutil.copytree(lab.folder / "exp/stopped", lab.folder / "exp/lost")
    (lab.folder / "exp/lost/teacher.npz").unlink()
    lost = lab.train("lost", "--resume", "true", changes=CHANGES)
    monkeypatch.setattr(recording_targets, "extract", None)
    resumed = lab.train("stopped", "--resume", "true", changes=CHANGES)
    for one in (lost, resumed):
        torch.testing.assert_close(lab.weights(one), lab.weights(whole), rtol=0, atol=0)


def test_the_teacher_is_not_heard_within_a_step(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[Tensor] = []
    backward = TrainingStep.backward

    def find(*asked: Any) -> Tensor:
        tables.append(find_targets(*asked))
        return tables[-1]

    def unheard(step: TrainingStep, batch: Batch) -> Any:
        assert step.distillation is not None
        with monkeypatch.context() as patch:
            patch.setattr(step.distillation.teacher.network, "forward", None)
            patch.setattr(step.distillation.teacher.network.backbone, "forward", None)
            return backward(step, batch)

    monkeypatch.setattr(experiment, "recording_targets", find)
    monkeypatch.setattr(TrainingStep, "backward", unheard)
    lab.train("exp", changes=CHANGES)
    assert [tuple(one.shape[1:]) for one in tables] == [(2, 8)]
