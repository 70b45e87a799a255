"""What the corpus `mini` will hold: the request, and from it every speaker and session. Nothing is synthesised here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

import numpy as np
from voices import (
    ACCENTS,
    LARGE_ACCENTS,
    SEXES,
    Session,
    Voice,
    aged,
    draw_age,
    draw_room_session,
    draw_session,
    draw_voice,
)

from ham.errors import ConfigError

GENERATOR = 1
"""Raised whenever the same request would give other bytes, so that an older corpus is made anew."""

PRESETS: dict[str, dict[str, int]] = {"default": {}, "large": {"num_train_speakers": 1000, "num_test_speakers": 200}}
"""What a preset has in place of the default counts. ``large`` has six accents, ages, and rooms and microphones too."""

# The second word of every seed: one stream of random numbers for each use.
CELLS_STREAM, SPEAKER_STREAM, AUDIO_STREAM, TRIALS_STREAM, HEARD_STREAM = range(5)


@dataclass(frozen=True)
class Request:
    """What determines every byte of the corpus.

    Attributes:
        seed: at least 0.
        num_train_speakers: at least 2.
        num_test_speakers: others than those; at least 2, so that some cell of sex and accent has two.
        num_sessions: for each speaker; at least 2, because targets are across sessions.
        num_utterances: in each session; at least 1.
        preset: one of :data:`PRESETS`: which accents, ages and sessions.
        unequal: whether training lists of the speakers are of unequal lengths, from 2 utterances to all.
    """

    seed: int = 1
    num_train_speakers: int = 208
    num_test_speakers: int = 48
    num_sessions: int = 3
    num_utterances: int = 4
    preset: str = "default"
    unequal: bool = False

    def check(self) -> None:
        """Refuse counts from which no corpus can be made.

        Raises:
            ConfigError: naming the option, the least value and the reason.
        """
        least = {
            "seed": (0, "a seed is not negative"),
            "num_train_speakers": (2, "training tells speakers apart"),
            "num_test_speakers": (2, "the hard list needs two test speakers of one sex and accent"),
            "num_sessions": (2, "targets are across sessions"),
            "num_utterances": (1, "a session is not empty"),
        }
        if self.preset not in PRESETS:
            raise ConfigError(f"--preset: expected one of {', '.join(PRESETS)}, found '{self.preset}'")
        for name, (minimum, reason) in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"--{name}: expected at least {minimum} ({reason}), found {getattr(self, name)}")

    @property
    def accents(self) -> dict[str, str]:
        """Each accent's language file."""
        return LARGE_ACCENTS if self.preset == "large" else ACCENTS

    def given(self) -> dict[str, object]:
        """Seed and counts, and what else is not as by default."""
        later = {field.name: field.default for field in fields(self)[5:]}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}

    @property
    def num_files(self) -> int:
        """Number of utterances of the whole corpus."""
        return (self.num_train_speakers + self.num_test_speakers) * self.num_sessions * self.num_utterances

    def to_json(self) -> str:
        """The request and the generator's version, as they are stored."""
        return json.dumps({"generator": GENERATOR, **self.given()}, indent=2) + "\n"


@dataclass(frozen=True)
class Speaker:
    """One speaker: where in the hierarchy, with which voice, in which sessions.

    Attributes:
        name: says nothing about the speaker.
        index: 0, 1, ...; the speaker's share of the seed.
        sex: one of :data:`voices.SEXES`.
        accent: a key of :attr:`Request.accents`.
        split: ``train`` or ``test``.
        voice: what the sessions have in common.
        sessions: what they have not.
        age: in years; None where it has no part in the voice.
    """

    name: str
    index: int
    sex: str
    accent: str
    split: str
    voice: Voice
    sessions: tuple[Session, ...]
    age: int | None = None

    @property
    def cell(self) -> tuple[str, str]:
        """Sex and accent."""
        return self.sex, self.accent

    def paths(self, num_utterances: int) -> list[list[str]]:
        """For each session the paths of its utterances, relative to ``wav``."""
        return [
            [f"{self.name}/s{session}/{utterance:02d}.flac" for utterance in range(1, num_utterances + 1)]
            for session in range(1, len(self.sessions) + 1)
        ]


def plan(request: Request) -> list[Speaker]:
    """Draw every speaker and session; nothing is synthesised.

    Training speakers are dealt to all cells of sex and accent in turn; test speakers to as many cells as can have two.
    Names are dealt at random, so that a name tells neither cell nor split.

    Args:
        request: counts and seed.

    Returns:
        The speakers in the order of their names.

    Raises:
        ConfigError: as :meth:`Request.check`.
    """
    request.check()
    cells = [(sex, accent) for accent in request.accents for sex in SEXES]
    test_cells = cells[: max(1, min(len(cells), request.num_test_speakers // 2))]
    roles = [("train", *cells[i % len(cells)]) for i in range(request.num_train_speakers)]
    roles += [("test", *test_cells[i % len(test_cells)]) for i in range(request.num_test_speakers)]
    order = np.random.default_rng((request.seed, CELLS_STREAM)).permutation(len(roles))
    return [_draw_speaker(request, index, *roles[role]) for index, role in enumerate(order)]


def _draw_speaker(request: Request, index: int, split: str, sex: str, accent: str) -> Speaker:
    rng = np.random.default_rng((request.seed, SPEAKER_STREAM, index))
    voice, age = draw_voice(rng, sex), None
    draw = draw_session
    if request.preset == "large":
        age, draw = draw_age(rng), draw_room_session
        voice = aged(voice, sex, age)
    sessions = tuple(draw(rng) for _ in range(request.num_sessions))
    return Speaker(f"mini{index + 1:04d}", index, sex, accent, split, voice, sessions, age)
