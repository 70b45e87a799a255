"""Stage 8, large-margin fine-tuning: the configuration that follows from that of the training before.

The settings are those that wespeaker publishes for its VoxCeleb rows (``resnet_lm.yaml``): 5 epochs of crops of 600
frames, half the batch, the angular margin raised from 0.2 to 0.5, no change of speed, and a rate of 1e-4 to 2.5e-5 for
each 64 crops of a batch.
"""

from __future__ import annotations

from dataclasses import replace

from ham.config import Block, Config, DistillConfig
from ham.errors import ConfigError

EPOCHS, CROP_FRAMES = 5, 600

MARGIN_FACTOR = 2.5
"""The published 0.2 to 0.5 of the angle. Nobody has published it for another margin: all get the same factor, the
hyperbolic distance of ham_softmax and eh_am_softmax and the cosine of am_softmax and ram_softmax too."""

LR, FINAL_LR, LR_CROPS = 1e-4, 2.5e-5, 64
"""The rate after the first epoch, which rises to it, and at the end, for a batch of so many crops."""


def large_margin(config: Config, place: str) -> Config:
    """The configuration of a fine-tuning.

    What is not named above stays as it is, and so do augmentation, optimiser and validation speakers. The head has the
    classes of the speakers at their own speed; ``--init_from`` picks their centres. What the training before did to
    weights that it started from itself is not done again, and there is no teacher.

    Args:
        config: of the training before, every option spelt out.
        place: where it comes from, for errors.

    Raises:
        ConfigError: if its loss has no margin.
    """
    margin = config.loss.options.get("margin", 0.0)
    if not margin > 0:
        raise ConfigError(
            f"{place}: stage 8 fine-tunes with a larger margin, and the loss {config.loss.name} has none; train one "
            "that has, such as am_softmax or ham_softmax"
        )
    batch = max(2, config.data.batch_size // 2)
    share = batch / LR_CROPS
    return replace(
        config,
        data=replace(config.data, crop_frames=CROP_FRAMES, batch_size=batch, speed_perturb=()),
        loss=replace(config.loss, options={**config.loss.options, "margin": MARGIN_FACTOR * margin}),
        optimiser=replace(config.optimiser, options={**config.optimiser.options, "lr": LR * share}),
        schedule=Block("exponential", {"warmup_epochs": 1.0, "final_lr": FINAL_LR * share}),
        margin=Block("constant"),
        curvature=Block("constant"),
        distill=DistillConfig(),
        train=replace(
            config.train, epochs=EPOCHS, average_last=1, freeze_epochs=0, init_centres="loaded", interpolate=0.0
        ),
    )
