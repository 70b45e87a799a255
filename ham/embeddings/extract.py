"""Recordings to embeddings: the one loop by which everything here is embedded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from ham.data.store import INT16_SCALE
from ham.embeddings.recordings import Recordings
from ham.errors import DataError

MAX_BATCH_FRAMES = 20_000
"""Frames in one batch, padding counted: bounds the memory when utterances are long."""


def batches_by_length(lengths: NDArray[np.int64], batch_size: int, max_total: int) -> list[NDArray[np.int64]]:
    """Group positions so that neighbours in length share a batch.

    Args:
        lengths: length of each item.
        batch_size: most items of a batch.
        max_total: most items times the longest one's length; a single item may exceed it.

    Returns:
        Positions of each batch, longest first, so that a memory error comes at once.
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        room = max(1, int(max_total // max(1, lengths[order[start]])))
        stop = min(len(order), start + min(batch_size, room))
        batches.append(order[start:stop])
        start = stop
    return batches


def own_share(
    recordings: Recordings, indices: NDArray[np.int64], batch_size: int, rank: int, num_processes: int
) -> NDArray[np.int64]:
    """What one of several processes embeds: whole batches of :func:`extract`, which then makes the same ones of them.

    Args:
        recordings: where to read.
        indices: which recordings, of all processes.
        batch_size: most recordings of a batch.
        rank: number of the process, from 0.
        num_processes: how many there are; each batch goes to one, the next to the next.

    Returns:
        Positions in ``indices``.
    """
    batches = batches_by_length(_frames(recordings, indices), batch_size, MAX_BATCH_FRAMES)
    return np.concatenate([np.empty(0, np.int64), *batches[rank::num_processes]])


def _frames(recordings: Recordings, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths of recordings at 100 frames a second."""
    frames: NDArray[np.int64] = recordings.lengths[indices] // (recordings.sample_rate // 100)
    return frames


@torch.inference_mode()
def extract(
    network: nn.Module,
    recordings: Recordings,
    indices: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    device: torch.device,
    batch_size: int = 16,
    progress: str | None = None,
) -> NDArray[np.float32]:
    """Embed whole recordings, in batches of neighbours in length; what shares a batch changes nothing.

    Args:
        network: a list of waveforms, each ``(N,)`` in [-1, 1], to their embeddings ``(B, D)``, as
            :class:`ham.model.encoder.Network` does; in any mode: it is put into evaluation mode and back.
        recordings: where to read.
        indices: which recordings, as positions; all if None.
        device: where the network is.
        batch_size: most recordings of a batch.
        progress: title of the progress bar; none if None.

    Returns:
        ``(len(indices), D)`` float32, in the order of ``indices``.

    Raises:
        DataError: if an embedding is not finite, naming the recording.
    """
    chosen = np.arange(len(recordings.utts)) if indices is None else np.asarray(indices, np.int64)
    found = np.zeros((len(chosen), 0), np.float32)
    was_training = network.training
    network.eval()
    with tqdm(total=len(chosen), desc=progress, unit="utt", disable=progress is None, delay=2) as bar:
        for batch in batches_by_length(_frames(recordings, chosen), batch_size, MAX_BATCH_FRAMES):
            read = [torch.from_numpy(recordings.read(index)) for index in chosen[batch].tolist()]
            embedded = network([samples.to(device).float() / INT16_SCALE for samples in read]).float().cpu().numpy()
            if found.shape[1] == 0:
                found = np.zeros((len(chosen), embedded.shape[1]), np.float32)
            found[batch] = embedded
            bar.update(len(batch))
    network.train(was_training)
    _refuse_not_finite(found, [recordings.utts[index] for index in chosen])
    return found


def _refuse_not_finite(embeddings: NDArray[np.float32], utts: Sequence[str]) -> None:
    """Raise if a row holds NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} embeddings are not finite, the first is that of {utts[int(bad[0])]}: the model is broken; "
            "train again with a smaller learning rate or with train.clip_grad_norm"
        )
