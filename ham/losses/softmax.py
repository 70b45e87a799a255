"""Losses that classify by a linear layer, without margin: softmax and scaled_softmax."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.losses.base import SpeakerLoss


class Softmax(SpeakerLoss):
    r"""Cross-entropy of a linear layer, :math:`W x + b`.

    Centres and bias start as those of a linear layer do, uniform in :math:`\pm 1/\sqrt{D}`.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.

    Attributes:
        bias: one number a speaker, shape ``(C,)``.
    """

    name: ClassVar[str] = "softmax"

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__(embedding_dim, num_speakers)
        bound = self.embedding_dim**-0.5
        self.weight = nn.Parameter(torch.empty(self.num_speakers, self.embedding_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(self.num_speakers).uniform_(-bound, bound))

    def _put_centres(self, speakers: Tensor, means: Tensor, directions: Tensor, generator: torch.Generator) -> None:
        super()._put_centres(speakers, means, directions, generator)
        self.bias[speakers] = 0.0  # of equally long centres: none is preferred

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))

    def _own_logits(self, x: Tensor, labels: Tensor) -> Tensor:
        own = self.weight.detach().index_select(0, labels).to(x.dtype)
        return (x * own).sum(dim=1) + self.bias.detach().index_select(0, labels).to(x.dtype)


class ScaledSoftmax(Softmax):
    r"""Cross-entropy of a scaled linear layer, :math:`s (W x + b)`, nothing normalised.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive; 30 as published.
        init_scale: factor on the weights and biases at the start, positive; 1 as published. Of embeddings of length
            :math:`\sqrt{D}` the first logits have a standard deviation of :math:`s / \sqrt{3}` times it: 17 as
            published, from which training may not recover; those of :class:`Softmax` with ``1 / s``.
    """

    name: ClassVar[str] = "scaled_softmax"

    def __init__(self, embedding_dim: int, num_speakers: int, *, scale: float = 30.0, init_scale: float = 1.0) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.scale = self._positive("scale", scale)
        self.init_scale = self._positive("init_scale", init_scale)
        with torch.no_grad():
            self.weight.mul_(self.init_scale)
            self.bias.mul_(self.init_scale)

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return super()._plain_logits(x, labels) * self.scale

    def _own_logits(self, x: Tensor, labels: Tensor) -> Tensor:
        return super()._own_logits(x, labels) * self.scale
