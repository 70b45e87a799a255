"""The masks of SpecAugment against draws of the published formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ham.errors import ConfigError
from ham.frontends import SpecAugment


class TestSpecAugment:
    def masked(self, batch: int = 4000, frames: int = 30, bands: int = 20, seed: int = 1) -> Tensor:
        return SpecAugment()(torch.ones(batch, frames, bands), torch.Generator().manual_seed(seed)) == 0

    def test_one_span_of_frames_and_one_of_bands_a_row(self) -> None:
        masked = self.masked(300)
        frames, bands = masked.all(2), masked.all(1)
        assert torch.equal(masked, frames[:, :, None] | bands[:, None, :])
        for spans in (frames, bands):
            rises = F.pad(spans.int(), (1, 1)).diff(dim=1).clamp_min(0).sum(1)
            assert rises.max() == 1

    def test_widths_and_starts_are_drawn_by_the_formula(self) -> None:
        """Counts of every pair of width and start against draws of the formula, one example at a time."""
        masked, rng = self.masked(20_000, frames=14, bands=9), np.random.default_rng(0)
        for spans, size, most in ((masked.all(2), 14, 10), (masked.all(1), 9, 8)):
            widths = rng.integers(0, most, 200_000)  # the batch's longest is most - 1, as it is nearly always
            starts = rng.integers(0, size - (most - 1), 200_000)
            expected = np.bincount(widths * size + starts * (widths > 0), minlength=most * size) / 10
            found_widths = spans.sum(1).numpy()
            found_starts = np.where(found_widths > 0, spans.int().argmax(1).numpy(), 0)
            found = np.bincount(found_widths * size + found_starts, minlength=most * size)
            assert len(found) == most * size
            assert np.abs(found - expected).max() < 5 * (1.1 * expected.max()) ** 0.5
            assert ((found > 0) == (expected > 0)).all()

    @pytest.mark.parametrize(("frames", "bands"), [(11, 9), (30, 20), (202, 80)])
    def test_the_last_frame_and_the_last_band_are_never_reached(self, frames: int, bands: int) -> None:
        masked = self.masked(8000, frames, bands)
        for spans in (masked.all(2), masked.all(1)):
            assert not spans[:, -1].any()
            assert spans[:, :-1].any(0).all()

    @pytest.mark.parametrize("size", [1, 2, 5, 9, 10])
    def test_an_axis_no_longer_than_the_widths_is_masked_from_its_beginning(self, size: int) -> None:
        """No start is left but the first, and a width beyond the axis masks all of it."""
        masked = SpecAugment(10, 0)(torch.ones(4000, size, 3), torch.Generator().manual_seed(2)) == 0
        counts = torch.bincount(masked.all(2).sum(1), minlength=size + 1)
        widths = np.minimum(np.arange(10), size)  # ten widths as likely as one another, cut at the end
        expected = 4000 * np.bincount(widths, minlength=size + 1) / 10
        assert np.abs(counts.numpy() - expected).max() < 5 * expected.max() ** 0.5
        if size < 10:
            assert torch.equal(masked.all(2).sort(dim=1, descending=True).values, masked.all(2))

    def test_the_longest_width_of_the_batch_bounds_every_start(self) -> None:
        """One example alone may start anywhere that its own width leaves; among many, all leave room for 9 frames."""
        alone = torch.cat([self.masked(1, 30, 20, seed) for seed in range(3000)]).all(2)
        assert alone[:, 20:29].any(0).all()
        starts = self.masked(4000).all(2).int().argmax(1)
        assert starts.max() == 20

    def test_same_generator_same_masks_and_input_kept(self) -> None:
        x = torch.ones(3, 20, 10)
        first = SpecAugment()(x, torch.Generator().manual_seed(5))
        assert torch.equal(first, SpecAugment()(x, torch.Generator().manual_seed(5)))
        assert not torch.equal(first, SpecAugment()(x, torch.Generator().manual_seed(6)))
        assert (x == 1).all()

    def test_widths_of_zero_change_nothing(self) -> None:
        x = torch.ones(3, 20, 10)
        for widths in ((0, 0), (1, 1)):  # a bound of 1 leaves the width 0
            assert torch.equal(SpecAugment(*widths)(x, torch.Generator()), x)

    @pytest.mark.parametrize("widths", [(-1, 8), (10, 2.5), (True, 8)])
    def test_wrong_widths_are_refused(self, widths: tuple[int, int]) -> None:
        with pytest.raises(ConfigError, match=r"spec_augment: max_(time|freq)_width: expected a whole number"):
            SpecAugment(*widths)
