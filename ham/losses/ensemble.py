"""A loss that adds a hyperbolic and a Euclidean one on the same embeddings: eh_am_softmax."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ham.losses.hyperbolic import HamSoftmax
from ham.losses.margin import RamSoftmax
from ham.losses.streamed import Term, cross_entropy
from ham.schema import check_number


class EhAmSoftmax(HamSoftmax):
    r"""Weighted sum of two losses, each with its own centres: 0.3 ram_softmax + 0.7 ham_softmax as published.

    The loss adds the two cross-entropies. ``weight`` holds the hyperbolic centres, ``euclidean.weight`` the others;
    ``logits`` is the same weighted sum of the two logit matrices, and the accuracy is taken from that sum without
    margin. All arguments but ``euclidean_share`` are those of :class:`ham.losses.hyperbolic.HamSoftmax`. Scale, margin,
    ``chunk`` and ``fused`` hold for both parts: ``m`` is a hyperbolic distance in one and a cosine in the other.

    Args:
        euclidean_share: what ram_softmax weighs, 0 to 1; ham_softmax weighs the rest.

    Attributes:
        euclidean: the Euclidean part.
    """

    name: ClassVar[str] = "eh_am_softmax"

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        scale: float = 30.0,
        margin: float = 0.2,
        curvature: float = 3.0,
        chunk: str | int = "auto",
        fused: bool = True,
        euclidean_share: float = 0.3,
        **space: Any,
    ) -> None:
        super().__init__(
            embedding_dim,
            num_speakers,
            scale=scale,
            margin=margin,
            curvature=curvature,
            chunk=chunk,
            fused=fused,
            **space,
        )
        self.euclidean_share = check_number(self._place("euclidean_share"), euclidean_share, least=0.0, most=1.0)
        self.euclidean = RamSoftmax(self.embedding_dim, self.num_speakers, scale=self.scale, margin=self.margin)

    def set_margin(self, margin: float) -> None:
        """Change the margin of both parts, for schedules.

        Args:
            margin: new margin, at least 0: a hyperbolic distance in one part, a cosine in the other.

        Raises:
            ConfigError: if the margin is negative or no finite number.
        """
        super().set_margin(margin)
        if "euclidean" in self._modules:  # the constructor of the hyperbolic part sets its margin first
            self.euclidean.set_margin(margin)

    def _put_centres(self, speakers: Tensor, means: Tensor, directions: Tensor, generator: torch.Generator) -> None:
        super()._put_centres(speakers, means, directions, generator)
        self.euclidean._put_centres(speakers, means, directions, generator)

    def _learnt(self) -> list[Tensor]:
        return [p for p in self.space.parameters() if p.requires_grad]

    def _logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return torch.lerp(super()._logits(x, labels), self.euclidean._logits(x, labels), self.euclidean_share)

    def _own_logits(self, x: Tensor, labels: Tensor) -> Tensor:
        hyperbolic, euclidean = super()._own_logits(x, labels), self.euclidean._own_logits(x, labels)
        return torch.lerp(hyperbolic, euclidean, self.euclidean_share)

    def _loss_and_accuracy(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        block = self._block(x)
        if block:
            terms = [Term(self, 1.0 - self.euclidean_share), Term(self.euclidean, self.euclidean_share)]
            return cross_entropy(terms, x, labels, block)
        hyperbolic, euclidean = self._plain_logits(x, labels), self.euclidean._plain_logits(x, labels)
        both = torch.lerp(hyperbolic.detach(), euclidean.detach(), self.euclidean_share)
        accuracy = self._accuracy(both, labels)
        del both  # (B, C), not needed during the backward pass
        loss = F.cross_entropy(self._add_margin(hyperbolic, x, labels), labels)
        other = F.cross_entropy(self.euclidean._add_margin(euclidean, x, labels), labels)
        return self.euclidean_share * other + (1.0 - self.euclidean_share) * loss, accuracy
