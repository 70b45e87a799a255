"""A system's configuration: one page of YAML, checked into frozen typed values, or one readable error.

The schema is the dataclasses below: a field's name is the YAML key, its type is what may stand there, its
default is used where the key is absent. Blocks that name a part of the model (``backbone:``, ``loss:``,
``frontend:``) hold ``name`` and options; those options are checked by the part's own constructor.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ham.errors import ConfigError
from ham.words import clip, quote
from ham.yaml_core import parse_yaml, read_yaml


@dataclass(frozen=True)
class FrontendConfig:
    """Which front end turns samples into features; further keys are its options."""

    name: str = "mel"
    num_mel_bins: int = 80
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Masks of training features: 0 to ``max_time_width - 1`` frames and 0 to ``max_freq_width - 1`` bands; 0 and 0
    switch it off. The published 10 and 8 mask at most 9 and 7, see :class:`ham.frontends.SpecAugment`.
    """

    max_time_width: int = 10
    max_freq_width: int = 8


@dataclass(frozen=True)
class BackboneConfig:
    """Which network turns features into an embedding; further keys are its options."""

    name: str = "ecapa_tdnn"
    embedding_dim: int = 192
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LossConfig:
    """Which loss trains it; further keys are its options, by default the published ones."""

    name: str = "ham_softmax"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """What a batch and an epoch are."""

    crop_frames: int = 200
    """Frames of a training crop: 200 x 160 + 240 samples."""
    batch_size: int = 256
    """Crops drawn from the data for each step (an augmented copy of each comes on top)."""
    crops_per_utterance: int = 1
    """An epoch draws every training utterance this many times."""
    order: Literal["shuffle", "balanced"] = "shuffle"
    """shuffle: every utterance as often. balanced: every speaker as often, an epoch of the same length; the speakers
    of a batch differ where there are ``batch_size`` of them."""
    max_bad_crops: int = 0
    """Crops of an epoch that may be unreadable: another utterance of the speaker is taken; one more stops the run."""
    speed_perturb: tuple[float, ...] = ()
    """Speeds other than 1 whose speech counts as further speakers, as (0.9, 1.1); each crop draws one speed."""
    num_workers: int = 0
    """Processes that gather crops; 0 gathers in the training process."""
    min_utterance_s: float = 0.0
    """Training utterances that are shorter are left out, counted and told; 0 takes all."""
    valid_speakers: int = 10
    """Training speakers kept aside whose trials give the EER of each epoch; 0 trains on all, without one."""
    valid_share: float = 0.0
    """The same as a share of the training speakers, where that is more and ``valid_speakers`` is not 0: 0.07 keeps 70
    of 1,000 aside."""


@dataclass(frozen=True)
class AugmentConfig:
    """How the waveforms of a batch are augmented."""

    mode: Literal["off", "replace", "clean_plus_augmented"] = "clean_plus_augmented"
    """``clean_plus_augmented``: the step takes each crop and an augmented copy, the two losses are added
    (published). ``replace``: each crop is augmented with ``probability``. ``off``."""
    joint_pass: bool = False
    """For ``clean_plus_augmented``: one forward pass over clean and augmented crops together, which then share batch
    statistics; by default they have a pass each, as released."""
    probability: float = 1.0
    kinds: tuple[str, ...] = ("reverb", "music", "speech", "noise")
    weights: tuple[float, ...] = ()
    """How often each of the kinds is drawn, in proportion to the others; [] draws all equally often."""
    peak_normalise: bool = False
    """Scale every augmented crop to a peak of full scale, as wespeaker does."""
    snr: Literal["published", "exact"] = "published"
    """Ratio of speech to the recordings of ``--musan``. published: 1e-4 is added to both powers first, as the released
    code does, so that quiet noise ends quieter than asked. exact: as asked."""


@dataclass(frozen=True)
class OptimiserConfig:
    """Optimiser and its settings; ``momentum`` (Nesterov) concerns sgd only."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 2e-5
    momentum: float = 0.9


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over the epochs, after a linear warm-up from 0."""

    name: Literal["constant", "step", "exponential", "cosine"] = "step"
    warmup_epochs: float = 0.0
    gamma: float = 0.97
    """step: factor after every ``step_epochs`` epochs."""
    step_epochs: int = 1
    final_lr: float = 5e-5
    """exponential, cosine: the rate at the end of training."""


@dataclass(frozen=True)
class MarginConfig:
    """The margin over the epochs: 0 until ``start_epoch``, the loss's own margin from ``end_epoch`` on."""

    name: Literal["constant", "linear", "exponential"] = "constant"
    start_epoch: float = 0.0
    end_epoch: float = 0.0


@dataclass(frozen=True)
class CurvatureConfig:
    """The curvature over the epochs: ``start`` until ``start_epoch``, the loss's own from ``end_epoch`` on."""

    name: Literal["constant", "linear", "exponential"] = "constant"
    start: float = 1.0
    start_epoch: float = 0.0
    end_epoch: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    epochs: int = 100
    average_last: int = 5
    """Stage 5 averages the weights of this many last epochs."""
    clip_grad_norm: float = 0.0
    """Largest norm of the gradient; 0 does not clip."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of the backbone; the loss stays in float32."""
    checkpoint_steps: int = 0
    """Every this many steps a checkpoint is written within the epoch, from which --resume goes on; 0 for none."""


@dataclass(frozen=True)
class Config:
    """One system. ``features``: computed on the device from audio crops, or read as stored filterbanks."""

    features: Literal["computed", "stored"] = "computed"
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    margin: MarginConfig = field(default_factory=MarginConfig)
    curvature: CurvatureConfig = field(default_factory=CurvatureConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


RANGES: Mapping[str, tuple[float, float]] = {
    "frontend.num_mel_bins": (1, 4096),
    "spec_augment.max_time_width": (0, 1e6),
    "spec_augment.max_freq_width": (0, 4096),
    "backbone.embedding_dim": (1, 65536),
    "data.crop_frames": (1, 1e6),
    "data.batch_size": (2, 1e6),  # batch normalisation needs two
    "data.crops_per_utterance": (1, 1e6),
    "data.max_bad_crops": (0, math.inf),
    "data.num_workers": (0, 1024),
    "data.min_utterance_s": (0, 1e6),
    "data.valid_speakers": (0, math.inf),
    "data.valid_share": (0, 1),
    "augment.probability": (0, 1),
    "optimiser.weight_decay": (0, 1),
    "optimiser.momentum": (0, 1),
    "schedule.warmup_epochs": (0, 1e6),
    "schedule.step_epochs": (1, 1e6),
    "margin.start_epoch": (0, 1e6),
    "margin.end_epoch": (0, 1e6),
    "curvature.start_epoch": (0, 1e6),
    "curvature.end_epoch": (0, 1e6),
    "train.epochs": (1, 1e6),
    "train.average_last": (1, 1e6),
    "train.clip_grad_norm": (0, math.inf),
    "train.checkpoint_steps": (0, math.inf),
}
"""The smallest and the largest value of a number, by its dotted key; the largest are beyond every use."""

POSITIVE = ("optimiser.lr", "schedule.gamma", "schedule.final_lr", "curvature.start")
"""Numbers that must be above 0."""


def load_config(path: Path, overrides: Sequence[str] = (), loss: str | None = None) -> Config:
    """Read a configuration, apply the command line's changes, check it.

    Args:
        path: a YAML file.
        overrides: ``dotted.key=value`` each, the value written as in YAML; they win over the file.
        loss: name of a loss that replaces the file's; if it is another one, the file's loss options (which
            belong to the file's loss) are dropped and the published defaults hold.

    Raises:
        ConfigError: naming the file, the key, what was expected and what was found.
    """
    tree = _read_blocks(path)
    if loss is not None:
        block = tree.get("loss")
        if not isinstance(block, dict) or block.get("name") != loss:
            tree["loss"] = {"name": loss}
    for override in overrides:
        _apply(tree, override)
    named = tree.get("loss")
    if loss is not None and isinstance(named, dict) and named.get("name") != loss:
        raise ConfigError(f"--set loss.name={named.get('name')}: contradicts --loss {loss}; give one of them")
    return from_dict(tree, origin(path, overrides, loss))


def origin(path: Path, overrides: Sequence[str] = (), loss: str | None = None) -> str:
    """Where a configuration comes from, the beginning of an error's message: the file, and what changed it.

    Args:
        path: the file.
        overrides: as :func:`load_config` takes them.
        loss: likewise.

    Returns:
        ``conf/mini.yaml``, and ``conf/mini.yaml with --loss softmax --set train.epochs=3`` where these were given.
    """
    changes = [f"--loss {loss}"] * bool(loss) + [f"--set {clip(' '.join(overrides))}"] * any(overrides)
    return f"{path} with {' '.join(changes)}" if changes else str(path)


def from_dict(tree: Mapping[str, Any], where: str = "configuration") -> Config:
    """Check a nested mapping and turn it into a configuration; ``where`` names its origin in errors."""
    config = _build(Config, tree, where, "")
    assert isinstance(config, Config)
    _check_ranges(config, where)
    _check_sense(config, where)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """The nested mapping that ``from_dict`` turns into the same configuration: plain YAML values."""
    return typing.cast("dict[str, Any]", _plain(config))


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested mappings, a line for each leaf: ``key: old -> new``."""
    lines: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines


def _read_blocks(path: Path) -> dict[str, Any]:
    """The blocks of a file; none where it is empty."""
    tree = read_yaml(path)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected blocks such as 'loss:', found {quote(tree)}")
    return typing.cast("dict[str, Any]", _plain(tree))  # a copy, in which aliases no longer share a block


def _apply(tree: dict[str, Any], override: str) -> None:
    """Put the value of ``dotted.key=value`` into the tree."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {clip(override)}: expected 'block.key=value', as train.epochs=3")
    value = parse_yaml(text, f"--set {clip(override)}")
    *blocks, last = key.strip().split(".")
    for block in blocks:
        inner = tree.setdefault(block, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {clip(override)}: expected a block of keys as '{block}', found {quote(inner)}")
        tree = inner
    tree[last] = value


def _build(cls: type[Any], tree: object, where: str, prefix: str) -> object:
    """Turn a mapping into the dataclass ``cls``; keys without a field go to ``options`` where there is one."""
    if not isinstance(tree, Mapping):
        raise ConfigError(
            f"{where}: {prefix.rstrip('.') or 'top level'}: expected a block of keys, found {quote(tree)}"
        )
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.name != "options"]
    extra = {key: value for key, value in tree.items() if key not in known}
    if extra and "options" not in hints:
        raise ConfigError(f"{where}: {_unknown(prefix, next(iter(extra)), known)}")
    values = {key: _convert(hints[key], tree[key], where, f"{prefix}{key}") for key in known if key in tree}
    if "options" in hints:
        values["options"] = {str(key): value for key, value in extra.items()}
    return cls(**values)


def _unknown(prefix: str, key: object, known: list[str]) -> str:
    """The sentence for a key that does not exist."""
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"; did you mean '{prefix}{near[0]}'?" if near else ";"
    return f"unknown key {quote(f'{prefix}{key}')}{hint} the keys here are: {', '.join(known)}"


def _convert(hint: Any, value: object, where: str, key: str) -> object:
    """Check a value against a field's type; whole numbers are accepted where a real number is asked for."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), {} if value is None else value, where, f"{key}.")
    origin = typing.get_origin(hint)
    if origin is Literal:
        return _choice(typing.get_args(hint), value, where, key)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: {key}: expected a list such as [a, b], found {quote(value)}")
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, item, where, f"{key}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise ConfigError(f"{where}: {key}: expected {_KINDS[hint]}, found {quote(value)}")


def _choice(choices: tuple[Any, ...], value: object, where: str, key: str) -> object:
    """Check that a value is one of the words allowed."""
    if value not in choices:
        near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"{where}: {key}: expected one of {', '.join(choices)}, found {quote(value)}{hint}")
    return value


_KINDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
"""Types in a user's words."""


def _leaf(config: Config, key: str) -> float:
    """The number at a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return float(value)


def _check_ranges(config: Config, where: str) -> None:
    """Refuse numbers that are too small or too large."""
    for key, (least, most) in RANGES.items():
        number = _leaf(config, key)
        if not least <= number <= most:
            expected = f"{least:g} to {most:g}" if least <= number and most < math.inf else f"at least {least:g}"
            raise ConfigError(f"{where}: {key}: expected {expected}, found {number:g}")
    for key in POSITIVE:
        if _leaf(config, key) <= 0:
            raise ConfigError(f"{where}: {key}: expected a number above 0, found {_leaf(config, key):g}")
    for speed in config.data.speed_perturb:
        if not 0.5 <= speed <= 2 or speed == 1:
            raise ConfigError(f"{where}: data.speed_perturb: expected speeds of 0.5 to 2 other than 1, found {speed:g}")


def _check_sense(config: Config, where: str) -> None:
    """Refuse settings that contradict each other."""
    if config.features == "stored" and (config.augment.mode != "off" or config.data.speed_perturb):
        raise ConfigError(
            f"{where}: features: stored filterbanks cannot be augmented as waveforms; set augment.mode: off and "
            "data.speed_perturb: [], or features: computed"
        )
    if config.augment.joint_pass and config.augment.mode != "clean_plus_augmented":
        raise ConfigError(
            f"{where}: augment.joint_pass: joins the two views of augment.mode clean_plus_augmented, and the mode is "
            f"{config.augment.mode}; leave it out"
        )
    if config.train.average_last > config.train.epochs:
        raise ConfigError(
            f"{where}: train.average_last: {config.train.average_last} epochs cannot be averaged, "
            f"train.epochs is {config.train.epochs}"
        )
    if config.data.valid_speakers == 1:
        raise ConfigError(f"{where}: data.valid_speakers: one speaker makes no trials; use 0 or at least 2")
    if config.margin.end_epoch < config.margin.start_epoch:
        raise ConfigError(f"{where}: margin.end_epoch: expected at least margin.start_epoch")
    curvature = config.curvature
    if curvature.name != "constant" and not curvature.start_epoch <= curvature.end_epoch <= config.train.epochs:
        raise ConfigError(
            f"{where}: curvature.end_epoch: expected curvature.start_epoch to train.epochs ({config.train.epochs}), so "
            f"that scoring finds the loss's own curvature, found {curvature.end_epoch:g}"
        )


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as plain YAML values; options stand beside the known keys."""
    if dataclasses.is_dataclass(value):
        pairs = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        options = pairs.pop("options", {})
        return {**pairs, **options}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
