"""The front end ``w2vbert_fbank``: the filterbank that w2v-BERT 2.0 was trained on."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.frontends.kaldi_fbank import KaldiFbank

LEAST_VARIANCE = 1e-7
"""Added to the variance of a band, as in the original."""


class W2vBertFbank(KaldiFbank):
    r"""Kaldi's filterbank with the window povey, each band at mean 0 and variance 1 over the utterance.

    .. math:: (f_{tj} - \mu_j) / \sqrt{\sigma_j^2 + 10^{-7}}, \quad \sigma_j^2 = \sum_t (f_{tj} - \mu_j)^2 / (T - 1)

    The same as transformers' ``SeamlessM4TFeatureExtractor`` but for its last step, which lays two frames side by
    side: that does the backbone ``w2v_bert``, so that masks and lengths are those of frames here too.

    Args:
        num_mel_bins: ``F``; the published model takes 80.
        sample_rate: Hz.
    """

    name: ClassVar[str] = "w2vbert_fbank"

    def __init__(self, num_mel_bins: int = 80, sample_rate: int = SAMPLE_RATE) -> None:
        super().__init__(num_mel_bins, sample_rate, window_type="povey")

    def _normalised(self, features: Tensor) -> Tensor:
        centred = super()._normalised(features)
        variance = centred.square().sum(1, keepdim=True) / max(1, features.shape[1] - 1)
        return centred / (variance + LEAST_VARIANCE).sqrt()
