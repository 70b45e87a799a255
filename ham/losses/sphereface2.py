"""A loss that asks of every speaker alone "is it this one?", instead of choosing one among all: sphereface2."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.losses.base import SpeakerLoss
from ham.losses.margin import add_angle, unit
from ham.schema import check_number, choose

MARGIN_TYPES = ("C", "A")
"""A margin on the cosine after :math:`g`, or on the angle before it."""


class SphereFace2(SpeakerLoss):
    r"""One binary classification a speaker, each with the same bias.

    .. math:: L = \lambda \ln(1 + e^{-z_y}) + (1 - \lambda) \sum_{k \ne y} \ln(1 + e^{z_k}), \qquad
              g(c) = 2 \Bigl(\frac{c + 1}{2}\Bigr)^t - 1

    .. math:: \text{C: } z_y = s (g(\cos\theta_y) - m) + b, \quad z_k = s (g(\cos\theta_k) + m) + b

    .. math:: \text{A: } z_y = s\, g(\cos\min(\pi, \theta_y + m)) + b, \quad
              z_k = s\, g(\cos\max(0, \theta_k - m)) + b

    Wen et al., "SphereFace2: Binary classification is all you need for deep face recognition", ICLR 2022; the settings
    are those of Han et al., "Exploring binary classification loss for speaker verification", ICASSP 2023, who take 0.15
    for the margin of A and start the bias at 0. Without margin, as :meth:`logits` gives them, all are
    :math:`s\, g(\cos\theta_k) + b`; the mean of ``L`` over the batch is no cross-entropy of these.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        margin: ``m``, 0 to pi: with ``margin_type`` C on ``g``, a function of the cosine; with A an angle in radians.
        power: ``t``, at least 1: the larger, the less two speakers must differ to count as different.
        positive_share: :math:`\lambda`, above 0 and at most 0.999: what the own speaker weighs.
        margin_type: one of ``MARGIN_TYPES``: what the margin is put on, see ``margin``.

    Attributes:
        bias: ``b``, learnt; no dimension.
    """

    name: ClassVar[str] = "sphereface2"
    has_margin: ClassVar[bool] = True
    largest_margin: ClassVar[float] = math.pi

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        scale: float = 32.0,
        margin: float = 0.2,
        power: float = 3.0,
        positive_share: float = 0.7,
        margin_type: str = "C",
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.scale = self._positive("scale", scale)
        self.set_margin(margin)
        self.power = check_number(self._place("power"), power, least=1.0)
        self.positive_share = check_number(self._place("positive_share"), positive_share, above=0.0, most=0.999)
        self.margin_type = choose(self._place("margin_type"), margin_type, MARGIN_TYPES)
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(self.num_speakers, self.embedding_dim)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def _cosines(self, x: Tensor) -> Tensor:
        return unit(x) @ unit(self.weight.to(x.dtype)).T

    def _similarity(self, cos: Tensor) -> Tensor:
        """Logits from cosines; what lies below -1 counts as -1."""
        spread = 2.0 * ((cos + 1.0) / 2.0).clamp_min(0.0).pow(self.power) - 1.0
        return self.scale * spread + self.bias.to(cos.dtype)

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        return self._similarity(self._cosines(x))

    def _with_margin(self, plain: Tensor, x: Tensor, w: Tensor) -> Tensor:
        if self.margin_type == "C":
            return plain - self.scale * self._margin
        return self._similarity(add_angle(unit(x), unit(w), self._margin))

    def _penalised(self, plain: Tensor, own: Tensor, x: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        if self.margin_type == "C":
            return plain + self.scale * self._margin
        cos = self._cosines(x)
        # At an angle of pi the slope of the sine has no bound; g is flat there.
        sin = (1.0 - cos.square()).clamp_min(torch.finfo(cos.dtype).eps).sqrt()
        nearer = cos * math.cos(self._margin) + sin * math.sin(self._margin)
        return self._similarity(torch.where(cos > math.cos(self._margin), 1.0, nearer))

    def _loss_and_accuracy(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        plain = self._plain_logits(x, labels)
        accuracy = self._accuracy(plain, labels)
        logits = self._add_margin(plain, x, labels)
        own = labels[:, None]
        positive = F.logsigmoid(logits.gather(1, own)).sum(dim=1)
        negative = F.logsigmoid(-logits.scatter(1, own, -math.inf)).sum(dim=1)
        share = self.positive_share
        return -(share * positive + (1.0 - share) * negative).mean(), accuracy
