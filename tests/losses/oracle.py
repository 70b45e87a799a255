"""Every loss written naively in float64, B x C x D where a distance is meant: the definitions, not the method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

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


def ham(x: Tensor, p: Parameters, y: Tensor, scale: float, curvature: float, margin: float = 0.0) -> Tensor:
    d = distances(x, p["weight"], curvature)
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


def parts(name: str, x: Tensor, p: Parameters, y: Tensor, **options: float) -> list[tuple[float, Tensor]]:
    """Logits with margin of each part of a loss, with the part's share."""
    settings = PUBLISHED[name] | options
    if name != "eh_am_softmax":
        return [(1.0, LOGITS[name](x, p, y, **settings))]
    share = settings.pop("euclidean_share", 0.3)
    hyperbolic = ham(x, p, y, **settings)
    settings.pop("curvature")
    euclidean = ram(x, {"weight": p["euclidean.weight"]}, y, **settings)
    return [(share, euclidean), (1 - share, hyperbolic)]


def logits(name: str, x: Tensor, p: Parameters, y: Tensor, **options: float) -> Tensor:
    """Logits with margin, in the loss's weighted sum."""
    return sum((share * part for share, part in parts(name, x, p, y, **options)), torch.zeros(()).double())


def loss(name: str, x: Tensor, p: Parameters, y: Tensor, **options: float) -> Tensor:
    """Mean cross-entropy, from the exponentials as the definition reads."""
    total = torch.zeros((), dtype=torch.float64)
    for share, part in parts(name, x, p, y, **options):
        own = part[torch.arange(len(y)), y]
        total = total + share * (torch.logsumexp(part, dim=1) - own).mean()
    return total
