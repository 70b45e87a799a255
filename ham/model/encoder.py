"""A trained system as one object: load it once, embed recordings with it, compare their speakers.

>>> import ham
>>> encoder = ham.load("exp/ham_softmax")
>>> encoder.embed("one.wav").shape == (encoder.embedding_dim,)
True
>>> -1 < encoder.score("one.wav", "other.wav") < 1
True
>>> encoder.embed_many(["one.wav", "other.wav"]).shape == (2, encoder.embedding_dim)
True

What is below, for whoever trains or exports it: the network on samples, and the distance of a hyperbolic loss, the
smaller the more alike.

>>> import torch
>>> one_second = torch.zeros(1, 16000, device=encoder.device)  # samples at 16 kHz in [-1, 1]
>>> encoder.network(one_second).shape[0]
1
>>> one, other = torch.from_numpy(encoder.embed_many(["one.wav", "other.wav"]))
>>> float(encoder.loss.distance(one[None], other[None])) > 0
True
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import MIN_DURATION_S
from ham.audio.quality import Quality, assess, joined
from ham.audio.waveform import Speech, listed, name_of, to_waveform, with_rate
from ham.backbones.base import Backbone
from ham.config import Config, from_dict
from ham.embeddings.directions import unit_rows
from ham.embeddings.extract import extract
from ham.embeddings.recordings import Recordings, Waveforms
from ham.errors import CheckpointError, DataError
from ham.frontends import Frontend
from ham.losses.base import SpeakerLoss
from ham.model import checkpoint
from ham.model.build import build_backbone, build_frontend, build_loss, pick_device
from ham.model.several import several_speakers, windows
from ham.model.verification import Verification, choose_threshold, decide
from ham.score.decisions import Decisions

BLOCK_SAMPLES = 10 * 60 * SAMPLE_RATE
"""Samples that wait to be sorted by length and embedded: 10 minutes, 38 MB, however many files there are."""


class Network(nn.Module):
    """Front end and backbone: what is trained, embeds, and can be exported or distributed.

    Args:
        frontend: ``(B, N)`` samples to ``(B, T, F)`` features.
        backbone: features to ``(B, D)`` embeddings. Checkpoints hold its weights; a front end has none.
    """

    def __init__(self, frontend: Frontend, backbone: Backbone) -> None:
        super().__init__()
        self.frontend = frontend
        self.backbone = backbone

    def forward(self, speech: Tensor | Sequence[Tensor]) -> Tensor:
        """Embed speech.

        Args:
            speech: samples in [-1, 1], shape ``(B, N)``; or waveforms of several lengths, each ``(N,)``, where padding
                changes nothing: the front end meets none and the backbone is told the lengths; or features that were
                computed before, shape ``(B, T, F)``.

        Returns:
            Embeddings, shape ``(B, D)``.
        """
        lengths = None
        if isinstance(speech, Tensor):
            features = self.frontend(speech) if speech.ndim == 2 else speech
        else:
            each = [self.frontend(samples[None])[0] for samples in speech]
            lengths = torch.tensor([len(one) for one in each], device=each[0].device)
            features = pad_sequence(each, batch_first=True)
        embeddings: Tensor = self.backbone(features, lengths)
        return embeddings


@dataclass(frozen=True)
class SpeakerEncoder:
    """A trained system; :func:`ham.load` makes one of an experiment, a model directory or a name at the hub.

    Attributes:
        folder: its experiment or model directory.
        config: its configuration.
        network: front end, and backbone with the averaged weights, in evaluation mode.
        loss: with the averaged centres, in evaluation mode; on the CPU, where scores and distances are computed.
        device: where the network is.
        fingerprint: digest of the backbone's weights; embeddings of different ones cannot be compared.
        seed: of the training.
        command: that trained it; empty if it does not say.
        speakers: that it was trained on; none where the model does not say.
        valid_speakers: training speakers that were kept aside for validation.
        decisions: thresholds and calibration of the cosine; None where stage 6 has measured none.
        cohort: mean embeddings of training speakers, each of length 1, for AS-Norm, shape ``(S, D)``; or None.
    """

    folder: Path
    config: Config
    network: Network
    loss: SpeakerLoss
    device: torch.device
    fingerprint: str
    seed: int
    command: str
    speakers: tuple[str, ...]
    valid_speakers: tuple[str, ...]
    decisions: Decisions | None = None
    cohort: NDArray[np.float32] | None = None

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> SpeakerEncoder:
        """Load the averaged model of an experiment; :func:`ham.load` adds its thresholds and its cohort.

        Args:
            folder: the experiment, with ``average.pt``.
            device: where to embed: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Returns:
            The system.

        Raises:
            CheckpointError: if the model is missing, damaged, or does not fit its configuration.
            ConfigError: if there is no such device.
        """
        place, there = folder / "average.pt", pick_device(device)
        return cls.from_state(place, checkpoint.load(place), there)

    @classmethod
    def from_state(
        cls,
        place: Path,
        state: Mapping[str, Any],
        device: torch.device,
        decisions: Decisions | None = None,
        cohort: NDArray[np.float32] | None = None,
    ) -> SpeakerEncoder:
        """Build a system from what ``average.pt`` holds.

        Args:
            place: where it was read; its folder is the system's.
            state: what was read.
            device: where to embed.
            decisions: see the class.
            cohort: see the class.

        Raises:
            CheckpointError: if an entry is missing or does not fit the configuration.
        """
        try:
            config = from_dict(state["config"], str(place))
            network = Network(build_frontend(config), build_backbone(config))
            loss = build_loss(config, state["num_speakers"])
            with _fitting(place, "backbone"):
                network.backbone.load_state_dict(state["backbone"])
            with _fitting(place, "loss"):
                loss.load_state_dict(state["loss"])
            return cls(
                place.parent, config, network.to(device).eval(), loss.eval(), device, checkpoint.weights_digest(state),
                int(state["seed"]), str(state["command"]), tuple(state["speakers"]), tuple(state["valid_speakers"]),
                decisions, cohort,
            )  # fmt: skip
        except KeyError as error:
            raise CheckpointError(f"{place}: expected the entry {error}, found none; average again (stage 5)") from None

    @property
    def embedding_dim(self) -> int:
        """``D``, the length of an embedding."""
        return self.config.backbone.embedding_dim

    @property
    def sample_rate(self) -> int:
        """Hz at which it hears; speech of any other rate is converted."""
        return SAMPLE_RATE

    def embed(self, speech: Speech, sample_rate: int | None = None) -> NDArray[np.float32]:
        """Embed one recording.

        Args:
            speech: a file (wav, flac, ogg, mp3, m4a; ``-`` is standard input), or samples, see
                :func:`ham.audio.waveform.to_waveform`.
            sample_rate: of samples, in Hz; a file says its own.

        Returns:
            Float32, shape ``(D,)``, as it leaves the backbone: its length is not 1.

        Raises:
            DataError: if the speech cannot be read or embedded, naming the file.
        """
        row: NDArray[np.float32] = self.embed_many([with_rate(speech, sample_rate)])[0]
        return row

    def embed_many(
        self, items: Iterable[Speech], *, progress: str | None = None, batch_size: int = 16
    ) -> NDArray[np.float32]:
        """Embed many recordings, in batches of neighbours in length; what shares a batch changes no embedding.

        Files are read as they are needed, 10 minutes of speech at a time (:data:`BLOCK_SAMPLES`).

        Args:
            items: files, or samples as ``(array, sample_rate)``.
            progress: title of the progress bar, which appears after two seconds; none if None.
            batch_size: most recordings of a batch.

        Returns:
            Float32, shape ``(N, D)``, in the order of ``items``.

        Raises:
            DataError: if a recording cannot be read or embedded, naming it.
        """
        items = items if isinstance(items, Sequence) else list(items)
        rows = [np.zeros((0, self.embedding_dim), np.float32)]
        with tqdm(total=len(items), desc=progress, unit="file", disable=progress is None, delay=2) as bar:
            for block in _blocks(items):
                rows.append(self.embed_recordings(block, batch_size=batch_size))
                bar.update(len(block.utts))
        return np.concatenate(rows)

    def embed_recordings(
        self,
        recordings: Recordings,
        indices: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        batch_size: int = 16,
        progress: str | None = None,
    ) -> NDArray[np.float32]:
        """Embed whole recordings of an audio store, see :func:`ham.embeddings.extract.extract`.

        Args:
            recordings: an audio store, or others of :mod:`ham.embeddings.recordings`.
            indices: which recordings, as positions; all if None.
            batch_size: most recordings of a batch; it changes no embedding but in its last digits.
            progress: title of the progress bar; none if None.

        Returns:
            Float32, shape ``(N, D)``, in the order of ``indices``.

        Raises:
            DataError: if an embedding is not finite, naming the recording.
        """
        device = self.device
        return extract(self.network, recordings, indices, device=device, batch_size=batch_size, progress=progress)

    def score(self, a: Speech | Sequence[Speech], b: Speech | Sequence[Speech]) -> float:
        """How alike two speakers sound: the cosine of their embeddings, 1 the most alike.

        Args:
            a: a recording, or a list of several of one speaker, for whom the mean of their directions stands.
            b: the same of the other speaker.

        Raises:
            DataError: if a recording cannot be read or embedded, naming it.
        """
        return cosine(*(mean_direction(self.embed_many(listed(side))) for side in (a, b)))

    def verify(
        self,
        a: Speech | Sequence[Speech],
        b: Speech | Sequence[Speech],
        threshold: float | str | None = None,
        *,
        vad: bool = False,
    ) -> Verification:
        """Decide whether two recordings are of one speaker; speech that is too poor is said, not scored.

        Args:
            a: a recording, or a list of several of one speaker, as for :meth:`score`.
            b: the same of the other speaker.
            threshold: a cosine, or the name of an operating point of ``decisions``: ``eer``, ``far_1``, ...; the
                default is that of the equal error rate.
            vad: whether a network decides how much of a recording is speech (silero-vad).

        Returns:
            Score, decision, and the quality of both sides. Without ``decisions`` and without a number, the decision is
            ``cannot_say`` and ``threshold_from`` says why.

        Raises:
            DataError: if a recording cannot be read, naming it.
            ConfigError: if there is no such threshold.
        """
        choose_threshold(threshold, self.decisions)  # a wrong request is told before anything is embedded
        sides = {"a": listed(a), "b": listed(b)}
        read = {side: [(to_waveform(one), SAMPLE_RATE) for one in ones] for side, ones in sides.items()}
        quality = {side: joined([self.assess(one, vad=vad) for one in ones]) for side, ones in read.items()}
        score = None if any(one.cannot_say for one in quality.values()) else self.score(read["a"], read["b"])
        return decide(score, quality, threshold, self.decisions)

    def assess(self, speech: Speech, sample_rate: int | None = None, *, vad: bool = False) -> Quality:
        """Measure a recording: what :func:`ham.audio.quality.assess` finds, and whether it holds several speakers.

        Several speakers are looked for only where there are ``decisions``, which say what is likely.

        Args:
            speech: as for :meth:`embed`.
            sample_rate: as for :meth:`embed`.
            vad: as for :meth:`verify`.

        Raises:
            DataError: if the recording cannot be read.
        """
        samples = to_waveform(with_rate(speech, sample_rate))
        found = assess(samples, SAMPLE_RATE, vad=vad)
        pieces = windows(samples, SAMPLE_RATE) if self.decisions and not found.cannot_say else []
        if self.decisions is None or not pieces:
            return found
        problem = several_speakers(self.embed_many([(piece, SAMPLE_RATE) for piece in pieces]), self.decisions)
        return replace(found, problems=(*found.problems, problem)) if problem else found


def mean_direction(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    r"""What stands for a speaker of several recordings: :math:`\frac1n \sum_i x_i / |x_i|`, as stage 6 takes it.

    Args:
        embeddings: of the recordings, shape ``(n, D)``, n at least 1.

    Returns:
        Shape ``(D,)``; its length is 1 for one recording, and shorter the more they differ.

    Raises:
        DataError: if an embedding is zero.
    """
    mean: NDArray[np.float64] = unit_rows(embeddings, "the recordings").mean(axis=0)
    return mean


def cosine(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """The cosine of two vectors ``(D,)``, in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def _blocks(items: Iterable[Speech]) -> Iterator[Waveforms]:
    """Read recordings, in blocks of at least one and hardly more than :data:`BLOCK_SAMPLES`."""
    names: list[str] = []
    waveforms: list[NDArray[np.float32]] = []
    for item, number in zip(items, count(1), strict=False):
        names.append(name_of(item, number))
        waveforms.append(_long_enough(to_waveform(item, name=names[-1]), names[-1]))
        if sum(map(len, waveforms)) >= BLOCK_SAMPLES:
            yield Waveforms(names, waveforms)
            names, waveforms = [], []
    if names:
        yield Waveforms(names, waveforms)


def _long_enough(samples: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if len(samples) < MIN_DURATION_S * SAMPLE_RATE:
        found = f"{len(samples) / SAMPLE_RATE:.3f} s"
        raise DataError(f"{name}: expected at least {MIN_DURATION_S} s, found {found}; too little to tell a voice")
    return samples


@contextmanager
def _fitting(place: Path, part: str) -> Iterator[None]:
    """Turn what torch says of weights of other shapes or names into a sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        cure = "train under another --exp_name"
        raise CheckpointError(f"{place}: the {part} does not fit its configuration ({reason}); {cure}") from None
