"""Speaker verification with hyperbolic softmax losses: geometry, losses, backbones, training, scoring, and use.

>>> import ham
>>> encoder = ham.load("exp/ham_softmax")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ham.model.encoder import SpeakerEncoder

__version__ = "0.1.0"


def load(model: Path | str, device: str = "auto") -> SpeakerEncoder:
    """Load a trained system, see :func:`ham.model.load.load`; torch is loaded only then.

    Args:
        model: an experiment's folder, a model directory, or ``owner/name`` at the hub.
        device: where to embed: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The system: ``embed``, ``embed_many``, ``score``, ``verify``.

    Raises:
        HamError: if there is no such model or device, or it is damaged.
    """
    from ham.model.load import load as load_model

    return load_model(model, device)
