"""What a speaker loss is: the base class, with all that a loss has but the formulas of its logits and its margin."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.errors import ConfigError, DataError
from ham.losses.sharded import Shard
from ham.schema import check_count, check_number, keyword_options


class BatchError(DataError, ValueError):
    """A batch does not fit the loss: its shape, its type or a label."""


class LossOutput(NamedTuple):
    """What a loss returns for one batch.

    Attributes:
        loss: mean over the batch, a scalar with a gradient.
        accuracy: share of the batch, 0..1, whose largest logit without margin is the label's; no gradient. Whether a
            tie counts depends on the way of computation.
    """

    loss: Tensor
    accuracy: Tensor


FAR = 1e6
"""Length of an embedding that every space takes for one as far out as can be."""

DIAGNOSTIC_CENTRES, DIAGNOSTIC_PAIRS = 2**15, 2**22
"""Diagnostics look at no more centres, and no more pairs of embedding and centre, than this: 16 MB of float32."""

LEAST_SINE = 1e-3
"""Embeddings nearer to the direction of their centre have no digits for the slope of a turn."""


def quantiles(name: str, values: Tensor) -> dict[str, Tensor]:
    """The 5, 50 and 95 % quantiles of a quantity for the log.

    Args:
        name: of the quantity.
        values: any number of them, shape ``(N,)``.

    Returns:
        ``name/q05``, ``name/q50``, ``name/q95``.
    """
    ordered = values.double().sort().values
    last = len(ordered) - 1
    return {f"{name}/q{percent:02d}": ordered[round(last * percent / 100)] for percent in (5, 50, 95)}


def masked_loss(loss: Tensor, labels: Tensor, num_speakers: int) -> Tensor:
    """Turn the loss of a batch into NaN where a label is out of range, without reading anything back.

    Args:
        loss: scalar loss.
        labels: the labels as they came, shape ``(B,)``.
        num_speakers: labels must lie in ``0..num_speakers - 1``.

    Returns:
        ``loss``, or NaN if any label is out of range.
    """
    return loss.masked_fill(((labels < 0) | (labels >= num_speakers)).any(), math.nan)


def nearest_centres(x: Tensor, w: Tensor) -> Tensor:
    """Of the sub-centres of one speaker a row, the one whose direction is nearest to the embedding's.

    Args:
        x: embeddings, shape ``(B, D)``.
        w: the speakers' sub-centres, shape ``(B, K, D)``, or their only centres, shape ``(B, D)``.

    Returns:
        One centre a row, shape ``(B, D)``.
    """
    if w.ndim == 2:
        return w
    nearest = (F.normalize(w.detach(), dim=2) @ x.detach()[:, :, None]).argmax(dim=1)
    return w.gather(1, nearest[:, :, None].expand(-1, -1, w.shape[2]))[:, 0]


class SpeakerLoss(nn.Module, ABC):
    """Base of the losses that learn centres of speakers and classify embeddings by them.

    The constructor is the schema: its keyword-only parameters are the options, with types and defaults. A subclass
    sets ``name``, creates ``weight``, and fills in what is its own (``docs/add_a_loss.md`` builds one):

    * :meth:`_plain_logits`: the logits without margin. Every loss has these.
    * :meth:`_with_margin`: the logit of an embedding's own speaker, with margin. Set ``has_margin`` beside it.
    * :meth:`_penalised`: the other speakers' logits, where the margin changes these too.
    * :meth:`_put_centres`: where centres are not plain directions (``train.init_centres``).
    * :meth:`_loss_and_accuracy`: where the loss is not the mean cross-entropy of the logits.

    A loss may have further parameters and buffers. Those with one entry a speaker have the speakers first, as
    ``weight`` does. All arithmetic runs in float32 or wider, also under autocast; embeddings may be of any
    floating-point type.

    Attributes:
        name: the loss's name in the table.
        has_margin: whether :meth:`set_margin` and ``margin`` work.
        has_distance: whether :meth:`distance` works.
        largest_margin: the largest margin that has a meaning.
        weight: speaker centres, shape ``(C, D)``; with ``K`` sub-centres a speaker, shape ``(C, K, D)``.
    """

    name: ClassVar[str]
    has_margin: ClassVar[bool] = False
    has_distance: ClassVar[bool] = False
    largest_margin: ClassVar[float] = math.inf
    weight: nn.Parameter

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.embedding_dim = check_count(self._place("embedding_dim"), embedding_dim, least=1)
        why = "one speaker cannot be told from others"
        self.num_speakers = check_count(self._place("num_speakers"), num_speakers, least=2, why=why)
        self._margin = 0.0

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Options that the constructor takes, with their defaults.

        Returns:
            The keyword-only parameters in order; their defaults are the published settings.
        """
        return keyword_options(cls)

    @property
    def margin(self) -> float:
        """Margin in force, in the unit that the loss defines.

        Raises:
            AttributeError: if the loss has no margin.
        """
        if not self.has_margin:
            raise AttributeError(f"loss {self.name} has no margin")
        return self._margin

    def set_margin(self, margin: float) -> None:
        """Change the margin, for schedules.

        Args:
            margin: new margin, at least 0, in the unit that the loss defines.

        Raises:
            ConfigError: if the loss has no margin, or the margin is negative, too large or no finite number.
        """
        if not self.has_margin:
            raise ConfigError(f"loss {self.name}: has no margin to set; a margin schedule needs a margin loss")
        self._margin = check_number(self._place("margin"), margin, least=0.0, most=self.largest_margin)

    def set_curvature(self, curvature: float) -> None:  # noqa: ARG002
        """Change the curvature, for schedules; losses with one override this.

        Args:
            curvature: new curvature.

        Raises:
            ConfigError: if the loss has no curvature, learns it, or the value has no meaning.
        """
        raise ConfigError(f"loss {self.name}: has no curvature to set; a curvature schedule needs a hyperbolic loss")

    @torch.no_grad()
    def centre_radii(self) -> Tensor:
        """How far out the centres lie.

        Returns:
            Euclidean norms; for a hyperbolic loss hyperbolic distances from the origin; shape ``(C,)``, one a
            centre, and so ``(C * K,)`` with sub-centres.
        """
        norm: Tensor = torch.linalg.vector_norm(self.weight, dim=-1)
        return norm.flatten()

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Hyperbolic distance between each embedding of ``x`` and the embedding of ``y`` in the same row.

        Args:
            x: embeddings as they leave the backbone, shape ``(B, D)``.
            y: embeddings, shape ``(B, D)``.

        Returns:
            Distances, shape ``(B,)``, each at least 0.

        Raises:
            ConfigError: if the loss has no distance.
            BatchError: if the embeddings do not fit the loss.
        """
        self._check_distance(x, y)
        if len(x) != len(y):
            raise BatchError(f"loss {self.name}: expected as many rows in y as in x, found {len(x)} and {len(y)}")
        with torch.autocast(x.device.type, enabled=False):
            return self._distance(self._widen(x), self._widen(y))

    def pairwise_distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Hyperbolic distance between every embedding of ``x`` and every one of ``y``: :meth:`distance` of all pairs.

        It comes from one matrix product, which loses digits of short distances: give float64 where they count.

        Args:
            x: embeddings as they leave the backbone, shape ``(B, D)``.
            y: embeddings, shape ``(C, D)``.

        Returns:
            Distances, shape ``(B, C)``, each at least 0.

        Raises:
            ConfigError: if the loss has no distance.
            BatchError: if the embeddings do not fit the loss.
        """
        self._check_distance(x, y)
        with torch.autocast(x.device.type, enabled=False):
            return self._pairwise_distance(self._widen(x), self._widen(y))

    def distance_to_shell(self, x: Tensor, directions: Tensor) -> Tensor:
        """Hyperbolic distance between each embedding of ``x`` and the farthest point in the direction of the same row.

        The vectors may have any dimension: those of the space are alike. What is learnt of the space gets no gradient.

        Args:
            x: as embeddings leave the backbone, shape ``(B, E)``.
            directions: of any length but 0, shape ``(B, E)``.

        Returns:
            Distances, shape ``(B,)``, each at least 0.

        Raises:
            ConfigError: if the loss has no distance.
        """
        if not self.has_distance:
            raise ConfigError(f"loss {self.name}: has no hyperbolic distance; compare by cosine instead")
        learnt = [parameter for parameter in self.parameters() if parameter.requires_grad]
        try:
            for parameter in learnt:
                parameter.requires_grad_(False)
            with torch.autocast(x.device.type, enabled=False):
                return self._distance(self._widen(x), FAR * F.normalize(self._widen(directions), dim=1))
        finally:
            for parameter in learnt:
                parameter.requires_grad_(True)

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """Loss and accuracy of a batch.

        Labels on the CPU are checked and then moved beside the embeddings. Labels on an accelerator are not read
        back, which would stall it at every step: there a label out of range makes the loss NaN.

        Args:
            embeddings: as they leave the backbone, not normalised, shape ``(B, D)``.
            labels: int64 speaker numbers in ``0..C - 1``, shape ``(B,)``.

        Returns:
            The mean loss, with the margin, and the accuracy, without it.

        Raises:
            BatchError: if shapes, types or labels do not fit the loss.
        """
        self._check_batch(embeddings, labels)
        if labels.device.type == "cpu":
            self._check_range(labels)
            usable = labels.to(embeddings.device, non_blocking=True)
        else:
            usable = labels.clamp(0, self.num_speakers - 1)
        with torch.autocast(embeddings.device.type, enabled=False):
            loss, accuracy = self._loss_and_accuracy(self._widen(embeddings), usable)
        if labels.device.type != "cpu":
            loss = masked_loss(loss, labels, self.num_speakers)
        return LossOutput(loss, accuracy)

    def diagnostics(self, embeddings: Tensor, labels: Tensor) -> dict[str, float]:
        r"""What the loss does to a batch, for the log; reads back from the device.

        * ``embedding_norm/q05, q50, q95``, ``centre_norm/...``: quantiles of :math:`|x|` and :math:`|w|`.
        * ``cosine/target``, ``cosine/nearest_impostor``: mean cosine of an embedding with its own centre and with the
          nearest other one. Of sub-centres the nearest one counts.
        * ``effective_scale``: mean of :math:`\partial z_y / \partial \cos_y`, the slope of the own logit when the
          embedding turns towards its centre at unchanged length; in am_softmax this is ``s``.

        Of more than ``DIAGNOSTIC_CENTRES`` speakers an evenly spread sample stands for the centres.

        Args:
            embeddings: as they leave the backbone, shape ``(B, D)``.
            labels: speaker numbers in range, shape ``(B,)``.

        Returns:
            Values by name; memory is bounded whatever the number of speakers.
        """
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(embeddings.device.type, enabled=False):
            x, labels = self._widen(embeddings.detach().clone()), labels.to(embeddings.device).clone()
            step = -(-self.num_speakers // DIAGNOSTIC_CENTRES)
            sample = torch.arange(0, self.num_speakers, step, device=x.device)
            w = self.weight.detach()[sample].to(x.dtype).reshape(-1, self.embedding_dim)
            rows = slice(max(1, DIAGNOSTIC_PAIRS // len(w)))  # at least 128 of the batch over K
            own = nearest_centres(x[rows], self.weight.detach().index_select(0, labels[rows]).to(x.dtype))
            others = F.normalize(x[rows], dim=1) @ F.normalize(w, dim=1).T
            others = others.reshape(len(others), len(sample), -1).amax(dim=2)
            others.masked_fill_(sample == labels[rows, None], -math.inf)
            values = {
                **quantiles("embedding_norm", torch.linalg.vector_norm(x.double(), dim=1)),
                **quantiles("centre_norm", torch.linalg.vector_norm(w, dim=1)),
                "cosine/target": F.cosine_similarity(x[rows], own).mean(),
                "cosine/nearest_impostor": others.amax(dim=1).mean(),
                "effective_scale": self._effective_scale(x[rows], labels[rows], own),
                **self._diagnostics(x[rows], labels[rows], sample),
            }
        return {name: float(value) for name, value in values.items()}

    def logits(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of every speaker, without margin, or with it where labels are given.

        Args:
            embeddings: as they leave the backbone, shape ``(B, D)``.
            labels: int64 speaker numbers, shape ``(B,)``; these are always read back and checked.

        Returns:
            Logits, shape ``(B, C)``.

        Raises:
            BatchError: if shapes, types or labels do not fit the loss.
        """
        if labels is None:
            self._check_embeddings(embeddings)
        else:
            self._check_batch(embeddings, labels)
            self._check_range(labels)
            labels = labels.to(embeddings.device)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._logits(self._widen(embeddings), labels)

    @torch.no_grad()
    def start_at_means(self, embeddings: Tensor, labels: Tensor, *, seed: int = 0) -> None:
        """Put the centres of the speakers that occur where the means of their embeddings lie; the others stay.

        A loss whose centres are not plain directions overrides :meth:`_put_centres`.

        Args:
            embeddings: as they leave the backbone, shape ``(N, D)``.
            labels: int64 speaker numbers, shape ``(N,)``.
            seed: of what a loss draws for it.

        Raises:
            BatchError: if shapes, types or labels do not fit the loss.
        """
        self._check_batch(embeddings, labels)
        self._check_range(labels)
        x = embeddings.double()
        speakers, rows, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        means, directions = (
            one.new_zeros(len(speakers), x.shape[1]).index_add_(0, rows, one) / counts[:, None]
            for one in (x, F.normalize(x, dim=1))
        )
        self._put_centres(speakers, means, directions, torch.Generator().manual_seed(seed))

    def split(self, rank: int, world_size: int) -> dict[nn.Parameter, Shard]:  # noqa: ARG002
        """Keep one of several processes' share of the centres; the losses that stream override this.

        Args:
            rank: number of this process.
            world_size: number of processes, at most ``C``.

        Returns:
            The parameters that are split, and how.

        Raises:
            ConfigError: if the loss needs all centres in one place.
        """
        raise ConfigError(f"train.shard_loss: loss {self.name} cannot be split over processes; set it to false")

    def extra_repr(self) -> str:
        """Sizes and options in force, for the log."""
        values = {"embedding_dim": self.embedding_dim, "num_speakers": self.num_speakers}
        values.update({option: self._in_force(option) for option in self.options()})
        return ", ".join(f"{key}={value}" for key, value in values.items())

    def _diagnostics(self, x: Tensor, labels: Tensor, sample: Tensor) -> dict[str, Tensor | float]:  # noqa: ARG002
        """Further values of a loss; ``sample`` holds the numbers of the speakers that stand for all."""
        return {}

    def _own_logits(self, x: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(B,)`` of the own speakers, with margin and autograd."""
        return self._logits(x, labels).gather(1, labels[:, None])[:, 0]

    def _effective_scale(self, x: Tensor, labels: Tensor, own: Tensor) -> Tensor:
        """Derivative of the own logit along the turn towards the own centre over that of the cosine."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._own_logits(leaf, labels).sum(), leaf)
        towards, ahead = F.normalize(own, dim=1), F.normalize(x, dim=1)
        across = towards - (towards * ahead).sum(dim=1, keepdim=True) * ahead
        # d cos / d angle is |across|, and moves the embedding by |x| times the unit vector across.
        sine: Tensor = torch.linalg.vector_norm(across, dim=1)
        turn: Tensor = (slope * across).sum(dim=1) * torch.linalg.vector_norm(x.double(), dim=1) / sine.square()
        return turn[sine > LEAST_SINE].mean()

    def _in_force(self, option: str) -> Any:
        """Value of an option."""
        return getattr(self, option)

    def _put_centres(self, speakers: Tensor, means: Tensor, directions: Tensor, generator: torch.Generator) -> None:  # noqa: ARG002
        """Put centres where embeddings are; as it stands, in their direction, as long as centres are on average.

        Args:
            speakers: whose, shape ``(S,)``.
            means: of their embeddings, float64, shape ``(S, D)``.
            directions: means of their embeddings at length 1, which are not of length 1, float64, shape ``(S, D)``.
            generator: of what is drawn.
        """
        length = torch.linalg.vector_norm(self.weight, dim=-1).mean()
        self.weight[speakers] = F.normalize(directions, dim=1).to(self.weight) * length

    @abstractmethod
    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Logits without margin; ``labels`` say which pairs must be exact. The caller may write into the result."""

    def _with_margin(self, plain: Tensor, x: Tensor, w: Tensor) -> Tensor:  # noqa: ARG002
        """The margin: own logits ``(B,)`` with it.

        All ways of computing a loss take it from here.

        Args:
            plain: own logits without margin, shape ``(B,)``.
            x: embeddings, shape ``(B, D)``.
            w: the centres of their own speakers, shape ``(B, D)`` or ``(B, K, D)``.
        """
        return plain

    def _penalised(self, plain: Tensor, own: Tensor, x: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """All logits as the margin leaves them for other speakers; those of own speakers are replaced afterwards.

        Args:
            plain: logits without margin, which may be overwritten, shape ``(B, C)``.
            own: own logits with margin, shape ``(B, 1)``.
            x: embeddings, shape ``(B, D)``.
            labels: speaker numbers, shape ``(B,)``.
        """
        return plain

    def _add_margin(self, plain: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """Put the margin into logits ``(B, C)``, which are overwritten."""
        if not self.has_margin:
            return plain
        w = self.weight.index_select(0, labels).to(x.dtype)
        # An index, since gather would keep the logits for its backward pass, which are overwritten.
        own = self._with_margin(plain[torch.arange(len(x), device=x.device), labels], x, w)[:, None]
        return self._penalised(plain, own, x, labels).scatter_(1, labels[:, None], own)

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _pairwise_distance(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        plain = self._plain_logits(x, labels)
        return plain if labels is None else self._add_margin(plain, x, labels)

    def _loss_and_accuracy(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        plain = self._plain_logits(x, labels)
        accuracy = self._accuracy(plain, labels)
        return F.cross_entropy(self._add_margin(plain, x, labels), labels), accuracy

    @staticmethod
    def _accuracy(plain: Tensor, labels: Tensor) -> Tensor:
        return (plain.detach().argmax(dim=1) == labels).float().mean()

    def _place(self, option: str) -> str:
        return f"loss {self.name}: {option}"

    def _positive(self, option: str, value: object) -> float:
        return check_number(self._place(option), value, above=0.0)

    def _widen(self, x: Tensor) -> Tensor:
        """The embeddings in the type of the arithmetic: float64 if they or the centres are, otherwise float32."""
        wider = torch.promote_types(x.dtype, self.weight.dtype)
        return x.to(torch.promote_types(wider, torch.float32))

    def _check_distance(self, x: Tensor, y: Tensor) -> None:
        if not self.has_distance:
            raise ConfigError(f"loss {self.name}: has no hyperbolic distance; score by cosine instead")
        self._check_embeddings(x)
        self._check_embeddings(y)

    def _check_embeddings(self, embeddings: Tensor) -> None:
        shape = tuple(embeddings.shape)
        if len(shape) != 2 or shape[1] != self.embedding_dim or shape[0] == 0:
            expected = f"(B, {self.embedding_dim}) with B at least 1"
            raise BatchError(f"{self._place('embeddings')}: expected shape {expected}, found {shape}")
        if not embeddings.is_floating_point():
            raise BatchError(f"{self._place('embeddings')}: expected a floating-point type, found {embeddings.dtype}")

    def _check_batch(self, embeddings: Tensor, labels: Tensor) -> None:
        self._check_embeddings(embeddings)
        if labels.dtype != torch.int64:
            raise BatchError(f"{self._place('labels')}: expected int64 speaker numbers, found {labels.dtype}")
        if labels.shape != embeddings.shape[:1]:
            expected, found = tuple(embeddings.shape[:1]), tuple(labels.shape)
            raise BatchError(f"{self._place('labels')}: expected shape {expected}, one an embedding, found {found}")

    def _check_range(self, labels: Tensor) -> None:
        low, high = (int(bound) for bound in torch.stack(torch.aminmax(labels)).tolist())
        if low < 0 or high >= self.num_speakers:
            found = low if low < 0 else high
            raise BatchError(f"{self._place('labels')}: expected 0..{self.num_speakers - 1}, found {found}")
