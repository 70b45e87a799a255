"""Embeddings of whole utterances, in length-sorted batches; reading and writing ``embeddings.npz``."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ham.backbones.base import Backbone
from ham.data.store import INT16_SCALE, ArrayStore
from ham.errors import DataError, naming

ENROL = ("average", "concatenate")
"""What stands for a model of several recordings: the mean of their embeddings, or the embedding of all joined."""

NUM_CROPS, CROP_SAMPLES = 5, 48_240
"""Crops of the published VoxCeleb1-O protocol: 3 s and 15 ms at 16 kHz, 300 frames of the released front end."""

MAX_BATCH_FRAMES = 20_000
"""Frames in one batch, padding counted: bounds the memory when utterances are long."""


class Recordings(Protocol):
    """What :func:`extract` reads: an audio store, or :class:`JoinedRecordings` of one."""

    lengths: NDArray[np.int64]

    @property
    def utts(self) -> Sequence[str]:
        """The ids."""
        ...

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        ...

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one recording, shape ``(N,)``."""
        ...


class JoinedRecordings:
    """Enrolment models as recordings: those of a model end to end, in the model's order.

    Args:
        store: the audio store.
        models: the utterances of each model.

    Raises:
        DataError: if the store does not hold an utterance.
    """

    def __init__(self, store: ArrayStore, models: Mapping[str, Sequence[str]]) -> None:
        position = {utt: index for index, utt in enumerate(store.utts)}
        if missing := [utt for utts in models.values() for utt in utts if utt not in position]:
            raise DataError(f"{store.path}: expected the recording {missing[0]}, found none; run stage 3")
        self._store = store
        self._parts = [[position[utt] for utt in utts] for utts in models.values()]
        self.utts = tuple(models)
        self.lengths: NDArray[np.int64] = np.array([store.lengths[parts].sum() for parts in self._parts], np.int64)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._store.sample_rate

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one model, shape ``(N,)``."""
        return np.concatenate([self._store.read(part) for part in self._parts[index]])


class Crops:
    """Crops of recordings, evenly spaced from the first to the last sample, as recordings ``<utt>/<number>``.

    Crop ``k`` of ``K`` begins at sample ``floor(k (N - n) / (K - 1))``. Speech that is shorter than a crop is repeated
    until it fills one; all its crops are then the same.

    Args:
        store: the audio store.
        num_crops: ``K``, at least 2.
        num_samples: ``n``.
    """

    def __init__(self, store: ArrayStore, num_crops: int = NUM_CROPS, num_samples: int = CROP_SAMPLES) -> None:
        self._store = store
        self._num_crops, self._num_samples = num_crops, num_samples
        self.utts = tuple(f"{utt}/{number + 1}" for utt in store.utts for number in range(num_crops))
        self.lengths: NDArray[np.int64] = np.full(len(self.utts), num_samples, np.int64)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._store.sample_rate

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one crop, shape ``(n,)``."""
        utt, number = divmod(index, self._num_crops)
        spare = max(0, int(self._store.lengths[utt]) - self._num_samples)
        return self._store.read_wrapped(utt, spare * number // (self._num_crops - 1), self._num_samples)


class RandomChunks:
    """One piece of each recording, of the same length and at a place drawn uniformly, as recordings of the same ids.

    Speech that is shorter is repeated until it fills a piece. wespeaker embeds its training speech so.

    Args:
        store: the audio store.
        num_samples: length of a piece.
        seed: of the places; the same for the same store gives the same pieces.
    """

    def __init__(self, store: ArrayStore, num_samples: int, seed: int) -> None:
        self._store = store
        self._num_samples = num_samples
        spare = np.maximum(store.lengths - num_samples, 0)
        self._starts = np.random.default_rng(seed).integers(0, spare, endpoint=True)
        self.lengths: NDArray[np.int64] = np.full(len(spare), num_samples, np.int64)

    @property
    def utts(self) -> Sequence[str]:
        """The ids."""
        return self._store.utts

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._store.sample_rate

    def read(self, index: int) -> NDArray[Any]:
        """The int16 samples of one piece, shape ``(num_samples,)``."""
        return self._store.read_wrapped(index, int(self._starts[index]), self._num_samples)


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


@torch.inference_mode()
def extract(
    backbone: Backbone,
    frontend: nn.Module,
    store: Recordings,
    indices: Sequence[int] | NDArray[np.int64],
    *,
    device: torch.device,
    batch_size: int = 16,
    progress: str | None = None,
) -> NDArray[np.float32]:
    """Embed whole utterances; padding to a batch's longest changes nothing, the backbone is told the lengths.

    Features are computed utterance by utterance, so that the front end meets no padding either.

    Args:
        backbone: in any mode; it is put into evaluation mode and back.
        frontend: ``(1, N)`` samples to ``(1, T, F)`` features.
        store: audio store, or recordings joined from one.
        indices: which utterances, as positions in the store.
        device: where to compute.
        batch_size: most utterances of a batch.
        progress: title of the progress bar; none if None.

    Returns:
        ``(len(indices), D)`` float32, in the order of ``indices``.

    Raises:
        DataError: if an embedding is not finite, naming the utterance.
    """
    chosen = np.asarray(indices, np.int64)
    was_training = backbone.training
    backbone.eval()
    frames = store.lengths[chosen] // (store.sample_rate // 100)  # 100 frames a second
    found = np.zeros((len(chosen), 0), np.float32)
    with tqdm(total=len(chosen), desc=progress, unit="utt", disable=progress is None, delay=2) as bar:
        for batch in batches_by_length(frames, batch_size, MAX_BATCH_FRAMES):
            features = [_features(frontend, store, int(chosen[i]), device) for i in batch]
            lengths = torch.tensor([len(f) for f in features], device=device)
            embedded = backbone(pad_sequence(features, batch_first=True), lengths).float().cpu().numpy()
            if found.shape[1] == 0:
                found = np.zeros((len(chosen), embedded.shape[1]), np.float32)
            found[batch] = embedded
            bar.update(len(batch))
    backbone.train(was_training)
    _refuse_not_finite(found, [store.utts[i] for i in chosen])
    return found


def write_embeddings(
    path: Path,
    utts: Sequence[str],
    embeddings: NDArray[np.float32],
    source: str = "",
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write ``embeddings.npz`` (``utts`` (N,), ``embeddings`` (N, D) float32), in place only when complete.

    Args:
        path: the file.
        utts: utterance ids.
        embeddings: a row of each.
        source: what they were made from; :func:`read_source` gives it back.
        extra: further arrays by name.
    """
    part = path.with_name(f".{path.stem}.part.npz")
    try:
        arrays = {"utts": np.array(utts), "embeddings": embeddings.astype(np.float32), "source": np.array(source)}
        with naming(path):
            np.savez(part, allow_pickle=False, **arrays, **(extra or {}))
        os.replace(part, path)  # noqa: PTH105 - the pair to the temporary name above
    finally:
        part.unlink(missing_ok=True)


def read_source(path: Path) -> str | None:
    """What the embeddings of a file were made from.

    Args:
        path: the file.

    Returns:
        What :func:`write_embeddings` was given; None if there is no file, or one that is damaged or does not say.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays["source"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write_ark(path: Path, utts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
    """Write Kaldi's ``embeddings.ark`` and ``embeddings.scp`` beside each other through kaldiio."""
    import kaldiio  # only whoever asks for this format needs it

    if "," in str(path):
        raise DataError(f"{path}: Kaldi's specifiers cannot hold a comma; choose another --exp_root for --format ark")
    part = path.with_name(f".{path.name}.part")
    index = path.with_name(f".{path.stem}.scp.part")
    with naming(path), kaldiio.WriteHelper(f"ark,scp:{part},{index}") as writer:
        for utt, row in zip(utts, embeddings, strict=True):
            writer(utt, row)
    index.write_text(index.read_text(encoding="utf-8").replace(str(part), str(path)), encoding="utf-8")
    os.replace(part, path)  # noqa: PTH105 - the pair to the temporary names above
    os.replace(index, path.with_suffix(".scp"))  # noqa: PTH105


def _features(frontend: nn.Module, store: Recordings, index: int, device: torch.device) -> Tensor:
    """Features of one whole utterance, ``(T, F)``."""
    samples = torch.from_numpy(store.read(index)).to(device).float() / INT16_SCALE
    features: Tensor = frontend(samples[None])[0]
    return features


def _refuse_not_finite(embeddings: NDArray[np.float32], utts: Sequence[str]) -> None:
    """Raise if a row holds NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} embeddings are not finite, the first is that of {utts[int(bad[0])]}: the model is broken; "
            "train again with a smaller learning rate or with train.clip_grad_norm"
        )
