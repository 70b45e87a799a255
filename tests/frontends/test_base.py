"""What every front end of the table must do, whatever it computes."""

from __future__ import annotations

import pytest
import torch

from ham.errors import ConfigError, DataError
from ham.frontends import FRONTENDS, Filterbank, build
from tests.frontends.signals import assert_within_noise, waveforms


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

    @pytest.mark.parametrize("num_samples", [400, 479, 480, 560, 8104, 16000])
    def test_the_product_for_exports_is_as_near_to_exact_features(self, name: str, num_samples: int) -> None:
        x, frontend = waveforms(3, num_samples), build(name, 40)
        found, reference = frontend.by_product(x, frontend.filters()), build(name, 40).double()._features(x.double())
        slack = 2.0 if name == "speechbrain_fbank" else 1.0
        assert_within_noise(found, frontend(x), reference.float(), slack)

    def test_published_crop(self, name: str) -> None:
        assert build(name).crop_samples(200) == 200 * 160 + 240

    def test_silence_is_finite_and_zero(self, name: str) -> None:
        # Of a constant as large as -124, the first coefficient of an MFCC, the mean is rounded.
        assert build(name)(torch.zeros(2, 3000)).abs().max() < 1e-3

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
        step, wide = torch.zeros_like(x, dtype=torch.float64), build(name, 20).double()
        step[0, 450] = 1e-3
        with torch.no_grad():
            above, below = (wide._features(x.double() + sign * step).square().sum() for sign in (1, -1))
        assert x.grad is not None
        torch.testing.assert_close(x.grad[0, 450], ((above - below) / 2e-3).float(), rtol=2e-2, atol=1e-2)

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
        with pytest.raises(ConfigError, match=rf"frontend {name}: (expected|has no).*found 'no_such'"):
            build(name, no_such=30)
        with pytest.raises(ConfigError, match="num_mel_bins: expected a whole number of at least 4, found '80'"):
            build(name, "80")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name, cls in FRONTENDS.items() if issubclass(cls, Filterbank)])
class TestEveryFilterbank:
    def test_mean_over_time_is_zero(self, name: str) -> None:
        assert build(name)(waveforms(4, 8000)).mean(1).abs().max() < 1e-5

    def test_empty_bands_are_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=r"300 bands are narrower.*would be empty; use fewer"):
            build(name, 300)


BANDED = [name for name, cls in FRONTENDS.items() if {"low_freq_hz", "high_freq_hz"} <= set(cls.options())]


@pytest.mark.parametrize("name", BANDED)
def test_ends_of_the_bands_without_meaning_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"low_freq_hz \(default .*'low_freq'; did you mean 'low_freq_hz'"):
        build(name, low_freq=30)
    with pytest.raises(ConfigError, match=r"0 <= low < high <= 8000 .*found 20.0 and 9000"):
        build(name, low_freq_hz=20.0, high_freq_hz=9000)
    with pytest.raises(ConfigError, match="expected 0 <= low"):
        build(name, low_freq_hz="20")


def test_frames_of_the_published_crop() -> None:
    assert [build(name).num_frames(32240) for name in ("mel", "kaldi_fbank")] == [202, 200]


def test_unknown_names_are_refused() -> None:
    known = ", ".join(FRONTENDS)
    with pytest.raises(ConfigError, match=f"one of {known}, found 'kaldi_fbnk'; did you mean 'kaldi_fbank'"):
        build("kaldi_fbnk")
