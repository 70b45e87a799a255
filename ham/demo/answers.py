"""What the demo answers: recordings as they came from the browser to documents of JSON, by one model and one database.

Nothing of a recording is kept, but the embedding of one that is enrolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import inspect_header, read_audio, spooled
from ham.demo.picture import draw
from ham.enrolment.database import ModelKey, Recording, SpeakerDatabase, checked_name
from ham.enrolment.recognition import Heard, choose_list_threshold, identify
from ham.enrolment.search import Search
from ham.errors import DataError
from ham.model.encoder import SpeakerEncoder

LONGEST_S = 300.0
"""Seconds of a recording; a network needs memory for all of it at once."""

MOST_SAMPLES = 30_000_000
"""Of all channels together, before the rate is converted: 5 minutes of 48 kHz stereo, 120 MB."""

CANDIDATES = 3
"""Enrolled speakers who are shown, the most alike first."""


class Answers:
    """The model and the enrolled speakers behind the page; one question at a time.

    Args:
        encoder: the model.
        database: file of the enrolled speakers; made where there is none.

    Raises:
        DataError: if the database is damaged, or of another model.
    """

    def __init__(self, encoder: SpeakerEncoder, database: Path) -> None:
        self.encoder = encoder
        self.database = database
        self._key = ModelKey(encoder.fingerprint, encoder.embedding_dim)
        with SpeakerDatabase(database, self._key, write=True, create=True):
            pass

    def hear(self, content: bytes) -> dict[str, Any]:
        """Quality and picture of a recording.

        Args:
            content: an audio file.

        Raises:
            DataError: if it cannot be read.
        """
        heard = self._heard(content)
        return {"quality": asdict(heard.quality), "picture": draw(heard.samples)}

    def verify(self, first: bytes, second: bytes, threshold: str | None) -> dict[str, Any]:
        """Whether two recordings are of one speaker, as ``ham verify --json`` says it.

        Args:
            first: an audio file.
            second: another one.
            threshold: name of an operating point or a cosine; None for the default one.

        Raises:
            DataError: if one cannot be read, saying which.
            ConfigError: if there is no such threshold.
        """
        a, b = read(first, "recording A"), read(second, "recording B")
        return self.encoder.verify((a, SAMPLE_RATE), (b, SAMPLE_RATE), threshold).to_dict()

    def enrol(self, content: bytes, name: str) -> dict[str, Any]:
        """Keep a speaker's embedding under a name, beside those that the name has.

        Args:
            content: an audio file.
            name: whose voice it is.

        Returns:
            The name as it was kept; how many recordings were added, none if the name has this one; and others who have
            it.

        Raises:
            DataError: if the recording cannot be read, or is not good enough to know somebody by.
            ConfigError: if the name cannot be one.
        """
        name, heard = checked_name(name), self._heard(content)
        if problem := heard.quality.not_to_enrol:
            raise DataError(f"not enrolled: {problem.text}")
        embedding = self.encoder.embed((heard.samples, SAMPLE_RATE))
        recording = Recording("ham demo", heard.audio, heard.quality.duration_s, embedding)
        with SpeakerDatabase(self.database, self._key, write=True) as known:
            others = [holder for holder in known.holders(heard.audio) if holder != name]
            return {"name": name, "added": known.add({name: [recording]}), "others": others}

    def identify(self, content: bytes) -> dict[str, Any]:
        """Who of the enrolled speakers speaks, as ``ham identify --json`` says it.

        Args:
            content: an audio file.

        Raises:
            DataError: if it cannot be read.
        """
        with SpeakerDatabase(self.database, self._key) as known:
            search = Search(known.gallery())
        chosen = choose_list_threshold(None, self.encoder.decisions, len(search.gallery.names))
        return identify(self.encoder, search, [self._heard(content)], chosen, CANDIDATES)[0].to_dict()

    def remove(self, names: Sequence[str]) -> dict[str, Any]:
        """Remove enrolled speakers.

        Raises:
            ConfigError: if one is not enrolled.
        """
        with SpeakerDatabase(self.database, self._key, write=True) as known:
            known.remove(names)
        return {"removed": list(names)}

    def speakers(self) -> dict[str, Any]:
        """Who is enrolled."""
        with SpeakerDatabase(self.database, self._key) as known:
            return {"speakers": [one._asdict() for one in known.speakers()]}

    def _heard(self, content: bytes) -> Heard:
        samples = read(content, "the recording")
        return Heard("the recording", samples, self.encoder.assess((samples, SAMPLE_RATE)))


def read(content: bytes, name: str) -> NDArray[np.float32]:
    """Decode an audio file that is in memory; it lies in a temporary file meanwhile.

    Args:
        content: its bytes.
        name: what messages call it.

    Returns:
        Samples in [-1, 1] at 16 kHz, shape ``(N,)``.

    Raises:
        DataError: if it is no audio, damaged, too short or too long.
    """
    with spooled(content) as place:
        try:
            info = inspect_header(place)
            if info.duration_s > LONGEST_S or info.num_samples * info.num_channels > MOST_SAMPLES:
                found = f"{info.duration_s / 60:.1f} minutes at {info.sample_rate} Hz"
                raise DataError(f"{place}: expected at most {LONGEST_S / 60:.0f} minutes, found {found}; cut it")
            return read_audio(place)
        except DataError as error:
            raise DataError(str(error).replace(str(place), name)) from None
