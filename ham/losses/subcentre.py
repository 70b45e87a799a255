"""A loss whose speakers have several centres each, for voices that sound in several ways: subcenter_aam_softmax."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from ham.losses.base import SpeakerLoss, nearest_centres
from ham.losses.margin import add_angle, cosine_and_sine, unit
from ham.schema import check_count, check_number

APART = 0.1
"""Length of the noise that tells the sub-centres of a speaker apart where they start at one mean, whose length is 1."""


class SubcenterAamSoftmax(SpeakerLoss):
    r"""Additive margin on the angle to the nearest of ``K`` sub-centres, and a penalty on the nearest other speakers.

    .. math:: \cos\theta_k = \max_{j \le K} \frac{\langle x, w_{kj}\rangle}{|x| |w_{kj}|}, \qquad
              z_y = s \cos(\theta_y + m), \qquad
              z_k = s \cos(\theta_k - m') \text{ for the } \mathtt{top\_k} \text{ largest others,}
              \text{ else } s \cos\theta_k

    with :math:`m'` a share of ``m``. Sub-centres: Deng et al., "Sub-center ArcFace", ECCV 2020. The penalty and the
    settings: Zhao et al., "The SpeakIn system for VoxSRC 2021", arXiv 2109.01989, who set ``top_k`` to 5. Beyond
    :math:`\pi - m` the target goes on as in :func:`ham.losses.margin.add_angle`.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        margin: ``m``, an angle in radians, 0 to pi.
        sub_centres: ``K``, at least 1.
        top_k: other speakers that are penalised, at most all of them; 0 for none.
        penalty: :math:`m' / m`, 0 to 1: 0.3 makes 0.06 of a margin of 0.2, as published, and follows its schedule.
    """

    name: ClassVar[str] = "subcenter_aam_softmax"
    has_margin: ClassVar[bool] = True
    largest_margin: ClassVar[float] = math.pi

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        scale: float = 32.0,
        margin: float = 0.2,
        sub_centres: int = 3,
        top_k: int = 0,
        penalty: float = 0.3,
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.scale = self._positive("scale", scale)
        self.set_margin(margin)
        self.sub_centres = check_count(self._place("sub_centres"), sub_centres)
        self.top_k = check_count(self._place("top_k"), top_k, least=0)
        self.penalty = check_number(self._place("penalty"), penalty, least=0.0, most=1.0)
        self.weight = nn.Parameter(torch.empty(self.num_speakers, self.sub_centres, self.embedding_dim))
        nn.init.xavier_normal_(self.weight.view(-1, self.embedding_dim))

    def _put_centres(self, speakers: Tensor, means: Tensor, directions: Tensor, generator: torch.Generator) -> None:  # noqa: ARG002
        length = torch.linalg.vector_norm(self.weight, dim=-1).mean()
        shape = len(speakers), self.sub_centres, self.embedding_dim
        apart = torch.randn(shape, generator=generator, dtype=torch.float64) * (APART / math.sqrt(self.embedding_dim))
        centres = unit(directions)[:, None] + apart.to(directions.device)
        self.weight[speakers] = unit(centres).to(self.weight) * length

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        centres = unit(self.weight.to(x.dtype)).flatten(0, 1)
        every = (unit(x) * self.scale) @ centres.T
        return every.view(len(x), self.num_speakers, self.sub_centres).max(dim=2).values

    def _with_margin(self, plain: Tensor, x: Tensor, w: Tensor) -> Tensor:  # noqa: ARG002
        return self.scale * add_angle(unit(x), unit(nearest_centres(x, w)), self._margin)

    def _penalised(self, plain: Tensor, own: Tensor, x: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        count = min(self.top_k, self.num_speakers - 1)
        if count == 0:
            return plain
        rivals = plain.detach().scatter(1, labels[:, None], -math.inf).topk(count, dim=1).indices
        rows = x.repeat_interleave(count, dim=0)
        centres = nearest_centres(rows, self.weight[rivals.flatten()].to(x.dtype))
        cos, sin = cosine_and_sine(unit(rows), unit(centres))
        angle = self.penalty * self._margin
        harder = self.scale * (cos * math.cos(angle) + sin * math.sin(angle))
        return plain.scatter_(1, rivals, harder.view_as(rivals))
