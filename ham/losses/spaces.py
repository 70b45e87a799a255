r"""The hyperbolic space that a loss puts embeddings and centres into: ``published``, ``poincare`` or ``lorentz``.

* **published** (Fang & He, arXiv 2601.19709): vectors clipped into the ball of radius :math:`(1 - 10^{-5})/\sqrt{c}`
  and measured with the distance of the unit ball. ``c`` caps the norm and bends nothing.
* **poincare**: the ball of curvature ``-c``. An embedding ``x`` becomes
  :math:`\exp_0(\operatorname{clip}(e x))` with a learnt factor ``e`` and a largest length ``clip_radius``; a centre is
  a point of the ball, or a tangent vector that the same map takes there.
* **lorentz**: the hyperboloid of curvature ``-c``, the same space by an isometry: the same embedding has the same
  distances. A centre is given by its space components, or by a tangent vector as above.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from ham.errors import ConfigError
from ham.geometry import gram, lorentz, poincare
from ham.geometry.gram import Radial
from ham.geometry.poincare import BallPoints, Curvature
from ham.schema import check_number, choose

P = TypeVar("P")

RadialMap: TypeAlias = Callable[[Tensor], Radial]

SATURATION = 1.5
"""Default of ``sqrt(c) x clip_radius``: the ball's coordinates still move there, 18 % as fast as at the origin."""

LEARNT_RANGE = 10.0
"""A learnt curvature stays within this factor of its start."""

LEAST_CURVATURE, MOST_CURVATURE = 1e-4, 1e4
"""Beyond, float32 takes all distances between centres near the origin for 0, or none."""

LARGEST_LOG_SCALE = 20.0
"""Bound of the logarithm of the learnt factor on embeddings: 2e-9 to 5e8."""

LARGEST_HALF = 6.0
"""Largest ``sqrt(c) x clip_radius``: at 6.3, the boundary in float32, points that differ round to the same numbers."""


class Space(nn.Module, ABC, Generic[P]):
    """One space with its settings and what is learnt of it.

    Distances come in units in which the curvature is -1; :meth:`unit` turns them into the space's own.

    Attributes:
        name: the word that the option ``geometry`` takes.
        centres: ``ball`` or ``tangent``.
        learn_curvature: whether ``c`` is learnt.
        fix_radius: centres lie on one shell, at this share of the largest radius; 0 for anywhere.
    """

    name: ClassVar[str]
    centres: str
    learn_curvature: bool
    fix_radius: float

    @property
    def embedding_scale(self) -> float | None:
        """The factor ``e`` on embeddings in force; None in the published form."""
        return None

    @property
    def clip_radius(self) -> float | None:
        """Largest length of an embedding's tangent vector; None in the published form, which has none."""
        return None

    @property
    @abstractmethod
    def curvature(self) -> float:
        """``c`` in force."""

    @abstractmethod
    def set_curvature(self, curvature: float) -> None:
        """Change ``c``, for schedules; the caller has checked its range."""

    @abstractmethod
    def unit(self) -> Curvature:
        r"""Length of a unit of distance: 1 in the published form, else :math:`1/\sqrt{c}`."""

    @abstractmethod
    def embed(self, x: Tensor) -> P:
        """Points of embeddings ``(B, D)``."""

    @abstractmethod
    def place(self, w: Tensor) -> P:
        """Points of centres ``(C, D)``."""

    @abstractmethod
    def centres_at(self, x: Tensor) -> Tensor:
        """Centres ``(C, D)`` whose points are those of embeddings: :meth:`place` puts them where :meth:`embed` does."""

    @abstractmethod
    def pairwise(self, a: P, b: P) -> Tensor:
        """Distances of all pairs, ``(B, C)``, from one matrix product, in units of curvature -1."""

    @abstractmethod
    def rowwise(self, a: P, b: P) -> Tensor:
        """Distances row by row, ``(B,)``, from the direct difference, in units of curvature -1."""

    @abstractmethod
    def left_rows(self, points: P) -> Tensor:
        """Left factor of :mod:`ham.geometry.gram` of embeddings, ``(B, D + 2)``."""

    @abstractmethod
    def radial(self) -> RadialMap:
        """The map from centres' squared lengths ``(C,)`` to their numbers, with the space as it is now."""

    @property
    def can_fuse(self) -> bool:
        """Whether the factors hold: not where a floor of the denominator acts."""
        return True

    def on_shell(self, x: Tensor) -> Tensor:
        """Which embeddings ``(B, D)`` are clipped, bool ``(B,)``."""
        norm: Tensor = torch.linalg.vector_norm(x, dim=1)
        return norm >= self._reach()

    def centres_on_shell(self, w: Tensor) -> Tensor:
        """Which centres ``(C, D)`` are as far out as an embedding can be, bool ``(C,)``."""
        return self._from_origin(w) >= (1.0 - 1e-4) * 2.0 * self._most_half()

    def radii(self, w: Tensor) -> Tensor:
        """Hyperbolic distances of centres ``(C, D)`` from the origin, ``(C,)``, in the space's own unit."""
        return self._from_origin(w) * self.unit()

    def _from_origin(self, w: Tensor) -> Tensor:
        gamma = self.radial()(w.square().sum(dim=1)).gamma
        return 2.0 * torch.asinh(torch.sqrt(gamma))

    @abstractmethod
    def _reach(self) -> float:
        """Length from which on an embedding is clipped."""

    @abstractmethod
    def _most_half(self) -> float:
        """Half the largest distance of an embedding from the origin, in units of curvature -1."""

    def _directed(self, w: Tensor, length: Curvature) -> Tensor:
        """Centres at one length."""
        norm: Tensor = torch.linalg.vector_norm(w, dim=-1, keepdim=True)
        inverse = norm.clamp_min(gram.NO_DIRECTION).reciprocal().masked_fill(norm < gram.NO_DIRECTION, 0.0)
        return w * inverse * length


class Ball(Space[BallPoints]):
    """What the two spaces share whose points lie in the unit ball."""

    _least_product = 0.0

    def pairwise(self, a: BallPoints, b: BallPoints) -> Tensor:
        """Gram form of the ball."""
        return poincare.pairwise_points_distance(a, b, least_product=self._least_product)

    def rowwise(self, a: BallPoints, b: BallPoints) -> Tensor:
        """Direct form of the ball."""
        return poincare.points_distance(a, b, least_product=self._least_product)

    def left_rows(self, points: BallPoints) -> Tensor:
        """From points and gaps."""
        return gram.left_rows(points)


class Published(Ball):
    """The published form; see the module.

    Attributes:
        curvature: ``c``, at least 1.
    """

    name: ClassVar[str] = "published"
    centres: str = "ball"
    learn_curvature: bool = False

    def __init__(self, curvature: float, *, fix_radius: float = 0.0) -> None:
        super().__init__()
        self.fix_radius = fix_radius
        self.set_curvature(curvature)

    @property
    def curvature(self) -> float:
        """``c`` in force: a cap on the norm."""
        return self._curvature

    def set_curvature(self, curvature: float) -> None:
        """Change ``c``, at least 1."""
        self._curvature = curvature
        self._radius = poincare.published_radius(curvature=curvature)
        self._least_product = poincare.published_least_product(curvature=curvature)

    @property
    def can_fuse(self) -> bool:
        """False for ``c`` below 1.0032, where the floor of the denominator may act."""
        return self._least_product == 0.0

    def unit(self) -> float:
        """1: the distance of the unit ball."""
        return 1.0

    def embed(self, x: Tensor) -> BallPoints:
        """Clip."""
        return poincare.published_points(x, curvature=self._curvature)

    def centres_at(self, x: Tensor) -> Tensor:
        """Clipped."""
        return self.embed(x).points

    def place(self, w: Tensor) -> BallPoints:
        """Clip, or put on the shell of ``fix_radius``."""
        return self.embed(self._directed(w, self.fix_radius * self._radius) if self.fix_radius else w)

    def radial(self) -> RadialMap:
        """Clipped points of the unit ball."""
        if self.fix_radius:
            half = math.atanh(self.fix_radius * self._radius)
            return partial(gram.shell_radial, half=half, limit=math.inf)
        return partial(gram.ball_radial, scale=1.0, radius=self._radius)

    def _reach(self) -> float:
        return self._radius

    def _most_half(self) -> float:
        return math.atanh(self._radius)


class Curved(Space[P]):
    """What ``poincare`` and ``lorentz`` share: the curvature, the embedding's factor and the clip.

    Attributes:
        log_embedding_scale: logarithm of the learnt factor ``e``.
        curvature_shift: learnt, where ``learn_curvature``; 0 at the start. ``log c`` moves by its hyperbolic tangent.
    """

    def __init__(
        self,
        curvature: float,
        embedding_dim: int,
        *,
        clip_radius: float | None = None,
        centres: str = "ball",
        learn_curvature: bool = False,
        embedding_scale: float | None = None,
        fix_radius: float = 0.0,
    ) -> None:
        super().__init__()
        self.centres, self.fix_radius = centres, fix_radius
        self._clip_radius = clip_radius
        self._curvature, self.learn_curvature = curvature, False
        # A backbone that ends in batch normalisation gives |x| near sqrt(D): length 1, and inside the clip in any case.
        start = min(1.0, self.clip_radius / SATURATION) / math.sqrt(embedding_dim)
        self.log_embedding_scale = nn.Parameter(torch.tensor(math.log(embedding_scale or start)))
        self.learn_curvature = learn_curvature
        if learn_curvature:
            self.curvature_shift = nn.Parameter(torch.tensor(0.0))

    @property
    def curvature(self) -> float:
        """``c`` in force."""
        c = self._c()
        return float(c.detach()) if isinstance(c, Tensor) else c

    def set_curvature(self, curvature: float) -> None:
        """Change ``c``, positive."""
        self._curvature = curvature

    @property
    def embedding_scale(self) -> float:
        """The factor ``e`` in force."""
        return float(self._scale(torch.float64).detach())

    @property
    def clip_radius(self) -> float:
        r"""The given one, or :math:`1.5/\sqrt{c}` for the curvature in force."""
        return SATURATION / math.sqrt(self.curvature) if self._clip_radius is None else self._clip_radius

    def _clip(self) -> Curvature:
        """The same with autograd: the default one follows a learnt ``c``, so that what lies on it does not move."""
        return SATURATION / self._root() if self._clip_radius is None else self._clip_radius

    def _scale(self, dtype: torch.dtype) -> Tensor:
        """The factor ``e``; its logarithm is bounded, so that it stays a number whatever the optimiser does."""
        return torch.exp(self.log_embedding_scale.to(dtype).clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))

    def unit(self) -> Curvature:
        """1 over the root of ``c``."""
        return 1.0 / self._root()

    def _c(self) -> Curvature:
        """The curvature; the logarithm of a learnt one is bounded smoothly, so that its parameter may be any number."""
        if not self.learn_curvature:
            return self._curvature
        bound = math.log(LEARNT_RANGE)
        shift = self.curvature_shift.to(torch.promote_types(self.curvature_shift.dtype, torch.float32))
        return self._curvature * torch.exp(bound * torch.tanh(shift / bound))

    def _root(self) -> Curvature:
        return poincare.root_of(self._c())

    def _tangent(self, x: Tensor) -> Tensor:
        """Tangent vectors of embeddings; the factor gets no gradient from those that are clipped."""
        scale, clip = self._scale(x.dtype), self._clip()
        with torch.no_grad():
            clipped = torch.linalg.vector_norm(x, dim=1, keepdim=True) * scale >= clip
        return poincare.clip_norm(x * torch.where(clipped, scale.detach(), scale), clip)

    def _tangent_centres(self, w: Tensor) -> Tensor:
        """Tangent vectors of centres."""
        if self.fix_radius:
            return self._directed(w, self.fix_radius * self._clip())
        return w

    def centres_at(self, x: Tensor) -> Tensor:
        """Tangent vectors, or what the exponential map makes of them, in the space's own unit."""
        if self.fix_radius or self.centres == "tangent":
            return self._tangent(x)
        return self._coordinates(self.embed(x)) / self._root()

    @abstractmethod
    def _coordinates(self, points: P) -> Tensor:
        """What a centre at these points has, in units of curvature -1."""

    @abstractmethod
    def _limit(self, dtype: torch.dtype) -> float:
        """Longest tangent vector of a centre, in units of curvature -1."""

    def radial(self) -> RadialMap:
        """Of the shell, of tangent vectors or of points, as the centres are given."""
        root = self._root()
        if self.fix_radius:
            half = root * (self.fix_radius * self._clip())
            return lambda square: gram.shell_radial(square, half=half, limit=self._limit(square.dtype))
        if self.centres == "tangent":
            return lambda square: gram.tangent_radial(square, scale=root, limit=self._limit(square.dtype))
        return partial(self._point_radial, root)

    @abstractmethod
    def _point_radial(self, root: Curvature, square: Tensor) -> Radial:
        """Numbers of centres that are given as points."""

    def _reach(self) -> float:
        return self.clip_radius / self.embedding_scale

    def _most_half(self) -> float:
        return math.sqrt(self.curvature) * self.clip_radius


class Poincare(Curved[BallPoints], Ball):
    """The ball of curvature ``-c``; see the module."""

    name: ClassVar[str] = "poincare"

    def embed(self, x: Tensor) -> BallPoints:
        """Exponential map of the clipped tangent vector."""
        return self._mapped(self._tangent(x))

    def place(self, w: Tensor) -> BallPoints:
        """The point itself, bounded from the boundary, or the exponential map of a tangent vector."""
        if self.fix_radius or self.centres == "tangent":
            return self._mapped(self._tangent_centres(w))
        edge = 1.0 - poincare.boundary_gap(w.dtype)
        return poincare.clipped_points(w * self._root(), edge)

    def _coordinates(self, points: BallPoints) -> Tensor:
        return points.points

    def _mapped(self, v: Tensor) -> BallPoints:
        return poincare.tangent_points(v, curvature=self._c())

    def _point_radial(self, root: Curvature, square: Tensor) -> Radial:
        return gram.ball_radial(square, scale=root, radius=1.0 - poincare.boundary_gap(square.dtype))

    def _limit(self, dtype: torch.dtype) -> float:
        return math.atanh(1.0 - poincare.boundary_gap(dtype))


class Lorentz(Curved[Tensor]):
    """The hyperboloid of curvature ``-c``, points by their space components; see the module."""

    name: ClassVar[str] = "lorentz"

    def embed(self, x: Tensor) -> Tensor:
        """Exponential map of twice the tangent vector, as the ball's map leads to the distance ``2 |v|``."""
        return self._mapped(self._tangent(x))

    def place(self, w: Tensor) -> Tensor:
        """The space components themselves, or the exponential map of a tangent vector."""
        if self.fix_radius or self.centres == "tangent":
            return self._mapped(self._tangent_centres(w))
        return w * self._root()

    def _coordinates(self, points: Tensor) -> Tensor:
        return points

    def pairwise(self, a: Tensor, b: Tensor) -> Tensor:
        """From the Lorentz inner products."""
        return lorentz.pairwise_distance(a, b, curvature=1.0)

    def rowwise(self, a: Tensor, b: Tensor) -> Tensor:
        """From the direct difference."""
        return lorentz.distance(a, b, curvature=1.0)

    def left_rows(self, points: Tensor) -> Tensor:
        """From space components."""
        return gram.hyperboloid_left_rows(points)

    def _mapped(self, v: Tensor) -> Tensor:
        """Space components in units of curvature -1."""
        return lorentz.expmap0(v * (2.0 * self._root()), curvature=1.0)

    def _point_radial(self, root: Curvature, square: Tensor) -> Radial:
        return gram.hyperboloid_radial(square, scale=root)

    def _limit(self, dtype: torch.dtype) -> float:
        return lorentz.max_rapidity(dtype) / 2.0


GEOMETRIES: Mapping[str, type[Published] | type[Poincare] | type[Lorentz]] = MappingProxyType(
    {kind.name: kind for kind in (Published, Poincare, Lorentz)}
)
"""The spaces that the option ``geometry`` can name."""

AnySpace = Space[Any]
"""A space of any kind of points: only its own methods look into them."""


def check_curvature(place: str, geometry: str, curvature: object) -> float:
    """Check a curvature for a space.

    Args:
        place: the option, the beginning of the message.
        geometry: one of ``GEOMETRIES``.
        curvature: the value asked for.

    Returns:
        The value as a float.

    Raises:
        ConfigError: if it is no finite number, not positive, or below 1 in the published form; the message says why.
    """
    if geometry != Published.name:
        check_number(place, curvature, above=0.0)
        return check_number(place, curvature, least=LEAST_CURVATURE, most=MOST_CURVATURE)
    try:
        return check_number(place, curvature, least=1.0)
    except ConfigError as error:
        reason = "; there 1/sqrt(c) caps the norm in the unit ball, so that c below 1 has no meaning"
        raise ConfigError(f"{error}{reason}") from None


def check_clip(place: str, clip_radius: float | None, highest: float) -> None:
    """Check a clip against the highest curvature that it will meet.

    Args:
        place: the option, the beginning of the message.
        clip_radius: the one that is given; None for the default, which follows the curvature.
        highest: the curvature.

    Raises:
        ConfigError: if float32 would not tell clipped embeddings apart.
    """
    if clip_radius is not None:
        place = f"{place} (at curvature {highest:g})"
        check_number(place, clip_radius, above=0.0, most=LARGEST_HALF / math.sqrt(highest))


def build_space(
    place: str,
    embedding_dim: int,
    *,
    curvature: float,
    geometry: str = "published",
    clip_radius: float | None = None,
    centres: str = "ball",
    learn_curvature: bool = False,
    embedding_scale: float | None = None,
    fix_radius: float | bool | None = None,
) -> AnySpace:
    r"""Build the space that a loss's options name.

    Args:
        place: the loss, the beginning of messages: ``"loss ham_softmax"``.
        embedding_dim: ``D``.
        curvature: ``c``: at least 1 in the published form, else positive.
        geometry: ``published``, ``poincare`` or ``lorentz``.
        clip_radius: largest length of an embedding's tangent vector in ``poincare`` and ``lorentz``; by default
            :math:`1.5/\sqrt{c}`, at any time of a curvature that changes.
        centres: ``ball``: a centre is a point (of the ball; on the hyperboloid its space components). ``tangent``: it
            is a tangent vector at the origin; ``poincare`` and ``lorentz`` only.
        learn_curvature: learn ``c`` within a factor of 10 of ``curvature``; ``poincare`` and ``lorentz`` only.
        embedding_scale: start of the learnt factor on embeddings, by default :math:`1/\sqrt{D}`, and less where
            embeddings of norm :math:`\sqrt{D}` would start beyond two thirds of ``clip_radius``; ``poincare`` and
            ``lorentz`` only.
        fix_radius: put all centres on one shell, at this share (0 to 1; true is 1, false and 0 are off) of the
            largest radius: of the clipping radius in the published form, else of ``clip_radius``. Only the direction
            of a centre then counts, in whichever coordinates.

    Returns:
        The space.

    Raises:
        ConfigError: if a value has no meaning, or none in this geometry.
    """
    geometry = choose(f"{place}: geometry", geometry, GEOMETRIES)
    c = check_curvature(f"{place}: curvature (geometry {geometry})", geometry, curvature)
    share = _check_share(f"{place}: fix_radius", fix_radius)
    curved = {
        "clip_radius": clip_radius,
        "centres": choose(f"{place}: centres", centres, ("ball", "tangent")),
        "learn_curvature": _check_truth(f"{place}: learn_curvature", learn_curvature),
        "embedding_scale": embedding_scale,
    }
    if geometry == Published.name:
        for option, (default, word) in _ONLY_CURVED.items():
            if curved[option] != default:
                raise ConfigError(
                    f"{place}: {option}: expected {word} in geometry published, which has no such thing, found "
                    f"{curved[option]!r}; choose geometry poincare or lorentz"
                )
        return Published(c, fix_radius=share)
    check_clip(f"{place}: clip_radius", clip_radius, c * LEARNT_RANGE if learn_curvature else c)
    if embedding_scale is not None:
        most = math.exp(LARGEST_LOG_SCALE)
        curved["embedding_scale"] = check_number(f"{place}: embedding_scale", embedding_scale, above=0.0, most=most)
    kind = Poincare if geometry == Poincare.name else Lorentz
    return kind(c, embedding_dim, fix_radius=share, **curved)  # type: ignore[arg-type]


_ONLY_CURVED: Mapping[str, tuple[object, str]] = MappingProxyType(
    {
        "clip_radius": (None, "null"),
        "centres": ("ball", "ball"),
        "learn_curvature": (False, "false"),
        "embedding_scale": (None, "null"),
    }
)
"""What options of the other geometries must be in the published one, and how YAML writes it."""


def _check_share(place: str, value: object) -> float:
    """A share of a radius; nothing and false are 0, true is 1."""
    if value is None or isinstance(value, bool):
        return float(value or False)
    return check_number(place, value, least=0.0, most=1.0)


def _check_truth(place: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{place}: expected true or false, found {value!r}")
