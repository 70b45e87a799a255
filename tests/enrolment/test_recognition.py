"""Answers by hand-made embeddings: who is named, what a list does to a threshold, what is too poor to embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ham.audio.quality import Problem, Quality
from ham.enrolment.database import Gallery
from ham.enrolment.recognition import Heard, Threshold, choose_list_threshold, identify, listen
from ham.enrolment.search import Search
from ham.errors import ConfigError
from ham.score.decisions import Decisions, OperatingPoint
from tests.speaking import voice

GALLERY = Gallery(("east", "north"), np.eye(2, dtype=np.float32))
FINE = Quality(3.0, 3.0, -20.0, 30.0, 0.0)
MUTE = replace(FINE, problems=(Problem("silent", "It is silent.", "cannot_say"),))


class Compass:
    """Embeds samples as their first two, and finds no fault with them."""

    def assess(self, speech: object, sample_rate: int | None = None) -> Quality:
        return FINE

    def embed_many(self, items: Sequence[tuple[NDArray[np.float32], int]]) -> NDArray[np.float32]:
        return np.array([samples[:2] for samples, _ in items], np.float32).reshape(-1, 2)


def heard(x: float, y: float, quality: Quality = FINE) -> Heard:
    return Heard("x", np.array([x, y, 0], np.float32), quality)


def test_answers_keep_their_order() -> None:
    recordings = [heard(3, 1), heard(0, 0, MUTE), heard(-1, -1), heard(1, 9)]
    found = identify(Compass(), Search(GALLERY), recordings, Threshold(0.9, "given"), top=2)
    assert [(one.name, one.decision) for one in found] == [
        ("east", "named"),
        (None, "cannot_say"),
        (None, "nobody"),
        ("north", "named"),
    ]
    assert found[0].score == pytest.approx(3 / 10**0.5)
    assert [one.name for one in found[3].candidates] == ["north", "east"]
    assert (found[1].score, found[1].candidates) == (None, ())


def test_from_the_threshold_on_somebody_is_named() -> None:
    for threshold, decision in ((1.0, "named"), (None, "cannot_say")):
        assert identify(Compass(), Search(GALLERY), [heard(5, 0)], Threshold(threshold, ""))[0].decision == decision


def test_nobody_is_enrolled_and_nobody_speaks() -> None:
    empty = Search(Gallery((), np.empty((0, 2), np.float32)))
    assert identify(Compass(), empty, [heard(1, 0)], Threshold(0.0, ""))[0].decision == "nobody"
    assert identify(Compass(), Search(GALLERY), [], Threshold(0.0, "")) == []


def decisions(strictest: float | None) -> Decisions:
    points = [
        OperatingPoint("far_1", 0.2, None, None, 0.1, 0.01),
        OperatingPoint("far_0_1", 0.3, None, None, 0.1, 1e-3),
    ]
    last = OperatingPoint("far_0_01", strictest, None, None, None, None, "too few trials")
    return Decisions("cosine", 1.0, 0.0, (*points, last), "16 speakers", 16, 9, 9)


def test_what_a_threshold_holds_for_a_list_is_said() -> None:
    assert choose_list_threshold(None, decisions(None), 10) == Threshold(
        0.3, "far_0_1, measured on 16 speakers; compared with 10, 1 % of strangers may be named"
    )
    assert choose_list_threshold(None, decisions(None), 1000) == Threshold(
        0.3,
        "far_0_1, measured on 16 speakers; compared with 1000, 63 % of strangers may be named; "
        "no stricter one was measured",
    )
    assert choose_list_threshold(None, decisions(0.4), 50).value == 0.4
    assert choose_list_threshold("far_1", decisions(0.4), 50).value == 0.2
    assert "39 % of strangers" in choose_list_threshold("far_1", decisions(0.4), 50).origin
    assert choose_list_threshold("0.7", decisions(0.4), 50) == Threshold(0.7, "given")


def test_a_threshold_that_stands_in_says_on_how_few_errors_it_rests() -> None:
    point = OperatingPoint("eer", 0.5, 0.4, 0.6, 0.0, 0.0, "a rough guide: 0 misses and 0 false alarms")
    few = replace(decisions(None), points=(point,), num_speakers=25)
    assert choose_list_threshold(None, few, 2) == Threshold(
        0.5,
        "eer, measured on 16 speakers (a rough guide: 0 misses and 0 false alarms); compared with 2, "
        "2 % of strangers may be named; no stricter one was measured",
    )
    assert choose_list_threshold("eer", few, 2).origin.endswith("; compared with 2, 2 % of strangers may be named")


def test_a_threshold_that_nobody_has_measured() -> None:
    assert choose_list_threshold(None, None, 5).value is None
    unmeasured = replace(decisions(None), points=tuple(OperatingPoint(f"far_{n}", None, None, None, None, None)
                                                       for n in ("1", "0_1", "0_01")))  # fmt: skip
    assert choose_list_threshold(None, unmeasured, 5).value is None
    with pytest.raises(ConfigError, match="far_0_01"):
        choose_list_threshold("far_0_01", decisions(None), 5)


def test_the_same_audio_in_another_file_is_known_again(tmp_path: Path) -> None:
    for name, pitch_hz in (("a.wav", 100), ("b.flac", 100), ("c.wav", 101)):
        soundfile.write(tmp_path / name, np.rint(32767 * voice(4.0, pitch_hz)).astype(np.int16), 16000)
    one, other, third = (listen(Compass(), tmp_path / name) for name in ("a.wav", "b.flac", "c.wav"))
    assert one.audio == other.audio != third.audio
    assert (one.source, one.quality) == (str(tmp_path / "a.wav"), FINE)
