"""The forward pass of a training step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ham.data.batches import Batch, CropBatches, TrainingSet
from ham.data.sampler import plan_epoch
from ham.data.store import ArrayStore
from ham.frontends import SpecAugment
from ham.train.step import TrainingStep


def a_batch(store: ArrayStore, data: TrainingSet, num_rows: int = 4400) -> Batch:
    return CropBatches(store, data, plan_epoch(24, seed=1, epoch=1), 8, num_rows)[0]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def drawn(step: TrainingStep, batch: Batch) -> Batch:
    return step.draws(batch, generator())


def test_the_plain_step_is_frontend_backbone_loss(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(), a_batch(store, data, 4000)
    step.backbone.eval()
    features = step.network.frontend(batch.rows.float() / 32768)
    expected = step.loss(step.backbone(features), batch.labels)
    torch.testing.assert_close(step(drawn(step, batch)), expected)


@dataclass(frozen=True)
class Outcome:
    """What a forward and a backward pass leave behind."""

    loss: Tensor
    accuracy: Tensor
    embeddings: Tensor
    labels: Tensor
    grads: list[Tensor]
    buffers: dict[str, Tensor]


def by_hand(step: TrainingStep, batch: Batch, *, joint: bool) -> Outcome:
    """The definition on copies of the parts: crops and augmented crops, in a pass each or together, one backward."""
    backbone, loss, random = copy.deepcopy(step.backbone), copy.deepcopy(step.loss), generator()
    clean, labels = batch.rows.float() / 32768, batch.labels
    if step.speed is not None:
        where = {"places": batch.places, "lengths": batch.lengths}
        clean, labels = step.speed(clean, labels, random, step.crop_samples, **where)
    augmented = step.augmenter(clean, batch.labels, random)
    passes = [torch.cat([clean, augmented])] if joint else [clean, augmented]
    labels = torch.cat([labels, labels]) if joint else labels
    outs, embeddings = [], []
    for waveforms in passes:
        embeddings.append(backbone(step.mask(step.network.frontend(waveforms), random)))
        outs.append(loss(embeddings[-1], labels))
    total = 2 * outs[0].loss if joint else outs[0].loss + outs[1].loss
    total.backward()
    return Outcome(
        total.detach(),
        sum(out.accuracy for out in outs) / len(outs),
        torch.cat(embeddings).detach(),
        torch.cat([labels] * len(passes)),
        [p.grad for p in (*backbone.parameters(), *loss.parameters())],
        dict(backbone.named_buffers()),
    )


@pytest.mark.parametrize("loss", ["am_softmax", "ham_softmax"])
@pytest.mark.parametrize("speed", [False, True])
@pytest.mark.parametrize("joint", [False, True])
def test_clean_plus_augmented_is_two_passes_or_a_joint_one(
    joint: bool, speed: bool, loss: str, store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step = make_step(augment=True, keep_clean=True, joint_pass=joint, speed=speed, loss=loss, mask=SpecAugment(10, 8))
    batch = a_batch(store, data, 4400 if speed else 4000)
    expected = by_hand(step, batch, joint=joint)
    out = step(drawn(step, batch))
    out.loss.backward()
    torch.testing.assert_close(out.loss.detach(), expected.loss)
    torch.testing.assert_close(out.accuracy, expected.accuracy)
    torch.testing.assert_close([p.grad for p in (*step.backbone.parameters(), *step.loss.parameters())], expected.grads)
    buffers = dict(step.backbone.named_buffers())
    torch.testing.assert_close(buffers, expected.buffers)
    assert {int(n) for key, n in buffers.items() if key.endswith("num_batches_tracked")} == {1 if joint else 2}
    assert step.diagnostics() == pytest.approx(
        {f"diag/{k}": v for k, v in step.loss.diagnostics(expected.embeddings, expected.labels).items()}, rel=1e-4
    )
    assert step.views == 2


def test_replace_takes_the_augmented_crop_only(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(augment=True), a_batch(store, data, 4000)
    step.backbone.eval()
    augmented = step.augmenter(batch.rows.float() / 32768, batch.labels, generator())
    expected = step.loss(step.backbone(step.network.frontend(augmented)), batch.labels)
    torch.testing.assert_close(step(drawn(step, batch)), expected)


def test_speeds_are_further_classes(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(speed=True, augment=True, keep_clean=True), a_batch(store, data)
    seen: list[torch.Tensor] = []
    step.loss.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    step(drawn(step, batch))
    clean, augmented = seen
    assert torch.equal(clean % 4, batch.labels)
    assert torch.equal(clean, augmented)
    assert clean.max() >= 4


def test_speeds_know_where_the_crops_lie_in_their_utterances(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(speed=True), a_batch(store, data)
    step.backbone.eval()
    waves, draw = batch.rows.float() / 32768, generator()
    crops = step.speed(waves, batch.labels, draw, 4000, places=batch.places, lengths=batch.lengths)
    expected = step.loss(step.backbone(step.network.frontend(crops.waveforms)), crops.labels)
    torch.testing.assert_close(step(drawn(step, batch)), expected)


def test_the_same_generator_gives_the_same_loss(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, batch = make_step(speed=True, augment=True), a_batch(store, data)
    assert torch.equal(step(drawn(step, batch)).loss, step(drawn(step, batch)).loss)


def test_stored_features_lose_their_mean_over_the_crop(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step = make_step()
    step.backbone.eval()
    rows = torch.randn(8, 30, 24) + 7
    batch = Batch(rows, torch.arange(8) % 4, np.arange(8))
    expected = step.loss(step.backbone(rows - rows.mean(1, keepdim=True)), batch.labels)
    torch.testing.assert_close(step(drawn(step, batch)), expected)
    shares = [replace(step.draws, rank=rank, world_size=4)(batch, generator()) for rank in range(4)]
    outs = [step(replace(share, rows=rows[share.drawn.present])) for share in shares]
    together = [torch.stack(values).mean() for values in zip(*outs, strict=True)]
    torch.testing.assert_close(together, list(expected))


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("num_crops", [8, 7])
def test_parts_of_a_batch_have_the_gradients_of_the_batch(
    num_crops: int, joint: bool, store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    """Where batch normalisation has statistics of its own; the parts need not be equal."""
    found = []
    for parts in (1, 3):
        step = make_step(augment=True, keep_clean=True, joint_pass=joint, loss="ham_softmax", mask=SpecAugment(10, 8))
        step.backbone.eval()
        step.accumulate = parts
        calls: list[int] = []
        step.backbone.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        batch = CropBatches(store, data, plan_epoch(24, seed=1, epoch=1), num_crops, 4000)[0]
        out = step.backward(drawn(step, batch))
        assert not out.loss.requires_grad
        assert len(calls) == parts * (1 if joint else 2)
        grads = [p.grad for p in (*step.backbone.parameters(), *step.loss.parameters())]
        found.append((out, grads, torch.tensor(list(step.diagnostics().values()))))
    torch.testing.assert_close(*(one[:2] for one in found), rtol=1e-4, atol=1e-5)
    assert found[0][2].shape == found[1][2].shape


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_lower_precision_gives_nearly_the_gradients(
    precision: torch.dtype, store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    grads = []
    for one in (None, precision):
        step = make_step(precision=one)
        if step.scaler.is_enabled():  # its first scales are too large, which it finds out by leaving steps out
            step.scaler = GradScaler("cpu", init_scale=64.0)
        step.backward(drawn(step, a_batch(store, data, 4000)))
        scale = step.scaler.get_scale()
        assert (scale > 1) == (one is torch.float16)
        every = (*step.backbone.parameters(), *step.loss.parameters())
        grads.append(torch.cat([p.grad.flatten() for p in every]) / scale)
    assert torch.nn.functional.cosine_similarity(*grads, dim=0) > 0.9
    assert grads[0].norm() == pytest.approx(grads[1].norm().item(), rel=0.2)


def test_a_compiled_step_is_the_step_and_others_embed_without(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    outs = []
    for compiled in (False, True):
        step = make_step(compiled=compiled)
        outs.append(step.backward(drawn(step, a_batch(store, data, 4000))))
        assert bool(graphs) == compiled
    torch.testing.assert_close(*outs)
    assert "_orig_mod" not in "".join(step.backbone.state_dict())
    graphs.clear()
    step.network(torch.zeros(2, 9000))
    assert not graphs


def test_a_resting_backbone_gets_no_gradient(
    store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]
) -> None:
    step, entered = make_step(), []
    step.rests, step.enter = True, entered.append  # as a profile watches
    step.backward(drawn(step, a_batch(store, data)))
    assert all(p.grad is None for p in step.backbone.parameters())
    assert step.loss.weight.grad is not None
    assert entered[-1] == "loss"
    step.rests = False
    step.backward(drawn(step, a_batch(store, data)))
    assert all(p.grad is not None for p in step.backbone.parameters())
    assert entered[-1] == "backbone"
