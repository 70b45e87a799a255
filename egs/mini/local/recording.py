"""The recordings of `mini`: every speaker says random words under the conditions of every session."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from channel import add_noise, band, finish, resample, reverberate, tilt, trim
from espeak import SAMPLE_RATE as ESPEAK_RATE
from espeak import Synthesiser
from numpy.typing import NDArray
from plan import AUDIO_STREAM, Request, Speaker
from tqdm import tqdm
from voices import LARGE_ACCENTS, RoomSession, Session
from words import draw_words

from ham.audio import SAMPLE_RATE
from ham.errors import DataError, HamError

SHORTEST_S, LONGEST_S = 3.0, 4.0
FIRST_GUESS = 9
"""Words in an utterance of about 3.5 s at a middling rate."""

MOST_TRIES = 12
_LEAVE_INTERRUPTS = (signal.SIGINT, signal.SIG_IGN)  # for the parent to answer, which then stops the workers


class Talker:
    """A voice at the microphone: knows how many words fill an utterance, and says some."""

    def __init__(self, synthesiser: Synthesiser, rate_wpm: int, rng: np.random.Generator) -> None:
        """Take a seat.

        Args:
            synthesiser: an instance with the voice, which nobody else uses.
            rate_wpm: words a minute.
            rng: the source of words and of the seeds of the breath.
        """
        self._synthesiser, self._rate_wpm, self._rng = synthesiser, rate_wpm, rng
        self._count = FIRST_GUESS

    def say(self) -> NDArray[np.float32]:
        """Say whole words that last 3 to 4 s; if they do not, say more or fewer of them.

        Returns:
            Samples in -1..1 at espeak-ng's rate, shape ``(N,)``.

        Raises:
            DataError: no number of words fits.
        """
        words = draw_words(self._rng, 4 * FIRST_GUESS)
        for _ in range(MOST_TRIES):
            text, seed = " ".join(words[: self._count]), int(self._rng.integers(1, 2**31))
            speech = trim(self._synthesiser.speak(text, rate_wpm=self._rate_wpm, seed=seed), ESPEAK_RATE)
            if SHORTEST_S * ESPEAK_RATE <= speech.size <= LONGEST_S * ESPEAK_RATE:
                return speech
            self._count += 1 if speech.size < SHORTEST_S * ESPEAK_RATE else -1
        raise DataError(f"'{text}': expected words that last 3 to 4 s at {self._rate_wpm} a minute, found none")


def transmit(speech: NDArray[np.float32], session: Session, rng: np.random.Generator) -> NDArray[np.int16]:
    """Bring speech through the channel of a session.

    Args:
        speech: samples at espeak-ng's rate, shape ``(N,)``.
        session: tilt, noise and level; room and band, if it has some.
        rng: the source of noise and echo.

    Returns:
        Samples at 16 kHz, shape ``(N * 320 // 441,)``.
    """
    spoken = resample(speech, ESPEAK_RATE, SAMPLE_RATE).astype(np.float64)
    if isinstance(session, RoomSession):
        heard = reverberate(spoken, rng, reverb_s=session.reverb_s, direct_db=session.direct_db)
        spoken = band(heard, session.low_hz, session.high_hz)
    tilted = tilt(spoken, session.tilt_db_per_octave)
    noise_tilt = session.noise_tilt_db_per_octave
    return finish(add_noise(tilted, rng, snr_db=session.snr_db, noise_tilt_db_per_octave=noise_tilt), session.peak_db)


def record(speaker: Speaker, *, wav: Path, seed: int, num_utterances: int) -> None:
    """Synthesise and write all utterances of one speaker; what is written depends on nothing else.

    Args:
        speaker: who speaks.
        wav: where the speaker's folder goes.
        seed: the corpus's seed.
        num_utterances: in each session.
    """
    rng = np.random.default_rng((seed, AUDIO_STREAM, speaker.index))
    for session, paths in zip(speaker.sessions, speaker.paths(num_utterances), strict=True):
        (wav / paths[0]).parent.mkdir(parents=True)
        voice = speaker.voice.shifted(session.pitch_shift_semitones)
        with Synthesiser(LARGE_ACCENTS[speaker.accent], voice.variant_text()) as synthesiser:
            talker = Talker(synthesiser, round(voice.rate_wpm * session.rate_factor), rng)
            for path in paths:
                _write(wav / path, transmit(talker.say(), session, rng))


def _write(path: Path, samples: NDArray[np.int16]) -> None:
    """Write a recording; libsndfile calls a full disk a system error."""
    try:
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: cannot be written ({error}); is the disk full?") from None


def record_all(speakers: Sequence[Speaker], wav: Path, request: Request, num_workers: int) -> None:
    """Record every speaker, in several processes at a time.

    Args:
        speakers: the plan.
        wav: where the speakers' folders go.
        request: seed and counts.
        num_workers: at least 1; it changes the time, never the result.

    Raises:
        HamError: espeak-ng cannot be used, or a process has died.
    """
    with Synthesiser(LARGE_ACCENTS[speakers[0].accent], ""):
        pass  # what keeps espeak-ng from loading is reported here, before any process is started
    pool = ProcessPoolExecutor(
        min(num_workers, len(speakers)), get_context("spawn"), initializer=signal.signal, initargs=_LEAVE_INTERRUPTS
    )
    work = partial(record, wav=wav, seed=request.seed, num_utterances=request.num_utterances)
    with pool:
        futures = [pool.submit(work, speaker) for speaker in speakers]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), desc="mini", unit="speaker", mininterval=1):
                future.result()
        except BrokenProcessPool as error:
            raise HamError(f"a worker process has died ({error}); try fewer of them: --num_workers 1") from error
        finally:
            pool.shutdown(cancel_futures=True)
