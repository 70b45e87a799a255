"""Self-supervised backbones against transformers itself; what padding, LoRA and pooling do."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from ham import frontends
from ham.backbones import Backbone, build
from ham.errors import ConfigError
from ham.model.encoder import Network
from tests.frontends.signals import waveforms
from tests.self_supervised import SMALL_ENCODERS, needs_transformers

pytestmark = needs_transformers

KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "w2v_bert": ("w2v_bert", "w2vbert_fbank", {}),
    "wavlm base": ("wavlm", "waveform", {}),
    "wavlm large": ("wavlm", "waveform", {"layer_norm": True}),
}


def small(kind: str, **options: Any) -> Network:
    name, frontend, own = KINDS[kind]
    torch.manual_seed(0)
    backbone = build(name, 80, 12, **SMALL_ENCODERS[name], **own, **options)
    return Network(frontends.build(frontend), backbone).eval()


def adapter_inputs(network: Network, x: Tensor) -> list[Tensor]:
    """What the adapters get, by hooks."""
    found: list[Tensor] = []
    for adapter in network.backbone.adapters:
        adapter.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        network(x)
    return found


def expected_states(kind: str, network: Network, x: Tensor) -> list[Tensor]:
    """What transformers' extractor and model make of the waveforms, the model built anew with the same weights."""
    import transformers

    model = type(network.backbone.encoder)(copy.deepcopy(network.backbone.encoder.config)).eval()
    model.load_state_dict(network.backbone.encoder.state_dict())
    if kind == "w2v_bert":
        given = transformers.SeamlessM4TFeatureExtractor()(
            list(x.numpy()), sampling_rate=16000, padding=False, return_tensors="pt", return_attention_mask=False
        )
        states = []  # as the authors' code goes through the layers
        states.append(model.feature_projection(given["input_features"])[0])
        for layer in model.encoder.layers:
            states.append(layer(states[-1]))
        return states
    found = model(x, output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_that_of_transformers(kind: str) -> None:
    network, x = small(kind), 0.3 * waveforms(2, 16000)
    with torch.no_grad():
        expected = expected_states(kind, network, x)
    found = adapter_inputs(network, x)
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("pooling", ["attentive", "factorised_attention"])
@pytest.mark.parametrize("kind", KINDS)
def test_utterances_of_other_lengths_change_no_embedding(kind: str, pooling: str) -> None:
    network = small(kind, pooling=pooling)
    each = [waveforms(1, num, seed=num)[0] for num in (400, 719, 720, 5000, 16000, 23456)]
    with torch.no_grad():
        together = network(each)
        alone = torch.cat([network(one[None]) for one in each])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_an_odd_frame_at_the_end_is_left_out() -> None:
    network = small("w2v_bert")
    features = torch.randn(2, 21, 80)
    with torch.no_grad():
        assert torch.equal(network.backbone(features), network.backbone(features[:, :20]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_leaves_out_no_layer_and_masks_nothing(kind: str) -> None:
    network = small(kind, dropout=0.0)
    x = waveforms(2, 8000)
    with torch.no_grad():
        expected = network(x)
        network.train()
        network.backbone.pooling.eval()  # batch normalisation takes its batch else
        for _ in range(5):
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        published = build("w2v_bert", 80, 256)
        lora = build("w2v_bert", 80, 256, lora_rank=64)
        large = {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "feed_forward_size": 4096, "layer_norm": True}
        wavlm = [build("wavlm", 80, 256), build("wavlm", 80, 256, **large)]
    encoder, whole = (sum(p.numel() for p in one.parameters()) for one in (published.encoder, published))
    assert encoder / 1e6 == pytest.approx(580.5, abs=0.5)
    assert (whole - encoder) / 1e6 == pytest.approx(6.2, abs=0.05)
    assert sum(p.numel() for p in lora.lora.parameters()) == 24 * 2 * 2 * 64 * 1024
    millions = [sum(p.numel() for p in one.encoder.parameters()) / 1e6 for one in wavlm]
    assert millions == pytest.approx([94.4, 315.5], abs=0.1)


def trained_lora() -> Backbone:
    backbone = small("w2v_bert", lora_rank=3, lora_alpha=6.0).backbone
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name.endswith(".up"):
                parameter.normal_()
    return backbone


def test_lora_begins_as_nothing_and_adds_its_product() -> None:
    plain, backbone = small("w2v_bert").backbone, small("w2v_bert", lora_rank=3, lora_alpha=6.0).backbone
    weights = {name: value for name, value in backbone.state_dict().items() if not name.startswith("lora.")}
    plain.load_state_dict(weights)
    features = torch.randn(2, 30, 80)
    with torch.no_grad():
        assert torch.equal(backbone(features), plain(features))
        changed = trained_lora()
        for layer, parts in enumerate(changed.lora):
            for part, change in parts.items():
                linear = plain.blocks[layer].self_attn.get_submodule(part)
                linear.weight += 6.0 / 3 * change.up @ change.down
        torch.testing.assert_close(changed(features), plain(features), rtol=1e-4, atol=1e-5)


def test_lora_becomes_part_of_the_weights_of_a_system_without() -> None:
    changed, plain = trained_lora(), small("w2v_bert").backbone
    features = torch.randn(2, 30, 80)
    plain.load_state_dict(plain.translated(changed.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(changed(features), plain(features), rtol=1e-4, atol=1e-5)
    own = changed.state_dict()
    assert changed.translated(own) is own


def test_a_copy_has_a_change_of_its_own() -> None:
    backbone, features = trained_lora(), torch.randn(2, 30, 80)
    copied = copy.deepcopy(backbone)
    with torch.no_grad():
        expected = backbone(features)
        for parameter in copied.lora.parameters():
            parameter.zero_()
        assert torch.equal(backbone(features), expected)
        assert not torch.allclose(copied(features), expected)


def test_layers_are_weighed_by_the_pooling_alone() -> None:
    backbone = small("wavlm large", pooling="factorised_attention", pooling_heads=5).backbone
    assert not backbone.adapters
    assert backbone.pooling.layer_weights.shape == (2, 3)
    assert backbone.embed.in_features == 5 * 128


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("w2v_bert", {"hidden_size": 20, "num_heads": 3}, r"hidden_size, num_heads: 20 is no multiple of 3$"),
        ("wavlm", {"hidden_size": 24}, r"hidden_size, groups .*: 24 is no multiple of 16$"),
        ("wavlm", {"layer_norm": 1}, "layer_norm: expected true or false, found 1"),
        ("w2v_bert", {"pooling": "asp"}, r"pooling: expected one of mean, statistics, attentive, .*'asp'"),
        ("w2v_bert", {"num_layers": 10**9}, "num_layers: expected 1 to 1000"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^backbone {name}: {words}"):
        build(name, 80, 12, **{**SMALL_ENCODERS[name], **options})


def test_without_transformers_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"backbone wavlm: needs transformers, found none; pip install .*\[ssl\]"):
        build("wavlm", 80, 12)
