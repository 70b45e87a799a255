"""A trained system as one object: load an experiment once, embed recordings with it.

In a notebook in ``egs/<corpus>``, with the folder of an experiment and an audio store of stage 3:

>>> from pathlib import Path
>>> import torch
>>> from ham.audio.decoding import read_audio
>>> from ham.data.store import ArrayStore
>>> from ham.model.encoder import SpeakerEncoder
>>> encoder = SpeakerEncoder.load(Path("exp/ham_softmax"))
>>> store = ArrayStore(Path("data/store/test"))
>>> encoder.embed(store).shape == (len(store.utts), encoder.config.backbone.embedding_dim)
True
>>> one_second = torch.zeros(1, 16000, device=encoder.device)  # samples at 16 kHz in [-1, 1]
>>> encoder.network(one_second).shape[0]
1

Two files, and how alike their speakers sound: the cosine, or for a loss with a distance the smaller the more alike.

>>> samples = [torch.from_numpy(read_audio(Path(name))).to(encoder.device) for name in ("one.wav", "other.wav")]
>>> with torch.inference_mode():
...     one, other = encoder.network(samples).cpu()
>>> -1 < float(torch.cosine_similarity(one, other, dim=0)) < 1
True
>>> float(encoder.loss.distance(one[None], other[None])) > 0
True
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ham.backbones.base import Backbone
from ham.config import Config, from_dict
from ham.embeddings.extract import extract
from ham.embeddings.recordings import Recordings
from ham.errors import CheckpointError
from ham.frontends import Frontend
from ham.losses.base import SpeakerLoss
from ham.model import checkpoint
from ham.model.build import build_backbone, build_frontend, build_loss, pick_device


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
    """A trained system, as stages 4 and 5 leave it.

    Attributes:
        folder: its experiment.
        config: its configuration.
        network: front end, and backbone with the averaged weights, in evaluation mode.
        loss: with the averaged centres, in evaluation mode; on the CPU, where scores and distances are computed.
        device: where the network is.
        digest: of the backbone's weights; embeddings made with others are out of date.
        seed: of the training.
        command: that trained it; empty if it does not say.
        valid_speakers: training speakers that were kept aside for validation.
    """

    folder: Path
    config: Config
    network: Network
    loss: SpeakerLoss
    device: torch.device
    digest: str
    seed: int
    command: str
    valid_speakers: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> SpeakerEncoder:
        """Load the averaged model of an experiment.

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
        state = checkpoint.load(place)
        try:
            config = from_dict(state["config"], str(place))
            network = Network(build_frontend(config), build_backbone(config))
            loss = build_loss(config, state["num_speakers"])
            with _fitting(place, "backbone"):
                network.backbone.load_state_dict(state["backbone"])
            with _fitting(place, "loss"):
                loss.load_state_dict(state["loss"])
            return cls(
                folder, config, network.to(there).eval(), loss.eval(), there, checkpoint.weights_digest(state),
                int(state["seed"]), str(state["command"]), tuple(state["valid_speakers"]),
            )  # fmt: skip
        except KeyError as error:
            raise CheckpointError(f"{place}: expected the entry {error}, found none; average again (stage 5)") from None

    def embed(
        self,
        recordings: Recordings,
        indices: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        batch_size: int = 16,
        progress: str | None = None,
    ) -> NDArray[np.float32]:
        """Embed whole recordings, see :func:`ham.embeddings.extract.extract`.

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


@contextmanager
def _fitting(place: Path, part: str) -> Iterator[None]:
    """Turn what torch says of weights of other shapes or names into a sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        cure = "train under another --exp_name"
        raise CheckpointError(f"{place}: the {part} does not fit its configuration ({reason}); {cure}") from None
