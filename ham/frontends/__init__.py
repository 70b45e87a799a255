"""From waveforms to features, log-Mel filterbanks above all: the table of front ends and the one way to build them.

Adding a front end takes its own file, with a subclass of :class:`~ham.frontends.base.Frontend`, and here its import and
its class in ``_CLASSES``. One that does something else with the same energies, as a factor or the cosine transform of
MFCC, is a subclass of :class:`~ham.frontends.mel.MelFrontend` with another ``_log``. Keyword-only parameters of the
constructor are the options, each with a line under ``Args:``; one that leaves out those of its base class does not have
them. A configuration names it with ``frontend: {name: ...}``; ``python docs/make_config.py`` brings it into
docs/config.md, and the tests of tests/frontends/test_base.py run over it by themselves. The masks that training puts
over the features are in spec_augment.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ham.audio import SAMPLE_RATE
from ham.frontends.base import FRAME_LENGTH_MS, FRAME_SHIFT_MS, PIECE_SAMPLES, PREEMPHASIS, Filterbank, Frontend
from ham.frontends.kaldi_fbank import INT16_RANGE, WINDOW_TYPES, KaldiFbank
from ham.frontends.mel import MelFrontend
from ham.frontends.spec_augment import Spans, SpecAugment
from ham.frontends.speechbrain_fbank import SpeechbrainFbank
from ham.frontends.tf_mel import TfMelFrontend
from ham.frontends.w2vbert_fbank import W2vBertFbank
from ham.frontends.waveform import WaveformFrontend
from ham.schema import check_options, choose

__all__ = [
    "FRAME_LENGTH_MS",
    "FRAME_SHIFT_MS",
    "FRONTENDS",
    "INT16_RANGE",
    "PIECE_SAMPLES",
    "PREEMPHASIS",
    "WINDOW_TYPES",
    "Filterbank",
    "Frontend",
    "KaldiFbank",
    "MelFrontend",
    "Spans",
    "SpecAugment",
    "SpeechbrainFbank",
    "TfMelFrontend",
    "W2vBertFbank",
    "WaveformFrontend",
    "build",
]

_CLASSES: tuple[type[Frontend], ...] = (
    MelFrontend,
    KaldiFbank,
    SpeechbrainFbank,
    TfMelFrontend,
    W2vBertFbank,
    WaveformFrontend,
)

FRONTENDS: Mapping[str, type[Frontend]] = MappingProxyType({cls.name: cls for cls in _CLASSES})
"""Every front end by its name."""


def build(name: str, num_mel_bins: int = 80, sample_rate: int = SAMPLE_RATE, **options: Any) -> Frontend:
    """Build a front end by its name, on the CPU.

    Args:
        name: one of ``FRONTENDS``.
        num_mel_bins: ``F``.
        sample_rate: of the waveforms, Hz.
        **options: keyword-only parameters of the front end's constructor.

    Raises:
        ConfigError: if the name, an option or a value is not one that the front end knows.
    """
    frontend = FRONTENDS[choose("frontend", name, FRONTENDS)]
    check_options(f"frontend {name}", options, frontend.options())
    return frontend(num_mel_bins, sample_rate, **options)
