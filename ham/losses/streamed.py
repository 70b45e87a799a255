r"""Cross-entropy over very many speakers: block by block, with a closed-form backward pass.

A loss whose logits are a function of one matrix product, :math:`z_{bk} = f(\ell_b \cdot r_k)`, needs no graph over
``B x C``. With :math:`p = \operatorname{softmax}(z)`,

.. math:: \frac{\partial L}{\partial (\ell_b \cdot r_k)} = \frac{1}{B} (p_{bk} - [k = y_b]) f'(\ell_b \cdot r_k)

and two further products give the gradients of both factors. Two ways of the same numbers:

* one block (**fused**): ``p f'`` is kept from the forward pass, ``B x C`` numbers in all; three matrix products.
* blocks of N centres (**streamed**): a running maximum and sum replace the row of logits, and the backward pass
  computes each block again; memory ``B x N``, four matrix products.

The pair of an embedding with its own centre stands outside the product: it is computed row by row, from the direct
difference where there is a distance, carries the margin, and its gradient comes from autograd over ``B x D`` numbers.
What depends on a centre's length alone (:class:`ham.geometry.gram.Radial`) does so too, over ``C`` numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ham.errors import ConfigError
from ham.geometry.gram import right_rows
from ham.losses.base import SpeakerLoss
from ham.losses.sharded import WHOLE, Shard, save_whole
from ham.schema import check_count

LARGE_BYTES = 100e6
"""``chunk: auto`` streams where the logits need more than this."""

AUTO_CHUNK = 2048
"""Centres of a block then: 256 x 2,048 float32 are 2 MB, which stay in a processor's cache."""


class StreamedLoss(SpeakerLoss):
    r"""A loss whose logits are functions of one matrix product.

    A subclass gives the left factor, the numbers that turn a centre into its right row ``(alpha w, further...)``, the
    function ``f`` and its derivative, and the own pair. :meth:`_plain_logits` stays the readable form of the same, and
    the margin of both is :meth:`_with_margin`.

    Attributes:
        chunk: ``auto``, ``off`` or the number of centres of a block.
        shard: which of the centres are here.
    """

    chunk: str | int
    shard: Shard = WHOLE

    @property
    def fuses(self) -> bool:
        """Whether a single block is computed in closed form rather than in the readable form."""
        return False

    def _set_chunk(self, chunk: object) -> None:
        """Check the option.

        Raises:
            ConfigError: if it is neither ``auto`` nor ``off`` nor a whole number of at least 1.
        """
        # YAML 1.1 reads `off` as false; configurations here are YAML 1.2, but a caller's may not be.
        if chunk is False or (isinstance(chunk, str) and chunk in ("auto", "off")):
            self.chunk = "off" if chunk is False else str(chunk)
            return
        try:
            self.chunk = check_count(self._place("chunk"), chunk, least=1)
        except ConfigError:
            expected = "auto, off or a whole number of centres of at least 1"
            raise ConfigError(f"{self._place('chunk')}: expected {expected}, found {chunk!r}") from None

    @property
    def can_block(self) -> bool:
        """Whether the logits are a function of one matrix product as things stand."""
        return True

    def _block(self, x: Tensor) -> int:
        """Centres of a block for this batch; 0 for the readable form."""
        if not self.can_block:
            return 0
        if isinstance(self.chunk, int):
            return min(self.chunk, self.num_speakers)
        whole = self.fuses or self.shard is not WHOLE
        if self.chunk == "auto" and x.shape[0] * self.num_speakers * x.element_size() > LARGE_BYTES:
            return min(AUTO_CHUNK, self.num_speakers)
        return self.num_speakers if whole else 0

    def _loss_and_accuracy(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        block = self._block(x)
        if not block:
            return super()._loss_and_accuracy(x, labels)
        return cross_entropy([Term(self, 1.0)], x, labels, block)

    def split(self, rank: int, world_size: int) -> dict[nn.Parameter, Shard]:
        """Keep one of several processes' share of the centres; see :mod:`ham.losses.sharded`.

        All processes then call the loss together, each with as many embeddings, and get the loss and the accuracy of
        all of them. States are loaded and given whole. Only the loss, its state and :meth:`diagnostics` can be asked
        for, by all processes together.

        Raises:
            ConfigError: if there are fewer speakers than processes, or the options ask for a form that needs all
                centres in one place.
        """
        if not self.can_block:
            raise ConfigError(f"train.shard_loss: loss {self.name} cannot be split with these options; set it to false")
        if self.num_speakers < world_size:
            raise ConfigError(
                f"train.shard_loss: expected a speaker or more for each of {world_size} processes, found "
                f"{self.num_speakers}; set it to false"
            )
        shard = Shard(rank, world_size, self.num_speakers)
        for part in self._parts():
            part.shard, part.weight = shard, nn.Parameter(shard.cut(part.weight.detach()))
            save_whole(part, "weight", shard)
        return {part.weight: shard for part in self._parts()}

    def _parts(self) -> list[StreamedLoss]:
        """The losses with centres that this one is made of."""
        return [part for part in self.modules() if isinstance(part, StreamedLoss)]

    def diagnostics(self, embeddings: Tensor, labels: Tensor) -> dict[str, float]:
        """What the loss does to a batch, see :meth:`ham.losses.base.SpeakerLoss.diagnostics`; of all centres."""
        with self._whole():
            return super().diagnostics(embeddings, labels)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """All centres are here for a while."""
        split = [(part, part.shard, part.weight) for part in self._parts() if part.shard is not WHOLE]
        for part, shard, weight in split:
            part.shard, part.weight = WHOLE, nn.Parameter(shard.whole(weight.detach()))
        try:
            yield
        finally:
            for part, shard, weight in split:
                part.shard, part.weight = shard, weight

    @abstractmethod
    def _left(self, x: Tensor) -> Tensor:
        """Left factor, shape ``(B, D + G)``; with autograd."""

    @abstractmethod
    def _radial(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """Map from squared lengths ``(N,)`` to the factor on ``w`` and ``G`` further numbers of the right row."""

    @abstractmethod
    def _own(self, x: Tensor, w: Tensor) -> Tensor:
        """Logits ``(B,)`` of embeddings and their own centres ``w`` (B, D), without margin; with autograd."""

    def _own_logits(self, x: Tensor, labels: Tensor) -> Tensor:
        w = self.weight.detach().index_select(0, labels).to(x.dtype)
        return self._with_margin(self._own(x, w), x, w)

    def _zeroed(self, logits: Tensor, own: Tensor) -> Tensor | None:  # noqa: ARG002
        """Which logits ``(B, N)`` of other speakers the margin replaces by 0, by the own one with it ``(B, 1)``."""
        return None

    def _penalised(self, plain: Tensor, own: Tensor, x: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        zeroed = self._zeroed(plain, own)
        return plain if zeroed is None else plain.masked_fill_(zeroed, 0.0)

    def _learnt(self) -> list[Tensor]:
        """Further parameters that these and the margin depend on."""
        return [p for p in self.parameters() if p is not self.weight and p.requires_grad]

    def _factor(self) -> Tensor | float:
        """What :meth:`_function_` leaves out of ``f``: logits are this times its result."""
        return 1.0

    def _function_(self, product: Tensor) -> Tensor | None:  # noqa: ARG002
        """``f`` without the factor, in place; returns what :meth:`_derivative_` needs."""
        return None

    def _derivative_(self, gradient: Tensor, kept: Tensor | None) -> None:
        """Multiply in place by ``f'`` without the factor."""


class Term(NamedTuple):
    """A loss and its share in a sum."""

    loss: StreamedLoss
    share: float


def cross_entropy(terms: Sequence[Term], x: Tensor, labels: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Weighted sum of mean cross-entropies over the same embeddings, and the accuracy of the summed logits.

    Args:
        terms: the losses, all over the same speakers.
        x: embeddings, float32 or float64, shape ``(B, D)``.
        labels: speaker numbers in range, on the device of ``x``, shape ``(B,)``.
        block: centres of a block, 1 to ``C``; ``C`` keeps the whole matrix and computes nothing twice.

    Returns:
        The loss, differentiable once, and the share of embeddings whose own centre has the largest logit without
        margin (a tie counts as wrong).
    """
    tensors = [tensor for term in terms for tensor in (term.loss.weight, *term.loss._learnt())]
    x, labels = terms[0].loss.shard.gather(x, labels)
    out: tuple[Tensor, Tensor] = _CrossEntropy.apply(terms, labels, block, x, *tensors)  # type: ignore[no-untyped-call]
    return out


class _CrossEntropy(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(
        ctx: Any,
        terms: Sequence[Term],
        labels: Tensor,
        block: int,
        x: Tensor,
        *tensors: Tensor,  # noqa: ARG004
    ) -> tuple[Tensor, Tensor]:
        """One pass over the blocks of centres."""
        softmaxes = [_RunningSoftmax(term, x, labels) for term in terms]
        best = torch.full_like(x[:, 0], -torch.inf)
        count, shard = len(terms[0].loss.weight), terms[0].loss.shard
        for start in range(0, count, block):
            best = _advance(softmaxes, best, slice(start, min(start + block, count)), keep=block >= count)
        own = sum((s.share * s.own_plain for s in softmaxes), torch.zeros_like(best))
        loss = sum((s.share * s.loss() for s in softmaxes), best.new_zeros(()))
        ctx.softmaxes, ctx.block = softmaxes, block
        # Saved tensors are freed after the backward pass, and a change of them before it is an error, as elsewhere.
        ctx.save_for_backward(x, *(tensor for softmax in softmaxes for tensor in softmax.release()))
        accuracy = (own > shard.largest(best)).to(torch.float32).mean()
        ctx.mark_non_differentiable(accuracy)
        return loss, accuracy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The other products, block by block."""
        x, *saved = ctx.saved_tensors
        gx: Tensor | None = None
        others: list[Tensor | None] = []
        wanted = iter(ctx.needs_input_grad[4:])
        with torch.autocast(x.device.type, enabled=False):
            for softmax in ctx.softmaxes:
                saved = softmax.restore(saved)
                one, *rest = softmax.backward(grads[0], ctx.block, next(wanted))
                for _ in softmax.learnt:
                    next(wanted)
                softmax.release()
                gx = one if gx is None else gx + one
                others += rest
        return None, None, None, gx, *others


def _advance(softmaxes: Sequence[_RunningSoftmax], best: Tensor, columns: slice, keep: bool) -> Tensor:
    """Take one block into every softmax; returns the largest logit of another speaker so far."""
    total: Tensor | None = None
    for softmax in softmaxes:
        logits, kept = softmax.logits(columns)
        if len(softmaxes) > 1:  # the accuracy is that of the sum
            total = logits * softmax.share if total is None else total.add_(logits, alpha=softmax.share)
        else:
            best = torch.maximum(best, logits.amax(dim=1))
        softmax.absorb(logits, kept, columns, keep)
    if total is not None:
        softmaxes[0].exclude_(total, columns)
        best = torch.maximum(best, total.amax(dim=1))
    return best


class _RunningSoftmax:
    """The softmax of one loss over all centres while they come block by block: sums forward, gradients backward.

    Args:
        term: the loss and its share.
        x: embeddings.
        labels: speaker numbers.
    """

    def __init__(self, term: Term, x: Tensor, labels: Tensor) -> None:
        self.formulas, self.share = term
        self.shard = self.formulas.shard
        self.labels, self.held = self.shard.places(labels)
        self.weight = weight = self.formulas.weight.detach()
        self.learnt = self.formulas._learnt()
        with torch.enable_grad():  # a small graph, (B, D), whose leaves are these
            self.x = x.detach().requires_grad_()
            own_centres = self.shard.own_centres(weight, self.labels, self.held)
            self.own_centres = own_centres.to(x.dtype).requires_grad_()
            self.left_graph = self.formulas._left(self.x)
            plain = self.formulas._own(self.x, self.own_centres)
            self.own_graph = self.formulas._with_margin(plain, self.x, self.own_centres)
            factor, self.radial = self.formulas._factor(), self.formulas._radial()
        self.left, self.own, self.own_plain = self.left_graph.detach(), self.own_graph.detach(), plain.detach()
        self.factor_graph = factor if isinstance(factor, Tensor) and factor.requires_grad else None
        self.factor = factor.detach() if isinstance(factor, Tensor) else factor
        self.highest = self.own.clone()
        self.total = torch.ones_like(self.own) if self.held is None else self.held.to(self.own.dtype)
        self.kept: Tensor | None = None
        self.kept_mean: Tensor | None = None

    def release(self) -> list[Tensor]:
        """Hand the large tensors over, so that autograd frees them after the backward pass."""
        found = [self.weight] if self.kept is None else [self.weight, self.kept]
        self.single, self.kept = self.kept is not None, None
        del self.weight
        return found

    def restore(self, saved: Sequence[Tensor]) -> list[Tensor]:
        """Take the large tensors back; returns those that are left, of the softmaxes after this one."""
        count = 1 + self.single
        self.weight = saved[0]
        self.kept = saved[1] if self.single else None
        return list(saved[count:])

    def loss(self) -> Tensor:
        """Mean cross-entropy, after all blocks."""
        self.log_sum = self.shard.log_sum(self.highest, self.total)
        return (self.log_sum - self.own).mean()

    def logits(self, columns: slice) -> tuple[Tensor, Tensor | None]:
        """Logits of a block without margin, minus infinity for own centres, and what the derivative needs."""
        w, radial, _ = self._centres(columns)
        logits = self.left @ right_rows(w, *(value.detach() for value in radial)).T
        kept = self.formulas._function_(logits)
        if not (isinstance(self.factor, float) and self.factor == 1.0):
            logits.mul_(self.factor)
        self.exclude_(logits, columns)
        return logits, kept

    def exclude_(self, logits: Tensor, columns: slice) -> None:
        """Set the logits of own centres to minus infinity; no label is read back."""
        column = self.labels - columns.start
        inside = (column >= 0) & (column < logits.shape[1])
        column = column.clamp(0, logits.shape[1] - 1)[:, None]
        logits.scatter_(1, column, logits.gather(1, column).masked_fill(inside[:, None], -torch.inf))

    def absorb(self, logits: Tensor, kept: Tensor | None, columns: slice, keep: bool) -> None:
        """Add a block, which is overwritten, to the running sum."""
        zeroed = self._zero_(logits, columns)
        highest = torch.maximum(self.highest, logits.amax(dim=1))
        weighted = logits.clone() if keep and self.factor_graph is not None else None
        summands = logits.sub_(highest[:, None]).exp_()
        self.total = self.total * torch.exp(self.highest - highest) + summands.sum(dim=1)
        self.highest = highest
        if keep:
            self.kept_mean = None if weighted is None else _mean_logit(summands, weighted)
            self.kept = self._times_derivative_(summands, kept, zeroed)

    def backward(self, grad: Tensor, block: int, wants_weight: bool) -> tuple[Tensor | None, ...]:
        """Gradients of the embeddings, the centres (None where not wanted) and the other parameters."""
        self.wants_weight = wants_weight
        self.row = grad * (self.share / len(self.labels))  # the mean over the batch
        self.grad_left = torch.zeros_like(self.left)
        shape = self.weight.shape if wants_weight else (0,)
        self.grad_weight = torch.empty(shape, dtype=self.x.dtype, device=self.x.device)
        self.grad_learnt = [torch.zeros_like(p) for p in self.learnt]
        self.mean_logit = torch.zeros_like(self.own)
        count = len(self.weight)
        for start in range(0, count, block):
            self._add_block(slice(start, min(start + block, count)))
        return self._through_graph()

    def _add_block(self, columns: slice) -> None:
        """The products of a block, and the way from its right rows to its centres."""
        gradient, scale, mean = self._derivatives(columns)
        if mean is not None:
            self.mean_logit += mean * scale
        w, radial, square = self._centres(columns)
        scale = (scale * self.row)[:, None] * self.factor
        self.grad_left.add_((gradient @ right_rows(w, *(value.detach() for value in radial))).mul_(scale))
        if not (self.wants_weight or self.learnt):
            return
        to_rows = gradient.T @ (self.left * scale)
        dim = w.shape[1]
        along = _dot(to_rows[:, :dim], w)
        sources = [along, *to_rows[:, dim:].unbind(dim=1)]
        to_square, *to_learnt = _gradients(radial, [square, *self.learnt], sources)
        self._collect(to_learnt)
        if not self.wants_weight:
            return
        to_vector = to_rows[:, :dim].mul_(radial[0].detach()[:, None])
        torch.addcmul(to_vector, w, 2.0 * to_square[:, None], out=self.grad_weight[columns])

    def _derivatives(self, columns: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        """``p f'`` of a block up to a factor for each row, that factor, and the sum of ``p`` times the logits."""
        if self.kept is not None:
            return self.kept, torch.exp(self.highest - self.log_sum), self.kept_mean
        logits, kept = self.logits(columns)
        zeroed = self._zero_(logits, columns)
        weighted = None if self.factor_graph is None else logits.clone()
        gradient = logits.sub_(self.log_sum[:, None]).exp_()
        mean = None if weighted is None else _mean_logit(gradient, weighted)
        return self._times_derivative_(gradient, kept, zeroed), torch.ones_like(self.own), mean

    def _through_graph(self) -> tuple[Tensor | None, ...]:
        """From the left factor and the own pairs to the leaves."""
        to_own = (torch.exp(self.own - self.log_sum) - 1.0) * self.row
        if self.held is not None:  # the process that holds the centre sees to the pair
            to_own = to_own * self.held
        outputs, grads = [self.left_graph, self.own_graph], [self.grad_left, to_own]
        if self.factor_graph is not None:
            outputs.append(self.factor_graph)
            grads.append((self.mean_logit.sum() * self.row / self.factor).to(self.factor_graph.dtype))
        leaves = [self.x, self.own_centres, *self.learnt]
        to_x, to_own_centres, *to_learnt = _gradients(outputs, leaves, grads)
        self._collect(to_learnt)
        for grad in self.grad_learnt:
            self.shard.sum_(grad)
        if not self.wants_weight:
            return to_x, None, *self.grad_learnt
        self.grad_weight.index_add_(0, self.labels.clamp(0, len(self.weight) - 1), to_own_centres)
        to_weight = self.grad_weight.to(self.weight.dtype)
        del self.grad_weight  # autograd copies a gradient that somebody else still holds: C x D numbers
        return to_x, to_weight, *self.grad_learnt

    def _collect(self, grads: Sequence[Tensor]) -> None:
        """Add gradients of the other parameters."""
        for total, grad in zip(self.grad_learnt, grads, strict=True):
            total += grad

    def _centres(self, columns: slice) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Centres of a block, what follows from their lengths, and the squared lengths that it follows from."""
        w = self.weight[columns].to(self.x.dtype)
        with torch.enable_grad():
            square = _dot(w, w).requires_grad_()
            return w, self.radial(square), square

    def _zero_(self, logits: Tensor, columns: slice) -> Tensor | None:
        """Replace by 0 what the loss replaces; own centres stay out. Returns where."""
        zeroed = self.formulas._zeroed(logits, self.own[:, None])
        if zeroed is not None:
            self.exclude_(logits.masked_fill_(zeroed, 0.0), columns)
        return zeroed

    def _times_derivative_(self, weights: Tensor, kept: Tensor | None, zeroed: Tensor | None) -> Tensor:
        """Multiply in place by ``f'`` without the factor, which is 0 where the logit was replaced."""
        self.formulas._derivative_(weights, kept)
        return weights if zeroed is None else weights.masked_fill_(zeroed, 0.0)


def _gradients(outputs: Sequence[Tensor], leaves: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the leaves, zeros where none leads to one; the graph stays, for a second backward pass."""
    pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
    sources, sinks = [g for _, g in pairs], [o for o, _ in pairs]
    found = torch.autograd.grad(sinks, list(leaves), sources, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Row by row inner product."""
    return (a * b).sum(dim=1)


def _mean_logit(weights: Tensor, logits: Tensor) -> Tensor:
    """Row by row sum of weights times logits; an own centre has weight 0 and minus infinity for a logit."""
    return (weights * logits.masked_fill_(weights == 0.0, 0.0)).sum(dim=1)
