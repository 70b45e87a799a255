"""What chance decides in a training step: drawn on the central processor, ahead of the step, from seed and step alone.

The step then only computes. So the accelerator is asked nothing and waits for nothing, the same seed gives the same
samples on every device, and whoever gathers the crops reads the noises and the rooms that go with them as well.

Several processes draw the same numbers, for the whole batch. Each then needs, reads and changes its own rows of it, and
reads the rows that are heard behind them: ``present`` are both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ham.augment.augmenter import Augmenter, Change
from ham.augment.randomness import within
from ham.augment.speed import SpeedPerturbation, Speeds
from ham.data.batches import Batch
from ham.frontends import Spans, SpecAugment


class Drawn(NamedTuple):
    """What was drawn for a process's share of a batch.

    Attributes:
        present: rows of the batch that are there, ascending: the own ones and those heard behind them.
        own: which of these are the own ones.
        speeds: of the rows that are there.
        changes: of the waveforms, by places among the rows that are there.
        masks: of the own rows, for each forward pass.
    """

    present: Tensor
    own: slice
    speeds: Speeds | None
    changes: list[Change]
    masks: list[Spans]


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, a function of both, so that a resumed run draws the same.

    Args:
        seed: of the training.
        step: steps of the whole training before it.
    """
    number = np.random.SeedSequence([seed, step, 1]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(number >> np.uint64(1)))


@dataclass(frozen=True)
class Draws:
    """Draws for batches; small enough to be sent to other processes.

    Attributes:
        speed: draws a speed for each crop; None for none.
        augmenter: draws what happens to the waveforms; None for nothing.
        mask: draws what is masked of the features.
        passes: crops of each forward pass of a step, as multiples of the batch.
        crop_samples: samples of a crop after the change of speed.
        shape: frames and bands of its features.
        rank: number of the process whose rows are wanted.
        world_size: number of processes, each of which has as many rows.
    """

    speed: SpeedPerturbation | None
    augmenter: Augmenter | None
    mask: SpecAugment
    passes: Sequence[int]
    crop_samples: int
    shape: tuple[int, int]
    rank: int = 0
    world_size: int = 1

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Draw for a batch of crops, or of stored features, which only masks concern.

        Args:
            batch: on the central processor, whose rows need not be there yet.
            generator: source of the randomness, likewise.

        Returns:
            The batch with ``drawn``, its labels those of the own rows at their speeds. Its rows are as they were: the
            step wants those that are ``present``.
        """
        size = len(batch.labels) // self.world_size
        own = slice(self.rank * size, (self.rank + 1) * size)
        present, speeds, changes, labels = torch.arange(len(batch.labels))[own], None, list[Change](), batch.labels
        if batch.rows.ndim == 2:
            if self.speed is not None:
                speeds = self._speeds(self.speed, batch, generator)
                labels = speeds.labels
            if self.augmenter is not None:  # babble must not hold a speaker's own voice at another speed either
                changes = self.augmenter.draw(batch.labels, self.crop_samples, generator, own)
                present, changes = self.augmenter.among(changes, present)
        frames, bands = batch.rows.shape[1:] if batch.rows.ndim == 3 else self.shape
        masks = [
            _own(self.mask.draw(views * len(labels), frames, bands, generator), views, own) for views in self.passes
        ]
        there = within(present, own, len(labels))
        drawn = Drawn(present, there, speeds and speeds.among(present), changes, masks)
        return replace(batch, labels=labels[own], places=None, lengths=None, drawn=drawn)

    def _speeds(self, speed: SpeedPerturbation, batch: Batch, generator: torch.Generator) -> Speeds:
        """A speed for each crop; without lengths nothing repeats."""
        lengths = torch.full_like(batch.labels, batch.rows.shape[1]) if batch.lengths is None else batch.lengths
        return speed.draw(batch.labels, self.crop_samples, generator, places=batch.places, lengths=lengths)


def _own(masks: Spans, views: int, own: slice) -> Spans:
    """The masks of the own rows in each of several views of a batch."""
    return Spans(*(span.view(2, views, -1, 1)[:, :, own].flatten(1, 2) for span in masks))
