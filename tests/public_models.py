"""Files in the layouts of public projects, with random numbers, for tests: names and shapes as documented there."""

from __future__ import annotations

import torch
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
