"""How public models name their weights: what each name means here, the sizes of the network, and what it was fed.

A layout is a line of ``_LAYOUTS``. It gives the module that each module of a backbone is called there, so that every
weight of either side has its counterpart or is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from types import MappingProxyType

import torch
from torch import Tensor

from ham.backbones.campplus import CamPlusPlus
from ham.backbones.ecapa_tdnn import EcapaTdnn
from ham.backbones.eres2netv2 import NUM_BLOCKS, ERes2NetV2
from ham.backbones.redimnet2 import SIZES, ReDimNet2
from ham.backbones.resnet import ResNet34
from ham.config import BackboneConfig, FrontendConfig
from ham.frontends import PREEMPHASIS, Frontend

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the tensors of a file, by their names there."""

Modules = Callable[[Collection[str]], Iterator[tuple[str, str]]]
"""Gives module here and module there, for every module of a network that has weights, from the names of these."""


@dataclass(frozen=True)
class Layout:
    """One way in which a public project stores a network.

    Attributes:
        name: of the layout.
        source: whose files these are.
        frontend: what the network was fed.
        backbone: the network, with the sizes that shapes tell; those of the published one where they do not.
        modules: what each module of the network is called there; more than it has do no harm.
        needless: beginnings of the names of the training's classifier, which some files hold, and of other tensors on
            which no embedding depends; they are left out.
        constants: what some files hold of the front end, by its names there; it is compared and left out.
    """

    name: str
    source: str
    frontend: FrontendConfig
    backbone: Callable[[Shapes], BackboneConfig]
    modules: Modules
    needless: tuple[str, ...] = ()
    constants: Callable[[Frontend], Mapping[str, Tensor]] | None = None


def _campplus(shapes: Shapes) -> BackboneConfig:
    """CAM++ comes with embeddings of 192 or 512 numbers."""
    return BackboneConfig(CamPlusPlus.name, shapes.get("xvector.dense.linear.weight", (192,))[0])


def _blocks(stages: Sequence[int], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Blocks in one row here, there numbered within each stage, of which each has so many."""
    places = [(stage, block) for stage, number in enumerate(stages, 1) for block in range(number)]
    for index, (stage, block) in enumerate(places):
        yield f"{prefix}blocks.{index}", f"{prefix}layer{stage}.{block}"


def _residual(stages: Sequence[int], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A first convolution, then stages of so many residual blocks."""
    yield from ((f"{prefix}stem", f"{prefix}conv1"), (f"{prefix}stem_norm", f"{prefix}bn1"))
    for own, there in _blocks(stages, prefix):
        for number in (1, 2):
            yield from (
                (f"{own}.conv{number}", f"{there}.conv{number}"),
                (f"{own}.norm{number}", f"{there}.bn{number}"),
            )
        yield f"{own}.shortcut", f"{there}.shortcut"


def _campplus_modules(_: Collection[str]) -> Iterator[tuple[str, str]]:
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
    return BackboneConfig(ResNet34.name, dim, {"width": width, "least_variance": 1e-7, "added_variance": 1e-7})


def _wespeaker_resnet34_modules(_: Collection[str]) -> Iterator[tuple[str, str]]:
    yield from _residual(ResNet34.num_blocks)
    yield "embed", "seg_1"


_ECAPA = (
    ("first.transform", "conv1", "layer1.conv", "blocks.0.conv.conv"),
    ("first.norm", "bn1", "layer1.bn", "blocks.0.norm.norm"),
    ("aggregate", "layer4", "conv", "mfa.conv.conv"),
    ("aggregate_norm", "", "", "mfa.norm.norm"),
    ("pooling.hidden", "attention.0", "pool.linear1", "asp.tdnn.conv.conv"),
    ("pooling.norm", "attention.2", "", "asp.tdnn.norm.norm"),
    ("pooling.scores", "attention.4", "pool.linear2", "asp.conv.conv"),
    ("pooled_norm", "bn5", "bn", "asp_bn.norm"),
    ("embed", "fc6", "linear", "fc.conv"),
    ("embedding_norm", "bn6", "", ""),
)
"""Modules of ECAPA-TDNN outside its blocks: here, at TaoRuijie's, wespeaker's and SpeechBrain's."""

_ECAPA_BLOCK = (
    ("first.transform", "conv1", "0.conv", "tdnn1.conv.conv"),
    ("first.norm", "bn1", "0.bn", "tdnn1.norm.norm"),
    ("parts.{}.transform", "convs.{}", "1.convs.{}", "res2net_block.blocks.{}.conv.conv"),
    ("parts.{}.norm", "bns.{}", "1.bns.{}", "res2net_block.blocks.{}.norm.norm"),
    ("last.transform", "conv3", "2.conv", "tdnn2.conv.conv"),
    ("last.norm", "bn3", "2.bn", "tdnn2.norm.norm"),
    ("excitation.squeeze", "se.se.1", "3.linear1", "se_block.conv1.conv"),
    ("excitation.excite", "se.se.3", "3.linear2", "se_block.conv2.conv"),
)
"""The same within a block, of which ``{}`` numbers the parts."""


def _ecapa_modules(
    column: int, prefix: str, block: str, first: int, _: Collection[str]
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """Of a column of the tables above; ``block`` is what the blocks are called there, counted from ``first``."""
    yield from ((row[0], prefix + row[column]) for row in _ECAPA)
    for index, part, row in product(range(3), range(7), _ECAPA_BLOCK):
        there = f"{prefix}{block.format(first + index)}.{row[column]}"
        yield f"blocks.{index}.{row[0].format(part)}", there.format(part)


_taoruijie_modules = partial(_ecapa_modules, 1, "speaker_encoder.", "layer{}", 1)
_wespeaker_modules = partial(_ecapa_modules, 2, "", "layer{}.se_res2block", 2)
_speechbrain_modules = partial(_ecapa_modules, 3, "", "blocks.{}", 1)


def _ecapa(variant: str, modules: Modules, shapes: Shapes) -> BackboneConfig:
    """ECAPA-TDNN of a variant; the published one's sizes where the file does not say them."""
    usual, names = EcapaTdnn.options(), dict(modules(()))

    def _size(module: str, otherwise: int, axis: int = 0) -> int:
        shape = shapes.get(f"{names[module]}.weight", ())
        return shape[axis] if len(shape) > axis else otherwise

    mfa_channels = _size("aggregate", usual["mfa_channels"])
    options = {
        "variant": variant,
        "channels": max(8, _size("first.transform", usual["channels"]) // 8 * 8),
        "se_channels": _size("blocks.0.excitation.squeeze", usual["se_channels"]),
        "mfa_channels": mfa_channels,
        "attention_channels": _size("pooling.hidden", usual["attention_channels"]),
        "global_context": _size("pooling.hidden", 3 * mfa_channels, 1) == 3 * mfa_channels,
    }
    return BackboneConfig(EcapaTdnn.name, _size("embed", 192), options)


def _mel_constants(frontend: Frontend) -> dict[str, Tensor]:
    """Filter of the pre-emphasis, window and bands, as torchaudio's module keeps them."""
    window, at = frontend.get_buffer("window"), "speaker_encoder.torchfbank"
    left = (len(window) - frontend.window_samples) // 2
    return {
        f"{at}.0.flipped_filter": torch.tensor([[[-PREEMPHASIS, 1.0]]]),
        f"{at}.1.spectrogram.window": window[left : left + frontend.window_samples],
        f"{at}.1.mel_scale.fb": frontend.get_buffer("bands")[::2],
    }


def _eres2netv2(shapes: Shapes) -> BackboneConfig:
    """The sizes that the paper varies; the published ones where the file does not say them."""
    width = shapes.get("conv1.weight", (64,))[0]
    part, out = (
        shapes.get(f"layer1.0.{name}.weight", (usual,))[0] for name, usual in (("convs.0", 26), ("conv3", 2 * width))
    )
    options = {
        "width": width,
        "base_width": -(-64 * part // width),
        "scale": max(1, sum(name.startswith("layer1.0.convs.") for name in shapes)),
        "expansion": max(1, out // width),
    }
    return BackboneConfig(ERes2NetV2.name, shapes.get("seg_1.weight", (192,))[0], options)


def _fusion(own: str, there: str) -> Iterator[tuple[str, str]]:
    names = ("squeeze", "squeeze_norm", "excite", "excite_norm")
    yield from ((f"{own}.{name}", f"{there}.local_att.{at}") for name, at in zip(names, (0, 1, 3, 4), strict=True))


_ERES2NETV2_BLOCK = (
    ("first", "conv1"),
    ("first_norm", "bn1"),
    ("parts", "convs"),
    ("part_norms", "bns"),
    ("last", "conv3"),
    ("last_norm", "bn3"),
    ("shortcut", "shortcut"),
)
"""Modules of a block of ERes2NetV2, here and there."""


def _eres2netv2_modules(names: Collection[str]) -> Iterator[tuple[str, str]]:
    yield from (("stem", "conv1"), ("stem_norm", "bn1"), ("reduce", "layer3_ds"), ("embed", "seg_1"))
    yield from _fusion("fusion", "fuse34")
    for own, there in _blocks(NUM_BLOCKS):
        yield from ((f"{own}.{name}", f"{there}.{other}") for name, other in _ERES2NETV2_BLOCK)
        for number in range(_count(names, f"{own}.fusions.")):
            yield from _fusion(f"{own}.fusions.{number}", f"{there}.fuse_models.{number}")


def _count(names: Collection[str], beginning: str) -> int:
    """How many numbered modules a list of modules has."""
    return len({name.removeprefix(beginning).split(".")[0] for name in names if name.startswith(beginning)})


def _redimnet2(shapes: Shapes) -> BackboneConfig:
    """The size with as many channels, b6 where there is none such."""
    channels = shapes.get("backbone.stem.0.weight", (0,))[0]
    size = next((name for name, one in SIZES.items() if one.channels == channels), "b6")
    options = {"size": size, "group_norm": "backbone.stem_gnorm.weight" in shapes}
    return BackboneConfig(ReDimNet2.name, shapes.get("linear.weight", (192,))[0], options)


_REDIMNET2 = (
    ("stem", "backbone.stem.0"),
    ("stem_norm", "backbone.stem.1"),
    ("maps_norm", "backbone.stem_gnorm"),
    ("head", "backbone.head"),
    ("pooling.hidden", "pool.linear1"),
    ("pooling.scores", "pool.linear2"),
    ("pooled_norm", "bn"),
    ("embed", "linear"),
)
"""Modules of ReDimNet2 outside its stages, here and there."""

_REDIMNET2_BLOCK = (
    ("conv1", "conv1"),
    ("mix1", "conv1pw"),
    ("norm1", "bn1"),
    ("conv2", "conv2"),
    ("mix2", "conv2pw"),
    ("norm2", "bn2"),
)
"""Those of a residual block."""

_REDIMNET2_CONTEXT = (
    ("reduce", "red_dim_conv.0"),
    ("norm", "red_dim_conv.1"),
    *(
        (f"convs.{at}.{name}", f"tcm.{at}.{other}")
        for at in range(4)
        for name, other in (("conv", "dwconvs.0"), ("norm", "norm"), ("mix", "pwconv1"))
    ),
    ("attention.query", "tcm.4.attention.q_proj"),
    ("attention.key", "tcm.4.attention.k_proj"),
    ("attention.value", "tcm.4.attention.v_proj"),
    ("attention.merge", "tcm.4.attention.out_proj"),
    ("attention.norm", "tcm.4.layer_norm"),
    ("attention.hidden", "tcm.4.feed_forward.intermediate_dense"),
    ("attention.out", "tcm.4.feed_forward.output_dense"),
    ("attention.out_norm", "tcm.4.final_layer_norm"),
    ("expand", "exp_dim_conv"),
)
"""Those of the sequence part of a stage."""


def _redimnet2_modules(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """A stage is a row of numbered layers there, some without weights.

    They are: sum of maps, image, first convolution, blocks, last convolution if there is one, sequence, context, all
    frames again, group normalisation.
    """
    yield from _REDIMNET2
    for index in range(_count(names, "blocks.")):
        own, there = f"blocks.{index}", f"backbone.stage{index}"
        num_blocks, has_last = _count(names, f"{own}.blocks."), _count(names, f"{own}.last.") > 0
        context = 4 + num_blocks + has_last
        yield from ((f"{own}.first", f"{there}.2"), (f"{own}.last", f"{there}.{3 + num_blocks}"))
        for block, (name, other) in product(range(num_blocks), _REDIMNET2_BLOCK):
            yield f"{own}.blocks.{block}.{name}", f"{there}.{3 + block}.conv_block.{other}"
        for name, other in _REDIMNET2_CONTEXT:
            yield f"{own}.context.{name}", f"{there}.{context}.{other}"
        yield f"{own}.norm", f"{there}.{context + 2}"
        yield f"sums.{index}.weight", f"backbone.stage{index + 1}.0.w"
    yield f"sums.{_count(names, 'sums.') - 1}.weight", "backbone.fin_wght1d.w"  # not of a stage


def _tf_mel_constants(frontend: Frontend) -> dict[str, Tensor]:
    """Filter of the pre-emphasis, two filters for each bin of the spectrum, bands, as ReDimNet2's module has them."""
    waves = frontend.filters().view(frontend.window_samples, -1, 2)[:, :-1]
    at = "spec.torchfbank"
    return {
        f"{at}.1.flipped_filter": torch.tensor([[[-PREEMPHASIS, 1.0]]]),
        f"{at}.2.real_kernel_pt": waves[:, :, 0].T[:, None],
        f"{at}.2.image_kernel_pt": -waves[:, :, 1].T[:, None],
        f"{at}.2.melbanks_pt": frontend.get_buffer("bands")[:-2:2].T[:, :, None],
    }


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
        needless=("projection.",),
    ),
    Layout(
        "wespeaker_ecapa",
        "wespeaker's ECAPA-TDNN",
        FrontendConfig("kaldi_fbank", 80),
        partial(_ecapa, "wespeaker", _wespeaker_modules),
        _wespeaker_modules,
        needless=("projection.",),
    ),
    Layout(
        "taoruijie_ecapa",
        "TaoRuijie's ECAPA-TDNN",
        FrontendConfig("mel", 80),
        partial(_ecapa, "published", _taoruijie_modules),
        _taoruijie_modules,
        needless=("speaker_loss.",),
        constants=_mel_constants,
    ),
    Layout(
        "speechbrain_ecapa",
        "SpeechBrain's ECAPA-TDNN",
        FrontendConfig("speechbrain_fbank", 80),
        partial(_ecapa, "speechbrain", _speechbrain_modules),
        _speechbrain_modules,
    ),
    Layout(
        "eres2netv2",
        "3D-Speaker's ERes2NetV2",
        FrontendConfig("kaldi_fbank", 80, {"window_type": "povey", "sample_scale": 1.0}),
        _eres2netv2,
        _eres2netv2_modules,
    ),
    Layout(
        "redimnet2",
        "ReDimNet2",
        FrontendConfig("tf_mel", 72),
        _redimnet2,
        _redimnet2_modules,
        needless=("projection.", "backbone.stage0.0."),
        constants=_tf_mel_constants,
    ),
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType({layout.name: layout for layout in _LAYOUTS})
"""Every layout by its name."""
