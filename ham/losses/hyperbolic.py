r"""Losses that classify by hyperbolic distances to the centres: h_softmax and ham_softmax.

Fang & He, "Hyperbolic Additive Margin Softmax with Hierarchical Information for Speaker Verification", ICASSP 2026,
arXiv 2601.19709. Centres start as normal numbers of standard deviation 1e-3 in every coordinate, as published.

The same numbers are computed in three ways: the Gram form with autograd (``fused: false``), which reads like the
definition, and the two ways of :mod:`ham.losses.streamed`, of which the fused one is the default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ham.errors import ConfigError
from ham.geometry.poincare import least_ratio
from ham.losses.base import quantiles
from ham.losses.spaces import AnySpace, build_space, check_clip, check_curvature
from ham.losses.streamed import StreamedLoss
from ham.schema import keyword_options

CENTRE_STD = 1e-3
"""Standard deviation of every coordinate of a centre at the start (released code)."""

SPACE_OPTIONS = {key: value for key, value in keyword_options(build_space).items() if key != "curvature"}
"""Options that every hyperbolic loss hands to :func:`ham.losses.spaces.build_space`, with their defaults."""


class HSoftmax(StreamedLoss):
    r"""Cross-entropy of negative hyperbolic distances, :math:`-s\, d(x, w_k)`.

    The pairs of an embedding with its own centre, which training drives together, are taken from the direct
    difference; all others from one matrix product.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        curvature: ``c``, at least 1 in the published geometry, else positive.
        chunk: ``auto``, ``off`` or the number of centres of a block; see :mod:`ham.losses.streamed`.
        fused: false computes the Gram form with autograd and never in blocks.
        **space: ``geometry`` and the further options of :func:`ham.losses.spaces.build_space`.

    Attributes:
        space: where embeddings and centres lie; holds what is learnt of it.
    """

    name: ClassVar[str] = "h_softmax"
    has_distance: ClassVar[bool] = True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        scale: float = 30.0,
        curvature: float = 5.0,
        chunk: str | int = "auto",
        fused: bool = True,
        **space: Any,
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.scale = self._positive("scale", scale)
        self._clip_radius: float | None = space.get("clip_radius")
        self.space: AnySpace = build_space(f"loss {self.name}", self.embedding_dim, curvature=curvature, **space)
        self._set_fused(fused, chunk)
        self.weight = nn.Parameter(torch.empty(self.num_speakers, self.embedding_dim).normal_(std=CENTRE_STD))

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Options that the constructor takes, those of the space among them, with their defaults."""
        return {**super().options(), **SPACE_OPTIONS}

    @property
    def curvature(self) -> float:
        """``c`` in force."""
        return self.space.curvature

    @property
    def geometry(self) -> str:
        """Name of the geometry."""
        return self.space.name

    def set_curvature(self, curvature: float) -> None:
        """Change ``c``, for schedules.

        Args:
            curvature: new ``c``.

        Raises:
            ConfigError: if it has no meaning in the geometry.
        """
        if self.space.learn_curvature:
            raise ConfigError(f"{self._place('curvature')}: is learnt and cannot be set; use one of the two")
        place = f"{self._place('curvature')} (geometry {self.geometry})"
        c = check_curvature(place, self.geometry, curvature)
        check_clip(self._place("clip_radius"), self._clip_radius, c)
        self.space.set_curvature(c)
        self._check_blocks()

    def _diagnostics(self, x: Tensor, labels: Tensor, sample: Tensor) -> dict[str, Tensor | float]:
        """Distances, how far out embeddings and centres lie, and what is learnt of the space.

        ``distance/target``, ``distance/nearest_impostor``: means, in the space's own unit, without margin.
        ``on_shell/embeddings``, ``on_shell/centres``: shares that are clipped, or as far out as a clipped embedding.
        ``centre_radius/q05, q50, q95``: hyperbolic distances of the centres from the origin. ``curvature``;
        ``embedding_scale`` in ``poincare`` and ``lorentz``.
        """
        w, unit = self.weight[sample].to(x.dtype), self.space.unit()
        points = self.space.embed(x)
        own = self.space.rowwise(points, self.space.place(self.weight.index_select(0, labels).to(x.dtype))) * unit
        others = self.space.pairwise(points, self.space.place(w)) * unit
        scale = self.space.embedding_scale
        return {
            "distance/target": own.mean(),
            "distance/nearest_impostor": others.masked_fill_(sample == labels[:, None], math.inf).amin(1).mean(),
            "on_shell/embeddings": self.space.on_shell(x).double().mean(),
            "on_shell/centres": self.space.centres_on_shell(w).double().mean(),
            **quantiles("centre_radius", self.space.radii(w)),
            "curvature": self.curvature,
            **({} if scale is None else {"embedding_scale": scale}),
        }

    def _in_force(self, option: str) -> Any:
        """Value of an option; those of the space are its own."""
        return getattr(self.space if option in SPACE_OPTIONS and option != "geometry" else self, option)

    @torch.no_grad()
    def centre_radii(self) -> Tensor:
        """How far out the centres lie: hyperbolic distances from the origin, shape ``(C,)``."""
        return self.space.radii(self.weight)

    def _put_centres(self, speakers: Tensor, means: Tensor, directions: Tensor, generator: torch.Generator) -> None:  # noqa: ARG002
        self.weight[speakers] = self.space.centres_at(means).to(self.weight)

    def _set_fused(self, fused: object, chunk: object) -> None:
        """Check ``fused`` and ``chunk`` and what they mean together."""
        if not isinstance(fused, bool):
            raise ConfigError(f"{self._place('fused')}: expected true or false, found {fused!r}")
        self._set_chunk(chunk)
        self.fused = fused
        self._check_blocks()

    def _check_blocks(self) -> None:
        """Refuse blocks where only the readable form computes the loss."""
        if isinstance(self.chunk, int) and not self.can_block:
            reason = "curvature is below 1.0032 in the published geometry" if self.fused else "fused is false"
            raise ConfigError(f"{self._place('chunk')}: expected auto or off where {reason}, found {self.chunk}")

    @property
    def can_block(self) -> bool:
        """False with ``fused: false``, and where the published distance has a floor that no product can express."""
        return self.fused and self.space.can_fuse

    @property
    def fuses(self) -> bool:
        """Whether a single block is computed in closed form."""
        return self.can_block

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        points, centres = self.space.embed(x), self.space.place(self.weight.to(x.dtype))
        distances = self.space.pairwise(points, centres)
        if labels is not None:
            own = self._own_distance(x, self.weight.index_select(0, labels).to(x.dtype))
            distances = distances.scatter_(1, labels[:, None], own[:, None])
        return distances * self._factor()

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        return self.space.rowwise(self.space.embed(x), self.space.embed(y)) * self.space.unit()

    def _pairwise_distance(self, x: Tensor, y: Tensor) -> Tensor:
        return self.space.pairwise(self.space.embed(x), self.space.embed(y)) * self.space.unit()

    def _own_distance(self, x: Tensor, w: Tensor) -> Tensor:
        """Distances of embeddings from their own centres, in units of curvature -1."""
        return self.space.rowwise(self.space.embed(x), self.space.place(w))

    def _left(self, x: Tensor) -> Tensor:
        return self.space.left_rows(self.space.embed(x))

    def _radial(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        return self.space.radial()

    def _own(self, x: Tensor, w: Tensor) -> Tensor:
        return self._own_distance(x, w) * self._factor()

    def _factor(self) -> Tensor | float:
        return -self.scale * self.space.unit()

    def _function_(self, product: Tensor) -> Tensor | None:
        """The inverse hyperbolic cosine of 1 + u; see :func:`ham.geometry.poincare.arcosh1p`."""
        floor = least_ratio(product.dtype)
        floored = product < floor
        product.clamp_min_(floor)
        root = torch.add(product, 2.0).mul_(product).sqrt_()
        product.add_(root).log1p_()
        return root.masked_fill_(floored, math.inf)

    def _derivative_(self, gradient: Tensor, kept: Tensor | None) -> None:
        assert kept is not None
        gradient.div_(kept)


class HamSoftmax(HSoftmax):
    r"""Hyperbolic additive margin softmax, :math:`-s\,(d(x, w_k) + m [k = y])`.

    Its arguments are those of :class:`HSoftmax` and ``margin``: ``m``, a hyperbolic distance, at least 0.
    """

    name: ClassVar[str] = "ham_softmax"
    has_margin: ClassVar[bool] = True

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
        **space: Any,
    ) -> None:
        super().__init__(
            embedding_dim, num_speakers, scale=scale, curvature=curvature, chunk=chunk, fused=fused, **space
        )
        self.set_margin(margin)

    def _with_margin(self, plain: Tensor, x: Tensor, w: Tensor) -> Tensor:  # noqa: ARG002
        return plain - self.scale * self._margin
