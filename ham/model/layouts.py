"""How public models name their weights: what each name means here, the sizes of the network, and what it was fed.

A layout is a line of ``_LAYOUTS``. It gives the module that each module of a backbone is called there, so that every
weight of either side has its counterpart or is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ham.backbones.campplus import CamPlusPlus
from ham.config import BackboneConfig, FrontendConfig

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the tensors of a file, by their names there."""


@dataclass(frozen=True)
class Layout:
    """One way in which a public project stores a network.

    Attributes:
        name: of the layout.
        source: whose files these are.
        frontend: what the network was fed.
        backbone: the network, with the sizes that shapes tell; those of the published one where they do not.
        modules: module here and module there, for every module of the network that has weights.
    """

    name: str
    source: str
    frontend: FrontendConfig
    backbone: Callable[[Shapes], BackboneConfig]
    modules: Callable[[], Iterator[tuple[str, str]]]


def _campplus(shapes: Shapes) -> BackboneConfig:
    """CAM++ comes with embeddings of 192 or 512 numbers."""
    return BackboneConfig(CamPlusPlus.name, shapes.get("xvector.dense.linear.weight", (192,))[0])


def _campplus_modules() -> Iterator[tuple[str, str]]:
    yield from (("head.stem", "head.conv1"), ("head.stem_norm", "head.bn1"))
    for index in range(4):
        there = f"head.layer{index // 2 + 1}.{index % 2}"
        for own, name in (("conv1", "conv1"), ("norm1", "bn1"), ("conv2", "conv2"), ("norm2", "bn2")):
            yield f"head.blocks.{index}.{own}", f"{there}.{name}"
        yield f"head.blocks.{index}.shortcut", f"{there}.shortcut"
    yield from (("head.last", "head.conv2"), ("head.last_norm", "head.bn2"))
    yield from (("first", "xvector.tdnn.linear"), ("first_norm", "xvector.tdnn.nonlinear.batchnorm"))
    for block, layers in enumerate(CamPlusPlus.options()["layers"]):
        for layer in range(layers):
            own, there = f"blocks.{block}.layers.{layer}", f"xvector.block{block + 1}.tdnnd{layer + 1}"
            yield from ((f"{own}.norm", f"{there}.nonlinear1.batchnorm"), (f"{own}.narrow", f"{there}.linear1"))
            yield f"{own}.narrow_norm", f"{there}.nonlinear2.batchnorm"
            yield f"{own}.local", f"{there}.cam_layer.linear_local"
            yield f"{own}.mask.squeeze", f"{there}.cam_layer.linear1"
            yield f"{own}.mask.excite", f"{there}.cam_layer.linear2"
        transit = f"xvector.transit{block + 1}"
        yield from (
            (f"blocks.{block}.norm", f"{transit}.nonlinear.batchnorm"),
            (f"blocks.{block}.halve", f"{transit}.linear"),
        )
    yield "last_norm", "xvector.out_nonlinear.batchnorm"
    yield from (("embed", "xvector.dense.linear"), ("embedding_norm", "xvector.dense.nonlinear.batchnorm"))


_LAYOUTS = (
    Layout(
        "campplus",
        "3D-Speaker's CAM++",
        FrontendConfig("kaldi_fbank", 80, {"window_type": "povey", "sample_scale": 1.0}),
        _campplus,
        _campplus_modules,
    ),
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType({layout.name: layout for layout in _LAYOUTS})
"""Every layout by its name."""
