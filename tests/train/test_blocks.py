"""What a configuration means: parts that fit each other, every option spelt out, remarks on what was not taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.config import Config, from_dict, load_config
from ham.errors import ConfigError
from ham.train.blocks import TABLES, remarks, resolve
from tests.self_supervised import PARTNERS, needs_transformers


def system(name: str, *changes: str) -> Config:
    return load_config(Path(__file__).parents[2] / f"conf/{name}.yaml", changes)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in TABLES.items() for name in table])
def test_every_choice_of_every_table_resolves_to_its_own_options(kind: str, name: str) -> None:
    key = "mode" if kind == "augment" else "name"
    full = resolve(from_dict({kind: {key: name}}))
    again = resolve(full)
    assert getattr(full, kind) == getattr(again, kind)
    assert remarks(full, again) == []


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({"loss": {"name": "ham_sofmax"}}, "ham_softmax"),
        ({"loss": {"name": "ham_softmax", "magrin": 0.2}}, "margin"),
        ({"backbone": {"name": "ecapa"}}, "ecapa_tdnn"),
        ({"frontend": {"name": "mels"}}, "mel"),
        ({"loss": {"name": "softmax"}, "margin": {"name": "linear"}}, "no margin"),
        ({"loss": {"name": "am_softmax"}, "curvature": {"name": "linear"}}, "has no curvature to set"),
        ({"loss": {"name": "ham_softmax"}, "curvature": {"name": "linear", "start": 0.5}}, "no meaning"),
        (
            {
                "loss": {"name": "ham_softmax", "geometry": "lorentz", "learn_curvature": True},
                "curvature": {"name": "linear"},
            },
            "is learnt",
        ),
    ],
)
def test_the_parts_refuse_what_they_do_not_know(tree: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        resolve(from_dict(tree))


def test_to_edit_a_name_is_enough_and_what_it_does_not_take_is_said() -> None:
    asked = system("resnet34", "margin.name=constant", "schedule.name=step", "optimiser.name=adam")
    full = resolve(asked)
    assert full.margin.options == {}
    assert full.schedule.options == {"warmup_epochs": 6, "gamma": 0.97, "step_epochs": 1}
    assert sorted(remarks(asked, full)) == [
        "margin.end_epoch: left out, constant does not take it",
        "margin.start_epoch: left out, constant does not take it",
        "optimiser.momentum: left out, adam does not take it",
        "schedule.final_lr: left out, step does not take it",
    ]
    assert remarks(full, resolve(full)) == []


def test_no_more_epochs_are_averaged_than_there_are() -> None:
    asked = system("mini", "train.epochs=1")
    full = resolve(asked)
    assert full.train.average_last == 1
    assert remarks(asked, full) == ["train.average_last: 2 cut to train.epochs, 1"]


@needs_transformers
def test_masks_are_left_out_where_there_are_no_bands_and_that_is_said() -> None:
    asked = from_dict({"frontend": {"name": "waveform"}, **PARTNERS["waveform"]})
    full = resolve(asked)
    assert (full.spec_augment.max_time_width, full.spec_augment.max_freq_width) == (0, 0)
    assert remarks(asked, full) == ["spec_augment: left out, the front end waveform has no bands"]
    assert remarks(full, resolve(full)) == []
