"""From the block ``augment:`` of a configuration to an augmenter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ham.augment.augmenter import Augmenter
from ham.config import AugmentConfig, from_dict
from ham.data.store import ArrayStore, write_store
from ham.errors import ConfigError
from ham.train.augmentation import build_augmentation
from ham.train.blocks import resolve

KINDS = ("reverb", "noise", "music", "voice")
WEIGHTS = (2016, 930, 660, 426)
WESPEAKER = AugmentConfig("replace", {"probability": 0.6, "kinds": KINDS, "weights": WEIGHTS, "peak_normalise": True})


def augmenter_of(block: AugmentConfig, noise: ArrayStore | None = None) -> Augmenter | None:
    return build_augmentation(block, noise).augmenter()


@pytest.fixture
def musan(tmp_path: Path) -> ArrayStore:
    """Quiet recordings, all of one level."""
    sign = np.where(np.arange(2000) % 2, 1, -1).astype(np.int16)
    write_store(
        tmp_path / "musan", [(f"{kind}-0", 40 * sign) for kind in ("music", "noise", "speech")], {"sample_rate": 16000}
    )
    return ArrayStore(tmp_path / "musan")


def test_weights_stay_with_their_kinds(musan: ArrayStore) -> None:
    whole = augmenter_of(WESPEAKER, musan)
    assert whole is not None
    assert dict(zip(whole.names, whole.weights, strict=True)) == dict(zip(KINDS, WEIGHTS, strict=True))
    assert (whole.probability, whole.peak_normalise) == (0.6, True)
    without = augmenter_of(WESPEAKER)
    assert without is not None
    assert dict(zip(without.names, without.weights, strict=True)) == {"reverb": 2016, "noise": 930, "voice": 426}


def test_all_kinds_are_drawn_equally_often_by_default(musan: ArrayStore) -> None:
    augmenter = augmenter_of(AugmentConfig(), musan)
    assert augmenter is not None
    assert augmenter.names == ("reverb", "music", "speech", "noise")
    assert (augmenter.weights, augmenter.probability, augmenter.peak_normalise) == ((), 1.0, False)
    assert augmenter_of(AugmentConfig("off"), musan) is None


@pytest.mark.parametrize(
    ("block", "passes"),
    [
        ({"mode": "off"}, (False, False)),
        ({"mode": "replace", "joint_pass": True}, (False, False)),
        ({}, (True, False)),
        ({"joint_pass": True}, (True, True)),
    ],
)
def test_the_mode_says_what_a_step_takes(block: dict[str, object], passes: tuple[bool, bool]) -> None:
    found = build_augmentation(resolve(from_dict({"augment": block})).augment)
    assert (found.keep_clean, found.joint_pass) == passes


def test_the_rule_of_the_ratio_reaches_the_recordings(musan: ArrayStore) -> None:
    """Loud speech over quiet noise: the published rule lowers the noise by what 1e-4 is above it."""
    power = (40 / 32768) ** 2
    shift_db = 10 * np.log10((power + 1e-4) / power)
    waves = torch.randn(300, 800, generator=torch.Generator().manual_seed(0))
    lowest = {}
    for rule in ("exact", "published"):
        augmenter = augmenter_of(AugmentConfig("replace", {"kinds": ["noise"], "snr": rule}), musan)
        assert augmenter is not None
        added = augmenter(waves, torch.arange(300), torch.Generator().manual_seed(1)) - waves
        lowest[rule] = (10 * torch.log10(waves.square().sum(1) / added.square().sum(1))).min().item()
    assert lowest["exact"] == pytest.approx(0.0, abs=0.2)
    assert lowest["published"] - lowest["exact"] == pytest.approx(shift_db, abs=0.1)


@pytest.mark.parametrize("weights", [[1.0], [1, 1, 1], [0, 0], [1, -1]])
def test_weights_are_checked_before_any_work(weights: list[float]) -> None:
    tree = {"augment": {"kinds": ["reverb", "noise"], "weights": weights}}
    with pytest.raises(ConfigError, match=r"weights: expected a number of at least 0 for each of reverb, noise"):
        resolve(from_dict(tree))
    resolve(from_dict({"augment": {**tree["augment"], "mode": "off"}}))
