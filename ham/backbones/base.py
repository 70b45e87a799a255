"""What a backbone is: the base class, which checks options and features and masks the frames beyond an utterance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ham.backbones.pooling import POOLINGS, Pooling, build_pooling
from ham.errors import DataError
from ham.schema import check_count, choose, keyword_options


class Backbone(nn.Module, ABC):
    """Base of the networks that turn the features of an utterance into one embedding.

    The constructor is the schema: its keyword-only parameters are the options, with types and defaults. A subclass sets
    ``name`` and computes embeddings in :meth:`_embed`.

    Attributes:
        name: the backbone's name in the table.
        takes: what its front end must give.
        num_mel_bins: ``F``.
        embedding_dim: ``D``.
        recompute: in training, keep no values within the blocks for the way back but compute them again.
    """

    name: ClassVar[str]
    takes: ClassVar[str] = "bands"
    recompute: bool = False

    def __init__(self, num_mel_bins: int, embedding_dim: int) -> None:
        super().__init__()
        self.num_mel_bins = check_count(self._place("num_mel_bins"), num_mel_bins)
        self.embedding_dim = check_count(self._place("embedding_dim"), embedding_dim)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Options that the constructor takes, with their defaults.

        Returns:
            The keyword-only parameters, in order; their defaults are the published settings.
        """
        return keyword_options(cls)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed a batch.

        Frames at or beyond an utterance's length may hold anything, NaN included: outside training they change nothing
        in its embedding. In training they still enter the statistics of batch normalisation, so crops of one length
        and no ``lengths`` belong there.

        Args:
            features: shape ``(B, T, F)``, floating-point.
            lengths: frames of each utterance, int64, shape ``(B,)``, each in ``1..T``; None if all are ``T``.

        Returns:
            Embeddings, shape ``(B, D)``.

        Raises:
            DataError: if the shape or type of the features or lengths is another.
        """
        self._check_features(features)
        padded = None if lengths is None else self._padded_frames(features, lengths)
        if padded is not None:
            features = features.masked_fill(padded, 0.0)
        return self._embed(features, padded)

    def translated(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of another system of this kind by the names that they have here."""
        return weights

    @abstractmethod
    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        """Embeddings ``(B, D)``; ``padded`` (B, T, 1) is True on frames that do not count, None if all do."""

    def _through(self, block: nn.Module, *inputs: Tensor | None) -> Any:
        """What a block makes of its inputs."""
        if not (self.recompute and torch.is_grad_enabled()):
            return block(*inputs)
        return checkpoint(block, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _counted_once(block)))

    def _place(self, option: str) -> str:
        return f"backbone {self.name}: {option}"

    def _pooling(self, name: str, num_channels: int, **options: Any) -> Pooling:
        """The pooling that the option ``pooling`` names; see :func:`ham.backbones.pooling.build_pooling`."""
        return build_pooling(choose(self._place("pooling"), name, POOLINGS), num_channels, **options)

    def _check_features(self, features: Tensor) -> None:
        shape = tuple(features.shape)
        if len(shape) == 3 and shape[2] == self.num_mel_bins and shape[0] and shape[1]:
            if features.is_floating_point():
                return
            raise DataError(f"{self._place('features')}: expected a floating-point type, found {features.dtype}")
        cure = "; the front end's num_mel_bins must be the backbone's" if len(shape) == 3 else ""
        expected = f"(B, T, {self.num_mel_bins}) with B and T at least 1"
        raise DataError(f"{self._place('features')}: expected shape {expected}, found {shape}{cure}")

    def _padded_frames(self, features: Tensor, lengths: Tensor) -> Tensor | None:
        """The mask of padded frames ``(B, T, 1)``; None if no utterance is shorter than ``T``."""
        batch, num_frames = features.shape[:2]
        if lengths.shape != (batch,) or lengths.dtype != torch.int64:
            found = f"{tuple(lengths.shape)} of {lengths.dtype}"
            raise DataError(f"{self._place('lengths')}: expected shape ({batch},) of torch.int64, found {found}")
        shortest, longest = (int(bound) for bound in torch.stack(torch.aminmax(lengths)).tolist())
        if shortest < 1 or longest > num_frames:
            found = f"{shortest} to {longest}"
            raise DataError(f"{self._place('lengths')}: expected 1 to {num_frames} frames, found {found}")
        if shortest == num_frames:
            return None
        frames = torch.arange(num_frames, device=features.device)
        return (frames >= lengths.to(features.device)[:, None])[:, :, None]


@contextmanager
def _counted_once(block: nn.Module) -> Iterator[None]:
    """Batch normalisation keeps its running statistics as they are: the first pass has counted the batch."""
    norms = [part for part in block.modules() if isinstance(part, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
