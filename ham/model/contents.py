"""What a model directory holds, in memory: read from an experiment here, from a directory in directory.py."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ham.config import Config
from ham.errors import CheckpointError, ConfigError, DataError
from ham.model import checkpoint
from ham.model.average import average_checkpoints
from ham.model.encoder import SpeakerEncoder
from ham.model.load import read_cohort
from ham.score.decisions import Decisions
from ham.score.results import Results, read_results
from ham.yaml_core import read_yaml

RESULTS = "results.json"


@dataclass(frozen=True)
class Contents:
    """A trained system with all that is known of it.

    Attributes:
        folder: where it was read.
        name: of its experiment.
        state: what ``average.pt`` holds: configuration, weights, and the training they come from.
        config: its configuration.
        fingerprint: digest of the backbone's weights.
        parameters: of the backbone.
        licence: of the weights, a name or a sentence; empty where nobody has said it.
        data_licence: what whoever packed it says of the licence of the training speech; likewise.
        init_from: digest of the weights that its training started from; empty for fresh ones.
        results: of stage 6; None where it has not been run.
        decisions: thresholds of the cosine; None where stage 6 has measured none.
        cohort: unit mean embeddings of training speakers, ``(S, D)``; None where there are none.
    """

    folder: Path
    name: str
    state: Mapping[str, Any]
    config: Config
    fingerprint: str
    parameters: int
    licence: str = ""
    data_licence: str = ""
    init_from: str = ""
    results: Results | None = None
    decisions: Decisions | None = None
    cohort: NDArray[np.float32] | None = None

    @property
    def commit(self) -> str | None:
        """Of the source tree that measured the results; None where it is not known."""
        return self.results.commit if self.results else None

    @property
    def imported(self) -> Mapping[str, str]:
        """Of an imported model: its ``file``, the file's ``sha256``, the ``layout`` and its ``source``; or nothing."""
        found: Mapping[str, str] = self.state.get("imported", {})
        return found

    @cached_property
    def command(self) -> dict[str, str]:
        """The options of the training's command; ``--corpus`` is spelt out where it is the recipe's default.

        Empty where the command is not one of ``run.sh``, or does not say.
        """
        try:
            program, *words = shlex.split(self.state["command"])
        except ValueError:
            return {}
        if not program.endswith("run.sh"):
            return {}
        options: dict[str, str] = {"corpus": "mini"}
        for at, word in enumerate(words):
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                following = words[at + 1] if at + 1 < len(words) else ""
                options[name.replace("-", "_")] = value if equals else following
        return options


def of_experiment(folder: Path, *, licence: str = "", data_licence: str = "", anonymous: bool = False) -> Contents:
    """Read an experiment; a finished training that has not been averaged yet is averaged first.

    Args:
        folder: the experiment.
        licence: of the weights.
        data_licence: of the training speech, a sentence.
        anonymous: leave out the ids of the training speakers, and their mean embeddings.

    Raises:
        HamError: if it is no experiment, a file of it is damaged, or its results are of other weights.
    """
    place = folder / "average.pt"
    if not place.exists() and (folder / "checkpoints").is_dir():
        with checkpoint.fitting(folder / "checkpoints"):
            average_checkpoints(folder)
    if not place.exists():
        raise ConfigError(f"{folder}: expected an experiment, with average.pt or checkpoints, found neither")
    state = checkpoint.load(place)
    encoder = SpeakerEncoder.from_state(place, state, torch.device("cpu"))
    refuse_not_finite(place, {**state["backbone"], **state["loss"]})
    results = _results(folder, encoder.fingerprint)
    if anonymous:
        state = {**state, "speakers": [], "valid_speakers": []}
    return Contents(
        folder=folder,
        name=folder.resolve().name,
        state=state,
        config=encoder.config,
        fingerprint=encoder.fingerprint,
        parameters=sum(parameter.numel() for parameter in encoder.network.backbone.parameters()),
        licence=" ".join(licence.split()),
        data_licence=" ".join(data_licence.split()),
        init_from=_init_from(folder),
        results=results,
        decisions=results.decisions.get("cosine") if results else None,
        cohort=None if anonymous else read_cohort(folder / "training" / "cohort.npz", encoder.fingerprint),
    )


def _init_from(folder: Path) -> str:
    """The digest that the experiment's saved configuration names."""
    path = folder / "config.yaml"
    saved = read_yaml(path) if path.exists() else None
    return str(saved.get("init_from", "")) if isinstance(saved, dict) else ""


def _results(folder: Path, digest: str) -> Results | None:
    """The results, unless stage 6 has not been run."""
    if not (folder / RESULTS).exists():
        return None
    results = read_results(folder / RESULTS)
    if results.fingerprint != digest:
        raise DataError(f"{folder / RESULTS}: of other weights than average.pt; run stages 5 and 6 again")
    return results


def refuse_not_finite(place: Path, tensors: Mapping[str, torch.Tensor], cure: str = "train again") -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        place: their file.
        tensors: the weights, by name.
        cure: what helps.

    Raises:
        CheckpointError: naming the first.
    """
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise CheckpointError(f"{place}: expected finite weights, found NaN or infinity in {bad[0]}; {cure}")
