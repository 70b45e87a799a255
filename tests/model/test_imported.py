"""Importing a public model: the directory loads as any other, and whatever is wrong with a file is one sentence."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ham.errors import LONGEST, ConfigError, HamError
from ham.model.directory import load_directory, pack, read_directory, unpack
from ham.model.imported import import_model
from ham.model.load import load
from ham.train.initial import read_initial
from tests.public_models import campplus, wespeaker_resnet34
from tests.tiny_system import write_model


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return campplus()


@pytest.fixture(scope="module")
def imported(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    torch.save(state, folder / "public.pt")
    import_model(folder / "public.pt", folder / "model", "campplus", licence="apache-2.0")
    return folder / "model"


def test_the_directory_loads_and_embeds(imported: Path) -> None:
    encoder = load(imported, "cpu")
    assert encoder.embedding_dim == 192
    assert encoder.config.loss.name == "none"
    speech = 0.1 * np.random.default_rng(0).normal(size=(2, 16000)).astype(np.float32)
    rows = encoder.embed_many([(row, 16000) for row in speech])
    assert np.isfinite(rows).all()
    found = encoder.verify((speech[0], 16000), (speech[1], 16000), 0.3)
    assert found.score is None or -1 <= found.score <= 1
    with pytest.raises(ConfigError, match="loss none: has no hyperbolic distance; score by cosine instead"):
        encoder.loss.distance(torch.zeros(1, 192), torch.zeros(1, 192))


def test_it_says_where_it_comes_from(imported: Path) -> None:
    found = read_directory(imported)
    assert found.imported["file"] == "public.pt"
    assert found.imported["layout"] == "campplus"
    assert found.parameters == 6_848_544
    card = (imported / "README.md").read_text()
    assert "Imported from public.pt, a file of 3D-Speaker's CAM++; its training data is not stated there." in card
    assert "speakers were told apart" not in card
    assert "loss `" not in card


@pytest.mark.parametrize("nest", [lambda x: {"state_dict": x, "epoch": 3}, lambda x: {"model": x}, dict])
def test_files_that_hold_more_are_the_same(
    nest: Callable[[Any], Any], state: dict[str, torch.Tensor], imported: Path, tmp_path: Path
) -> None:
    torch.save(nest({f"module.{name}": value for name, value in state.items()}), tmp_path / "x.ckpt")
    import_model(tmp_path / "x.ckpt", tmp_path / "out")
    assert read_directory(tmp_path / "out").fingerprint == read_directory(imported).fingerprint


class Code:
    """What a pickle can hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("was_run",)


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("head.conv2.weight", "tail.weight"): value for name, value in state.items()}


def _changed(name: str, value: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda state: {**state, name: value(state[name])}


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_renamed, r"936 fit, 1 tensor missing \(head.conv2.weight\), 1 tensor unknown \(tail.weight\)$"),
        (lambda state: {"a": torch.ones(2)}, r"is campplus: 0 fit, 937 tensors missing \(head.conv1.weight, \.\."),
        (_changed("head.bn1.bias", lambda x: x[:5]), r"another shape \(.*bias: expected \(32,\), found \(5,\)\)"),
        (_changed("head.bn1.bias", lambda x: x.long()), r"1 tensor of another shape \(head.bn1.bias"),
        (_changed("head.bn1.bias", lambda x: x.tolist()), "names and tensors, .* found 'head.bn1.bias': list"),
        (_changed("head.bn1.bias", lambda x: x * np.nan), "NaN or infinity in head.bn1.bias; fetch it again"),
        (_changed("head.bn1.bias", lambda x: Code()), "other objects than tensors, which can run code"),
        (lambda state: torch.ones(3), "expected a state dict, .*found Tensor"),
        (lambda state: {}, "expected a state dict, .*found none"),
        (_changed("xvector.dense.linear.weight", lambda x: x.sum()), r"another shape \(xvector.*found \(\)\)"),
        (_changed("xvector.dense.linear.weight", lambda x: x[:0]), r"another shape \(xvector.*found \(0, 1024, 1\)\)"),
        (lambda state: {"conv1.weight": torch.ones(())}, r"nearest is campplus: 0 fit, .*unknown \(conv1.weight\)"),
        (lambda state: {"conv1.weight": torch.ones(1).expand(10**9)}, r"nearest is campplus: 0 fit, .*unknown"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(
    damage: Callable[[Any], Any], sentence: str, state: dict[str, torch.Tensor], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    torch.save(damage(state), "x.pt")
    with pytest.raises(HamError, match=f"^x.pt: .*{sentence}") as error:
        import_model(Path("x.pt"), Path("out"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < LONGEST
    assert not Path("out").exists()
    assert not Path("was_run").exists()


def test_what_is_no_file_of_torch_is_said(tmp_path: Path, imported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = (imported.parent / "public.pt").read_bytes()
    Path("half.pt").write_bytes(whole[: len(whole) // 2])
    Path("code.pkl").write_bytes(pickle.dumps(Code()))
    Path("text.pt").write_text("weights")
    Path("empty.pt").write_text("")
    for name in ("half.pt", "code.pkl", "text.pt", "empty.pt"):
        with pytest.raises(ConfigError, match=f"^{name}: expected tensors that torch wrote, .*only a part of it"):
            import_model(Path(name), Path("out"))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    Path("bit.pt").write_bytes(damaged)
    with pytest.raises(ConfigError, match=r"^bit.pt: damaged \(the CRC-32 of .* is another\); fetch it again"):
        import_model(Path("bit.pt"), Path("out"))
    with pytest.raises(ConfigError, match="expected a file of weights, found nothing"):
        import_model(Path("nothing.pt"), Path("out"))
    with pytest.raises(ConfigError, match=r"--layout: expected one of campplus.*, found 'camplus'; did you mean"):
        import_model(Path("nothing.pt"), Path("out"), "camplus")
    assert not Path("was_run").exists()


def test_the_layout_is_found_and_a_classifier_left_out(
    tmp_path: Path, state: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(wespeaker_resnet34(), tmp_path / "x.pt")
    with caplog.at_level("INFO"):
        found = import_model(tmp_path / "x.pt", tmp_path / "out")
    assert found.imported["layout"] == "wespeaker_resnet34"
    assert "left out, the training's classifier or constants of the front end: projection.weight" in caplog.text
    assert load_directory(tmp_path / "out", "cpu").embedding_dim == 256
    with pytest.raises(
        ConfigError, match=r"does not fit the layout campplus: 0 fit, .*; it is one of --layout wespeaker"
    ):
        import_model(tmp_path / "x.pt", tmp_path / "other", "campplus")
    torch.save(_renamed(state), tmp_path / "y.pt")
    with pytest.raises(ConfigError, match=r"fit the layout wespeaker_resnet34: .*; nearest is campplus: 936 fit"):
        import_model(tmp_path / "y.pt", tmp_path / "other", "wespeaker_resnet34")


def test_a_training_can_start_from_it(imported: Path) -> None:
    initial = read_initial(imported)
    assert initial.config.backbone.name == "campplus"
    assert not initial.loss
    assert not initial.classes


def test_an_experiment_is_made_of_it_and_packed_again(imported: Path, tmp_path: Path) -> None:
    unpack(imported, tmp_path / "exp")
    unpack(imported, tmp_path / "exp")
    assert load(tmp_path / "exp", "cpu").fingerprint == read_directory(imported).fingerprint
    pack(tmp_path / "exp", tmp_path / "again")
    assert load_directory(tmp_path / "again", "cpu").fingerprint == read_directory(imported).fingerprint
    assert read_directory(tmp_path / "again").imported == read_directory(imported).imported
    write_model(tmp_path / "other", "softmax")
    with pytest.raises(ConfigError, match="holds another model; choose another --exp_name"):
        unpack(imported, tmp_path / "other")
    (tmp_path / "trained/checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is the experiment of a training"):
        unpack(imported, tmp_path / "trained")
