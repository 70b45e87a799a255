"""The contract of every backbone: shapes, padding, gradients, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ham.backbones import BACKBONES, Backbone, build
from ham.errors import ConfigError, DataError
from tests.self_supervised import SMALL_ENCODERS, installed

SMALL: dict[str, dict[str, Any]] = {
    "campplus": {"width": 4, "channels": 16, "layers": [2, 2, 2], "growth": 8, "bottleneck": 16},
    "ecapa_tdnn": {"channels": 32, "scale": 4, "se_channels": 8, "mfa_channels": 48, "attention_channels": 16},
    "eres2netv2": {"width": 3, "base_width": 64, "expansion": 1},
    "redimnet2": {"size": "b0", "group_norm": True},
    "resnet18": {"width": 4},
    "resnet34": {"width": 2, "pooling": "attentive"},
    **SMALL_ENCODERS,
}
"""Options that make every backbone small; a backbone that is not here is tested with its defaults."""

LENGTHS = (1, 2, 3, 5, 7, 8, 9, 13, 16, 17, 20, 29, 31, 40, 55, 60)


def small(name: str, num_mel_bins: int = 20) -> Backbone:
    torch.manual_seed(0)
    return build(name, num_mel_bins, 12, **SMALL.get(name, {}))


def trained(name: str) -> Backbone:
    """After a few steps, so that batch normalisation has statistics and maps 0 elsewhere."""
    backbone = small(name)
    optimiser = torch.optim.SGD(backbone.parameters(), lr=0.05)
    for _ in range(4):
        optimiser.zero_grad()
        (backbone(1 + 2 * torch.randn(6, 33, 20)) - 1).square().mean().backward()
        optimiser.step()
    return backbone.eval()


@pytest.mark.parametrize("name", installed(BACKBONES))
class TestEveryBackbone:
    @pytest.mark.parametrize("filling", [0.0, 1e6, float("nan"), float("inf")])
    def test_padding_changes_nothing(self, name: str, filling: float) -> None:
        backbone = trained(name)
        batch = torch.full((len(LENGTHS), max(LENGTHS) + 4, 20), filling)
        alone = []
        for row, length in zip(batch, LENGTHS, strict=True):
            row[:length] = torch.randn(length, 20) * 2 + 1
            alone.append(row[None, :length].clone())
        with torch.no_grad():
            together = backbone(batch, torch.tensor(LENGTHS))
            expected = torch.cat([backbone(features) for features in alone])
        torch.testing.assert_close(together, expected, rtol=1e-5, atol=1e-5)

    def test_what_is_computed_again_is_the_same(self, name: str) -> None:
        """Gradients, and the running statistics, which count each batch once."""
        features, found = torch.randn(4, 33, 20), []
        for recompute in (False, True):
            backbone = small(name)
            backbone.recompute = recompute
            calls: list[nn.Module] = []
            for part in backbone.blocks[0].modules():  # its parts: hooks of a block may stay outside of the second time
                if not [*part.children()]:
                    part.register_forward_pre_hook(lambda part, _, calls=calls: calls.append(part))
            backbone(features).square().mean().backward()
            assert calls.count(calls[0]) == 1 + recompute
            found.append([[p.grad for p in backbone.parameters()], dict(backbone.named_buffers())])
        torch.testing.assert_close(*found, rtol=0, atol=0)
        with torch.no_grad():
            backbone(features)
        assert calls.count(calls[0]) == 3

    def test_frames_that_count_do_change_something(self, name: str) -> None:
        backbone, features = trained(name), torch.randn(2, 30, 20)
        changed = features.clone()
        changed[:, 19] += 1
        lengths = torch.tensor([20, 19])
        moved = (backbone(features, lengths) - backbone(changed, lengths)).abs().amax(1)
        assert moved[0] > 1e-4
        assert moved[1] == 0

    def test_full_lengths_are_no_lengths(self, name: str) -> None:
        backbone, features = trained(name), torch.randn(3, 25, 20)
        assert torch.equal(backbone(features, torch.full((3,), 25)), backbone(features))

    def test_every_parameter_gets_a_finite_gradient(self, name: str) -> None:
        backbone = small(name)
        backbone(torch.randn(4, 30, 20)).square().sum().backward()
        for key, parameter in backbone.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key

    def test_bfloat16_is_near_float32(self, name: str) -> None:
        backbone, features = trained(name), torch.randn(4, 40, 20)
        with torch.autocast("cpu", torch.bfloat16):
            found = backbone(features).float()
        assert torch.cosine_similarity(found, backbone(features)).min() > 0.99

    def test_constant_features_are_finite(self, name: str) -> None:
        backbone = trained(name)
        assert backbone(torch.zeros(2, 12, 20)).isfinite().all()

    def test_state_goes_from_one_to_another(self, name: str) -> None:
        first, second, features = trained(name), small(name).eval(), torch.randn(2, 30, 20)
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(features), second(features))

    def test_wrong_features_are_refused(self, name: str) -> None:
        backbone = small(name)
        with pytest.raises(DataError, match=r"expected shape \(B, T, 20\).*found \(2, 30, 21\); the front end's"):
            backbone(torch.zeros(2, 30, 21))
        with pytest.raises(DataError, match=r"B and T at least 1, found \(2, 0, 20\)"):
            backbone(torch.zeros(2, 0, 20))
        with pytest.raises(DataError, match=r"found \(30, 20\)$"):
            backbone(torch.zeros(30, 20))
        with pytest.raises(DataError, match=r"floating-point type, found torch\.int16"):
            backbone(torch.zeros(2, 30, 20, dtype=torch.int16))

    @pytest.mark.parametrize(
        ("lengths", "sentence"),
        [
            (torch.tensor([5, 31]), "expected 1 to 30 frames, found 5 to 31"),
            (torch.tensor([0, 30]), "expected 1 to 30 frames, found 0 to 30"),
            (torch.tensor([5]), r"expected shape \(2,\) of torch.int64, found \(1,\)"),
            (torch.tensor([5.0, 6.0]), "of torch.float32"),
        ],
    )
    def test_wrong_lengths_are_refused(self, name: str, lengths: Tensor, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            small(name)(torch.zeros(2, 30, 20), lengths)

    def test_wrong_requests_are_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"backbone {name}: expected one of the options .*found 'colour'$"):
            build(name, 80, 192, colour=3)
        with pytest.raises(ConfigError, match="embedding_dim: expected a whole number of at least 1, found 0"):
            build(name, 80, 0)


def test_misspelt_names_are_refused() -> None:
    sentence = f"expected one of {', '.join(BACKBONES)}.*, found 'ecapa_tdn'; did you mean 'ecapa_tdnn'"
    with pytest.raises(ConfigError, match=sentence):
        build("ecapa_tdn", 80, 192)
    with pytest.raises(ConfigError, match=r"channels \(default 1024\), .*'chanels'; did you mean 'channels'"):
        build("ecapa_tdnn", 80, 192, chanels=64)
