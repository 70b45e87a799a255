"""Stage 4: train a system on the training data directory."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from ham.augment.speed import SpeedPerturbation
from ham.bin._system_options import add_config, boolean, read_config, top_n
from ham.cli import Parser, at_least, run
from ham.config import Config, differences, from_dict, to_dict
from ham.data.batches import TrainingSet, training_set
from ham.data.identity import Identity, changes, identity, read_sums, write_sums
from ham.data.kaldi_dir import read_data_dir
from ham.data.store import ArrayStore
from ham.errors import CheckpointError, ConfigError, DataError
from ham.files import lock_folder
from ham.frontends import SpecAugment
from ham.model import checkpoint
from ham.model.build import (
    build_augmenter,
    build_backbone,
    build_frontend,
    build_loss,
    build_optimiser,
    check_current,
    pick_device,
    resolve,
)
from ham.model.encoder import Network
from ham.provenance import hardware, versions
from ham.score.backends import DEFAULT, fitting_backends, parse_backends
from ham.score.cohort import check_training
from ham.train.loop import Loop, LoopSettings
from ham.train.schedules import curvature_at, learning_rate, margin_at
from ham.train.step import TrainingStep
from ham.train.validation import choose_speakers, validation_eer, validation_set
from ham.words import count

logger = logging.getLogger(__name__)

MATERIALS = {"musan": "noise (--musan)", "rirs": "room responses (--rirs)"}
"""Stores beside the training speech that an option takes into use, and what messages call them."""


@dataclass(frozen=True)
class Prepared:
    """The data of a run: audio, utterances that are trained on, speakers kept aside, what identifies them."""

    store: ArrayStore
    utt2spk: dict[str, str]
    data: TrainingSet
    aside: tuple[str, ...]
    fingerprint: Identity


def main(argv: Sequence[str]) -> None:
    """Train, or go on training, or say that it is done."""
    options = _parser().parse_args(argv)
    config = read_config(options)
    device = pick_device(options.device)
    prepared = prepare(options.data_dir, config, options.seed)
    _check_backends(options, prepared.aside)
    stores = {"train": prepared.store, **_materials(options, config)}
    request = describe(config, options.seed, prepared, stores)
    folder = options.exp_dir
    last, step = _last_place(folder, request, stores, options.resume)
    if last == config.train.epochs and step is None:
        logger.info("%s: trained already, %s; nothing to do", folder, count(last, "epoch"))
        return
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder, "train"):
        for left in (*folder.glob(".*.part"), *(folder / "checkpoints").glob(".*.part")):  # by a run that was killed
            left.unlink()
        write_sums(folder, stores)
        _write_request(folder, request)
        torch.manual_seed(options.seed)
        torch.set_flush_denormal(True)  # gradients of easy examples get denormal, which costs a CPU a factor of 8
        loop = build_loop(prepared, config, options, device)
        if last:
            loop.resume(last, step)
            logger.info("%s: going on %s", folder, _place_words(last, step))
        loop.run()


def _parser() -> Parser:
    """The options."""
    parser = Parser(prog="ham.bin.train", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds train/ and store/")
    parser.add_argument("--exp_dir", type=Path, required=True, help="the experiment's folder, made if missing")
    parser.add_argument(
        "--seed", type=at_least(0), default=1, help="of weights, order, augmentation, validation speakers"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--resume", type=boolean, default=False, help="true: go on after the last checkpoint")
    parser.add_argument("--command", default="", help="command that the results name; this one when missing")
    parser.add_argument("--musan", default="", help="not empty: use the MUSAN that stage 3 packed")
    parser.add_argument("--rirs", default="", help="not empty: use the room responses that stage 3 packed")
    parser.add_argument("--backends", nargs="+", default=[*DEFAULT], help="what will score it; checked before training")
    parser.add_argument("--top_n", type=top_n, default=0, help="cohort scores that as_norm will keep, likewise")
    add_config(parser)
    return parser


def _check_backends(options: Any, aside: Sequence[str]) -> None:
    """Refuse back-ends that will not be able to score, before the training."""
    backends = parse_backends(options.backends)
    for models in sorted((options.data_dir / "test").glob("*/*/enrol")):
        fitting_backends(backends, str(models.parent), has_models=True)
    if any(backend.needs_training for backend in backends):
        check_training(backends, read_data_dir(options.data_dir / "train"), aside, top_n=options.top_n)


def prepare(data_dir: Path, config: Config, seed: int) -> Prepared:
    """Open the training data and choose the speakers that are kept aside.

    Raises:
        DataError: if the store does not belong to the data directory, or too few speakers are left.
    """
    train = read_data_dir(data_dir / "train")
    utt2spk = train.utt2spk
    store = ArrayStore(data_dir / "store" / "train")
    check_current(store, train.utt2dur)
    _check_shards(store, config.data.max_bad_crops)
    aside = choose_speakers(utt2spk, config.data.valid_speakers, share=config.data.valid_share, seed=seed)
    shortest = config.data.min_utterance_s
    data = training_set(store, utt2spk, aside, min_utterance_s=shortest)
    if data.num_short:
        logger.info("%d utterances below %g s are left out (data.min_utterance_s)", data.num_short, shortest)
    if len(data.speakers) < 2:
        raise DataError(
            f"{data_dir}/train: expected at least 2 speakers besides the {len(aside)} kept aside for validation "
            f"(data.valid_speakers, data.valid_share), found {len(data.speakers)}"
            + (f"; {data.num_short} utterances are below {shortest:g} s (data.min_utterance_s)" if shortest else "")
            + "; train on more speakers, or keep fewer aside: --set data.valid_speakers=0 keeps none"
        )
    return Prepared(store, utt2spk, data, aside, identity(store, utt2spk))


def _check_shards(store: ArrayStore, max_bad_crops: int) -> None:
    """Find a missing, cut or damaged shard now and not in the middle of an epoch; with a budget it is only told."""
    try:
        store.check_shards()
    except DataError as error:
        if not max_bad_crops:
            raise
        logger.warning("%s; up to %d crops of an epoch may be unreadable (data.max_bad_crops)", error, max_bad_crops)


def _materials(options: Any, config: Config) -> dict[str, ArrayStore]:
    """The stores of noise and room responses that the augmentation is asked to use."""
    stores = {name: ArrayStore(options.data_dir / "store" / name) for name in MATERIALS if getattr(options, name)}
    for store in stores.values():
        _check_shards(store, config.data.max_bad_crops)
    return stores


def build_loop(prepared: Prepared, config: Config, options: Any, device: torch.device) -> Loop:
    """Put the parts of the training together."""
    speed = None
    if config.data.speed_perturb:
        speed = SpeedPerturbation(len(prepared.data.speakers), speeds=config.data.speed_perturb)
    num_speakers = speed.num_classes if speed else len(prepared.data.speakers)
    step = build_step(config, options, num_speakers, speed, device)
    parameters = [*step.backbone.parameters(), *step.loss.parameters()]
    store = prepared.store
    if config.features == "stored":
        store = ArrayStore(options.data_dir / "store" / "train_features")
        same = (prepared.store.utts, prepared.store.digest, to_dict(config)["frontend"])
        if (store.utts, store.meta.get("audio"), store.meta.get("frontend")) != same:
            raise DataError(
                f"{store.path}: made from other audio or by another front end; run stage 3 with this configuration"
            )
        _check_shards(store, config.data.max_bad_crops)
    _announce(prepared, config, step, num_speakers, device)
    return Loop(
        step=step,
        optimiser=build_optimiser(config.optimiser, parameters),
        store=store,
        data=prepared.data,
        settings=_settings(config, options.seed, step, speed),
        device=device,
        folder=options.exp_dir,
        described={
            **_described(prepared, config, options.seed, num_speakers),
            "command": options.command or shlex.join(["python", "-m", "ham.bin.train", *sys.argv[1:]]),
        },
        validate=_validation(prepared, step, device),
        facts={"hardware": hardware()},
    )


def build_step(
    config: Config, options: Any, num_speakers: int, speed: SpeedPerturbation | None, device: torch.device
) -> TrainingStep:
    """The forward pass with fresh weights on the device."""
    frontend = build_frontend(config)
    stores = options.data_dir / "store"
    return TrainingStep(
        network=Network(frontend, build_backbone(config)).to(device),
        loss=build_loss(config, num_speakers).to(device),
        mask=SpecAugment(config.spec_augment.max_time_width, config.spec_augment.max_freq_width),
        augmenter=build_augmenter(
            config.augment,
            stores / "musan" if options.musan else None,
            stores / "rirs" if options.rirs else None,
        ),
        keep_clean=config.augment.mode == "clean_plus_augmented",
        joint_pass=config.augment.joint_pass,
        speed=speed,
        crop_samples=frontend.crop_samples(config.data.crop_frames),
        precision=torch.bfloat16 if config.train.precision == "bfloat16" else None,
    )


def _settings(config: Config, seed: int, step: TrainingStep, speed: SpeedPerturbation | None) -> LoopSettings:
    """The loop's values."""
    rows = speed.input_samples(step.crop_samples) if speed else step.crop_samples
    return LoopSettings(
        epochs=config.train.epochs,
        batch_size=config.data.batch_size,
        crops_per_utterance=config.data.crops_per_utterance,
        crop_rows=config.data.crop_frames if config.features == "stored" else rows,
        num_workers=config.data.num_workers,
        seed=seed,
        clip_grad_norm=config.train.clip_grad_norm,
        keep_checkpoints=config.train.average_last,
        lr_at=_lr_schedule(config),
        margin_at=_margin_schedule(config, step),
        curvature_at=_curvature_schedule(config),
        order=config.data.order,
        max_bad_crops=config.data.max_bad_crops,
        checkpoint_steps=config.train.checkpoint_steps,
    )


def _lr_schedule(config: Config) -> Callable[[float], float]:
    """The learning rate as a function of the time in epochs."""
    block = config.schedule
    return partial(
        learning_rate,
        name=block.name,
        lr=config.optimiser.lr,
        num_epochs=config.train.epochs,
        warmup_epochs=block.warmup_epochs,
        gamma=block.gamma,
        step_epochs=block.step_epochs,
        final_lr=block.final_lr,
    )


def _margin_schedule(config: Config, step: TrainingStep) -> Callable[[float], float] | None:
    """The margin as a function of the time in epochs; None for a loss without one."""
    if not step.loss.has_margin:
        return None
    block = config.margin
    return partial(
        margin_at,
        name=block.name,
        final=step.loss.margin,
        start_epoch=block.start_epoch,
        end_epoch=block.end_epoch,
    )


def _curvature_schedule(config: Config) -> Callable[[float], float] | None:
    """The curvature as a function of the time in epochs; None where it does not change by itself."""
    block = config.curvature
    if block.name == "constant":
        return None
    return partial(
        curvature_at,
        name=block.name,
        start=block.start,
        final=float(config.loss.options["curvature"]),
        start_epoch=block.start_epoch,
        end_epoch=block.end_epoch,
    )


def _validation(prepared: Prepared, step: TrainingStep, device: torch.device) -> Callable[[], float] | None:
    """The EER on the speakers kept aside; None if there are too few of them to form both kinds of trial."""
    if len(prepared.aside) < 2:
        return None
    valid = validation_set(prepared.store, prepared.utt2spk, prepared.aside)
    return partial(validation_eer, step.network, prepared.store, valid, device=device)


def _described(prepared: Prepared, config: Config, seed: int, num_speakers: int) -> dict[str, Any]:
    """What every checkpoint says of itself."""
    return {
        "config": to_dict(config),
        "seed": seed,
        "fingerprint": prepared.fingerprint,
        "num_speakers": num_speakers,
        "speakers": list(prepared.data.speakers),
        "valid_speakers": list(prepared.aside),
        "versions": versions(),
    }


def _announce(prepared: Prepared, config: Config, step: TrainingStep, num_speakers: int, device: torch.device) -> None:
    """Say what is trained on what."""
    size = sum(p.numel() for p in step.backbone.parameters()) / 1e6
    logger.info(
        "%s (%.2f M parameters) with %s on %s: %s of %s (%s), %d kept for validation",
        config.backbone.name,
        size,
        config.loss.name,
        device,
        count(len(prepared.data.indices), "utterance"),
        count(len(prepared.data.speakers), "speaker"),
        count(num_speakers, "class", "classes"),
        len(prepared.aside),
    )


def _last_place(
    folder: Path, request: dict[str, Any], stores: Mapping[str, ArrayStore], resume: bool
) -> tuple[int, int | None]:
    """The epoch after which to go on, 0 to begin; or the epoch within which, and the steps that are done.

    Raises:
        ConfigError: if another configuration or other audio made the experiment, saying which, or if it was stopped
            half way and ``--resume`` is missing.
        CheckpointError: if its last checkpoint cannot be read.
    """
    last, step = max([0, *checkpoint.saved_epochs(folder / "checkpoints")]), None
    within = [place for place in checkpoint.saved_steps(folder / "checkpoints") if place[0] > last]
    if within:
        last, step = within[-1]
    if not last:
        return 0, None
    old = _in_full(_read_request(folder))
    lines = [*differences(_decisive(old), _decisive(request)), *_changes_of_audio(folder, old, request, stores)]
    if lines:
        raise ConfigError(
            f"{folder}: another configuration or other audio made this experiment ({'; '.join(lines)}); choose another "
            "--exp_name or delete the folder"
        )
    epochs = int(request["train"]["epochs"])
    if (last < epochs or step is not None) and not resume:
        raise ConfigError(
            f"{folder}: stopped {_place_words(last, step)} of {epochs}; go on with --resume, or delete the folder"
        )
    return last, step


def _place_words(epoch: int, step: int | None) -> str:
    """Where a training has come to."""
    return f"after epoch {epoch}" if step is None else f"after step {step}, in epoch {epoch}"


def describe(config: Config, seed: int, prepared: Prepared, stores: Mapping[str, ArrayStore]) -> dict[str, Any]:
    """All that an experiment is made of; another one in any of it is another experiment."""
    return {
        **to_dict(config),
        "seed": seed,
        "fingerprint": prepared.fingerprint,
        "materials": {name: identity(store) for name, store in stores.items() if name in MATERIALS},
    }


def _changes_of_audio(
    folder: Path, old: Mapping[str, Any], request: Mapping[str, Any], stores: Mapping[str, ArrayStore]
) -> list[str]:
    """How the training audio, the noise and the room responses differ from those that the experiment was made from."""
    before, now = ({"train": tree["fingerprint"], **tree["materials"]} for tree in (_audio_of(old), request))
    if not all(isinstance(one, Mapping) for one in before.values()):
        return ["its audio is not described, an earlier release made it"]
    sums = read_sums(folder)
    lines = []
    for name, what in {"train": "training", **MATERIALS}.items():
        if name in before and name in now:
            lines += changes(what, before[name], stores[name], now[name], sums.get(name))
        elif name in before or name in now:
            lines.append(f"{what}: {'used before, not now' if name in before else 'not used before, but now'}")
    return lines


def _audio_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that describes audio."""
    materials = tree.get("materials")
    return {"fingerprint": tree.get("fingerprint"), "materials": materials if isinstance(materials, Mapping) else {}}


def _in_full(request: dict[str, Any]) -> dict[str, Any]:
    """A request of an older release with the options that it did not know yet, at their defaults."""
    others = {key: value for key, value in request.items() if key not in Config.__dataclass_fields__}
    tree = {k: v for k, v in request.items() if k not in others}
    try:
        return {**to_dict(resolve(from_dict(tree))), **others}
    except ConfigError:
        return request  # an option is gone: the difference will be shown


def _decisive(request: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what changes no number: gathering processes, checkpoints within epochs, the budget."""
    free = {"data": ("num_workers", "max_bad_crops"), "train": ("checkpoint_steps",)}
    kept = {
        block: {key: value for key, value in request.get(block, {}).items() if key not in keys}
        for block, keys in free.items()
    }
    settings = {key: value for key, value in request.items() if key not in ("fingerprint", "materials")}
    return {**settings, **kept}


def _read_request(folder: Path) -> dict[str, Any]:
    """What the experiment was asked for."""
    path = folder / "config.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        found = f"cannot be read ({reason}), but there are checkpoints"
        raise CheckpointError(f"{path}: {found}; choose another --exp_name or delete {folder}") from None
    return dict(tree) if isinstance(tree, dict) else {}


def _write_request(folder: Path, request: dict[str, Any]) -> None:
    """Write the resolved configuration, with seed and description of the audio."""
    part = folder / ".config.yaml.part"
    part.write_text(yaml.safe_dump(request, sort_keys=False, default_flow_style=None), encoding="utf-8")
    part.replace(folder / "config.yaml")


if __name__ == "__main__":
    sys.exit(run(main))
