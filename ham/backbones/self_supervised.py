r"""Self-supervised encoders of transformers as backbones: w2v-BERT 2.0 and WavLM, all of their layers used.

The hidden states of all :math:`L` layers, and what enters the first, each go through an adapter of their own; side by
side they are pooled with attention, and a linear map gives the embedding (MFA; Li, Cheng & Li 2025, arXiv:2510.04213):

.. math:: x_t = [A_0(h_{0t}); \dots; A_L(h_{Lt})], \quad A_l(h) = W_l' \, \mathrm{ReLU}(\mathrm{LN}(W_l h)).

With the pooling ``factorised_attention`` there are no adapters: it weighs the layers itself (MHFA).

The encoder's sizes are options, so that a configuration and its weights are all that a system needs; the published
weights of the encoder come in by ``--init_from``, see :mod:`ham.model.pretrained`. ``train.freeze: [encoder]`` keeps
them, and ``train.rate_factors: {encoder: 0.1}`` slows them down.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones.base import Backbone
from ham.backbones.pooling import FactorisedAttentionPooling
from ham.errors import ConfigError
from ham.schema import Positive, Range, Share, accept, option_types

Size = Annotated[int, Range(1, 65536)]
Layers = Annotated[int, Range(1, 1000)]
Rank = Annotated[int, Range(0, 65536)]

TRAINED_OTHERWISE = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
"""What transformers would do in training by itself: mask the speech, leave out layers, of which each is needed here."""

PLAIN = {"attn_implementation": "eager"}
"""Attention without a kernel of its own, which no exporter knows with a bias that depends on the position."""


class SelfSupervised(Backbone):
    """Base of the self-supervised backbones: adapters, pooling, embedding.

    A subclass sets ``name`` and what follows to ``alike``, builds its encoder and gives its hidden states.

    Attributes:
        library_name: how the names of its classes in transformers begin.
        model_type: what the encoder's ``config.json`` calls it.
        sizes: the entry of ``config.json`` that each option which the weights decide stands for.
        alike: further entries that must be as here.
        encoder: the model of transformers; its parameters' names begin so.
    """

    library_name: ClassVar[str]
    model_type: ClassVar[str]
    sizes: ClassVar[Mapping[str, str]]
    alike: ClassVar[tuple[str, ...]]
    encoder: Any

    @classmethod
    def read_config(cls, content: Mapping[str, Any]) -> Any:
        """What transformers makes of the content of a ``config.json``.

        Raises:
            ConfigError: if transformers is missing.
            ValueError: if a value has another type.
        """
        from huggingface_hub.errors import StrictDataclassError

        config = getattr(cls._transformers(), f"{cls.library_name}Config")
        try:
            return config.from_dict(dict(content))
        except (TypeError, StrictDataclassError) as error:
            raise ValueError(str(error)) from None

    def _build_encoder(self, **settings: Any) -> None:
        """Make the encoder, with fresh weights."""
        library = self._transformers()
        config = getattr(library, f"{self.library_name}Config")(**settings, **TRAINED_OTHERWISE, **PLAIN)
        self.encoder = getattr(library, f"{self.library_name}Model")(config)

    def _build_head(self, pooling: str, adapter_dim: int, pooling_heads: int) -> None:
        """Make all that is not the encoder, whose sizes are those of its configuration."""
        size, number = self.encoder.config.hidden_size, self.encoder.config.num_hidden_layers + 1
        weighs_layers = pooling == FactorisedAttentionPooling.name
        self.adapters = nn.ModuleList(_adapter(size, adapter_dim) for _ in range(0 if weighs_layers else number))
        self.pooling = self._pooling(
            pooling, size if weighs_layers else number * adapter_dim, num_layers=number, num_heads=pooling_heads,
            attention_channels=adapter_dim, global_context=False,
        )  # fmt: skip
        self.embed = nn.Linear(self.pooling.output_dim, self.embedding_dim)

    @property
    def blocks(self) -> nn.ModuleList:
        """The encoder's layers, which ``recompute`` computes again."""
        layers: nn.ModuleList = self.encoder.encoder.layers
        return layers

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        if self.recompute and not self.encoder.is_activation_checkpointing:
            self.encoder.activation_checkpointing_enable()
        states, padded = self._states(features, padded)
        if self.adapters:
            frames = torch.cat([adapter(state) for adapter, state in zip(self.adapters, states, strict=True)], 2)
        else:
            frames = torch.stack(states).transpose(0, 1)  # memory by layer: the pooling's sums copy nothing
        return torch.as_tensor(self.embed(self.pooling(frames, padded)))

    @abstractmethod
    def _states(self, features: Tensor, padded: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """The hidden states ``(B, T', H)``, first to last, and which of their frames do not count."""

    def _run(self, inputs: Tensor, counting: Tensor | None) -> list[Tensor]:
        """What transformers' model makes of its input, whose mask is True where it counts."""
        found = self.encoder(inputs, attention_mask=counting, output_hidden_states=True, return_dict=True)
        return [*found.hidden_states[:-1], found.last_hidden_state]  # normalised, where the model has that

    def _check(self, **options: Any) -> None:
        """Refuse an option that is not of the type that the constructor gives it."""
        hints = option_types(type(self))
        for option, value in options.items():
            accept(self._place(option), value, hints[option])

    def _check_multiple(self, hidden_size: int, option: str, factor: int) -> None:
        if hidden_size % factor:
            raise ConfigError(f"{self._place(f'hidden_size, {option}')}: {hidden_size} is no multiple of {factor}")

    @classmethod
    def _transformers(cls) -> Any:
        """The library, which takes seconds to load and is needed by nobody else."""
        try:
            import transformers
        except ImportError:
            cure = 'pip install "ham-speaker[ssl]", or pip install ".[ssl]" in a clone'
            raise ConfigError(f"backbone {cls.name}: needs transformers, found none; {cure}") from None
        transformers.utils.logging.set_verbosity_error()  # what it warns of, as of weights left out, is checked here
        transformers.utils.logging.disable_progress_bar()
        return transformers


class W2vBert(SelfSupervised):
    """w2v-BERT 2.0: 24 Conformer layers, 580 M parameters, on the front end ``w2vbert_fbank``; 6.2 M on top of them.

    Two frames side by side are one of the encoder's, 20 ms; an odd frame at the end is left out.

    Args:
        num_mel_bins: ``F``; the published weights take 80.
        embedding_dim: ``D``.
        hidden_size: width of the encoder's layers, a multiple of ``num_heads``.
        num_layers: layers of the encoder.
        num_heads: heads of their attention.
        feed_forward_size: width of their feed-forward parts.
        dropout: share of the values of the encoder that a training leaves out.
        pooling: one of ``POOLINGS``: ``factorised_attention`` (MHFA) weighs the layers itself, the others take the
            adapters' outputs side by side (MFA).
        adapter_dim: width of each layer's adapter, and of the attention of ``attentive``.
        pooling_heads: heads of ``factorised_attention``.
        lora_rank: rank of the change that the encoder's queries and values may learn while it is frozen (LoRA), 64
            where published; 0 for none. A system of rank 0 that starts from one with it takes it into its weights.
        lora_alpha: factor of that change, times the rank.
    """

    name: ClassVar[str] = "w2v_bert"
    library_name = "Wav2Vec2Bert"
    model_type = "wav2vec2-bert"
    sizes: ClassVar[Mapping[str, str]] = {
        "hidden_size": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "feed_forward_size": "intermediate_size",
    }
    alike = (
        "conv_depthwise_kernel_size", "hidden_act", "layer_norm_eps", "left_max_position_embeddings",
        "position_embeddings_type", "right_max_position_embeddings",
    )  # fmt: skip

    def __init__(
        self,
        num_mel_bins: int,
        embedding_dim: int,
        *,
        hidden_size: Size = 1024,
        num_layers: Layers = 24,
        num_heads: Size = 16,
        feed_forward_size: Size = 4096,
        dropout: Share = 0.1,
        pooling: str = "attentive",
        adapter_dim: Size = 128,
        pooling_heads: Size = 32,
        lora_rank: Rank = 0,
        lora_alpha: Positive = 128.0,
    ) -> None:
        super().__init__(num_mel_bins, embedding_dim)
        self._check(
            hidden_size=hidden_size, num_layers=num_layers, num_heads=num_heads, feed_forward_size=feed_forward_size,
            dropout=dropout, pooling=pooling, adapter_dim=adapter_dim, pooling_heads=pooling_heads, lora_rank=lora_rank,
            lora_alpha=lora_alpha,
        )  # fmt: skip
        self._check_multiple(hidden_size, "num_heads", num_heads)
        self._build_encoder(
            hidden_size=hidden_size, num_hidden_layers=num_layers, num_attention_heads=num_heads,
            intermediate_size=feed_forward_size, feature_projection_input_dim=2 * self.num_mel_bins,
            conformer_conv_dropout=dropout,
        )  # fmt: skip
        self._build_head(pooling, adapter_dim, pooling_heads)
        self.lora = nn.ModuleList(
            nn.ModuleDict({part: LowRank(hidden_size, lora_rank, lora_alpha) for part in ADAPTED})
            for _ in range(num_layers if lora_rank else 0)
        )
        for name, change in self.lora.named_modules():
            if isinstance(change, LowRank):
                layer, _, part = name.partition(".")
                self.encoder.get_submodule(f"encoder.layers.{layer}.self_attn.{part}").register_forward_hook(change)

    def translated(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of a system with LoRA, for one without: the change becomes part of the encoder's weights."""
        changes = {name for name in weights if name.startswith("lora.")}
        if self.lora or not changes:
            return weights
        merged = {name: value for name, value in weights.items() if name not in changes}
        for name in sorted(name for name in changes if name.endswith(".up")):
            _, layer, part, _ = name.split(".")
            own = f"encoder.encoder.layers.{layer}.self_attn.{part}.weight"
            down, factor = (weights[name.removesuffix("up") + other] for other in ("down", "factor"))
            merged[own] = merged[own] + factor * (weights[name] @ down)
        return merged

    def _states(self, features: Tensor, padded: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        pairs = max(1, features.shape[1] // 2)
        inputs = F.pad(features, (0, 0, 0, 1))[:, : 2 * pairs].reshape(features.shape[0], pairs, -1)
        if padded is None:
            return self._run(inputs, None), None
        padded = F.pad(padded, (0, 0, 0, 1), value=True)[:, 1 : 2 * pairs : 2].clone()
        padded[:, 0] = False
        return self._run(inputs, ~padded[..., 0]), padded


ADAPTED = ("linear_q", "linear_v")
"""The maps of the attention that LoRA changes, as published."""


class LowRank(nn.Module):
    r"""What LoRA adds to a linear map: :math:`\frac{\alpha}{r} U D x`, where U starts at 0 (Hu et al. 2022).

    Args:
        size: width of the map.
        rank: :math:`r`, rows of D.
        alpha: :math:`\alpha`.
    """

    factor: Tensor

    def __init__(self, size: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, size).uniform_(-(size**-0.5), size**-0.5))
        self.up = nn.Parameter(torch.zeros(size, rank))
        self.register_buffer("factor", torch.tensor(alpha / rank))

    def forward(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The map's output with what is added to it: a hook of the map."""
        return output + self.factor * F.linear(F.linear(inputs[0], self.down), self.up)


class WavLm(SelfSupervised):
    """WavLM: convolutions over the samples of the front end ``waveform``, then Transformer layers; Base+ by default.

    WavLM Large has ``{hidden_size: 1024, num_layers: 24, num_heads: 16, feed_forward_size: 4096, layer_norm: true}``.

    Args:
        num_mel_bins: ``F``, samples of a row of the front end.
        embedding_dim: ``D``.
        hidden_size: width of the encoder's layers, a multiple of 16 and of ``num_heads``.
        num_layers: layers of the encoder.
        num_heads: heads of their attention.
        feed_forward_size: width of their feed-forward parts.
        conv_channels: channels of the convolutions.
        layer_norm: layers normalised first, and each convolution; without it the first convolution is normalised over
            the whole utterance.
        dropout: share of the values of the encoder that a training leaves out.
        pooling: as of :class:`W2vBert`.
        adapter_dim: as of :class:`W2vBert`.
        pooling_heads: as of :class:`W2vBert`.
    """

    name: ClassVar[str] = "wavlm"
    takes: ClassVar[str] = "samples"
    library_name = "WavLM"
    model_type = "wavlm"
    sizes: ClassVar[Mapping[str, str]] = {**W2vBert.sizes, "layer_norm": "do_stable_layer_norm"}
    alike = (
        "conv_bias", "conv_dim", "conv_kernel", "conv_stride", "feat_extract_activation", "feat_extract_norm",
        "hidden_act", "layer_norm_eps", "max_bucket_distance", "num_buckets", "num_conv_pos_embedding_groups",
        "num_conv_pos_embeddings",
    )  # fmt: skip

    def __init__(
        self,
        num_mel_bins: int,
        embedding_dim: int,
        *,
        hidden_size: Size = 768,
        num_layers: Layers = 12,
        num_heads: Size = 12,
        feed_forward_size: Size = 3072,
        conv_channels: Size = 512,
        layer_norm: bool = False,
        dropout: Share = 0.1,
        pooling: str = "attentive",
        adapter_dim: Size = 128,
        pooling_heads: Size = 32,
    ) -> None:
        super().__init__(num_mel_bins, embedding_dim)
        self._check(
            hidden_size=hidden_size, num_layers=num_layers, num_heads=num_heads, feed_forward_size=feed_forward_size,
            conv_channels=conv_channels, layer_norm=layer_norm, dropout=dropout, pooling=pooling,
            adapter_dim=adapter_dim, pooling_heads=pooling_heads,
        )  # fmt: skip
        self._check_multiple(hidden_size, "num_heads", num_heads)
        self._check_multiple(hidden_size, "groups of its convolution over positions", 16)
        self._build_encoder(
            hidden_size=hidden_size, num_hidden_layers=num_layers, num_attention_heads=num_heads,
            intermediate_size=feed_forward_size, conv_dim=(conv_channels,) * 7, do_stable_layer_norm=layer_norm,
            feat_extract_norm="layer" if layer_norm else "group", hidden_dropout=dropout, attention_dropout=dropout,
            activation_dropout=0.0,
        )  # fmt: skip
        self._build_head(pooling, adapter_dim, pooling_heads)

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        if padded is None:
            return super()._embed(features, None)
        # One by one: the first convolution of Base is normalised over all that it is given.
        lengths = (~padded[..., 0]).sum(1).tolist()
        return torch.cat([super(WavLm, self)._embed(features[i : i + 1, :n], None) for i, n in enumerate(lengths)])

    def _states(self, features: Tensor, padded: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        samples = features.flatten(1)
        return self._run(F.pad(samples, (0, max(0, self._least_samples() - samples.shape[1]))), None), padded

    def _least_samples(self) -> int:
        """Samples that the convolutions need for one frame: 400."""
        config, samples = self.encoder.config, 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples


def _adapter(hidden_size: int, adapter_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden_size, adapter_dim), nn.LayerNorm(adapter_dim), nn.ReLU(), nn.Linear(adapter_dim, adapter_dim)
    )


ENCODERS: tuple[type[SelfSupervised], ...] = (W2vBert, WavLm)
"""Those whose published weights can be read."""
