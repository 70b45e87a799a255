from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from plan import Request, plan
from voices import ACCENTS, LARGE_ACCENTS, OLDEST, SEXES, YOUNGEST, RoomSession

from ham.errors import ConfigError

ALL_CELLS = {(sex, accent) for sex in SEXES for accent in ACCENTS}


def cells(request: Request, split: str) -> Counter[tuple[str, str]]:
    return Counter(speaker.cell for speaker in plan(request) if speaker.split == split)


def test_the_default_is_balanced_exactly() -> None:
    assert cells(Request(), "train") == dict.fromkeys(ALL_CELLS, 26)
    assert cells(Request(), "test") == dict.fromkeys(ALL_CELLS, 6)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 13, 16, 17, 50])
def test_any_counts_are_balanced_as_far_as_they_go(count: int) -> None:
    request = Request(num_train_speakers=count, num_test_speakers=count)
    train, test = cells(request, "train"), cells(request, "test")
    assert train.total() == test.total() == count
    assert len(train) == min(count, len(ALL_CELLS))
    assert max(train.values()) - min(train.values()) <= 1
    assert min(test.values()) >= 2
    assert max(test.values()) - min(test.values()) <= 1


def test_names_and_order_tell_nothing() -> None:
    speakers = plan(Request())
    assert [speaker.name for speaker in speakers] == [f"mini{i:04d}" for i in range(1, 257)]
    half = speakers[:128]
    for of in ("sex", "accent", "split"):
        whole = Counter(getattr(speaker, of) for speaker in speakers)
        seen = Counter(getattr(speaker, of) for speaker in half)
        assert all(abs(seen[value] - whole[value] / 2) < 15 for value in whole), of


def test_the_seed_decides_everything() -> None:
    assert plan(Request(seed=5)) == plan(Request(seed=5))
    assert plan(Request(seed=5)) != plan(Request(seed=6))


def test_more_utterances_leave_the_speakers_as_they_are() -> None:
    assert plan(Request(num_utterances=1)) == plan(Request(num_utterances=9))


def test_every_speaker_and_session_is_its_own() -> None:
    speakers = plan(Request())
    assert len({speaker.voice for speaker in speakers}) == 256
    assert len({session for speaker in speakers for session in speaker.sessions}) == 256 * 3


def test_paths_are_by_speaker_session_and_utterance() -> None:
    speaker = plan(Request(num_sessions=2))[0]
    assert speaker.paths(2) == [
        ["mini0001/s1/01.flac", "mini0001/s1/02.flac"],
        ["mini0001/s2/01.flac", "mini0001/s2/02.flac"],
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("num_train_speakers", 1), ("num_test_speakers", 1), ("num_sessions", 1), ("num_utterances", 0)],
)
def test_counts_that_give_no_corpus_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"--{name}: expected at least {value + 1} .* found {value}"):
        plan(replace(Request(), **{name: value}))


def test_the_stored_request_tells_requests_apart() -> None:
    assert Request().to_json() == Request().to_json()
    assert Request().to_json() != Request(num_utterances=5).to_json()
    assert Request(num_train_speakers=3, num_test_speakers=4, num_sessions=5, num_utterances=6).num_files == 210


def test_the_stored_request_of_the_default_corpus_has_no_word_of_presets() -> None:
    assert "preset" not in Request().to_json()
    assert '"preset": "large"' in Request(preset="large").to_json()
    assert '"unequal": true' in Request(unequal=True).to_json()


def test_the_large_preset_has_six_accents_ages_and_rooms() -> None:
    speakers = plan(Request(num_train_speakers=24, num_test_speakers=24, preset="large"))
    assert {speaker.accent for speaker in speakers} == set(LARGE_ACCENTS)
    assert all(YOUNGEST <= (speaker.age or 0) <= OLDEST for speaker in speakers)
    sessions = [session for speaker in speakers for session in speaker.sessions]
    assert all(isinstance(session, RoomSession) for session in sessions)
    assert len(set(sessions)) == len(sessions)
    assert {speaker.age for speaker in plan(Request())} == {None}


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="--preset: expected one of default, large, found 'huge'"):
        plan(Request(preset="huge"))
