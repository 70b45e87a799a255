"""How public models name their weights: what each name means here, the sizes of the network, and what it was fed.

A layout is a line of ``_LAYOUTS``. It gives the module that each module of a backbone is called there, so that every
weight of either side has its counterpart or is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ham.backbones.campplus import CamPlusPlus
from ham.backbones.resnet import ResNet34
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
        classifier: beginning of the names of the training's classifier, which some files hold; it is left out.
    """

    name: str
    source: str
    frontend: FrontendConfig
    backbone: Callable[[Shapes], BackboneConfig]
    modules: Callable[[], Iterator[tuple[str, str]]]
    classifier: str | None = None


def _campplus(shapes: Shapes) -> BackboneConfig:
    """CAM++ comes with embeddings of 192 or 512 numbers."""
    return BackboneConfig(CamPlusPlus.name, shapes.get("xvector.dense.linear.weight", (192,))[0])


def _residual(stages: Sequence[int], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A first convolution, then stages of so many residual blocks: here in one row, there by stage."""
    yield from ((f"{prefix}stem", f"{prefix}conv1"), (f"{prefix}stem_norm", f"{prefix}bn1"))
    places = [(stage, block) for stage, number in enumerate(stages, 1) for block in range(number)]
    for index, (stage, block) in enumerate(places):
        own, there = f"{prefix}blocks.{index}", f"{prefix}layer{stage}.{block}"
        for number in (1, 2):
            yield from (
                (f"{own}.conv{number}", f"{there}.conv{number}"),
                (f"{own}.norm{number}", f"{there}.bn{number}"),
            )
        yield f"{own}.shortcut", f"{there}.shortcut"


def _campplus_modules() -> Iterator[tuple[str, str]]:
    yield from _residual((2, 2), "head.")
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


def _wespeaker_resnet34(shapes: Shapes) -> BackboneConfig:
    """Embeddings of 256 numbers and 32 channels, but where the file says others."""
    width, dim = (shapes.get(name, (usual,))[0] for name, usual in (("conv1.weight", 32), ("seg_1.weight", 256)))
    return BackboneConfig(ResNet34.name, dim, {"width": width, "least_variance": 1e-7})


def _wespeaker_resnet34_modules() -> Iterator[tuple[str, str]]:
    yield from _residual(ResNet34.num_blocks)
    yield "embed", "seg_1"


_LAYOUTS = (
    Layout(
        "campplus",
        "3D-Speaker's CAM++",
        FrontendConfig("kaldi_fbank", 80, {"window_type": "povey", "sample_scale": 1.0}),
        _campplus,
        _campplus_modules,
    ),
    Layout(
        "wespeaker_resnet34",
        "wespeaker's ResNet34",
        FrontendConfig("kaldi_fbank", 80),
        _wespeaker_resnet34,
        _wespeaker_resnet34_modules,
        classifier="projection.",
    ),
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType({layout.name: layout for layout in _LAYOUTS})
"""Every layout by its name."""
