"""The published weights of a self-supervised encoder: a folder as transformers writes it, or the cache of the hub.

Nothing is downloaded: where neither the folder nor the cache has them, the message says how to fetch them. They become
part of the system that starts from them, so nobody needs the folder again.
"""

from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from ham import backbones
from ham.backbones.self_supervised import ENCODERS, SelfSupervised
from ham.config import BackboneConfig
from ham.errors import CheckpointError, ConfigError
from ham.model.load import HUB_ID
from ham.words import quote

CONFIG = "config.json"

AGAIN = "fetch it again"


class Pretrained(NamedTuple):
    """An encoder.

    Attributes:
        backbone: the backbone that takes it, with the options that its weights decide.
        weights: by their names in that backbone.
    """

    backbone: BackboneConfig
    weights: dict[str, Tensor]


def find_pretrained(path: Path) -> Path | None:
    """The folder of an encoder that ``--init_from`` names.

    Args:
        path: a folder; or ``owner/name`` or ``owner/name@revision`` of the hub, where there is no such file.

    Returns:
        The folder; None if the path is something else.

    Raises:
        ConfigError: if it is such a name, and not in the cache.
    """
    if (path / CONFIG).is_file():
        return path
    found = None if path.exists() else HUB_ID.fullmatch(str(path))
    if found is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(found[1], revision=found[2], allow_patterns=[CONFIG], local_files_only=True)
        there = (Path(folder) / CONFIG).is_file()
    except LocalEntryNotFoundError:
        there = False
    if not there:
        command = f"hf download {found[1]}" + (f" --revision {found[2]}" if found[2] else "")
        raise ConfigError(
            f"--init_from {path}: found no such folder or file, and no encoder of that name in the cache of the hub; "
            f"look at the path, or fetch the encoder first, as a training downloads nothing: `{command}`"
        )
    return Path(folder)


def read_pretrained(folder: Path) -> Pretrained:
    """Read an encoder; every weight of it is compared with what the backbone has.

    Args:
        folder: with ``config.json`` and weights.

    Raises:
        ConfigError: if it is none that a backbone here takes, or transformers is missing.
        CheckpointError: if a file is damaged, or a weight missing or of another shape.
    """
    place = folder / CONFIG
    kind, full = _read_config(place)
    options = {option: getattr(full, key) for option, key in kind.sizes.items()}
    try:
        with torch.device("meta"):
            backbone = backbones.build(kind.name, 80, 1, **options)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    assert isinstance(backbone, SelfSupervised)
    for key in kind.alike:
        ours, theirs = (_plain(getattr(one, key)) for one in (backbone.encoder.config, full))
        if ours != theirs:
            raise ConfigError(f"{place}: {key}: expected {quote(ours)}, as {kind.name} has it, found {quote(theirs)}")
    weights = _read_weights(folder, type(backbone.encoder), backbone.encoder.config)
    named = {f"encoder.{name}": value for name, value in weights.items()}
    return Pretrained(BackboneConfig(kind.name, options=options), named)


def _read_config(place: Path) -> tuple[type[SelfSupervised], Any]:
    """The backbone, and what ``config.json`` says with every default spelt out."""
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        kinds = {encoder.model_type: encoder for encoder in ENCODERS}
        name = content.get("model_type")
    except (ValueError, AttributeError, RecursionError):
        raise CheckpointError(f"{place}: expected an object of JSON, found something else; {AGAIN}") from None
    if name not in kinds:
        raise ConfigError(f"{place}: model_type: expected {' or '.join(kinds)}, found {quote(name)}")
    try:
        return kinds[name], kinds[name].read_config(content)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{place}: cannot be read ({reason}); {AGAIN}") from None


def _read_weights(folder: Path, model: Any, config: Any) -> dict[str, Tensor]:
    """All weights of an encoder in float32; heads of other tasks are left out."""
    try:
        encoder, found = model.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True, dtype=torch.float32,
            ignore_mismatched_sizes=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise CheckpointError(f"{folder}: the weights cannot be read ({reason}); {AGAIN}") from None
    if odd := sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]):
        raise CheckpointError(
            f"{folder}: weights are missing or of another shape than {CONFIG} says ({odd[0]}); {AGAIN}"
        )
    weights: dict[str, Tensor] = encoder.state_dict()
    return weights


def _plain(value: object) -> object:
    """Lists and tuples are the same."""
    return list(value) if isinstance(value, (list, tuple)) else value
