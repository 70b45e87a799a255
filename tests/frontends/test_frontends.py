"""The front ends against torchaudio, the laws of their sizes, their refusals; SpecAugment's masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from ham import frontends
from ham.errors import ConfigError, DataError
from ham.frontends import FRONTENDS, SpecAugment, build


def waveforms(batch: int, num_samples: int, seed: int = 0) -> Tensor:
    """Noise and tones whose loudness runs from near silence to full scale."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, num_samples, generator=generator)
    time = torch.arange(num_samples) / 16000
    tones = torch.sin(2 * torch.pi * torch.linspace(150, 6000, batch)[:, None] * time)
    gain = torch.logspace(-4, -0.6, batch)[:, None]
    return ((noise + tones) * gain + 0.01).clamp(-1, 1)


def assert_within_noise(found: Tensor, expected: Tensor, reference: Tensor) -> None:
    """Not further from the same features in float64 than torchaudio's own float32, but for a factor."""
    error, usual = (found - reference).abs(), (expected - reference).abs()
    assert error.mean() < 1.5 * usual.mean() + 1e-7
    assert error.max() < 3 * usual.max() + 1e-5
    assert usual.max() < 1e-3


def published_mel(x: Tensor, **changes: int) -> Tensor:
    settings = {"sample_rate": 16000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80, **changes}
    transform = torchaudio.transforms.MelSpectrogram(
        f_min=20, f_max=3800 if changes else 7600, window_fn=torch.hamming_window, **settings
    ).to(x.dtype)
    padded = F.pad(x[:, None], (1, 0), mode="reflect")[:, 0]
    logs = (transform(padded[:, 1:] - 0.97 * padded[:, :-1]) + 1e-6).log()
    return (logs - logs.mean(2, keepdim=True)).transpose(1, 2)


def kaldi_one(x: Tensor, window_type: str, num_mel_bins: int) -> Tensor:
    fbank = torchaudio.compliance.kaldi.fbank(
        x[None] * 32768, num_mel_bins=num_mel_bins, frame_length=25, frame_shift=10, window_type=window_type, dither=0.0
    )
    return fbank - fbank.mean(0)


@pytest.mark.parametrize("num_samples", [400, 401, 559, 560, 16000, 32240])
def test_mel_equals_torchaudio(num_samples: int) -> None:
    x = waveforms(5, num_samples)
    found = build("mel")(x)
    assert_within_noise(found, published_mel(x), published_mel(x.double()))
    assert found.dtype == torch.float32


def test_mel_of_8_khz() -> None:
    x = waveforms(3, 8000)
    found = build("mel", 40, 8000, high_freq_hz=3800.0)(x)
    settings = {"sample_rate": 8000, "n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 40}
    assert_within_noise(found, published_mel(x, **settings), published_mel(x.double(), **settings))


@pytest.mark.parametrize("window_type", frontends.WINDOW_TYPES)
@pytest.mark.parametrize("num_samples", [400, 559, 560, 12345])
def test_kaldi_fbank_equals_torchaudio(window_type: str, num_samples: int) -> None:
    x = waveforms(3, num_samples)
    found = build("kaldi_fbank", 64, window_type=window_type)(x)
    expected, reference = (torch.stack([kaldi_one(row, window_type, 64) for row in y]) for y in (x, x.double()))
    assert_within_noise(found, expected, reference)


@pytest.mark.parametrize("name", FRONTENDS)
class TestEveryFrontend:
    def test_rows_do_not_depend_on_the_batch(self, name: str) -> None:
        x = waveforms(40, 16000)
        frontend = build(name)
        together = frontend(x)
        alone = torch.cat([frontend(row[None]) for row in x[::7]])
        torch.testing.assert_close(together[::7], alone, rtol=0, atol=2e-5)

    @pytest.mark.parametrize("num_samples", [400, 479, 480, 559, 560, 561, 32240])
    def test_num_frames_is_what_comes_out(self, name: str, num_samples: int) -> None:
        frontend = build(name)
        assert frontend(torch.zeros(1, num_samples)).shape == (1, frontend.num_frames(num_samples), 80)

    def test_published_crop(self, name: str) -> None:
        frontend = build(name)
        assert frontend.crop_samples(200) == 200 * 160 + 240
        assert frontend.num_frames(frontend.crop_samples(200)) == {"mel": 202, "kaldi_fbank": 200}[name]

    def test_silence_is_finite_and_zero(self, name: str) -> None:
        assert build(name)(torch.zeros(2, 3000)).abs().max() < 1e-5

    def test_mean_over_time_is_zero(self, name: str) -> None:
        assert build(name)(waveforms(4, 8000)).mean(1).abs().max() < 1e-5

    def test_float32_under_autocast_and_for_half_input(self, name: str) -> None:
        frontend, x = build(name), waveforms(2, 4000)
        with torch.autocast("cpu", torch.bfloat16):
            found = frontend(x)
        assert torch.equal(found, frontend(x))
        assert frontend(x.half()).dtype == torch.float32

    def test_leaves_the_waveform_alone_and_has_no_state(self, name: str) -> None:
        frontend, x = build(name), waveforms(2, 4000)
        before = x.clone()
        frontend(x)
        assert torch.equal(x, before)
        assert not frontend.state_dict()

    def test_gradient_reaches_the_waveform(self, name: str) -> None:
        frontend, x = build(name, 20), waveforms(2, 900)[1:].requires_grad_()
        frontend(x).square().sum().backward()
        step = torch.zeros_like(x).detach()
        step[0, 450] = 1e-3
        with torch.no_grad():
            rise = (frontend(x + step).square().sum() - frontend(x - step).square().sum()) / 2e-3
        assert x.grad is not None
        torch.testing.assert_close(x.grad[0, 450], rise, rtol=2e-2, atol=1e-2)

    def test_short_or_odd_waveforms_are_refused(self, name: str) -> None:
        frontend = build(name)
        with pytest.raises(DataError, match=r"at least 400 samples, one frame of 25 ms, found 399; leave out"):
            frontend(torch.zeros(2, 399))
        with pytest.raises(DataError, match="found 20"):
            frontend.num_frames(20)
        with pytest.raises(DataError, match=r"expected floating-point samples \(B, N\), found \(500,\)"):
            frontend(torch.zeros(500))
        with pytest.raises(DataError, match=r"torch\.int16"):
            frontend(torch.zeros(1, 500, dtype=torch.int16))

    def test_wrong_requests_are_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=r"low_freq_hz \(default 20.0\).*'low_freq'; did you mean 'low_freq_hz'"):
            build(name, low_freq=30)
        with pytest.raises(ConfigError, match=r"0 <= low < high <= 8000 .*found 20.0 and 9000"):
            build(name, high_freq_hz=9000)
        with pytest.raises(ConfigError, match="expected 0 <= low"):
            build(name, low_freq_hz="20")
        with pytest.raises(ConfigError, match="num_mel_bins: expected a whole number of at least 4, found '80'"):
            build(name, "80")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"300 bands are narrower.*would be empty; use fewer"):
            build(name, 300)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="one of mel, kaldi_fbank, found 'kaldi_fbnk'; did you mean 'kaldi_fbank'"):
        build("kaldi_fbnk")
    with pytest.raises(ConfigError, match="window_type: expected one of hamming, hanning, povey, rectangular"):
        build("kaldi_fbank", window_type="hann")


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
