"""Files in the layouts of public projects, with random numbers, for tests: names and shapes as documented there."""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor


def batch_norm(name: str, size: int, *, affine: bool = True) -> dict[str, Tensor]:
    """The tensors of a batch normalisation that has seen something."""
    learnt = {"weight": 0.5 + torch.rand(size), "bias": 0.1 * torch.randn(size)} if affine else {}
    seen = {"running_mean": 0.1 * torch.randn(size), "running_var": 0.5 + torch.rand(size)}
    counter = {"num_batches_tracked": torch.tensor(7)}
    return {f"{name}.{key}": value for key, value in {**learnt, **seen, **counter}.items()}


def weight(name: str, *shape: int) -> dict[str, Tensor]:
    """A map whose results are as large as what it takes."""
    fan_in = torch.Size(shape[1:]).numel()
    return {f"{name}.weight": torch.randn(*shape) / fan_in**0.5}


def campplus(dim: int = 192) -> dict[str, Tensor]:
    """CAM++ as 3D-Speaker stores it: 937 tensors."""
    torch.manual_seed(3)
    found = {**weight("head.conv1", 32, 1, 3, 3), **batch_norm("head.bn1", 32)}
    for stage in (1, 2):
        for block in (0, 1):
            name = f"head.layer{stage}.{block}"
            for index in (1, 2):
                found |= {**weight(f"{name}.conv{index}", 32, 32, 3, 3), **batch_norm(f"{name}.bn{index}", 32)}
            if block == 0:
                found |= {**weight(f"{name}.shortcut.0", 32, 32, 1, 1), **batch_norm(f"{name}.shortcut.1", 32)}
    found |= {**weight("head.conv2", 32, 32, 3, 3), **batch_norm("head.bn2", 32)}
    found |= {**weight("xvector.tdnn.linear", 128, 320, 5), **batch_norm("xvector.tdnn.nonlinear.batchnorm", 128)}
    width = 128
    for number, layers in enumerate((12, 24, 16), 1):
        for layer in range(1, layers + 1):
            name = f"xvector.block{number}.tdnnd{layer}"
            found |= {**batch_norm(f"{name}.nonlinear1.batchnorm", width), **weight(f"{name}.linear1", 128, width, 1)}
            found |= batch_norm(f"{name}.nonlinear2.batchnorm", 128)
            found |= weight(f"{name}.cam_layer.linear_local", 32, 128, 3)
            for part, out, channels in (("linear1", 64, 128), ("linear2", 32, 64)):
                found |= weight(f"{name}.cam_layer.{part}", out, channels, 1)
                found[f"{name}.cam_layer.{part}.bias"] = torch.randn(out)
            width += 32
        name = f"xvector.transit{number}"
        found |= {**batch_norm(f"{name}.nonlinear.batchnorm", width), **weight(f"{name}.linear", width // 2, width, 1)}
        width //= 2
    found |= batch_norm("xvector.out_nonlinear.batchnorm", width)
    found |= weight("xvector.dense.linear", dim, 2 * width, 1)
    return found | batch_norm("xvector.dense.nonlinear.batchnorm", dim, affine=False)


def wespeaker_resnet34(dim: int = 256) -> dict[str, Tensor]:
    """ResNet34 as wespeaker stores it, with the classifier of its training."""
    torch.manual_seed(4)
    found, channels = {**weight("conv1", 32, 1, 3, 3), **batch_norm("bn1", 32)}, 32
    for stage, (blocks, width) in enumerate(((3, 32), (4, 64), (6, 128), (3, 256)), 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            found |= {**weight(f"{name}.conv1", width, channels, 3, 3), **batch_norm(f"{name}.bn1", width)}
            found |= {**weight(f"{name}.conv2", width, width, 3, 3), **batch_norm(f"{name}.bn2", width)}
            if channels != width:
                found |= weight(f"{name}.shortcut.0", width, channels, 1, 1)
                found |= batch_norm(f"{name}.shortcut.1", width)
            channels = width
    found |= {**weight("seg_1", dim, 2 * 256 * 10), "seg_1.bias": torch.randn(dim)}
    return found | {"projection.weight": torch.randn(11, dim)}


def layer(conv: str, norm: str, *shape: int) -> dict[str, Tensor]:
    """A convolution with a bias, and the batch normalisation behind it."""
    return {**affine(conv, *shape), **batch_norm(norm, shape[0])}


def affine(name: str, *shape: int) -> dict[str, Tensor]:
    """A map with a bias."""
    return {**weight(name, *shape), f"{name}.bias": 0.1 * torch.randn(shape[0])}


def wespeaker_ecapa(channels: int = 1024, mfa: int = 1536, global_context: bool = True) -> dict[str, Tensor]:
    """ECAPA-TDNN as wespeaker stores it, with the classifier of its training: 221 tensors and that."""
    torch.manual_seed(5)
    found, width = layer("layer1.conv", "layer1.bn", channels, 80, 5), channels // 8
    for number in (2, 3, 4):
        at = f"layer{number}.se_res2block"
        found |= layer(f"{at}.0.conv", f"{at}.0.bn", channels, channels, 1)
        for part in range(7):
            found |= layer(f"{at}.1.convs.{part}", f"{at}.1.bns.{part}", width, width, 3)
        found |= layer(f"{at}.2.conv", f"{at}.2.bn", channels, channels, 1)
        found |= {**affine(f"{at}.3.linear1", 128, channels), **affine(f"{at}.3.linear2", channels, 128)}
    found |= affine("conv", mfa, 3 * channels, 1)
    found |= affine("pool.linear1", 128, mfa * (3 if global_context else 1), 1)
    found |= {**affine("pool.linear2", mfa, 128, 1), **batch_norm("bn", 2 * mfa), **affine("linear", 192, 2 * mfa)}
    return found | {"projection.weight": torch.randn(11, 192)}


def taoruijie_ecapa(channels: int = 1024, mfa: int = 1536) -> dict[str, Tensor]:
    """ECAPA-TDNN as TaoRuijie's trainer stores it: 234 tensors, three of them of the front end, and the classifier."""
    torch.manual_seed(6)
    found, width = layer("conv1", "bn1", channels, 80, 5), channels // 8
    for number in (1, 2, 3):
        at = f"layer{number}"
        found |= layer(f"{at}.conv1", f"{at}.bn1", channels, channels, 1)
        for part in range(7):
            found |= layer(f"{at}.convs.{part}", f"{at}.bns.{part}", width, width, 3)
        found |= layer(f"{at}.conv3", f"{at}.bn3", channels, channels, 1)
        found |= {**affine(f"{at}.se.se.1", 128, channels, 1), **affine(f"{at}.se.se.3", channels, 128, 1)}
    found |= {**affine("layer4", mfa, 3 * channels, 1), **layer("attention.0", "attention.2", 256, 3 * mfa, 1)}
    found |= {**affine("attention.4", mfa, 256, 1), **batch_norm("bn5", 2 * mfa)}
    found |= layer("fc6", "bn6", 192, 2 * mfa)
    mel = torchaudio.transforms.MelSpectrogram(
        16000, 512, 400, 160, f_min=20, f_max=7600, n_mels=80, window_fn=torch.hamming_window
    )
    found |= {"torchfbank.0.flipped_filter": torch.tensor([[[-0.97, 1.0]]])}
    found |= {f"torchfbank.1.{name}": value for name, value in mel.state_dict().items()}
    encoder = {f"speaker_encoder.{name}": value for name, value in found.items()}
    return encoder | {"speaker_loss.weight": torch.randn(11, 192)}


def speechbrain_ecapa(channels: int = 1024, mfa: int = 3072) -> dict[str, Tensor]:
    """ECAPA-TDNN as SpeechBrain stores it: 231 tensors."""
    torch.manual_seed(7)

    def _block(at: str, *shape: int) -> dict[str, Tensor]:
        return layer(f"{at}.conv.conv", f"{at}.norm.norm", *shape)

    found, width = _block("blocks.0", channels, 80, 5), channels // 8
    for number in (1, 2, 3):
        at = f"blocks.{number}"
        found |= {**_block(f"{at}.tdnn1", channels, channels, 1), **_block(f"{at}.tdnn2", channels, channels, 1)}
        for part in range(7):
            found |= _block(f"{at}.res2net_block.blocks.{part}", width, width, 3)
        found |= affine(f"{at}.se_block.conv1.conv", 128, channels, 1)
        found |= affine(f"{at}.se_block.conv2.conv", channels, 128, 1)
    found |= {**_block("mfa", mfa, 3 * channels, 1), **_block("asp.tdnn", 128, 3 * mfa, 1)}
    found |= {**affine("asp.conv.conv", mfa, 128, 1), **batch_norm("asp_bn.norm", 2 * mfa)}
    return found | affine("fc.conv", 192, 2 * mfa, 1)


def eres2netv2(width: int = 64, part: int = 26, scale: int = 2, expansion: int = 2) -> dict[str, Tensor]:
    """ERes2NetV2 as 3D-Speaker stores it; ``part`` is what a part of the first stage has."""
    torch.manual_seed(8)

    def _fusion(at: str, channels: int) -> dict[str, Tensor]:
        squeeze = layer(f"{at}.local_att.0", f"{at}.local_att.1", channels // 4, 2 * channels, 1, 1)
        return squeeze | layer(f"{at}.local_att.3", f"{at}.local_att.4", channels, channels // 4, 1, 1)

    found, channels = {**weight("conv1", width, 1, 3, 3), **batch_norm("bn1", width)}, width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inside, out = part << stage, (width << stage) * expansion
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            found |= weight(f"{at}.conv1", inside * scale, channels, 1, 1) | batch_norm(f"{at}.bn1", inside * scale)
            for index in range(scale):
                found |= weight(f"{at}.convs.{index}", inside, inside, 3, 3) | batch_norm(f"{at}.bns.{index}", inside)
            for index in range(scale - 1 if stage > 1 else 0):
                found |= _fusion(f"{at}.fuse_models.{index}", inside)
            found |= weight(f"{at}.conv3", out, inside * scale, 1, 1) | batch_norm(f"{at}.bn3", out)
            if block == 0:
                found |= weight(f"{at}.shortcut.0", out, channels, 1, 1) | batch_norm(f"{at}.shortcut.1", out)
            channels = out
    found |= weight("layer3_ds", channels, channels // 2, 3, 3) | _fusion("fuse34", channels)
    return found | affine("seg_1", 192, 2 * channels * 10)


def redimnet2(
    channels: int = 12, reductions: tuple[int, ...] = (36, 36, 36, 36, 18, 18), head: int = 64,
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2), *, group_norm: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """ReDimNet2 as its authors store it, of the sizes b0 (the defaults) to b2; a head of 0 for none."""
    torch.manual_seed(9)
    wide, bands = 72 * channels, 72
    at = "backbone.stem"
    found = {**affine(f"{at}.0", channels, 1, 3, 3), **_layer_norm(f"{at}.1", channels)}
    found |= _layer_norm(f"{at}_gnorm", wide) if group_norm else {}
    for index, (blocks, stride, reduction) in enumerate(zip((2, 3, 4, 5, 4, 3), strides, reductions, strict=True)):
        every, out = (1, 1, 2, 2, 4, 4)[index], channels * stride
        inside, at = out * (1 if index else 2), f"backbone.stage{index}"
        found[f"{at}.0.w"] = torch.randn(1, index + 1, wide, 1) if index else torch.zeros(1, 1, wide, 1)
        found |= affine(f"{at}.2", inside, 1, stride, every)
        for block in range(3, 3 + blocks):
            for number in (1, 2):
                name = f"{at}.{block}.conv_block"
                found |= weight(f"{name}.conv{number}", inside, 1, 3, 3)
                found |= layer(f"{name}.conv{number}pw", f"{name}.bn{number}", inside, inside, 1, 1)
        if inside != out:
            found |= layer(f"{at}.{3 + blocks}.0", f"{at}.{3 + blocks}.1", out, inside, 1, 1)
        context = 4 + blocks + (inside != out)
        found |= _context(f"{at}.{context}", wide, wide // reduction)
        found |= _layer_norm(f"{at}.{context + 2}", wide) if group_norm else {}
        channels, bands = out, bands // stride
    found |= {"backbone.fin_wght1d.w": torch.randn(1, 7, wide, 1)}
    found |= affine("backbone.head", head, channels, 1, 1) if head else {}
    pooled = (head or channels) * bands
    found |= affine("pool.linear1", 128, 3 * pooled, 1) | affine("pool.linear2", pooled, 128, 1)
    return found | batch_norm("bn", 2 * pooled) | affine("linear", 192, 2 * pooled) | _tf_mel()


def _layer_norm(name: str, size: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 0.5 + torch.rand(size), f"{name}.bias": 0.1 * torch.randn(size)}


def _context(at: str, wide: int, hidden: int) -> dict[str, Tensor]:
    """The part over time of a stage of ReDimNet2."""
    found = affine(f"{at}.red_dim_conv.0", hidden, wide, 1) | _layer_norm(f"{at}.red_dim_conv.1", hidden)
    for number, size in enumerate((7, 19, 31, 59)):
        found |= layer(f"{at}.tcm.{number}.dwconvs.0", f"{at}.tcm.{number}.norm", hidden, 1, size)
        found |= affine(f"{at}.tcm.{number}.pwconv1", hidden, hidden, 1)
    linear = [f"attention.{name}_proj" for name in ("k", "v", "q", "out")]
    for name in (*linear, "feed_forward.intermediate_dense", "feed_forward.output_dense"):
        found |= affine(f"{at}.tcm.4.{name}", hidden, hidden)
    found |= _layer_norm(f"{at}.tcm.4.layer_norm", hidden) | _layer_norm(f"{at}.tcm.4.final_layer_norm", hidden)
    return found | affine(f"{at}.exp_dim_conv", wide, hidden, 1)


def _tf_mel() -> dict[str, Tensor]:
    """The constants of ReDimNet2's front end: a cosine and a sine for each bin under the window, and triangles."""
    angles = 2 * torch.pi * torch.outer(torch.arange(256.0), torch.arange(400.0)).double() / 512
    window = torch.hamming_window(400, periodic=False, dtype=torch.float64)
    mel = 2595 * torch.log10(1 + torch.linspace(0, 8000, 256).double() / 700)
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (20, 7600))
    corners = torch.linspace(low, high, 74).double()[:, None]
    rising, falling = (mel - corners[:-2]) / (corners[1] - corners[0]), (corners[2:] - mel) / (corners[1] - corners[0])
    triangles = torch.minimum(rising, falling).clamp_min(0)
    triangles[:, 0] = 0
    at = "spec.torchfbank"
    return {
        f"{at}.1.flipped_filter": torch.tensor([[[-0.97, 1.0]]]),
        f"{at}.2.real_kernel_pt": (angles.cos() * window).float()[:, None],
        f"{at}.2.image_kernel_pt": (angles.sin() * window).float()[:, None],
        f"{at}.2.melbanks_pt": triangles.float()[:, :, None],
    }
