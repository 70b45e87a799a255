r"""A strong model teaches a small one: the distance between the two embeddings of a crop, beside the speaker loss.

With the network's embedding :math:`x` of what it hears, the teacher's :math:`t` and a matrix :math:`P`, a batch adds

.. math:: w \, \frac{1}{B} \sum_b D(P x_b, t_b), \qquad
    D_{\text{cosine}}(x, t) = 1 - \frac{\langle x, t \rangle}{|x| |t|}, \qquad
    D_{\text{hyperbolic}}(x, t) = d\bigl(\exp_0(x), \lim_{a \to \infty} \exp_0(a t)\bigr)^2

to the loss. :math:`P` takes embeddings to the teacher's dimension; it begins as an isometry, belongs to the training
alone, and is the identity where the dimensions agree.

:math:`\exp_0` and :math:`d` are those of the speaker loss: its way of taking an embedding into its space, with its
clip, and its distance there. A teacher trained with cosines says nothing with the length of an embedding, so that its
direction counts and its point lies on the shell, as far out as an embedding can be. Then :math:`D` has one minimum,
in which the embedding is sure and points where the teacher does. A teacher's point that followed the radius of
:math:`x` would have another one at the origin, where all points are near. On the shell of the published form, with
:math:`k = 4c/(c-1)^2`,

.. math:: D = \operatorname{arcosh}^2\bigl(1 + k (1 - \cos(x, t))\bigr) \approx 2 k (1 - \cos(x, t)),

so that a weight of 1 pulls embeddings near the teacher's :math:`2k` times as hard as the cosine does, 6 times at
:math:`c = 3`. It is the square because that is smooth where the points meet, and because its mean over crops is least
in the hyperbolic mean (Fréchet) of the teacher's points; the plain distance pulls as hard however near they are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.config import DistillConfig, to_dict
from ham.errors import ConfigError, HamError
from ham.losses.base import SpeakerLoss
from ham.model.encoder import Network, SpeakerEncoder
from ham.model.load import find, load


@dataclass(frozen=True)
class Teacher:
    """A trained model that only embeds: in evaluation mode, without gradients, by its own front end.

    Attributes:
        network: on the device.
        embedding_dim: numbers of its embeddings, ``E``.
        digest: of what decides about them: weights, backbone and front end.
    """

    network: Network
    embedding_dim: int
    digest: str

    @property
    def device(self) -> torch.device:
        """Where it embeds."""
        return next(self.network.parameters()).device

    @torch.no_grad()
    def embed(self, waveforms: Tensor, *, precision: torch.dtype | None = None, parts: int = 1) -> Tensor:
        """Embed crops.

        Args:
            waveforms: samples in [-1, 1], shape ``(B, N)``.
            precision: autocast of the backbone, or None for float32.
            parts: of the batch that are embedded one after the other, to save memory.

        Returns:
            Float32, shape ``(B, E)``.
        """
        embedded = []
        for part in waveforms.chunk(parts):
            features = self.network.frontend(part)
            with torch.autocast(part.device.type, precision, enabled=precision is not None):
                embedded.append(self.network.backbone(features).float())
        return torch.cat(embedded)


class Distillation(nn.Module):
    """How far embeddings are from the teacher's; holds what is trained for it.

    Args:
        teacher: on the device; its weights are no part of this module.
        loss: the speaker loss, whose space a hyperbolic distance is measured in.
        block: weight, distance, and what the teacher hears.

    Attributes:
        projection: the matrix P, ``(E, D)``, or nothing.
        recordings: where ``hears`` is ``recording``, the teacher's embedding of each of N training recordings at each
            of S speeds, ``(N, S, E)`` on the device; to be set before the first step.
    """

    def __init__(self, teacher: Teacher, loss: SpeakerLoss, block: DistillConfig) -> None:
        super().__init__()
        self.teacher = teacher
        self.weight = block.weight
        self.hears = block.hears
        self.recordings: Tensor | None = None
        self._to_shell = loss.distance_to_shell if block.distance == "hyperbolic" else None
        self.projection: nn.Module = nn.Identity()
        if loss.embedding_dim != teacher.embedding_dim:
            self.projection = nn.Linear(loss.embedding_dim, teacher.embedding_dim, bias=False)
            nn.init.orthogonal_(self.projection.weight)

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Mean of D over a batch.

        Args:
            embeddings: as they leave the backbone, shape ``(B, D)``.
            targets: the teacher's, shape ``(B, E)``.

        Returns:
            A scalar, at least 0.
        """
        projected = self.projection(embeddings)
        if self._to_shell is not None:
            return self._to_shell(projected, targets).square().mean()
        return (1 - F.cosine_similarity(projected, targets, dim=1)).mean()


def check_teacher(block: DistillConfig) -> None:
    """Find the teacher, without reading it.

    Args:
        block: the configuration's.

    Raises:
        HamError: if there is no such model.
    """
    if block.teacher:
        try:
            find(block.teacher)
        except ConfigError as error:
            raise ConfigError(f"distill.teacher: {error}") from None


def read_teacher(block: DistillConfig, device: torch.device) -> Teacher | None:
    """Load the model that teaches.

    Args:
        block: the configuration's.
        device: where it will embed.

    Returns:
        The teacher, or None where the configuration names none.

    Raises:
        HamError: if there is no such model, it is damaged, or it hears another sample rate.
    """
    if not block.teacher:
        return None
    try:
        encoder = load(block.teacher, str(device))
    except HamError as error:
        raise type(error)(f"distill.teacher: {error}") from None
    encoder.network.requires_grad_(False)
    return Teacher(encoder.network, encoder.embedding_dim, _digest(encoder))


def _digest(encoder: SpeakerEncoder) -> str:
    """Of the weights, and of the configuration's blocks that they work in."""
    system = {key: value for key, value in to_dict(encoder.config).items() if key in ("frontend", "backbone")}
    text = json.dumps({"weights": encoder.fingerprint, **system}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
