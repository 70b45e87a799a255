"""What a teacher says of whole training recordings, found once, before the first step: ``distill.hears: recording``.

A recording at another speed is another speaker, so that there is a target for each recording at each speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.augment.speed import speed_perturb
from ham.data.store import ArrayStore
from ham.embeddings.extract import extract, own_share
from ham.embeddings.table import read_embeddings, read_source, write_embeddings
from ham.train import distributed
from ham.train.distill import Teacher

MAX_S = 20.0
"""Seconds of a recording, from its beginning, that count: bounds the memory, and more say little more of a voice."""

BATCH_SIZE = 16
"""Most recordings that are embedded together."""


class Played:
    """Recordings at another speed, the first ``MAX_S`` seconds of each, as recordings of the same ids.

    Args:
        store: the audio store.
        speed: as of :func:`ham.augment.speed.speed_perturb`.
    """

    def __init__(self, store: ArrayStore, speed: float) -> None:
        self._store, self._speed = store, speed
        self.utts, self.sample_rate = store.utts, store.sample_rate
        self._cuts = np.minimum(store.lengths, int(MAX_S * store.sample_rate))
        self.lengths: NDArray[np.int64] = (self._cuts / speed).astype(np.int64)

    def read(self, index: int) -> NDArray[Any]:
        """The samples of one recording as it is played, float32 on the scale of int16."""
        samples = self._store.read(index, 0, int(self._cuts[index])).astype(np.float32)
        played: NDArray[Any] = speed_perturb(torch.from_numpy(samples)[None], self._speed)[0].numpy()
        return played


def recording_targets(
    teacher: Teacher, store: ArrayStore, indices: NDArray[np.int64], speeds: Sequence[float], folder: Path
) -> Tensor:
    """Embed every training recording at every speed, in float32; each of several processes embeds its share.

    They are kept in ``teacher.npz``, so that a training that goes on needs no second pass.

    Args:
        teacher: the model.
        store: the training audio.
        indices: positions of the training recordings in it, shape ``(N,)``.
        speeds: S of them, the original one first.
        folder: the experiment's.

    Returns:
        Shape ``(N, S, E)`` on the teacher's device, in the order of ``indices``.

    Raises:
        DataError: if a recording cannot be read, or an embedding is not finite.
    """
    place, utts = folder / "teacher.npz", [store.utts[index] for index in indices.tolist()]
    source = f"{teacher.digest} {store.digest} {len(utts)} at {', '.join(map(str, speeds))}"
    if read_source(place) == source:
        embeddings = read_embeddings(place).embeddings
    else:
        embeddings = np.concatenate([_embed(teacher, Played(store, speed), indices, speed) for speed in speeds], axis=1)
        if distributed.rank() == 0:
            write_embeddings(place, utts, embeddings, source)
    table = torch.from_numpy(embeddings).view(len(utts), len(speeds), teacher.embedding_dim)
    return table.to(teacher.device)


def _embed(teacher: Teacher, played: Played, indices: NDArray[np.int64], speed: float) -> NDArray[np.float32]:
    """At one speed, ``(N, E)``."""
    own = own_share(played, indices, BATCH_SIZE, distributed.rank(), distributed.world_size())
    found = np.zeros((len(indices), teacher.embedding_dim), np.float32)
    if len(own):
        title = "teacher" if speed == 1 else f"teacher, speed {speed:g}"
        found[own] = extract(
            teacher.network, played, indices[own], device=teacher.device, batch_size=BATCH_SIZE, progress=title
        )
    return distributed.sum_of_all(found)
