from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import recording
from channel import SAMPLE_RATE
from espeak import Synthesiser
from plan import Request, plan
from recording import Talker, record, record_all
from voices import ACCENTS, Session

from ham.errors import DataError

REQUEST = Request(num_train_speakers=4, num_test_speakers=4, num_sessions=2, num_utterances=1)
PLAIN = Session(0.0, 1.0, 0.0, -3.0, 40.0, 0.0)


@pytest.fixture
def talker():
    speaker = plan(REQUEST)[0]
    with Synthesiser(ACCENTS[speaker.accent], speaker.voice.variant_text()) as synthesiser:
        yield Talker(speaker, synthesiser, np.random.default_rng(0))


@pytest.mark.parametrize("rate_factor", [0.7, 1.0, 1.5])
def test_words_are_added_or_dropped_until_the_length_fits(talker, rate_factor):
    for _ in range(4):
        samples = talker.say(replace(PLAIN, rate_factor=rate_factor))
        assert 3 * SAMPLE_RATE <= samples.size <= 4 * SAMPLE_RATE


def test_an_utterance_ends_in_silence_not_in_a_word(talker):
    samples = talker.say(replace(PLAIN, snr_db=90.0)).astype(float)
    edge = SAMPLE_RATE // 100
    assert np.abs(samples[:edge]).max() < 0.03 * np.abs(samples).max()
    assert np.abs(samples[-edge:]).max() < 0.03 * np.abs(samples).max()


def test_words_that_never_fit_are_an_error(talker, monkeypatch):
    monkeypatch.setattr(recording, "LONGEST_S", 3.0)
    with pytest.raises(DataError, match="mini0001"):
        talker.say(PLAIN)


def test_a_speaker_does_not_depend_on_those_before(tmp_path):
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


def test_more_workers_than_speakers_are_no_trouble(tmp_path):
    record_all(plan(REQUEST)[:1], tmp_path / "wav", REQUEST, num_workers=4)
    assert len(list((tmp_path / "wav").rglob("*.flac"))) == 2
