"""Back-ends by name, the ways from embeddings to the scores of a trial list: what a name means and what it needs.

A name is a measure and the steps that follow it, joined by ``+`` and in this order:

===========================  ==========================================================================================
part                         meaning
===========================  ==========================================================================================
``cosine``                   cosine of the two embeddings of full utterances
``hyperbolic``               negative distance of the loss's space
``fusion``                   both, joined by a trained calibration
``+crops``                   cosine only: mean of it and of the mean cosine of 5 x 5 crops of 3 s, as published
``+mean``                    cosine only: the training utterances' mean embedding is subtracted first
``+s_norm`` or ``+as_norm``  normalisation against the cohort of training speakers (:mod:`ham.score.normalisation`)
``+llr``                     logistic calibration: log-likelihood ratios (:mod:`ham.score.calibration`)
``+qmf``                     the same with quality measures of both sides: duration, length or radius, cohort mean
``+qmf_wespeaker``           cosine only: the same as wespeaker does it, see :class:`~ham.score.scorer.Scorer`
===========================  ==========================================================================================

``cosine+mean+as_norm`` is one. Steps that are trained, are trained on training speakers only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ham.errors import ConfigError
from ham.losses.base import SpeakerLoss
from ham.score.normalisation import NORMS

DEFAULT = ("cosine", "hyperbolic")
"""What stage 6 scores by unless asked otherwise: needs nothing but the test embeddings."""

EVERY = (
    "cosine",
    "cosine+crops",
    "cosine+mean",
    "cosine+s_norm",
    "cosine+as_norm",
    "cosine+mean+as_norm",
    "cosine+llr",
    "cosine+mean+as_norm+qmf",
    "hyperbolic",
    "hyperbolic+s_norm",
    "hyperbolic+as_norm",
    "hyperbolic+llr",
    "hyperbolic+as_norm+qmf",
    "fusion",
    "fusion+mean+as_norm+qmf",
)
"""What the word ``all`` stands for."""

FORM = (
    "cosine+crops, cosine[+mean][+NORM][+llr|+qmf|+qmf_wespeaker], hyperbolic[+NORM][+llr|+qmf], "
    "fusion[+mean][+NORM][+qmf]"
)

WESPEAKER = "qmf_wespeaker"
"""The step that calibrates as wespeaker does."""

_NORM = rf"(\+({'|'.join(NORMS)}))?"
_PATTERNS = (
    r"cosine\+crops",
    rf"cosine(\+mean)?{_NORM}(\+(llr|qmf|{WESPEAKER}))?",
    rf"hyperbolic{_NORM}(\+(llr|qmf))?",
    rf"fusion(\+mean)?{_NORM}(\+qmf)?",
)


@dataclass(frozen=True)
class Backend:
    """A parsed name.

    Attributes:
        name: as it was given.
        measures: ``cosine``, ``hyperbolic``, or both for a fusion.
        crops: whether crops count too.
        mean: whether the cosine is taken after subtracting the training mean.
        norm: a name of :data:`ham.score.normalisation.NORMS`; empty for none.
        calibrated: whether the scores are log-likelihood ratios.
        quality: ``qmf`` or ``qmf_wespeaker``, where the calibration sees quality measures; else empty.
    """

    name: str
    measures: tuple[str, ...]
    crops: bool = False
    mean: bool = False
    norm: str = ""
    calibrated: bool = False
    quality: str = ""

    @property
    def needs_training(self) -> bool:
        """Whether embeddings of training speakers are needed."""
        return self.mean or bool(self.norm) or self.calibrated

    @property
    def uses_top_n(self) -> bool:
        """Whether the highest cohort scores count."""
        return bool(self.quality) or (bool(self.norm) and NORMS[self.norm].adaptive)

    @property
    def uses_p_target(self) -> bool:
        """Whether the calibration is trained for the prior that is asked for."""
        return self.calibrated and self.quality != WESPEAKER

    @property
    def needs_distance(self) -> bool:
        """Whether the loss must have a distance."""
        return "hyperbolic" in self.measures


def parse_backend(name: str) -> Backend:
    """Read the name of a back-end.

    Args:
        name: measure and steps, see the module.

    Returns:
        Its parts.

    Raises:
        ConfigError: if there is no such back-end.
    """
    if not any(re.fullmatch(pattern, name) for pattern in _PATTERNS):
        form = FORM.replace("NORM", "|+".join(NORMS))
        raise ConfigError(f"--backends: unknown back-end '{name}': expected {form}, or all")
    measure, *steps = name.split("+")
    quality = next((step for step in steps if step in ("qmf", WESPEAKER)), "")
    return Backend(
        name=name,
        measures=("cosine", "hyperbolic") if measure == "fusion" else (measure,),
        crops="crops" in steps,
        mean="mean" in steps,
        norm=next((step for step in steps if step in NORMS), ""),
        calibrated=measure == "fusion" or "llr" in steps or bool(quality),
        quality=quality,
    )


def parse_backends(words: Sequence[str]) -> tuple[Backend, ...]:
    """Read the names of several back-ends.

    Args:
        words: names or ``all``; several may share one word, separated by spaces or commas.

    Returns:
        Each once, in the order given.

    Raises:
        ConfigError: if a name is unknown or there is none.
    """
    names = " ".join(words).replace(",", " ").split()
    found = dict.fromkeys(name for word in names for name in (EVERY if word == "all" else (word,)))
    if not found:
        raise ConfigError("--backends: expected at least one back-end, found none; cosine is the usual one")
    return tuple(parse_backend(name) for name in found)


def possible_backends(backends: Sequence[Backend], loss: SpeakerLoss | type[SpeakerLoss]) -> list[Backend]:
    """The back-ends that a loss allows: without a distance there is no hyperbolic one.

    Args:
        backends: those asked for.
        loss: the loss.

    Returns:
        Those that are left, at least one.

    Raises:
        ConfigError: if none is left.
    """
    kept = [backend for backend in backends if loss.has_distance or not backend.needs_distance]
    if not kept:
        names = " ".join(backend.name for backend in backends)
        raise ConfigError(f"--backends {names}: the loss {loss.name} has no distance; add cosine")
    return kept


def fitting_backends(backends: Sequence[Backend], place: str, has_models: bool) -> list[Backend]:
    """The back-ends that a trial list allows: crops are of two recordings, not of enrolment models.

    Args:
        backends: those asked for.
        place: the list, for the error message.
        has_models: whether it has models of several recordings.

    Returns:
        Those that are left, at least one.

    Raises:
        ConfigError: if none is left.
    """
    kept = [backend for backend in backends if not (backend.crops and has_models)]
    if not kept:
        raise ConfigError(f"--backends cosine+crops: {place} has models of several recordings; add cosine")
    return kept


def check_top_n(backends: Sequence[Backend], top_n: int, num_speakers: int, place: str) -> None:
    """Refuse to take more of the cohort than there is.

    Args:
        backends: those asked for.
        top_n: highest scores against the cohort that are wanted.
        num_speakers: of the cohort.
        place: where it comes from, for the error message.

    Raises:
        ConfigError: if a back-end takes the highest scores and there are fewer.
    """
    names = [backend.name for backend in backends if backend.uses_top_n]
    if names and top_n > num_speakers:
        found = f"expected at most {num_speakers}, the speakers of {place}, found {top_n}"
        raise ConfigError(f"--top_n: {found}; {' '.join(names)} needs it")
