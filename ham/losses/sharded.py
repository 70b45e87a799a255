r"""The centres of very many speakers, split over several processes (class-sharded softmax).

Each of W processes holds ``C / W`` centres and their optimiser's state. At a step all processes bring their embeddings
and labels together, and each computes the logits of all of them with its own centres. Three sums of ``B`` numbers
make the loss of all centres from that:

.. math:: z^* = \max_r \max_k z_{bk}, \qquad
          \log \sum_k e^{z_{bk}} = z^* + \log \sum_r \sum_{k \in r} e^{z_{bk} - z^*}

and an embedding's own centre, ``D`` numbers, comes from the process that has it. The gradients are those of the whole
loss: exact, no sampling of centres (partial FC, An et al. 2021, samples; the split is theirs).

The gradient of embeddings is that of the mean over a process's own rows, as of every loss that
``DistributedDataParallel`` averages over the processes; that of centres is of the mean over the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Shard:
    """Which of the centres this process holds: equal parts in order, whose sizes differ by one at most.

    Attributes:
        rank: number of this process.
        world_size: number of processes; 1 holds all, and exchanges nothing.
        num_speakers: ``C``, of all processes.
    """

    rank: int = 0
    world_size: int = 1
    num_speakers: int = 0

    def bounds(self, rank: int) -> tuple[int, int]:
        """First centre of a process, and the first one after it."""
        first, end = (number * self.num_speakers // self.world_size for number in (rank, rank + 1))
        return first, end

    def cut(self, whole: Tensor) -> Tensor:
        """This process's part of something with one entry a speaker, a copy."""
        return whole[slice(*self.bounds(self.rank))].clone()

    def whole(self, part: Tensor) -> Tensor:
        """What :meth:`cut` has cut, from the parts of all processes."""
        sizes = [end - first for first, end in map(self.bounds, range(self.world_size))]
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        parts = padded.new_empty(self.world_size, *padded.shape)
        dist.all_gather_into_tensor(parts.flatten(0, 1), padded)
        return torch.cat([one[:size] for one, size in zip(parts, sizes, strict=True)])

    def saved(self, part: Tensor) -> Tensor:
        """What a checkpoint holds of :meth:`cut`; only the first process writes one, the others get their part."""
        whole = self.whole(part.detach())
        return part if self.rank else whole.cpu()

    def gather(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and labels of all processes, which have as many each."""
        if self.world_size == 1:
            return x, labels
        embeddings: Tensor = _Gather.apply(x, self)  # type: ignore[no-untyped-call]
        return embeddings, _gathered(labels, self.world_size)

    def places(self, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where among the own centres those of some speakers lie.

        Returns:
            Numbers from 0 on, negative or too large where another process holds the centre; and where this process
            does, None if everywhere.
        """
        if self.world_size == 1:
            return labels, None
        first, end = self.bounds(self.rank)
        return labels - first, (labels >= first) & (labels < end)

    def own_centres(self, weight: Tensor, places: Tensor, held: Tensor | None) -> Tensor:
        """The centres of some speakers, from whichever process has them, shape ``(B, D)``."""
        if held is None:
            return weight.index_select(0, places)
        rows = weight.index_select(0, places.clamp(0, len(weight) - 1)).masked_fill(~held[:, None], 0.0)
        return self.sum_(rows)

    def log_sum(self, highest: Tensor, total: Tensor) -> Tensor:
        """Logarithm of the sum of exponentials, from each process's largest exponent and sum relative to it."""
        if self.world_size == 1:
            return highest + torch.log(total)
        most = self.largest(highest)
        return most + torch.log(self.sum_(total * torch.exp(highest - most)))

    def largest(self, values: Tensor) -> Tensor:
        """The largest over the processes, element by element."""
        if self.world_size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def sum_(self, values: Tensor) -> Tensor:
        """The sum over the processes, element by element, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values


WHOLE = Shard()
"""All centres are here."""


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward the sum of what each process adds to the own rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shard: Shard) -> Tensor:
        """Rows ``(B, D)`` of this process to those of all, ``(W B, D)``."""
        ctx.shard = shard
        return _gathered(x, shard.world_size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The gradient of the own rows, from those of all processes."""
        rank, world_size = ctx.shard.rank, ctx.shard.world_size
        total = ctx.shard.sum_(grads[0].contiguous())
        # Times W: of the mean over the own rows.
        return total.view(world_size, -1, total.shape[1])[rank] * world_size, None


def _gathered(rows: Tensor, world_size: int) -> Tensor:
    """The rows of all processes behind one another."""
    whole = rows.new_empty(world_size * len(rows), *rows.shape[1:])
    dist.all_gather_into_tensor(whole, rows.contiguous())
    return whole


def save_whole(module: nn.Module, name: str, shard: Shard) -> None:
    """Have a module's state hold a split parameter whole, and take it from there.

    A state can be asked for by all processes together only. The whole is that of the first process, on the CPU; the
    others get their part.

    Args:
        module: its owner.
        name: of the parameter.
        shard: how it is split.
    """

    def _join(_: nn.Module, state: dict[str, Any], prefix: str, __: object) -> None:
        state[prefix + name] = shard.saved(state[prefix + name])

    def _cut(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
        if prefix + name in state:
            state[prefix + name] = shard.cut(state[prefix + name])

    module.register_state_dict_post_hook(_join)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(_cut)  # type: ignore[no-untyped-call]
