"""The loss's centres at the class means of the embeddings that a trained backbone gives: ``train.init_centres``."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ham.augment.speed import speed_perturb
from ham.data.batches import CropBatches
from ham.data.sampler import EpochPlan
from ham.data.store import INT16_SCALE
from ham.train.crops import TrainingCrops
from ham.train.step import TrainingStep
from ham.words import count

logger = logging.getLogger(__name__)

CROPS = 10
"""Crops of a speaker that make a mean, each of another utterance; fewer where there are fewer."""

SEED_SALT = 0xC3A7
"""Keeps the choice of crops apart from other draws by the same seed."""


@torch.no_grad()
def start_at_class_means(step: TrainingStep, crops: TrainingCrops) -> None:
    """Embed some crops of every speaker, at every speed that is a class, and put the centres at the means.

    The crops are as long as those of the training, clean and without masks. Each of several processes embeds the same.

    Args:
        step: its backbone has been loaded; its loss is changed.
        crops: where training crops come from, and the seed.
    """
    plan = choose_crops(crops.data.labels, crops.seed)
    step.network.eval()
    pairs = [
        (step.network(rows).float(), labels)
        for whole, speakers in _batches(crops, plan)
        for rows, labels in _at_speeds(step, whole.to(crops.device), speakers.to(crops.device))
    ]
    step.network.train()
    embeddings, labels = map(torch.cat, zip(*pairs, strict=True))
    step.loss.start_at_means(embeddings, labels, seed=crops.seed)
    num_classes = len(torch.unique(labels))
    logger.info("centres: at the means of %s of %s", count(len(labels), "crop"), count(num_classes, "class", "classes"))


def choose_crops(labels: NDArray[np.int64], seed: int) -> EpochPlan:
    """Draw up to ``CROPS`` utterances of every speaker, and where their crops begin.

    Args:
        labels: the speaker's number of each training utterance, shape ``(U,)``.
        seed: of the draw.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, SEED_SALT]))
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    _, first, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    entries = order[np.arange(len(order)) - np.repeat(first, sizes) < CROPS]
    return EpochPlan(entries, rng.random(len(entries)))


def _batches(crops: TrainingCrops, plan: EpochPlan) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of the store and speakers, as many as in a batch of the training, the last ones fewer."""
    size = crops.sampling.batch_size
    for first in tqdm(range(0, len(plan), size), desc="class means", unit="batch", delay=2):
        part = EpochPlan(plan.entries[first : first + size], plan.places[first : first + size])
        replace = crops.sampling.max_bad_crops > 0
        batch = CropBatches(crops.store, crops.data, part, len(part), crops.num_rows, replace_bad=replace)[0]
        yield batch.rows, batch.labels


def _at_speeds(step: TrainingStep, rows: Tensor, speakers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """What the network takes, and classes, for each speed; stored features have one."""
    if rows.ndim == 3:
        yield rows - rows.mean(1, keepdim=True), speakers
        return
    waveforms = rows.float() / INT16_SCALE
    yield waveforms[:, : step.crop_samples], speakers
    if step.speed is not None:
        for version, speed in enumerate(step.speed.speeds[1:], 1):
            yield speed_perturb(waveforms, speed, step.crop_samples), speakers + version * step.speed.num_speakers
