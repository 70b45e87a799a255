"""What stands where a model has no loss: an imported one came without the centres that it was trained with."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from torch import Tensor, nn

from ham.errors import ConfigError
from ham.losses.base import SpeakerLoss
from ham.schema import check_count


class NoLoss(SpeakerLoss):
    """No centres, no distance, nothing to train with: whoever asks for one is told so.

    It is not in the table of losses, as no training can have it.

    Args:
        embedding_dim: ``D``.
    """

    name: ClassVar[str] = "none"

    def __init__(self, embedding_dim: int) -> None:
        nn.Module.__init__(self)
        self.embedding_dim = check_count(self._place("embedding_dim"), embedding_dim)
        self.num_speakers = 0

    def forward(self, embeddings: Tensor, labels: Tensor) -> NoReturn:  # noqa: ARG002
        """Refuse to train."""
        self._refuse()

    def centre_radii(self) -> NoReturn:
        """Refuse, as there are no centres."""
        self._refuse()

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> NoReturn:  # noqa: ARG002
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            "loss none: the model was imported without one, so it has no centres of speakers; train from it first"
        )
