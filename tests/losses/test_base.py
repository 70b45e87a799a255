"""The checks that every loss inherits, and the hooks that a new loss fills in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ham.losses import base


class Nearest(base.SpeakerLoss):
    """The least that a loss must bring: a name, centres and plain logits."""

    name = "nearest"

    def __init__(self, embedding_dim: int, num_speakers: int, *, offset: float = 0.5) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.offset = offset
        self.weight = nn.Parameter(torch.eye(num_speakers, embedding_dim))

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return x @ self.weight.to(x.dtype).T + self.offset


def test_a_loss_needs_plain_logits_alone() -> None:
    loss = Nearest(3, 3)
    x, y = torch.eye(3) * 4, torch.tensor([0, 1, 1])
    out = loss(x, y)
    assert torch.equal(loss.logits(x, y), loss.logits(x))
    torch.testing.assert_close(out.loss, nn.functional.cross_entropy(4 * torch.eye(3) + 0.5, y))
    assert out.accuracy.item() == pytest.approx(2 / 3)
    assert Nearest.options() == {"offset": 0.5}
    assert repr(loss) == "Nearest(embedding_dim=3, num_speakers=3, offset=0.5)"


def test_the_base_alone_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="_plain_logits"):
        base.SpeakerLoss(3, 3)  # type: ignore[abstract]


def test_equal_logits_do_not_count_as_right() -> None:
    loss = Nearest(3, 3)
    out = loss(torch.zeros(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert out.accuracy.item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("labels", [[0, 4], [0, 5], [-1, 2]])
def test_masked_loss_is_nan_exactly_where_a_label_is_out_of_range(labels: list[int]) -> None:
    loss = torch.tensor(2.0, requires_grad=True)
    found = base.masked_loss(loss, torch.tensor(labels), num_speakers=5)
    assert found.isnan().item() == (labels != [0, 4])
    found.backward()
    assert loss.grad == (1.0 if labels == [0, 4] else 0.0)


def test_rows_of_a_distance_must_match() -> None:
    class Measured(Nearest):
        has_distance = True

        def _distance(self, x: Tensor, y: Tensor) -> Tensor:
            return (x - y).norm(dim=1)

    loss = Measured(3, 3)
    assert torch.equal(loss.distance(torch.zeros(2, 3), torch.ones(2, 3)), torch.full((2,), math.sqrt(3)))
    with pytest.raises(base.BatchError, match="expected as many rows in y as in x, found 2 and 1"):
        loss.distance(torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(base.BatchError, match="embeddings: expected shape"):
        loss.distance(torch.zeros(2, 3), torch.zeros(2, 4))


def test_float64_centres_or_embeddings_make_float64_logits() -> None:
    loss, x = Nearest(3, 3), torch.zeros(2, 3)
    assert loss.logits(x.half()).dtype == torch.float32
    assert loss.logits(x.double()).dtype == torch.float64
    assert loss.double().logits(x).dtype == torch.float64
    assert loss.half().logits(x.half()).dtype == torch.float32
