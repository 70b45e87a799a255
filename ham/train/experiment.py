"""From data and a configuration to a training that can run: the parts are built and put together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from ham.augment.speed import SpeedPerturbation
from ham.config import Config, DistillConfig, to_dict
from ham.data.batches import TrainingSet, training_set
from ham.data.identity import Identity, identity
from ham.data.kaldi_dir import read_data_dir
from ham.data.store import ArrayStore, check_current
from ham.errors import ConfigError, DataError
from ham.frontends import SpecAugment
from ham.model.build import build_backbone, build_frontend, build_loss
from ham.model.encoder import Network
from ham.provenance import hardware, versions
from ham.train import distributed
from ham.train.augmentation import build_augmentation
from ham.train.class_means import start_at_class_means
from ham.train.crops import TrainingCrops
from ham.train.distill import Distillation, Teacher
from ham.train.initial import Initial, classes, seen_in_validation, start_from
from ham.train.loop import Loop
from ham.train.optimisers import build_optimiser
from ham.train.recording_targets import recording_targets
from ham.train.schedules import build_schedules
from ham.train.step import TrainingStep
from ham.train.trainable import WeightAverage, freeze, split_rates
from ham.train.validation import choose_speakers, validation_eer, validation_set
from ham.words import count

logger = logging.getLogger(__name__)

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What the backbone computes in, by ``train.precision``."""


@dataclass(frozen=True)
class Prepared:
    """The data of a training.

    Attributes:
        store: audio of the training data directory.
        utt2spk: the speaker of each of its utterances.
        data: the utterances that are trained on.
        aside: speakers that are kept for validation.
        fingerprint: what identifies the audio.
        materials: stores of noise (``musan``) and room responses (``rirs``), those that are used.
    """

    store: ArrayStore
    utt2spk: dict[str, str]
    data: TrainingSet
    aside: tuple[str, ...]
    fingerprint: Identity
    materials: Mapping[str, ArrayStore] = field(default_factory=dict)


def prepare(data_dir: Path, config: Config, seed: int, materials: Iterable[str] = ()) -> Prepared:
    """Open the training data and choose the speakers that are kept aside.

    Args:
        data_dir: folder that holds ``train/`` and ``store/``.
        config: the system.
        seed: of the choice of speakers.
        materials: names of the stores of noise and room responses to use.

    Raises:
        DataError: if the store does not belong to the data directory, or too few speakers are left.
    """
    train = read_data_dir(data_dir / "train")
    utt2spk = train.utt2spk
    store = _open(data_dir / "store" / "train", config)
    check_current(store, train.utt2dur)
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
    stores = {name: _open(data_dir / "store" / name, config) for name in materials}
    return Prepared(store, utt2spk, data, aside, identity(store, utt2spk), stores)


def _open(path: Path, config: Config) -> ArrayStore:
    """Find a missing, cut or damaged shard now and not in the middle of an epoch; with a budget it is only told."""
    store, most = ArrayStore(path), config.data.max_bad_crops
    try:
        store.check_shards()
    except DataError as error:
        if not most:
            raise
        logger.warning("%s; up to %d crops of an epoch may be unreadable (data.max_bad_crops)", error, most)
    return store


def build_speed(config: Config, num_speakers: int) -> tuple[SpeedPerturbation | None, int]:
    """The change of speed, None for none, and the classes that the loss tells apart: speakers at each speed."""
    if not config.data.speed_perturb:
        return None, num_speakers
    speed = SpeedPerturbation(num_speakers, speeds=config.data.speed_perturb)
    return speed, speed.num_classes


def build_step(
    config: Config,
    num_classes: int,
    speed: SpeedPerturbation | None,
    device: torch.device,
    materials: Mapping[str, ArrayStore] | None = None,
    teacher: Teacher | None = None,
) -> TrainingStep:
    """The forward pass with fresh weights on the device.

    Args:
        config: the system.
        num_classes: classes of the loss.
        speed: draws a speed for each crop; None for none.
        device: where to compute.
        materials: as of :class:`Prepared`.
        teacher: the model that teaches, on the device; None for none.
    """
    frontend, backbone = build_frontend(config), build_backbone(config)
    backbone.recompute = config.train.recompute
    stores = materials or {}
    augmentation = build_augmentation(config.augment, stores.get("musan"), stores.get("rirs"))
    loss = build_loss(config, num_classes).to(device)
    distillation = Distillation(teacher, loss, config.distill).to(device) if teacher else None
    return TrainingStep(
        network=Network(frontend, backbone).to(device),
        loss=loss,
        mask=SpecAugment(config.spec_augment.max_time_width, config.spec_augment.max_freq_width),
        augmenter=augmentation.augmenter(),
        keep_clean=augmentation.keep_clean,
        joint_pass=augmentation.joint_pass,
        speed=speed,
        crop_samples=frontend.crop_samples(config.data.crop_frames),
        precision=AUTOCAST[config.train.precision],
        accumulate=config.train.accumulate,
        compiled=config.train.compile,
        distillation=distillation,
    )


def build_loop(
    prepared: Prepared,
    config: Config,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    command: str,
    initial: Initial | None = None,
    teacher: Teacher | None = None,
) -> Loop:
    """Put the parts of the training together.

    Args:
        prepared: the data.
        config: the system, every option spelt out.
        folder: the experiment's.
        seed: of weights, order and augmentation.
        device: where to compute.
        command: what was called, for the checkpoints.
        initial: weights to start from; None for fresh ones.
        teacher: the model that teaches, on the device; None for none.

    Raises:
        ConfigError: if none of these weights fit.
        DataError: if stored features are another front end's, or there is nothing to find the best epochs by.
    """
    speed, num_classes = build_speed(config, len(prepared.data.speakers))
    step = build_step(config, num_classes, speed, device, prepared.materials, teacher)
    crops = _build_crops(prepared, config, step, seed, device)
    if initial is not None:
        _start(initial, prepared, config, step)
        if config.train.init_centres == "class_means":
            start_at_class_means(step, crops)
    if step.distillation is not None and config.distill.hears == "recording":
        speeds, indices = speed.speeds if speed else (1.0,), prepared.data.indices
        step.distillation.recordings = recording_targets(
            step.distillation.teacher, prepared.store, indices, speeds, folder
        )
    frozen = freeze(step.backbone, config.train.freeze)  # before the processes agree on what is trained
    step.distribute(sync_batchnorm=config.train.sync_batchnorm, shard_loss=config.train.shard_loss)
    optimiser = _optimiser(config, step)
    distributed.save_whole(optimiser, step.split)
    if config.train.ema and step.split:
        raise ConfigError(
            "train.ema: an average is not kept of centres that are split (train.shard_loss); use one of them"
        )
    ema = WeightAverage(step.backbone, step.loss, optimiser, config.train.ema) if config.train.ema else None
    _announce(prepared, config, step, num_classes, device)
    return Loop(
        step=step,
        optimiser=optimiser,
        schedules=build_schedules(config, step.loss, optimiser.defaults["lr"]),
        crops=crops,
        training=config.train,
        seed=seed,
        device=device,
        folder=folder,
        described={
            "config": to_dict(replace(config, distill=DistillConfig())),  # a model is used without its teacher
            "seed": seed,
            "fingerprint": prepared.fingerprint,
            "num_speakers": num_classes,
            "speakers": list(prepared.data.speakers),
            "valid_speakers": list(prepared.aside),
            "versions": versions(),
            "command": command,
        },
        validate=_validation(prepared, config, step, device, ema),
        facts={"hardware": hardware()},
        ema=ema,
        frozen=frozen,
    )


def _optimiser(config: Config, step: TrainingStep) -> torch.optim.Optimizer:
    """Over what is not frozen, with the rates of its parts."""
    parts = filter(None, (step.backbone, step.loss, step.distillation))
    trained = [p for part in parts for p in part.parameters() if p.requires_grad]
    optimiser = build_optimiser(config.optimiser, trained, fused=config.train.fused)
    split_rates(optimiser, step.backbone, config.train.rate_factors)
    return optimiser


def _start(initial: Initial, prepared: Prepared, config: Config, step: TrainingStep) -> None:
    """Load the weights to start from."""
    start_from(initial, step.backbone, step.loss, config, classes(prepared.data.speakers, config))
    if remark := seen_in_validation(initial, prepared.aside):
        logger.warning("%s", remark)


def _build_crops(
    prepared: Prepared, config: Config, step: TrainingStep, seed: int, device: torch.device
) -> TrainingCrops:
    """The batches, of audio or of stored features."""
    store = prepared.store
    num_rows = step.speed.input_samples(step.crop_samples) if step.speed else step.crop_samples
    if config.features == "stored":
        store, num_rows = _open(store.path.with_name("train_features"), config), config.data.crop_frames
        same = (prepared.store.utts, prepared.store.digest, to_dict(config)["frontend"])
        if (store.utts, store.meta.get("audio"), store.meta.get("frontend")) != same:
            raise DataError(
                f"{store.path}: made from other audio or by another front end; run stage 3 with this configuration"
            )
    return TrainingCrops(store, prepared.data, config.data, num_rows, seed, step.draws, device)


def _validation(
    prepared: Prepared, config: Config, step: TrainingStep, device: torch.device, ema: WeightAverage | None
) -> Callable[[], float] | None:
    """The EER on the speakers kept aside; None if there are too few of them to form both kinds of trial."""
    if len(prepared.aside) < 2 and (config.train.keep == "best" or config.train.early_stop):
        found = f"found {len(prepared.aside)} with two utterances each"
        raise DataError(f"train.keep: best and train.early_stop: expected 2 validation speakers, {found}")
    if len(prepared.aside) < 2:
        return None
    valid = validation_set(prepared.store, prepared.utt2spk, prepared.aside)
    network = Network(step.network.frontend, ema.backbone) if ema else step.network
    compute = partial(validation_eer, network, prepared.store, valid, device=device)
    return partial(distributed.from_first, compute)


def _announce(prepared: Prepared, config: Config, step: TrainingStep, num_classes: int, device: torch.device) -> None:
    """Say what is trained on what."""
    if step.augmenter and "musan" not in prepared.materials and "music" in config.augment.options.get("kinds", ()):
        logger.info("augmentation: no MUSAN (--musan): coloured noise and babble of the batch instead, no music")
    size = sum(p.numel() for p in step.backbone.parameters()) / 1e6
    logger.info(
        "%s (%.2f M parameters) with %s on %s: %s of %s (%s), %d kept for validation",
        config.backbone.name,
        size,
        config.loss.name,
        device,
        count(len(prepared.data.indices), "utterance"),
        count(len(prepared.data.speakers), "speaker"),
        count(num_classes, "class", "classes"),
        len(prepared.aside),
    )
