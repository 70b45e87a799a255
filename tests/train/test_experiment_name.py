"""Names of experiments."""

from __future__ import annotations

import pytest

from ham.errors import ConfigError
from ham.train.experiment_name import MOST_BYTES, check_name, default_name


def test_the_seed_is_told_where_it_is_not_the_usual_one() -> None:
    assert default_name("mini", "am_softmax", 1) == "mini_am_softmax"
    assert default_name("mini", "am_softmax", 12) == "mini_am_softmax_seed12"


@pytest.mark.parametrize("name", ["a", "_a b", "für-1", "x" * MOST_BYTES])
def test_names_of_folders_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".", "a/b", "a\nb", "x" * (MOST_BYTES + 1)])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--exp_name: expected"):
        check_name(name)
