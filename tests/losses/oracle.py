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


def subcenter_aam(
    x: Tensor, p: Parameters, y: Tensor, scale: float, margin: float, sub_centres: int, top_k: int, penalty: float
) -> Tensor:
    every = [cosines(x, p["weight"][:, j]) for j in range(sub_centres)]
    theta = torch.acos(torch.stack(every).amax(0))
    rows = []
    for angles, label in zip(theta, y.tolist(), strict=True):
        others = sorted((k for k in range(len(angles)) if k != label), key=lambda k: angles[k].item())
        turn = [-penalty * margin if k in others[:top_k] else 0.0 for k in range(len(angles))]
        turn[label] = margin
        row = torch.cos(angles + torch.tensor(turn, dtype=torch.float64))
        beyond = torch.cos(angles) - margin * math.sin(math.pi - margin)
        rows.append(torch.where((angles >= math.pi - margin) & (torch.arange(len(angles)) == label), beyond, row))
    return scale * torch.stack(rows)


def sphereface2(
    x: Tensor,
    p: Parameters,
    y: Tensor,
    scale: float,
    margin: float,
    power: float,
    positive_share: float,
    margin_type: str,
) -> Tensor:
    cos, own = cosines(x, p["weight"]), target(y, len(p["weight"]))
    if margin_type == "A":
        theta = torch.acos(cos)
        cos = torch.cos(torch.where(own, (theta + margin).clamp_max(math.pi), (theta - margin).clamp_min(0.0)))
        margin = 0.0
    return scale * (2 * ((cos + 1) / 2) ** power - 1 - margin * (2.0 * own.double() - 1.0)) + p["bias"]


PUBLISHED: dict[str, dict[str, Any]] = {
    "softmax": {},
    "scaled_softmax": {"scale": 30.0},
    "am_softmax": {"scale": 30.0, "margin": 0.2},
    "aam_softmax": {"scale": 30.0, "margin": 0.2},
    "ram_softmax": {"scale": 30.0, "margin": 0.2},
    "h_softmax": {"scale": 30.0, "curvature": 5.0},
    "ham_softmax": {"scale": 30.0, "curvature": 3.0, "margin": 0.2},
    "eh_am_softmax": {"scale": 30.0, "curvature": 3.0, "margin": 0.2},
    "subcenter_aam_softmax": {"scale": 32.0, "margin": 0.2, "sub_centres": 3, "top_k": 0, "penalty": 0.3},
    "sphereface2": {"scale": 32.0, "margin": 0.2, "power": 3.0, "positive_share": 0.7, "margin_type": "C"},
}
"""Published settings of every loss that comes with the recipe; the first eight are those of the published tables."""

LOGITS: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax,
    "scaled_softmax": softmax,
    "am_softmax": am,
    "aam_softmax": aam,
    "ram_softmax": ram,
    "h_softmax": ham,
    "ham_softmax": ham,
    "subcenter_aam_softmax": subcenter_aam,
    "sphereface2": sphereface2,
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
    """Mean cross-entropy, from the exponentials as the definition reads; in sphereface2 that of binary questions."""
    if name == "sphereface2":
        z, own = logits(name, x, p, y, **options), target(y, len(p["weight"]))
        share = (PUBLISHED[name] | options)["positive_share"]
        yes, no = share * torch.log1p(torch.exp(-z)), (1 - share) * torch.log1p(torch.exp(z))
        return torch.where(own, yes, no).sum(1).mean()
    total = torch.zeros((), dtype=torch.float64)
    for share, part in parts(name, x, p, y, **options):
        own = part[torch.arange(len(y)), y]
        total = total + share * (torch.logsumexp(part, dim=1) - own).mean()
    return total
