"""Make a model directory of a public model: a state dict of another project, each of its tensors accounted for."""

from __future__ import annotations

import hashlib
import logging
import pickle
import shlex
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ham.config import Config, LossConfig, to_dict
from ham.errors import ConfigError
from ham.losses import NoLoss
from ham.model import checkpoint
from ham.model.build import build_backbone, build_frontend, resolve_model
from ham.model.contents import Contents, refuse_not_finite
from ham.model.directory import check_place, write_directory
from ham.model.layouts import LAYOUTS, Layout
from ham.schema import choose
from ham.words import clip, count

logger = logging.getLogger(__name__)

NESTED = ("state_dict", "model")
"""Where the state dict is, in files that hold more beside it."""

PARALLEL = "module."
"""What every name begins with if the network was saved from several GPUs."""

AGAIN = "fetch it again"

MOST = 65536
"""The largest size that a network may have; tensors without a size, or with another one, tell none."""


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file and those of a layout meet.

    Attributes:
        layout: the layout.
        config: the system, with the sizes that the file tells.
        backbone: the weights that have their counterpart, in the order and shapes of the backbone.
        missing: names of weights that the file lacks.
        unknown: names of tensors that the layout does not know.
        reshaped: names, and shapes expected and found, of weights of other sizes.
        changed: names of constants of the front end that are others here.
        left_out: names of tensors of the training's classifier, and of constants of the front end.
    """

    layout: Layout
    config: Config
    backbone: Mapping[str, Tensor]
    missing: Sequence[str]
    unknown: Sequence[str]
    reshaped: Sequence[str]
    changed: Sequence[str]
    left_out: Sequence[str]

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, left over, of another shape or of other values."""
        return not (self.missing or self.unknown or self.reshaped or self.changed)

    def __str__(self) -> str:
        """What does not fit, in words."""
        odd = {
            "missing": self.missing,
            "unknown": self.unknown,
            "of another shape": self.reshaped,
            "of other values": self.changed,
        }
        parts = [f"{count(len(names), 'tensor')} {how} ({names[0]}{', ...' * (len(names) > 1)})"
                 for how, names in odd.items() if names]  # fmt: skip
        return f"{len(self.backbone)} fit, {', '.join(parts)}"


def import_model(
    file: Path, out: Path, layout: str = "", *, licence: str = "", data_licence: str = "", force: bool = False
) -> Contents:
    """Make a model directory of a public model.

    Args:
        file: the state dict, as ``torch.save`` writes it; nothing in it is run.
        out: the folder to make, as for :func:`ham.model.directory.pack`.
        layout: one of ``LAYOUTS``; empty for the one that fits.
        licence: of the weights.
        data_licence: of the training speech, a sentence.
        force: replace another model directory.

    Returns:
        What was written. Its loss is ``none``: the centres of the training are not in a public model.

    Raises:
        ConfigError: if the file is no state dict, or does not fit, saying what does not; or if ``out`` is refused.
        CheckpointError: if a weight is NaN or infinite.
    """
    if layout:
        choose("--layout", layout, LAYOUTS)
    check_place(out)
    tensors = read_tensors(file)
    found = fitting(file, tensors, layout)
    refuse_not_finite(file, tensors, AGAIN)
    logger.info("%s: layout %s, %s in their places", file, found.layout.name, count(len(found.backbone), "tensor"))
    if found.left_out:
        logger.info(
            "%s: left out, the training's classifier or constants of the front end: %s",
            file,
            clip(", ".join(found.left_out)),
        )
    contents = _contents(file, out, found, licence=licence, data_licence=data_licence)
    write_directory(contents, out, force=force)
    return contents


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by their names; nothing but tensors and plain values is ever built.

    Raises:
        ConfigError: if it is not a state dict of torch, alone or under one of ``NESTED``.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: expected a file of weights, found {'a folder' if file.is_dir() else 'nothing'}")
    content = _load(file)
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    where = f"alone or under {' or '.join(repr(key) for key in NESTED)}"
    expected = f"{file}: expected a state dict, names and tensors, {where}"
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{expected}, found {'none' if content == {} else type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ConfigError(f"{expected}, found {clip(repr(key))}: {type(value).__name__}")
    shared = all(name.startswith(PARALLEL) for name in content)
    return {name.removeprefix(PARALLEL) if shared else name: value for name, value in content.items()}


def _load(file: Path) -> Any:
    """What torch reads in a file."""
    packed = zipfile.is_zipfile(file)
    reason = checkpoint.damage(file) if packed else None
    if reason is not None:
        raise ConfigError(f"{file}: damaged ({reason}); {AGAIN}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on pickles that are refused
            return torch.load(file, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ):
        found = "other objects than tensors, which can run code as they are read; ask for a plain state dict"
        if not packed:
            found = f"something else, or only a part of it; other pickles are never opened; {AGAIN}"
        raise ConfigError(f"{file}: expected tensors that torch wrote, found {found}") from None


def fitting(file: Path, tensors: Mapping[str, Tensor], layout: str = "") -> Fit:
    """Compare the tensors of a file with a layout, or with all.

    Args:
        file: for the error.
        tensors: by their names there.
        layout: one of ``LAYOUTS``; empty for the one that fits.

    Returns:
        The layout, which fits wholly.

    Raises:
        ConfigError: if it does not, naming the nearest layout and what does not fit.
    """
    fits = [compare(one, tensors) for one in LAYOUTS.values()]
    nearest = max(fits, key=lambda fit: (fit.whole, len(fit.backbone)))
    chosen = next((fit for fit in fits if fit.layout.name == layout), nearest)
    if chosen.whole:
        return chosen
    cure = f"; it is one of --layout {nearest.layout.name}" if nearest.whole else ""
    asked = "the layout" if layout else "any layout, the nearest is"
    other = f"; nearest is {nearest.layout.name}: {nearest}" if layout and nearest is not chosen and not cure else ""
    raise ConfigError(f"{file}: does not fit {asked} {chosen.layout.name}: {chosen}{cure or other}")


def compare(layout: Layout, tensors: Mapping[str, Tensor]) -> Fit:
    """Give each weight of a layout's backbone its tensor of a file.

    A map of single frames is a convolution over one frame there: dimensions of 1 at the end make no difference.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    sizes = {name: shape for name, shape in shapes.items() if shape and all(1 <= size <= MOST for size in shape)}
    config = Config(frontend=layout.frontend, backbone=layout.backbone(sizes), loss=LossConfig(NoLoss.name))
    with torch.device("meta"):
        own = build_backbone(config).state_dict()
    names = there(layout, own)
    found, missing, reshaped = {}, [], []
    for name, weight in own.items():
        value = tensors.get(names[name])
        if value is None:
            missing.append(names[name])
        elif value.is_floating_point() != weight.is_floating_point() or _bare(value) != _bare(weight):
            reshaped.append(f"{names[name]}: expected {tuple(weight.shape)}, found {tuple(value.shape)}")
        else:
            found[name] = value.to(weight.dtype).reshape(weight.shape)
    constants = layout.constants(build_frontend(config)) if layout.constants else {}
    changed = [name for name, value in constants.items() if name in tensors and not _alike(tensors[name], value)]
    further = sorted({*tensors} - {*names.values()} - {*changed})
    left_out = [name for name in further if name in constants or name.startswith(layout.needless)]
    unknown = [name for name in further if name not in left_out]
    return Fit(layout, config, found, missing, unknown, reshaped, changed, left_out)


def there(layout: Layout, names: Mapping[str, Any]) -> dict[str, str]:
    """The name that each of our weights has in a layout."""
    modules = dict(layout.modules(names))
    found = {}
    for name in names:
        parts = name.split(".")
        module = next(".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in modules)
        found[name] = modules[module] + name.removeprefix(module)
    return found


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same but for rounding."""
    return one.shape == other.shape and torch.allclose(one.to(other.dtype), other, rtol=1e-3, atol=1e-5)


def _bare(tensor: Tensor) -> tuple[int, ...]:
    """A shape without dimensions of 1 at its end."""
    shape = list(tensor.shape)
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _contents(file: Path, out: Path, found: Fit, *, licence: str, data_licence: str) -> Contents:
    """The model directory of an imported model."""
    config = resolve_model(found.config)
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    layout = found.layout
    words = ["ham", "import", str(file), "--layout", layout.name, "--out", str(out)]
    state = {
        "config": to_dict(config),
        "seed": 0,
        "num_speakers": 0,
        "speakers": [],
        "valid_speakers": [],
        "command": shlex.join(words),
        "imported": {"file": file.name, "sha256": sha256, "layout": layout.name, "source": layout.source},
        "backbone": found.backbone,
        "loss": {},
    }
    with torch.device("meta"):
        backbone = build_backbone(config)
    return Contents(
        folder=file.parent,
        name=out.resolve().name,
        state=state,
        config=config,
        fingerprint=checkpoint.weights_digest(state),
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        licence=" ".join(licence.split()),
        data_licence=" ".join(data_licence.split()),
    )
