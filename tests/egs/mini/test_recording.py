from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import recording
from espeak import SAMPLE_RATE as ESPEAK_RATE
from espeak import Synthesiser
from plan import Request, plan
from recording import Talker, record, record_all, transmit
from voices import ACCENTS, RoomSession, Session

from ham.audio import SAMPLE_RATE
from ham.errors import DataError

REQUEST = Request(num_train_speakers=4, num_test_speakers=4, num_sessions=2, num_utterances=1)
PLAIN = Session(0.0, 1.0, 0.0, -3.0, 40.0, 0.0)


@pytest.fixture
def synthesiser() -> Iterator[Synthesiser]:
    speaker = plan(REQUEST)[0]
    with Synthesiser(ACCENTS[speaker.accent], speaker.voice.variant_text()) as instance:
        yield instance


@pytest.mark.parametrize("rate_wpm", [110, 165, 250])
def test_words_are_added_or_dropped_until_the_length_fits(synthesiser: Synthesiser, rate_wpm: int) -> None:
    talker = Talker(synthesiser, rate_wpm, np.random.default_rng(0))
    for _ in range(4):
        assert 3 * ESPEAK_RATE <= talker.say().size <= 4 * ESPEAK_RATE


def test_words_that_never_fit_are_an_error(synthesiser: Synthesiser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LONGEST_S", 3.0)
    with pytest.raises(DataError, match="165 a minute"):
        Talker(synthesiser, 165, np.random.default_rng(0)).say()


def test_an_utterance_begins_and_ends_in_silence_not_in_a_word(synthesiser: Synthesiser) -> None:
    rng = np.random.default_rng(0)
    speech = Talker(synthesiser, 165, rng).say()
    samples = transmit(speech, replace(PLAIN, snr_db=90.0), rng).astype(float)
    assert samples.size == speech.size * 320 // 441
    edge = SAMPLE_RATE // 50
    assert np.abs(samples[:edge]).max() < 0.03 * np.abs(samples).max()
    assert np.abs(samples[-edge:]).max() < 0.03 * np.abs(samples).max()


def test_the_session_is_heard(synthesiser: Synthesiser) -> None:
    speech = Talker(synthesiser, 165, np.random.default_rng(0)).say()

    def high_db(session: Session) -> float:
        power = np.abs(np.fft.rfft(transmit(speech, session, np.random.default_rng(0)))) ** 2
        return float(10 * np.log10(power[power.size // 2 :].sum() / power.sum()))

    assert high_db(replace(PLAIN, tilt_db_per_octave=2.0)) > high_db(PLAIN) + 3
    assert high_db(replace(PLAIN, snr_db=0.0)) > high_db(PLAIN) + 3


def test_a_speaker_does_not_depend_on_those_before(tmp_path: Path) -> None:
    speakers = plan(REQUEST)
    options = {"seed": REQUEST.seed, "num_utterances": 1}
    for speaker in speakers[:3]:
        record(speaker, wav=tmp_path / "forward", **options)
    for speaker in speakers[2::-1]:
        record(speaker, wav=tmp_path / "backward", **options)
    paths = sorted(path.relative_to(tmp_path / "forward") for path in (tmp_path / "forward").rglob("*.flac"))
    assert len(paths) == 3 * 2
    for path in paths:
        assert (tmp_path / "forward" / path).read_bytes() == (tmp_path / "backward" / path).read_bytes()


def test_more_workers_than_speakers_are_no_trouble(tmp_path: Path) -> None:
    record_all(plan(REQUEST)[:1], tmp_path / "wav", REQUEST, num_workers=4)
    assert len(list((tmp_path / "wav").rglob("*.flac"))) == 2


def test_a_room_and_a_band_are_heard(synthesiser: Synthesiser) -> None:
    speech = Talker(synthesiser, 165, np.random.default_rng(0)).say()
    near = RoomSession(**vars(PLAIN), low_hz=50, high_hz=3000, reverb_s=0.1, direct_db=40.0)
    far = replace(near, reverb_s=0.7, direct_db=-6.0)

    def heard(session: Session) -> np.ndarray:
        return transmit(speech, replace(session, snr_db=90.0), np.random.default_rng(0)).astype(float)

    def high_db(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(10 * np.log10(power[power.size * 5 // 8 :].sum() / power.sum()))

    assert high_db(heard(near)) < high_db(heard(PLAIN)) - 10
    quiet = [np.quantile(np.abs(samples), 0.2) / samples.std() for samples in (heard(near), heard(far))]
    assert quiet[1] > 1.5 * quiet[0]  # the room fills the pauses
