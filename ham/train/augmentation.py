"""The table of what a training step does with its waveforms: the block ``augment:`` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Literal

from ham.audio import SAMPLE_RATE
from ham.augment.augmenter import Augmenter, Materials, available_kinds, build_kinds, check_kinds, check_weights
from ham.config import AugmentConfig, complete
from ham.data.store import ArrayStore
from ham.schema import Share


@dataclass(frozen=True)
class Off:
    """The crops as they are.

    Attributes:
        noise: store of MUSAN; None to use noise and babble that need no download.
        rooms: store of room responses; None to simulate them.
        joint_pass: see :class:`CleanPlusAugmented`.
        keep_clean: whether the step takes the clean crops too.
    """

    noise: ArrayStore | None = None
    rooms: ArrayStore | None = None
    joint_pass: bool = field(default=False, init=False)
    keep_clean: ClassVar[bool] = False

    def augmenter(self) -> Augmenter | None:
        """What augments a batch; None where nothing does."""
        return None


@dataclass(frozen=True, kw_only=True)
class Replace(Off):
    """Each crop is augmented with some probability.

    Attributes:
        probability: that a crop is augmented.
        kinds: of augmentation, of which a crop gets one: reverb, music, speech, noise, voice, channel.
        weights: how often each of the kinds is drawn, in proportion to the others; [] draws all equally often.
        peak_normalise: scale every augmented crop to a peak of full scale, as wespeaker does.
        snr: ratio of speech to the recordings of ``--musan``. published: 1e-4 is added to both powers first, as the
            released code does, so that quiet noise ends quieter than asked. exact: as asked.
    """

    probability: Share = 1.0
    kinds: tuple[str, ...] = ("reverb", "music", "speech", "noise")
    weights: tuple[float, ...] = ()
    peak_normalise: bool = False
    snr: Literal["published", "exact"] = "published"

    def __post_init__(self) -> None:
        check_kinds(self.kinds)
        check_weights(self.kinds, self.weights)

    def augmenter(self) -> Augmenter:
        """What augments a batch; ``music`` is left out where there is none."""
        materials = Materials(SAMPLE_RATE, self.noise, self.rooms, self.snr)
        names = list(self.kinds)
        if "music" in names and "music" not in available_kinds(materials) and len(names) > 1:
            names.remove("music")
        weight = dict(zip(self.kinds, self.weights, strict=False))  # none where all are drawn equally often
        return Augmenter(
            build_kinds(names, materials),
            probability=self.probability,
            weights=[weight[name] for name in names if name in weight],
            peak_normalise=self.peak_normalise,
        )


@dataclass(frozen=True, kw_only=True)
class CleanPlusAugmented(Replace):
    """A step takes each crop and an augmented copy of it; the two losses are added (published).

    Attributes:
        joint_pass: one forward pass over clean and augmented crops together, which then share batch statistics; by
            default they have a pass each, as released.
    """

    joint_pass: bool = False
    keep_clean: ClassVar[bool] = True


AUGMENTATIONS: Mapping[str, type[Off]] = MappingProxyType(
    {"off": Off, "replace": Replace, "clean_plus_augmented": CleanPlusAugmented}
)
"""Every mode by its name."""


def build_augmentation(block: AugmentConfig, noise: ArrayStore | None = None, rooms: ArrayStore | None = None) -> Off:
    """The augmentation that the configuration asks for.

    Args:
        block: the configuration's.
        noise: store of MUSAN; None to use noise and babble that need no download.
        rooms: store of room responses; None to simulate them.

    Raises:
        ConfigError: if the table lacks the mode, or an option or a value is wrong.
    """
    options = complete("augment", AUGMENTATIONS, block).options
    return AUGMENTATIONS[block.mode](noise, rooms, **options)
