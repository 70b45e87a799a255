"""The forward pass of a training step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ham.data.dataset import Batch, CropBatches, TrainingSet
from ham.data.sampler import plan_epoch
from ham.data.store import ArrayStore
from ham.train.step import TrainingStep


def a_batch(store: ArrayStore, data: TrainingSet, num_rows: int = 4400) -> Batch:
    return CropBatches(store, data, plan_epoch(24, seed=1, epoch=1), 8, num_rows)[0]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_plain_step_is_frontend_backbone_loss(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(), a_batch(store, data, 4000)
    step.backbone.eval()
    features = step.frontend(batch.rows.float() / 32768)
    expected = step.loss(step.backbone(features), batch.labels)
    torch.testing.assert_close(step(batch, generator()), expected)


def test_clean_plus_augmented_adds_the_two_losses(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(augment=True, keep_clean=True), a_batch(store, data, 4000)
    step.backbone.eval()
    assert step.views == 2
    clean = batch.rows.float() / 32768
    augmented = step.augmenter(clean, batch.labels, generator())
    parts = [step.loss(step.backbone(step.frontend(w)), batch.labels).loss for w in (clean, augmented)]
    torch.testing.assert_close(step(batch, generator()).loss, sum(parts))


def test_replace_takes_the_augmented_crop_only(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(augment=True), a_batch(store, data, 4000)
    step.backbone.eval()
    augmented = step.augmenter(batch.rows.float() / 32768, batch.labels, generator())
    expected = step.loss(step.backbone(step.frontend(augmented)), batch.labels)
    torch.testing.assert_close(step(batch, generator()), expected)


def test_speeds_are_further_classes(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(speed=True, augment=True, keep_clean=True), a_batch(store, data)
    seen: list[torch.Tensor] = []
    step.loss.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    step(batch, generator())
    labels = seen[0]
    assert labels.shape == (16,)
    assert torch.equal(labels[:8] % 4, batch.labels)
    assert torch.equal(labels[:8], labels[8:])
    assert labels.max() >= 4


def test_speeds_know_where_the_crops_lie_in_their_utterances(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(speed=True), a_batch(store, data)
    step.backbone.eval()
    waves, draw = batch.rows.float() / 32768, generator()
    crops = step.speed(waves, batch.labels, draw, 4000, places=batch.places, lengths=batch.lengths)
    expected = step.loss(step.backbone(step.frontend(crops.waveforms)), crops.labels)
    torch.testing.assert_close(step(batch, generator()), expected)


def test_the_same_generator_gives_the_same_loss(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(speed=True, augment=True), a_batch(store, data)
    assert torch.equal(step(batch, generator()).loss, step(batch, generator()).loss)


def test_stored_features_lose_their_mean_over_the_crop(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step = make_step()
    step.frontend = None
    step.backbone.eval()
    rows = torch.randn(8, 30, 24) + 7
    batch = Batch(rows, torch.arange(8) % 4, torch.arange(8))
    expected = step.loss(step.backbone(rows - rows.mean(1, keepdim=True)), batch.labels)
    torch.testing.assert_close(step(batch, generator()), expected)
