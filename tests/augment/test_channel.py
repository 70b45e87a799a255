from __future__ import annotations

import math

import pytest
import torch

from ham.augment.channel import Channel
from ham.augment.waveforms import Crops
from ham.errors import ConfigError

OPEN = {"low_cut_hz": (1.0, 1.0), "high_cut_hz": (8000.0, 8000.0)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def responses_db(channel: Channel, num: int, frequencies: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    drawn = channel.draw(torch.zeros(num), torch.arange(num), 1, generator, slice(None))
    return channel.responses_db(drawn, frequencies)


def test_a_flat_channel_changes_nothing() -> None:
    crops = Crops(torch.randn(4, 1000, generator=seeded()), torch.zeros(4))
    channel = Channel(equaliser_db=0.0, gain_db=(0.0, 0.0), **OPEN)
    out = channel(crops, torch.tensor([2, 0]), seeded())
    assert torch.allclose(out, crops.waveforms[[2, 0]], atol=1e-5)


def test_gain_alone_scales() -> None:
    crops = Crops(torch.randn(50, 500, generator=seeded()), torch.zeros(50))
    channel = Channel(equaliser_db=0.0, gain_db=(-12.0, 6.0), **OPEN)
    out = channel(crops, torch.arange(50), seeded())
    gain_db = 20 * (out.norm(dim=1) / crops.waveforms.norm(dim=1)).log10()
    assert gain_db.min() < -8
    assert gain_db.max() > 2
    assert torch.allclose(out, crops.waveforms * torch.pow(10, gain_db / 20).unsqueeze(1), atol=1e-4)


def test_tones_are_filtered_without_delay_as_the_response_says() -> None:
    channel = Channel()
    tones_hz = torch.tensor([100.0, 1000.0, 3000.0, 6000.0])
    time_s = torch.arange(16000) / 16000
    tones = torch.sin(2 * math.pi * tones_hz.unsqueeze(1) * time_s)
    out = channel(Crops(tones, torch.zeros(4)), torch.arange(4), seeded(3))
    asked_db = responses_db(channel, 4, tones_hz, seeded(3)).diagonal()
    inside = slice(2000, 14000)
    ratio = (out * tones)[:, inside].sum(dim=1) / tones[:, inside].square().sum(dim=1)
    assert torch.allclose(20 * ratio.log10(), asked_db, atol=0.1)
    residue = out[:, inside] - ratio.unsqueeze(1) * tones[:, inside]
    assert (residue.norm(dim=1) / out[:, inside].norm(dim=1)).max() < 0.02


def test_the_equaliser_stays_within_its_range_and_uses_it() -> None:
    channel = Channel(equaliser_db=6.0, gain_db=(0.0, 0.0), **OPEN)
    response = responses_db(channel, 200, torch.linspace(0, 8000, 1000), seeded())
    assert response.abs().max() <= 6.0 + 1e-4
    assert response.std() > 2.0


def test_band_limits_fall_by_their_slope() -> None:
    channel = Channel(
        equaliser_db=0.0,
        gain_db=(0.0, 0.0),
        low_cut_hz=(200.0, 200.0),
        high_cut_hz=(2000.0, 2000.0),
        slope_db=24.0,
    )
    frequencies = torch.tensor([0.0, 50.0, 100.0, 200.0, 1000.0, 2000.0, 4000.0, 8000.0])
    expected = torch.tensor([-24 * math.log2(200), -48.0, -24.0, 0.0, 0.0, 0.0, -24.0, -48.0])
    assert torch.allclose(responses_db(channel, 1, frequencies, seeded())[0], expected, atol=1e-3)


def test_silence_stays_silent() -> None:
    out = Channel()(Crops(torch.zeros(3, 400), torch.zeros(3)), torch.arange(3), seeded())
    assert torch.equal(out, torch.zeros(3, 400))


@pytest.mark.parametrize(
    "options",
    [{"equaliser_db": -1.0}, {"num_points": 1}, {"low_cut_hz": (0.0, 100.0)}, {"gain_db": (3.0, 1.0)}],
)
def test_channels_refuse_nonsense(options: dict) -> None:
    with pytest.raises(ConfigError):
        Channel(**options)
