"""What a recording tells of who speaks: it is read and judged, embedded, searched for, and the answer decided."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import read_audio
from ham.audio.quality import Quality
from ham.audio.waveform import Speech
from ham.enrolment.search import (
    LIST_FALSE_ALARM,
    Candidate,
    Search,
    false_alarm_rate,
    list_false_alarm,
    list_threshold,
)
from ham.model.verification import choose_threshold
from ham.score.decisions import Decisions

Decision = Literal["named", "nobody", "cannot_say"]


class Model(Protocol):
    """What judges and embeds recordings: a :class:`ham.model.encoder.SpeakerEncoder`."""

    def assess(self, speech: Speech, sample_rate: int | None = None) -> Quality:
        """What is wrong with a recording."""
        ...

    def embed_many(self, items: Sequence[Speech]) -> NDArray[np.float32]:
        """Embeddings ``(N, D)`` of recordings, in their order."""
        ...


@dataclass(frozen=True)
class Heard:
    """A recording that was read.

    Attributes:
        source: its path or name.
        samples: at 16 kHz in [-1, 1], shape ``(N,)``.
        quality: what is wrong with it, if anything.
    """

    source: str
    samples: NDArray[np.float32]
    quality: Quality

    @property
    def audio(self) -> bytes:
        """A digest of its samples: the same for the same audio in whatever lossless file."""
        return hashlib.sha256(self.samples.astype("<f4").tobytes()).digest()


@dataclass(frozen=True)
class Threshold:
    """From which cosine on the first candidate is named.

    Attributes:
        value: the cosine; None where there is none.
        origin: whose it is and what it holds for the whole list, in words; or why there is none.
    """

    value: float | None
    origin: str


@dataclass(frozen=True)
class Identification:
    """The answer to who speaks.

    Attributes:
        name: of the speaker; None for nobody who is enrolled, and where nothing can be said.
        decision: ``named``, ``nobody`` or ``cannot_say``.
        score: cosine to the first candidate; None if there is none.
        threshold: that decided; None where there is none.
        threshold_from: whose it is.
        candidates: the best, the first one first.
        quality: of the recording.
    """

    name: str | None
    decision: Decision
    score: float | None
    threshold: float | None
    threshold_from: str
    candidates: tuple[Candidate, ...]
    quality: Quality

    def to_dict(self) -> dict[str, Any]:
        """As ``ham identify --json`` prints it for each file."""
        found = [{k: v for k, v in one._asdict().items() if v is not None} for one in self.candidates]
        return {**vars(self), "candidates": found, "quality": asdict(self.quality)}


def listen(encoder: Model, path: Path) -> Heard:
    """Read a recording and judge it.

    Args:
        encoder: the model.
        path: an audio file; ``-`` is standard input.

    Raises:
        DataError: if it cannot be read.
    """
    samples = read_audio(path)
    return Heard(str(path), samples, encoder.assess(samples, SAMPLE_RATE))


def embed(encoder: Model, heard: Sequence[Heard]) -> NDArray[np.float32]:
    """Embed recordings that were read, shape ``(N, D)``."""
    return encoder.embed_many([(one.samples, SAMPLE_RATE) for one in heard])


def choose_list_threshold(asked: float | str | None, decisions: Decisions | None, num_enrolled: int) -> Threshold:
    """The threshold that is asked for, or the one that suits a list of this length.

    Args:
        asked: a cosine, the name of an operating point, or None.
        decisions: of the model; None if it has none.
        num_enrolled: speakers on the list.

    Returns:
        The threshold, see :func:`ham.enrolment.search.list_threshold`.

    Raises:
        ConfigError: if there is no operating point of that name.
    """
    if asked is not None or decisions is None:
        value, origin = choose_threshold(asked, decisions)
        point = next((one for one in decisions.points if one.name == asked), None) if decisions else None
        rate = false_alarm_rate(point, decisions.num_speakers) if decisions and point else None
        return Threshold(value, origin + _over_list(rate, num_enrolled))
    chosen = list_threshold(decisions, num_enrolled)
    if chosen is None:
        return Threshold(None, "no threshold of the model was measured; give a number")
    origin = choose_threshold(chosen.origin, decisions)[1] + _over_list(chosen.rate, num_enrolled)
    strict = list_false_alarm(chosen.rate, num_enrolled) <= LIST_FALSE_ALARM * (1 + 1e-9)
    return Threshold(chosen.value, origin + ("" if strict else "; no stricter one was measured"))


def _over_list(rate: float | None, num_enrolled: int) -> str:
    """What a false-alarm rate of one comparison is for a stranger who is compared with everybody."""
    if rate is None:
        return ""
    return (
        f"; compared with {num_enrolled}, {100 * list_false_alarm(rate, num_enrolled):.2g} % of strangers may be named"
    )


def identify(
    encoder: Model, search: Search, heard: Sequence[Heard], threshold: Threshold, top: int = 1
) -> list[Identification]:
    """Say who speaks in recordings.

    Args:
        encoder: the model.
        search: among the enrolled speakers.
        heard: the recordings; those too poor to decide on are not embedded.
        threshold: from which cosine on somebody is named.
        top: candidates to give, at most.

    Returns:
        One answer each.

    Raises:
        DataError: if a recording cannot be embedded.
    """
    fit = [one for one in heard if not one.quality.cannot_say]
    candidates = iter(search(embed(encoder, fit), top))
    return [_decide(one, () if one.quality.cannot_say else tuple(next(candidates)), threshold) for one in heard]


def _decide(heard: Heard, candidates: tuple[Candidate, ...], threshold: Threshold) -> Identification:
    score = candidates[0].score if candidates else None
    decision: Decision = "nobody"
    if heard.quality.cannot_say or threshold.value is None:
        decision = "cannot_say"
    elif score is not None and score >= threshold.value:
        decision = "named"
    name = candidates[0].name if decision == "named" else None
    return Identification(name, decision, score, threshold.value, threshold.origin, candidates, heard.quality)
