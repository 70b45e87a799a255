"""A system's configuration: one page of YAML, checked into frozen typed values, or one readable error.

The schema is the dataclasses below: a field's name is the YAML key, its type (with its range) is what may stand there,
its default is used where the key is absent. A block that chooses a part by its name (``backbone:``, ``schedule:``)
holds the name and options; these are checked by the constructor of the part, see :mod:`ham.train.blocks`.
``docs/config.md`` is made from both.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from ham.errors import ConfigError
from ham.schema import Positive, Range, accept, choose, keyword_options, option_types, unknown_key
from ham.words import clip, quote
from ham.yaml_core import parse_yaml, read_yaml

DIGESTS = {"init_from", "teacher"}
"""What an experiment's saved configuration holds of other models, where there are such: digests of the one that it
started from and of the one that taught it."""

SAVED = {"seed", "fingerprint", "materials"} | DIGESTS
"""What it holds beside the system, the seed and a description of the audio too."""


@dataclass(frozen=True)
class Block:
    """A choice from a table of names.

    Attributes:
        name: which one.
        options: further keys, by default those of its constructor.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FrontendConfig:
    """What turns samples into features.

    Attributes:
        name: which front end.
        num_mel_bins: bands of a frame.
        options: further keys, the front end's own.
    """

    name: str = "mel"
    num_mel_bins: Annotated[int, Range(1, 4096)] = 80
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Masks over the training features, filled with their mean; 0 and 0 switch them off.

    Attributes:
        max_time_width: of the mask over time, which hides 0 to ``max_time_width - 1`` frames; 0 for none.
        max_freq_width: of the mask over the bands, which hides 0 to ``max_freq_width - 1`` of them; 0 for none.
    """

    max_time_width: Annotated[int, Range(0, 1e6)] = 10
    max_freq_width: Annotated[int, Range(0, 4096)] = 8


@dataclass(frozen=True)
class BackboneConfig:
    """The network that turns features into an embedding.

    Attributes:
        name: which network.
        embedding_dim: numbers of an embedding.
        options: further keys, the network's own.
    """

    name: str = "ecapa_tdnn"
    embedding_dim: Annotated[int, Range(1, 65536)] = 192
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LossConfig:
    """What the network is trained with.

    Attributes:
        name: which loss.
        options: further keys, the loss's own, by default the published ones.
    """

    name: str = "ham_softmax"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """What a batch and an epoch are.

    Attributes:
        crop_frames: frames of a training crop: 200 are 200 x 160 + 240 samples.
        batch_size: crops drawn from the data for each step (an augmented copy of each comes on top), by all processes
            together; the learning rate belongs to it.
        crops_per_utterance: an epoch draws every training utterance this many times.
        order: shuffle: every utterance as often. balanced: every speaker as often, an epoch of the same length; the
            speakers of a batch differ where there are ``batch_size`` of them.
        max_bad_crops: crops of an epoch that may be unreadable: another utterance of the speaker is taken; one more
            stops the run.
        speed_perturb: speeds other than 1 whose speech counts as further speakers, as [0.9, 1.1]; each crop draws one
            speed.
        num_workers: processes that gather crops, for each training process; 0 gathers in that one.
        min_utterance_s: training utterances that are shorter, in seconds, are left out, counted and told; 0 takes all.
        valid_speakers: training speakers kept aside whose trials give the EER of each epoch; 0 trains on all, without
            one.
        valid_share: the same as a share of the training speakers, where that is more and ``valid_speakers`` is not 0:
            0.07 keeps 70 of 1,000 aside.
    """

    crop_frames: Annotated[int, Range(1, 1e6)] = 200
    batch_size: Annotated[int, Range(2, 1e6)] = 256  # batch normalisation needs two
    crops_per_utterance: Annotated[int, Range(1, 1e6)] = 1
    order: Literal["shuffle", "balanced"] = "shuffle"
    max_bad_crops: Annotated[int, Range(0)] = 0
    speed_perturb: tuple[float, ...] = ()
    num_workers: Annotated[int, Range(0, 1024)] = 0
    min_utterance_s: Annotated[float, Range(0, 1e6)] = 0.0
    valid_speakers: Annotated[int, Range(0)] = 10
    valid_share: Annotated[float, Range(0, 1)] = 0.0


@dataclass(frozen=True)
class AugmentConfig:
    """How the waveforms of a batch are augmented.

    Attributes:
        mode: what a step takes.
        options: further keys, the mode's own.
    """

    mode: str = "clean_plus_augmented"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DistillConfig:
    r"""A trained model that teaches: the network's embeddings are to resemble its own, beside the speaker loss.

    Attributes:
        teacher: its model directory, its experiment or its name at the hub; "" for none. The experiment is told by the
            teacher's digest, not by its path.
        weight: of the mean distance between the two embeddings of a crop, which is added to the speaker loss. At 30,
            the scale of most losses, a cosine with the teacher counts like one with the own centre; the hyperbolic
            distance pulls as hard with 5, where c is 3.
        distance: cosine: 1 minus the cosine. hyperbolic: the square of the distance in the space of a hyperbolic loss,
            the teacher's embedding as far out as one can be.
        hears: what the teacher embeds. clean: the crop at its speed before any augmentation. same: what the network
            gets, but for the masks over the features. recording: the whole recording at the crop's speed, up to 20 s,
            embedded once before the first step and kept in the experiment's folder.
    """

    teacher: str = ""
    weight: Positive = 1.0
    distance: Literal["cosine", "hyperbolic"] = "cosine"
    hears: Literal["clean", "same", "recording"] = "clean"


@dataclass(frozen=True)
class TrainConfig:
    """The loop.

    Attributes:
        epochs: length of training; it may grow with ``--resume``.
        average_last: stage 5 averages the weights of this many epochs; where there are fewer, of all.
        keep: whose checkpoints stay, and which epochs are averaged. last: the last ones. best: those with the lowest
            EER of the validation speakers, and the newest to go on from. all: every checkpoint stays, the last ones are
            averaged.
        early_stop: the training ends after this many epochs in a row without a lower EER of the validation speakers; 0
            never ends it early.
        ema: decay of an exponential moving average of the weights, such as 0.999, that validation, stage 5 and
            ``--init_from`` use in place of the weights of the moment; 0 for none.
        freeze: what keeps its weights: beginnings of the names of the backbone's parameters, as [first], or [backbone]
            for all of it. Frozen batch normalisation keeps its statistics too.
        freeze_epochs: epochs at the start in which the whole backbone keeps its weights and its statistics, and the
            loss alone is trained.
        init_centres: where the loss's centres start after ``--init_from``. loaded: where they were, if the loss and the
            speaker are the same, else as without it. class_means: at the means of each speaker's embeddings, in the
            geometry of the loss.
        interpolate: share of the weights of ``--init_from`` in the backbone of ``average.pt``, 0 to 1; 0.5 takes the
            middle between these and the trained ones, which forgets less.
        rate_factors: factors of the learning rate, as {backbone: 0.1, embed: 0.5}: of the whole backbone, or of
            parameters by the beginning of their names, of which the longest counts. All else has 1.
        clip_grad_norm: largest norm of the gradient; 0 does not clip.
        precision: bfloat16, float16: autocast of the backbone; the loss stays in float32. float16 needs, and gets, its
            loss scaled, and a step is left out where that was too much.
        tf32: a GPU may round the factors of float32 products and convolutions to 10 bits, which is faster.
        fused: one kernel for all of an optimiser's step, which is faster and rounds otherwise.
        compile: have torch compile the network, which takes a minute and makes steps faster.
        accumulate: parts of a batch that meet the network one after the other, to save memory; the batch's gradients,
            but for batch normalisation, whose statistics are those of a part.
        recompute: keep no values within the backbone's blocks for the way back but compute them again, which saves
            memory and takes about a third more time.
        checkpoint_steps: every this many steps a checkpoint is written within the epoch, from which ``--resume`` goes
            on; 0 for none.
        sync_batchnorm: of several processes: batch statistics over the crops of all of them; GPUs only.
        shard_loss: of several processes: each keeps a part of the loss's centres, for very many speakers.
        checkpoint_minutes: the same once this many minutes have passed since the last checkpoint; 0 for none.
        skip_nonfinite: steps of the training that are skipped where the loss is not finite, weights and optimiser
            untouched; one more stops the run. More than 0 reads the loss of each step, for which a GPU has to wait.
    """

    epochs: Annotated[int, Range(1, 1e6)] = 100
    average_last: Annotated[int, Range(1, 1e6)] = 5
    clip_grad_norm: Annotated[float, Range(0)] = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    tf32: bool = False
    fused: bool = False
    compile: bool = False
    accumulate: Annotated[int, Range(1, 1e6)] = 1
    recompute: bool = False
    checkpoint_steps: Annotated[int, Range(0)] = 0
    keep: Literal["last", "best", "all"] = "last"
    early_stop: Annotated[int, Range(0)] = 0
    ema: Annotated[float, Range(0, 0.999999)] = 0.0
    freeze: tuple[str, ...] = ()
    freeze_epochs: Annotated[int, Range(0)] = 0
    init_centres: Literal["loaded", "class_means"] = "loaded"
    interpolate: Annotated[float, Range(0, 1)] = 0.0
    rate_factors: dict[str, Positive] = field(default_factory=dict)
    sync_batchnorm: bool = False
    shard_loss: bool = False
    checkpoint_minutes: Annotated[float, Range(0)] = 0.0
    skip_nonfinite: Annotated[int, Range(0)] = 0


@dataclass(frozen=True)
class Config:
    r"""One system, a block for each of its parts.

    Attributes:
        features: computed on the device from audio crops, or read as stored filterbanks, which need
            ``augment.mode: off``.
        optimiser: what turns gradients into steps.
        schedule: the learning rate over the epochs. :math:`\eta` is ``optimiser.lr``, :math:`\eta_T` is ``final_lr``,
            :math:`t` the epochs that are done, :math:`T` is ``train.epochs``.
        margin: the loss's margin over the epochs.
        curvature: the loss's curvature over the epochs.
    """

    features: Literal["computed", "stored"] = "computed"
    frontend: FrontendConfig = FrontendConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    backbone: BackboneConfig = BackboneConfig()
    loss: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    distill: DistillConfig = DistillConfig()
    optimiser: Block = Block("adam")
    schedule: Block = Block("step")
    margin: Block = Block("constant")
    curvature: Block = Block("constant")
    train: TrainConfig = TrainConfig()


Choice = TypeVar("Choice", Block, AugmentConfig)


def complete(kind: str, table: Mapping[str, Callable[..., object]], block: Choice) -> Choice:
    """Check a block that chooses from a table, and spell out every option of its choice.

    An option of another choice of the table is checked and left out: to edit the name is enough.

    Args:
        kind: name of the block: ``schedule``.
        table: the choices; an option means the same in all that take it.
        block: what was asked for.

    Returns:
        The block with all options of its choice.

    Raises:
        ConfigError: if there is no such choice, no choice takes an option, or a value is wrong.
    """
    key = dataclasses.fields(block)[0].name
    own = keyword_options(table[choose(f"{kind}.{key}", getattr(block, key), table)])
    types: dict[str, Any] = {option: hint for part in table.values() for option, hint in option_types(part).items()}
    if unknown := [option for option in block.options if option not in types]:
        raise ConfigError(unknown_key(kind, unknown[0], [key, *types]))
    values = {option: accept(f"{kind}.{option}", value, types[option]) for option, value in block.options.items()}
    return dataclasses.replace(block, options={**own, **{key: values[key] for key in own if key in values}})


def load_config(path: Path, overrides: Sequence[str] = (), loss: str | None = None) -> Config:
    """Read a configuration, apply the command line's changes, check it.

    Args:
        path: a YAML file; an experiment's saved one will do, of which its seed and audio count for nothing here.
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
    config: Config = _build(Config(), tree, where, "")
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
    blocks: dict[str, Any] = _plain(tree)  # a copy, in which aliases no longer share a block
    always = SAVED - DIGESTS
    return {key: value for key, value in blocks.items() if key not in SAVED} if blocks.keys() >= always else blocks


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


def _build(default: Any, tree: object, where: str, block: str) -> Any:
    """A dataclass with a mapping's values; keys without a field go to ``options`` where there is one."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where}: {block or 'top level'}: expected a block of keys, found {quote(tree)}")
    hints = typing.get_type_hints(type(default), include_extras=True)
    takes_options = hints.pop("options", None) is not None
    if not takes_options and (unknown := [key for key in tree if key not in hints]):
        raise ConfigError(f"{where}: {unknown_key(block, unknown[0], hints)}")
    values: dict[str, Any] = {}
    for key in (key for key in hints if key in tree):
        place, value, old = f"{block}.{key}" if block else key, tree[key], getattr(default, key)
        if dataclasses.is_dataclass(old):
            values[key] = _build(old, {} if value is None else value, where, place)
        else:
            values[key] = accept(f"{where}: {place}", value, hints[key])
    if takes_options:
        values["options"] = {str(key): value for key, value in tree.items() if key not in hints}
    return dataclasses.replace(default, **values)


def _check_sense(config: Config, where: str) -> None:
    """Refuse settings that contradict each other."""
    for speed in config.data.speed_perturb:
        if not 0.5 <= speed <= 2 or speed == 1:
            raise ConfigError(f"{where}: data.speed_perturb: expected speeds of 0.5 to 2 other than 1, found {speed:g}")
    if config.features == "stored" and (config.augment.mode != "off" or config.data.speed_perturb):
        raise ConfigError(
            f"{where}: features: stored filterbanks cannot be augmented as waveforms; set augment.mode: off and "
            "data.speed_perturb: [], or features: computed"
        )
    if config.features == "stored" and config.distill.teacher and config.distill.hears != "recording":
        raise ConfigError(
            f"{where}: distill.hears: expected recording where features: stored leave no waveforms in a step, found "
            f"{config.distill.hears}"
        )
    if config.data.batch_size % config.train.accumulate or 2 * config.train.accumulate > config.data.batch_size:
        raise ConfigError(
            f"{where}: train.accumulate: expected a divisor of data.batch_size {config.data.batch_size} that leaves at "
            f"least 2 crops a part, found {config.train.accumulate}"
        )
    if config.data.valid_speakers == 1:
        raise ConfigError(f"{where}: data.valid_speakers: one speaker makes no trials; use 0 or at least 2")
    if not config.data.valid_speakers and (config.train.keep == "best" or config.train.early_stop):
        raise ConfigError(
            f"{where}: train.keep: best and train.early_stop go by the validation speakers, and data.valid_speakers is "
            "0; keep some aside, or set train.keep: last and train.early_stop: 0"
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
