"""The model card: what is known stands there, what is not is said, nothing in a name can break it."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import EvalResult

from ham.config import Config, DataConfig
from ham.model.card import card, front_matter, training_of
from ham.model.contents import Contents
from ham.score.decisions import Decisions, OperatingPoint
from ham.score.results import DurationRates, ListResult, Results

STATE = MappingProxyType({"num_speakers": 192, "seed": 7, "command": "./run.sh --loss softmax"})
ENTRIES = (
    ListResult("mini/all", "cosine", 2304, 7696, 0.0152, 0.008, 0.0383, 0.142, 0.086),
    ListResult("mini/all", "cosine+as_norm", 2304, 7696, 0.0112, 0.0074, 0.0185, 0.192, 0.085),
    ListResult("mini/all", "hyperbolic", 2304, 7696, 0.0199, 0.008, 0.0383, 0.142, 0.086),
    ListResult("mini/one", "cosine", 5, 0),
)
POINTS = (
    OperatingPoint("eer", 0.41234, 0.4, 0.425, 0.015, 0.0151),
    OperatingPoint("far_0_01", None, None, None, None, None, "10,000 non-target trials are too few"),
)
DECISIONS = Decisions("cosine", 10, -4, POINTS, "16 speakers kept aside", 16, 100, 200)


def results(**further: Any) -> Results:
    return Results("run", 7, "0123abc", {"ham": "0.1.0"}, "./run.sh", ENTRIES, **further)


def contents(command: str = STATE["command"], config: Config | None = None, **known: Any) -> Contents:
    return Contents(Path("x"), "run", {**STATE, "command": command}, config or Config(), "f00d", 541328, **known)


def test_the_hub_reads_its_head() -> None:
    found = ModelCard(card(contents(results=results(), licence="CC-BY-4.0"))).data
    assert (found.license, found.library_name, found.model_name) == ("cc-by-4.0", "ham-speaker", "run")
    assert "speaker-verification" in found.tags
    measured: list[EvalResult] = found.eval_results
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in measured] == [
        ("mini/all", "eer", 1.52),
        ("mini/all", "eer", 1.12),
    ]


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("", {"license": "unknown"}),
        ("MIT", {"license": "mit"}),
        ("for our customers: ask", {"license": "other", "license_name": "for our customers: ask"}),
    ],
)
def test_licences_are_those_that_the_hub_knows(licence: str, expected: dict[str, str]) -> None:
    found = front_matter(contents(licence=licence))
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected
    assert "model-index" not in found


def test_numbers_have_their_intervals() -> None:
    durations = (
        DurationRates("mini/all", 2.0, 100, 3, 0.05, 0.04, 0.06),
        DurationRates("mini/all", None, 9, 0, 1, 1, 1),
    )
    text = card(
        contents(results=results(durations=durations, notes={"mini/all": ["few speakers"]}), decisions=DECISIONS)
    )
    assert "| mini/all | cosine | 1.52 \\[0.80, 3.83\\] | 0.142 | 2,304 | 7,696 |" in text
    assert "| mini/one | cosine | - | - | 5 | 0 |" in text
    assert "hyperbolic |" not in text
    assert "| mini/all | 2 s | 5.00 \\[4.00, 6.00\\] |" in text
    assert "mini/all: few speakers." in text
    assert "| eer | 0.412 \\[0.400, 0.425\\] | 1.50 | 1.51 |" in text
    assert "| far_0_01 | none: 10,000 non-target trials are too few | - | - |" in text
    assert "Chosen on 16 speakers kept aside." in text
    for known in (
        "541,328 parameters",
        "192 speakers",
        "| seed | 7 |",
        "| commit | 0123abc |",
        "| fingerprint | f00d |",
    ):
        assert known in text


def test_what_is_not_known_is_said() -> None:
    text = card(contents(""))
    for said in (
        "What it was trained on is not recorded.",
        "Licence of the training speech: not stated",
        "Licence of these weights: not stated",
        "It has not been measured",
        "None has been chosen",
        "| command | not recorded |",
        "| commit | not recorded |",
        "| versions | not recorded |",
    ):
        assert said in text
    for limit in ("Spoofing is not detected", "biometric data", "consent", "Other languages", "noisy"):
        assert limit in text


@pytest.mark.parametrize(
    ("command", "speech", "licence"),
    [
        ("./run.sh", "synthetic voices", "no person's speech"),
        ("/a/run.sh --corpus mini", "synthetic voices", "no person's speech"),
        ("./run.sh --corpus voxceleb --train_set vox1_dev", "VoxCeleb", "given for research"),
        ("./run.sh --corpus=cnceleb", "CN-Celeb", "given for research"),
        ("./run.sh --corpus folder --train-roots '/my speech'", "collection", "not stated"),
        ("./run.sh --train_roots=/speech", "collection", "not stated"),
        ("./run.sh --corpus folder --csv table.csv", "collection", "not stated"),
        ("./run.sh --corpus another", "not recorded", "not stated"),
        ("python -m ham.bin.train --data_dir x", "not recorded", "not stated"),
        ("./run.sh 'open", "not recorded", "not stated"),
    ],
)
def test_the_command_names_the_training_speech(command: str, speech: str, licence: str) -> None:
    found = training_of(contents(command))
    assert speech in found.speech
    assert licence in found.licence


def test_the_packer_says_the_licence_of_the_speech() -> None:
    text = card(contents("./run.sh --corpus voxceleb", data_licence="our contract *no. 5*"))
    assert "Licence of the training speech: our contract \\*no. 5\\*" in text
    assert "VoxCeleb" in text


def test_speeds_and_other_weights_are_counted() -> None:
    text = card(contents(config=Config(data=DataConfig(speed_perturb=(0.9, 1.1))), init_from="beef"))
    assert "64 speakers were told apart, each at 3 speeds" in text
    assert "started from the weights of another model (digest `beef`)" in text


def test_no_text_breaks_out() -> None:
    evil = "</td><script>alert(1)</script> | a\n---\nlicense: mit"
    found = contents(
        f"./run.sh --exp_name '{evil}'", licence=evil, data_licence=evil, results=results(notes={evil: [evil]})
    )
    text = card(found)
    assert "<script>" not in text.split("---", 2)[2]
    assert ModelCard(text).data.license == "other"
    assert text.count("\n---\n") == 1
