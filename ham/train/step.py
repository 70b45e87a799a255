"""From a batch of crops to a loss and gradients: speed, augmentation, network, loss, all on the device.

The device is asked nothing on the way: what chance decides was drawn before, by :mod:`ham.train.draws`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from ham.augment.augmenter import Augmenter
from ham.augment.speed import SpeedPerturbation
from ham.backbones.base import Backbone
from ham.data.batches import Batch
from ham.data.store import INT16_SCALE
from ham.errors import ConfigError
from ham.frontends import SpecAugment
from ham.losses.base import LossOutput, SpeakerLoss
from ham.model.encoder import Network
from ham.train import distributed
from ham.train.distill import Distillation
from ham.train.draws import Drawn, Draws
from ham.train.parts import Enter, unwatched


class Inputs(NamedTuple):
    """What a forward pass takes: features ``(B, T, F)``, labels ``(B,)`` and, if any, a teacher's embeddings."""

    features: Tensor
    labels: Tensor
    targets: Tensor | None = None

    def chunk(self, num: int) -> list[Inputs]:
        """All in so many parts, or in fewer where there are fewer rows."""
        there = [one for one in self if one is not None]
        return [Inputs(*part) for part in zip(*(one.chunk(num) for one in there), strict=True)]


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
        accumulate: parts of the batch that meet the network one after the other.
        compiled: have torch compile the network for the training; whoever else embeds with it, as the validation,
            whose utterances have any length, takes it as it is.
        distillation: a teacher, and what is trained for its lessons alone; None for none. It hears waveforms.

    Attributes:
        enter: called at the beginning of each part of a step; see :mod:`ham.train.parts`.
        rests: the backbone embeds without gradients (``train.freeze_epochs``).
        scaler: keeps gradients in float16 from vanishing; it does nothing in another precision.
    """

    def __init__(
        self,
        *,
        network: Network,
        loss: SpeakerLoss,
        mask: SpecAugment,
        augmenter: Augmenter | None,
        keep_clean: bool,
        joint_pass: bool = False,
        speed: SpeedPerturbation | None,
        crop_samples: int,
        precision: torch.dtype | None = None,
        accumulate: int = 1,
        compiled: bool = False,
        distillation: Distillation | None = None,
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
        self.accumulate = accumulate
        self.embed: nn.Module = torch.compile(network) if compiled else network  # type: ignore[assignment]
        self.classify: nn.Module = loss
        self.distillation = distillation
        self.compare: nn.Module | None = distillation
        self.split: Mapping[nn.Parameter, Any] = {}
        self.scaler = GradScaler(self.device.type, enabled=precision is torch.float16)
        self.rests = False
        self.enter: Enter = unwatched
        self._latest: list[tuple[Tensor, Tensor]] = []
        self._distances: list[Tensor] = []

    @property
    def backbone(self) -> Backbone:
        """The part of the network that is trained."""
        return self.network.backbone

    @property
    def views(self) -> int:
        """Versions of each crop that a step takes; their losses are added."""
        return 2 if self.augmenter is not None and self.keep_clean else 1

    @property
    def device(self) -> torch.device:
        """Where the step computes."""
        return next(self.backbone.parameters()).device

    @property
    def draws(self) -> Draws:
        """What draws for a batch, ahead of the step."""
        passes = (2,) if self.joint_pass and self.views == 2 else (1,) * self.views
        frontend = self.network.frontend
        shape = (frontend.num_frames(self.crop_samples), frontend.num_mel_bins)
        processes = distributed.rank(), distributed.world_size()
        return Draws(self.speed, self.augmenter, self.mask, passes, self.crop_samples, shape, *processes)

    def __call__(self, batch: Batch) -> LossOutput:
        """Compute loss and accuracy.

        Args:
            batch: crops, labels and what :attr:`draws` drew for them, on the step's device.

        Returns:
            The sum over the views of the mean loss of each, and the accuracy over all crops.
        """
        return self._losses(self._passes(batch))

    def backward(self, batch: Batch) -> LossOutput:
        """Add a batch's gradients to the parameters', in ``accumulate`` parts one after the other.

        The crops are augmented together, then network and loss meet a part at a time. The gradients are the whole
        batch's, but for batch normalisation, whose statistics are those of a part.

        Args:
            batch: as for a call.

        Returns:
            What a call gives, without gradient.
        """
        passes = self._passes(batch)
        outs = []
        for part in zip(*(one.chunk(self.accumulate) for one in passes), strict=True):
            out, share = self._losses(part), len(part[0].labels) / len(passes[0].labels)
            self.scaler.scale(out.loss * share).backward()  # type: ignore[no-untyped-call]
            outs.append((out.loss.detach() * share, out.accuracy * share))
        return LossOutput(*(torch.stack(values).sum() for values in zip(*outs, strict=True)))

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
        if shard_loss and self.scaler.is_enabled():  # each process would leave out steps of its own
            raise ConfigError("train.shard_loss: float16 scales whole gradients; use train.precision: bfloat16")
        if sync_batchnorm:
            distributed.synchronise(self.network)
        if shard_loss:
            self.split = self.loss.split(distributed.rank(), distributed.world_size())
        else:
            self.classify = distributed.replicated(self.loss)
        self.embed = distributed.replicated(self.embed)
        if self.distillation is not None:
            self.compare = distributed.replicated(self.distillation)

    @property
    def distances(self) -> list[Tensor]:
        """Mean distance from the teacher over the crops of the latest step, not weighted; nothing without a teacher."""
        num_crops = sum(len(labels) for _, labels in self._latest)
        return [torch.stack(self._distances).sum() / num_crops] if self._distances else []

    def diagnostics(self) -> dict[str, float]:
        """What the loss's geometry does, on the latest batch.

        Returns:
            Values by their names in the log, ``diag/...``; none before the first step.
        """
        if not self._latest:
            return {}
        embeddings, labels = map(torch.cat, zip(*self._latest, strict=True))
        return {f"diag/{name}": value for name, value in self.loss.diagnostics(embeddings, labels).items()}

    def _losses(self, passes: Sequence[Inputs]) -> LossOutput:
        """Network and loss of each forward pass, and their mean."""
        outs = [self._pass(one) for one in passes]
        loss = torch.stack([out.loss for out in outs]).mean() * self.views
        return LossOutput(loss, torch.stack([out.accuracy for out in outs]).mean())

    def _pass(self, inputs: Inputs) -> LossOutput:
        """One forward pass; its embeddings are kept for the diagnostics."""
        self.enter("backbone")
        learns = torch.set_grad_enabled(torch.is_grad_enabled() and not self.rests)
        with learns, torch.autocast(inputs.features.device.type, self.precision, enabled=self.precision is not None):
            embeddings = self.embed(inputs.features)
        self.enter("loss")
        out: LossOutput = self.classify(embeddings.float(), inputs.labels)
        if self.compare is not None and self.distillation is not None:
            distance = self.compare(embeddings.float(), inputs.targets)
            out = LossOutput(out.loss + self.distillation.weight * distance, out.accuracy)
            self._distances.append(distance.detach() * len(embeddings))
        if self.enter is not unwatched:  # the way back passes both borders again
            out.loss.register_hook(lambda _: self.enter("loss"))  # type: ignore[no-untyped-call]
            if embeddings.requires_grad:
                embeddings.register_hook(lambda _: self.enter("backbone"))
        self._latest.append((embeddings.detach().float(), inputs.labels))
        return out

    def _passes(self, batch: Batch) -> list[Inputs]:
        """The features of each forward pass, masked, and their labels."""
        self._latest.clear()
        self._distances.clear()
        rows, drawn = batch.rows, batch.drawn
        clean, waveforms = self._waveforms(batch, drawn) if rows.ndim == 2 else (rows, [rows])
        targets = self._targets(batch, clean, waveforms)
        self.enter("features")
        passes = []
        for one, masks, target in zip(waveforms, drawn.masks, targets, strict=True):
            features = self.network.frontend(one) if one.ndim == 2 else one - one.mean(1, keepdim=True)
            labels = batch.labels.repeat(len(one) // len(batch.labels))
            passes.append(Inputs(self.mask.apply(features, masks), labels, target))
        return passes

    def _targets(self, batch: Batch, clean: Tensor, waveforms: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """The teacher's embeddings for each forward pass; None where nobody teaches."""
        if self.distillation is None:
            return [None] * len(waveforms)
        self.enter("teacher")
        teacher = self.distillation.teacher
        embed = partial(teacher.embed, precision=self.precision, parts=self.accumulate)
        if self.distillation.hears == "same":
            return [embed(one) for one in waveforms]
        heard = self._recalled(batch, table) if (table := self.distillation.recordings) is not None else embed(clean)
        return [heard.repeat(len(one) // len(clean), 1) for one in waveforms]

    def _recalled(self, batch: Batch, table: Tensor) -> Tensor:
        """What the teacher said of the recordings at their speeds; the copy of their numbers waits for nobody."""
        entries = torch.from_numpy(batch.entries).to(table.device, non_blocking=True)
        version = batch.labels // self.speed.num_speakers if self.speed else 0
        return table[entries[batch.drawn.present[batch.drawn.own]], version]

    def _waveforms(self, batch: Batch, drawn: Drawn) -> tuple[Tensor, list[Tensor]]:
        """The clean waveforms, and those of each forward pass, made of all rows that are there."""
        self.enter("augment")
        waveforms = batch.rows.float().mul_(1 / INT16_SCALE)  # a power of 2: exact, and in place it takes half the time
        if self.speed is not None and drawn.speeds is not None:
            waveforms = self.speed.apply(waveforms, drawn.speeds, self.crop_samples)
        clean = waveforms[drawn.own]
        if self.augmenter is None:
            return clean, [clean]
        augmented = self.augmenter.apply(waveforms, drawn.changes)[drawn.own]
        if not self.keep_clean:
            return clean, [augmented]
        return clean, [torch.cat([clean, augmented])] if self.joint_pass else [clean, augmented]
