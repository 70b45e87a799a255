"""From a batch of crops to a loss: speed, augmentation, network, loss, all on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ham.augment.augmenter import Augmenter
from ham.augment.speed import SpeedPerturbation
from ham.backbones.base import Backbone
from ham.data.batches import Batch
from ham.data.store import INT16_SCALE
from ham.losses.base import LossOutput, SpeakerLoss
from ham.model.encoder import Network
from ham.train import distributed

FeatureMask = Callable[[Tensor, torch.Generator], Tensor]
"""Masks training features ``(B, T, F)``, as SpecAugment does."""


class TrainingStep:
    """The forward pass of a training step.

    Args:
        network: front end and backbone. Where the batches hold features ``(B, T, F)`` already, not samples ``(B, N)``,
            speed and augmentation have no say, and the mean over the crop is subtracted in place of the front end.
        loss: embeddings and labels to a loss.
        mask: applied to the features.
        augmenter: applied to the waveforms; None for none.
        keep_clean: take each crop and its augmented copy, and add the two losses (the published recipe);
            otherwise the augmented crop replaces the clean one.
        joint_pass: with ``keep_clean``, one forward pass over all 2B crops, whose batch statistics they share.
            Otherwise the clean and the augmented crops have a pass each, as in the released code: batch statistics of
            their own, and two updates of the running ones.
        speed: draws a speed for each crop; None for none.
        crop_samples: samples N of a crop after the change of speed.
        precision: autocast of the backbone, or None for float32.
    """

    def __init__(
        self,
        *,
        network: Network,
        loss: SpeakerLoss,
        mask: FeatureMask,
        augmenter: Augmenter | None,
        keep_clean: bool,
        joint_pass: bool = False,
        speed: SpeedPerturbation | None,
        crop_samples: int,
        precision: torch.dtype | None = None,
    ) -> None:
        self.network = network
        self.loss = loss
        self.mask = mask
        self.augmenter = augmenter
        self.keep_clean = keep_clean
        self.joint_pass = joint_pass
        self.speed = speed
        self.crop_samples = crop_samples
        self.precision = precision
        self.embed: nn.Module = network
        self.classify: nn.Module = loss
        self.split: Mapping[nn.Parameter, Any] = {}
        self._latest: tuple[Tensor, Tensor] | None = None

    @property
    def backbone(self) -> Backbone:
        """The part of the network that is trained."""
        return self.network.backbone

    @property
    def views(self) -> int:
        """Versions of each crop that a step takes; their losses are added."""
        return 2 if self.augmenter is not None and self.keep_clean else 1

    def __call__(self, batch: Batch, generator: torch.Generator) -> LossOutput:
        """Compute loss and accuracy.

        Args:
            batch: crops and labels, on any device.
            generator: source of all randomness of the step, on the device.

        Returns:
            The sum over the views of the mean loss of each, and the accuracy over all crops.
        """
        device = generator.device
        if batch.rows.ndim == 2:  # noise may come from other rows, and all draw their numbers together
            batch = distributed.whole_batch(batch, device)
        rows = batch.rows.to(device, non_blocking=True)
        labels = batch.labels.to(device, non_blocking=True)
        inputs = [rows]
        if rows.ndim == 2:
            inputs, labels = self._waveforms(batch, rows, labels, generator)
            views = len(inputs[0]) // len(rows)
            inputs = [distributed.own_rows(one, views) for one in inputs]
            labels = distributed.own_rows(labels, views)
        passes = [self._pass(one, labels, generator) for one in inputs]
        outs = [out for out, _ in passes]
        self._latest = torch.cat([embeddings for _, embeddings in passes]), labels.repeat(len(passes))
        loss = torch.stack([out.loss for out in outs]).mean() * self.views
        return LossOutput(loss, torch.stack([out.accuracy for out in outs]).mean())

    def distribute(self, *, sync_batchnorm: bool, shard_loss: bool) -> None:
        """Share the step with the other processes, if there are any; before an optimiser is made.

        Args:
            sync_batchnorm: batch statistics are those of all processes.
            shard_loss: each process keeps a part of the centres, which ``split`` then names.

        Raises:
            ConfigError: if that is not possible.
        """
        if distributed.world_size() == 1:
            return
        if sync_batchnorm:
            distributed.synchronise(self.network)
        if shard_loss:
            self.split = self.loss.split(distributed.rank(), distributed.world_size())
        else:
            self.classify = distributed.replicated(self.loss)
        self.embed = distributed.replicated(self.network)

    def diagnostics(self) -> dict[str, float]:
        """What the loss's geometry does, on the latest batch.

        Returns:
            Values by their names in the log, ``diag/...``; none before the first step.
        """
        if self._latest is None:
            return {}
        return {f"diag/{name}": value for name, value in self.loss.diagnostics(*self._latest).items()}

    def _pass(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[LossOutput, Tensor]:
        """One forward pass: the loss, and the embeddings without gradient."""
        features = self.network.frontend(rows) if rows.ndim == 2 else rows - rows.mean(1, keepdim=True)
        features = distributed.masked(self.mask, features, generator, self.views if self.joint_pass else 1)
        with torch.autocast(features.device.type, self.precision, enabled=self.precision is not None):
            embeddings = self.embed(features)
        return self.classify(embeddings.float(), labels), embeddings.detach().float()

    def _waveforms(
        self, batch: Batch, rows: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[list[Tensor], Tensor]:
        """The waveforms of each forward pass, and the labels that are those of each."""
        waveforms = rows.float().mul_(1 / INT16_SCALE)  # a power of 2: exact, and in place it takes half the time
        voices = labels  # babble must not hold a speaker's own voice at another speed either
        if self.speed is not None:
            waveforms, labels = self.speed(
                waveforms, labels, generator, self.crop_samples, places=batch.places, lengths=batch.lengths
            )
        if self.augmenter is None:
            return [waveforms], labels
        augmented = self.augmenter(waveforms, voices, generator)
        if not self.keep_clean:
            return [augmented], labels
        if self.joint_pass:
            return [torch.cat([waveforms, augmented])], labels.repeat(2)
        return [waveforms, augmented], labels
