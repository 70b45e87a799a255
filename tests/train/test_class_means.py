"""Centres at class means: which crops, of which class, and that they tell the speakers apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ham import losses
from ham.augment.speed import speed_perturb
from ham.config import DataConfig
from ham.data.batches import TrainingSet
from ham.data.store import ArrayStore
from ham.train.class_means import CROPS, choose_crops, start_at_class_means
from ham.train.crops import TrainingCrops
from ham.train.loop import Loop
from ham.train.step import TrainingStep
from tests.processes import together

Make = Callable[..., TrainingStep]


def crops_of(store: ArrayStore, data: TrainingSet, num_rows: int = 4400, batch_size: int = 5) -> TrainingCrops:
    return TrainingCrops(store, data, DataConfig(batch_size=batch_size), num_rows=num_rows, seed=5)


def test_every_speaker_has_as_many_utterances_as_there_are_up_to_ten() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [30, 4, CROPS]))
    plan = choose_crops(labels, 7)
    assert np.bincount(labels[plan.entries]).tolist() == [CROPS, 4, CROPS]
    assert len(set(plan.entries.tolist())) == len(plan)
    assert np.array_equal(plan.entries, choose_crops(labels, 7).entries)
    assert not np.array_equal(plan.entries, choose_crops(labels, 8).entries)
    assert ((plan.places >= 0) & (plan.places < 1)).all()


@pytest.mark.parametrize("speed", [False, True])
def test_centres_are_the_mean_directions_of_the_classes(
    speed: bool, store: ArrayStore, data: TrainingSet, make_step: Make
) -> None:
    step, crops = make_step(speed=speed), crops_of(store, data)
    plan = choose_crops(data.labels, crops.seed)
    expected: dict[int, list[torch.Tensor]] = {}
    step.network.eval()
    with torch.no_grad():
        for entry, place in zip(plan.entries.tolist(), plan.places.tolist(), strict=True):
            start = int(place * (6000 - 4400 + 1))
            rows = torch.from_numpy(store.read(int(data.indices[entry])).astype(np.float32))[None, start:] / 32768
            for version, factor in enumerate((1.0, 0.9, 1.1) if speed else (1.0,)):
                played = speed_perturb(rows[:, :4400], factor, 4000) if factor != 1 else rows[:, :4000]
                label = int(data.labels[entry]) + 4 * version
                expected.setdefault(label, []).append(torch.nn.functional.normalize(step.network(played))[0])
    start_at_class_means(step, crops)
    assert sorted(expected) == list(range(step.loss.num_speakers))
    for label, directions in expected.items():
        mean, centre = torch.stack(directions).mean(0), step.loss.weight[label].detach()
        torch.testing.assert_close(centre / centre.norm(), mean / mean.norm(), atol=1e-4, rtol=0)
    assert step.network.training


def test_stored_features_are_embedded_as_the_training_does(
    store: ArrayStore, data: TrainingSet, make_step: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, frames = make_step(), np.random.default_rng(0).normal(size=(24, 30, 24)).astype(np.float32)
    monkeypatch.setattr(ArrayStore, "read_wrapped", lambda _, index, __, num_rows: frames[index, :num_rows])
    start_at_class_means(step, crops_of(store, data, 30))
    with torch.no_grad():
        own = torch.from_numpy(frames[data.indices[data.labels == 2]])
        x = torch.nn.functional.normalize(step.network.eval()(own - own.mean(1, keepdim=True))).mean(0)
    centre = step.loss.weight[2].detach()
    torch.testing.assert_close(centre / centre.norm(), x / x.norm(), atol=1e-4, rtol=0)


def test_after_a_good_backbone_every_loss_knows_the_speakers(
    store: ArrayStore, data: TrainingSet, make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    trained = make_loop(make_step(), epochs=12)
    trained.run()
    rows = torch.from_numpy(np.stack([store.read(int(i)) for i in data.indices])).float() / 32768
    labels = torch.from_numpy(data.labels)
    for name in losses.LOSSES:
        step = make_step(loss=name)
        step.backbone.load_state_dict(trained.step.backbone.state_dict())
        start_at_class_means(step, crops_of(store, data))
        with torch.no_grad():
            logits = step.loss.logits(step.network.eval()(rows[:, :4000]))
        assert (logits.argmax(1) == labels).float().mean() > 0.8, name  # chance is 0.25


def _centres(step: TrainingStep, crops: TrainingCrops, shard_loss: bool) -> torch.Tensor:
    start_at_class_means(step, crops)
    step.distribute(sync_batchnorm=False, shard_loss=shard_loss)
    return step.loss.state_dict()["weight"].detach()


@pytest.mark.recipe
@pytest.mark.parametrize("shard_loss", [False, True])
def test_several_processes_start_as_one(
    shard_loss: bool, store: ArrayStore, data: TrainingSet, make_step: Make, tmp_path: Path
) -> None:
    step, crops = make_step(loss="ham_softmax"), crops_of(store, data)
    (tmp_path / "meet").mkdir()
    first, second = together(_centres, 2, tmp_path / "meet", copy.deepcopy(step), crops, shard_loss)
    start_at_class_means(step, crops)
    torch.testing.assert_close(first, step.loss.weight.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(second, first[2:] if shard_loss else first)
