"""Every loss written naively in float64, B x C x D where a distance is meant: the definitions, not the method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]


def cosines(x: Tensor, w: Tensor) -> Tensor:
    return (x[:, None] * w[None]).sum(-1) / (x.norm(dim=1)[:, None] * w.norm(dim=1)[None])


def distances(x: Tensor, w: Tensor, curvature: float) -> Tensor:
    radius = (1 - 1e-5) / math.sqrt(curvature)
    z = x * (radius / x.norm(dim=1, keepdim=True).clamp_min(1e-5)).clamp_max(1)
    c = w * (radius / w.norm(dim=1, keepdim=True).clamp_min(1e-5)).clamp_max(1)
    square = (z[:, None] - c[None]).square().sum(-1)
    gaps = (1 - z.square().sum(-1))[:, None] * (1 - c.square().sum(-1))[None]
    return torch.acosh(1 + 2 * square / gaps.clamp_min(1e-5))


def curved_distances(x: Tensor, p: Parameters, curvature: float, geometry: str, **options: Any) -> Tensor:
    """Poincaré by Möbius addition, Lorentz by the inner product of lifted points: other forms than the code's."""
    root, w = math.sqrt(curvature), p["weight"]
    clip = options.get("clip_radius") or 1.5 / root
    v = x * p["space.log_embedding_scale"].exp()
    v = v * (clip / v.norm(dim=1, keepdim=True)).clamp_max(1)
    share = options.get("fix_radius")
    if share:
        w = w / w.norm(dim=1, keepdim=True) * (share * clip)
    tangent = options.get("centres") == "tangent" or bool(share)
    if geometry == "poincare":
        z, centres = expmap0(v, root), expmap0(w, root) if tangent else w
        return 2 / root * torch.atanh(root * mobius_norm(z, centres, curvature))
    space, others = lift(v, root), lift(w, root) if tangent else w
    time, times = (torch.sqrt(1 / curvature + s.square().sum(1)) for s in (space, others))
    inner = (space[:, None] * others[None]).sum(-1) - time[:, None] * times[None]
    return torch.acosh(-curvature * inner) / root


def expmap0(v: Tensor, root: float) -> Tensor:
    norm = v.norm(dim=1, keepdim=True)
    return torch.tanh(root * norm) * v / (root * norm)


def lift(v: Tensor, root: float) -> Tensor:
    norm = 2 * v.norm(dim=1, keepdim=True)
    return torch.sinh(root * norm) * 2 * v / (root * norm)


def mobius_norm(z: Tensor, w: Tensor, c: float) -> Tensor:
    a, b = -z[:, None], w[None]
    inner, a2, b2 = (a * b).sum(-1, keepdim=True), a.square().sum(-1, keepdim=True), b.square().sum(-1, keepdim=True)
    total = ((1 + 2 * c * inner + c * b2) * a + (1 - c * a2) * b) / (1 + 2 * c * inner + c**2 * a2 * b2)
    return total.norm(dim=-1)


def target(labels: Tensor, num_speakers: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, num_speakers).bool()


def softmax(x: Tensor, p: Parameters, y: Tensor, scale: float = 1.0) -> Tensor:
    return scale * ((x[:, None] * p["weight"][None]).sum(-1) + p["bias"])


def am(x: Tensor, p: Parameters, y: Tensor, scale: float, margin: float) -> Tensor:
    cos = cosines(x, p["weight"])
    return scale * torch.where(target(y, len(p["weight"])), cos - margin, cos)


def aam(x: Tensor, p: Parameters, y: Tensor, scale: float, margin: float) -> Tensor:
    cos = cosines(x, p["weight"])
    easy = cos - margin * math.sin(math.pi - margin)
    turned = torch.where(cos > math.cos(math.pi - margin), torch.cos(torch.acos(cos) + margin), easy)
    return scale * torch.where(target(y, len(p["weight"])), turned, cos)


def ram(x: Tensor, p: Parameters, y: Tensor, scale: float, margin: float) -> Tensor:
    rows = []
    for cos, label in zip(cosines(x, p["weight"]), y.tolist(), strict=True):
        t = scale * (cos[label] - margin)
        kept = [scale * c if scale * c >= t else torch.zeros_like(c) for c in cos]
        rows.append(torch.stack([t if k == label else c for k, c in enumerate(kept)]))
    return torch.stack(rows)


def ham(
    x: Tensor,
    p: Parameters,
    y: Tensor,
    scale: float,
    curvature: float,
    margin: float = 0.0,
    geometry: str = "published",
    **options: Any,
) -> Tensor:
    if geometry == "published":
        w, share = p["weight"], options.get("fix_radius")
        if share:
            w = w / w.norm(dim=1, keepdim=True) * (share * (1 - 1e-5) / math.sqrt(curvature))
        d = distances(x, w, curvature)
    else:
        d = curved_distances(x, p, curvature, geometry, **options)
    return -scale * torch.where(target(y, len(p["weight"])), d + margin, d)


PUBLISHED: dict[str, dict[str, float]] = {
    "softmax": {},
    "scaled_softmax": {"scale": 30.0},
    "am_softmax": {"scale": 30.0, "margin": 0.2},
    "aam_softmax": {"scale": 30.0, "margin": 0.2},
    "ram_softmax": {"scale": 30.0, "margin": 0.2},
    "h_softmax": {"scale": 30.0, "curvature": 5.0},
    "ham_softmax": {"scale": 30.0, "curvature": 3.0, "margin": 0.2},
    "eh_am_softmax": {"scale": 30.0, "curvature": 3.0, "margin": 0.2},
}
"""Published settings by loss."""

LOGITS: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax,
    "scaled_softmax": softmax,
    "am_softmax": am,
    "aam_softmax": aam,
    "ram_softmax": ram,
    "h_softmax": ham,
    "ham_softmax": ham,
}


def parts(name: str, x: Tensor, p: Parameters, y: Tensor, **options: Any) -> list[tuple[float, Tensor]]:
    """Logits with margin of each part of a loss, with the part's share."""
    settings: dict[str, Any] = PUBLISHED[name] | {k: v for k, v in options.items() if k not in ("chunk", "fused")}
    if name != "eh_am_softmax":
        return [(1.0, LOGITS[name](x, p, y, **settings))]
    share = settings.pop("euclidean_share", 0.3)
    hyperbolic = ham(x, p, y, **settings)
    euclidean = ram(x, {"weight": p["euclidean.weight"]}, y, settings["scale"], settings["margin"])
    return [(share, euclidean), (1 - share, hyperbolic)]


def logits(name: str, x: Tensor, p: Parameters, y: Tensor, **options: Any) -> Tensor:
    """Logits with margin, in the loss's weighted sum."""
    return sum((share * part for share, part in parts(name, x, p, y, **options)), torch.zeros(()).double())


def loss(name: str, x: Tensor, p: Parameters, y: Tensor, **options: Any) -> Tensor:
    """Mean cross-entropy, from the exponentials as the definition reads."""
    total = torch.zeros((), dtype=torch.float64)
    for share, part in parts(name, x, p, y, **options):
        own = part[torch.arange(len(y)), y]
        total = total + share * (torch.logsumexp(part, dim=1) - own).mean()
    return total
