"""Model directories: the same system as the experiment, the same bytes each time, and every damage in one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from ham.config import to_dict
from ham.embeddings.table import write_embeddings
from ham.errors import LONGEST, ConfigError, DataError, HamError
from ham.files import replacing_folder
from ham.model import checkpoint, directory
from ham.model.directory import CARD, FILES, MODEL, SUMS, WEIGHTS, load_directory, pack, read_directory
from ham.model.encoder import SpeakerEncoder
from ham.model.load import load
from ham.score.results import ListResult, Results, read_results, write_results
from tests.tiny_system import DIM, NUM_SPEAKERS, write_model

SPEAKERS = [f"s{number}" for number in range(NUM_SPEAKERS)]


def _results(entry: ListResult, digest: str) -> Results:
    return Results("exp", 3, "0123abc", {"ham": "0"}, "./run.sh", (entry,), fingerprint=digest)


def write_whole(exp: Path, loss: str = "ham_softmax") -> SpeakerEncoder:
    """An untrained experiment with all that a directory can hold, but thresholds."""
    write_model(exp, loss)
    state = torch.load(exp / "average.pt", weights_only=True)
    kept = {"speakers": SPEAKERS, "versions": {"ham": "0"}, "epochs": [1, 2], "schedules": {"lr": 0.1 + 0.2}}
    torch.save({**state, **kept}, exp / "average.pt")
    encoder = SpeakerEncoder.load(exp, "cpu")
    entry = ListResult("mini/all", "cosine", 20, 30, 0.0198, 0.015, 0.024, 0.1, 0.2)
    write_results(exp / "results.json", _results(entry, encoder.fingerprint))
    rows = np.random.default_rng(0).normal(size=(NUM_SPEAKERS, DIM)).astype(np.float32)
    write_embeddings(exp / "training/cohort.npz", SPEAKERS, rows, f"{encoder.fingerprint} x 0 0")
    return encoder


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "exp"
    write_whole(folder)
    return folder


@pytest.fixture
def packed(exp: Path, tmp_path: Path) -> Path:
    pack(exp, tmp_path / "packed")
    return tmp_path / "packed"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sum_again(folder: Path) -> None:
    """Make the checksums right, as somebody does who means harm."""
    lines = [line.split("  ")[1] for line in (folder / SUMS).read_text().splitlines()]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in lines]
    (folder / SUMS).write_text("".join(sums))


@pytest.mark.parametrize("loss", ["ham_softmax", "softmax", "eh_am_softmax", "subcenter_aam_softmax"])
def test_a_directory_is_the_experiment_bit_for_bit(tmp_path: Path, loss: str) -> None:
    first = write_whole(tmp_path / "exp", loss)
    pack(tmp_path / "exp", tmp_path / "out")
    found, expected = load_directory(tmp_path / "out", "cpu"), load(tmp_path / "exp", "cpu")
    speech = np.random.default_rng(0).normal(0, 0.1, 20000).astype(np.float32)
    np.testing.assert_array_equal(found.embed(speech, 16000), expected.embed(speech, 16000))
    assert found.fingerprint == first.fingerprint
    assert (found.config, found.seed, found.command) == (expected.config, expected.seed, expected.command)
    assert found.valid_speakers == expected.valid_speakers
    for name, value in expected.loss.state_dict().items():
        torch.testing.assert_close(found.loss.state_dict()[name], value, rtol=0, atol=0)
    assert found.cohort is not None
    assert expected.cohort is not None
    np.testing.assert_array_equal(found.cohort, expected.cohort)


def test_what_average_pt_holds_beside_weights_is_kept(exp: Path, packed: Path) -> None:
    state, found = checkpoint.load(exp / "average.pt"), read_directory(packed)
    assert {**found.state, "backbone": 0, "loss": 0} == {
        **state, "backbone": 0, "loss": 0, "config": to_dict(found.config)
    }  # fmt: skip
    assert found.parameters == sum(
        value.numel() for name, value in state["backbone"].items() if "running" not in name and "tracked" not in name
    )
    assert (packed / "results.json").read_bytes() == (exp / "results.json").read_bytes()
    assert found.commit == "0123abc"


def test_a_reordered_checkpoint_keeps_its_fingerprint(tmp_path: Path) -> None:
    write_model(tmp_path / "exp", "softmax")
    state = torch.load(tmp_path / "exp/average.pt", weights_only=True)
    state["backbone"] = dict(reversed(state["backbone"].items()))
    torch.save(state, tmp_path / "exp/average.pt")
    pack(tmp_path / "exp", tmp_path / "out")
    assert load_directory(tmp_path / "out", "cpu").fingerprint == checkpoint.weights_digest(state)


def test_the_same_experiment_gives_the_same_bytes_and_sums_that_others_can_check(exp: Path, packed: Path) -> None:
    pack(exp, packed.parent / "again")
    assert bytes_of(packed) == bytes_of(packed.parent / "again")
    assert {*bytes_of(packed)} == {*FILES}
    outcome = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=packed, capture_output=True, check=False)
    assert outcome.returncode == 0
    readable = [path.stat().st_mode & 0o777 for path in packed.iterdir()]
    assert len(set(readable)) == 1  # none that others cannot read


def test_no_network_and_no_code_is_needed(packed: Path) -> None:
    code = (
        "import socket, pickle, sys, torch\n"
        "from pathlib import Path\n"
        "from ham.model.directory import load_directory\n"
        "def refuse(*a, **k): raise SystemExit('refused')\n"
        "socket.socket = pickle.load = pickle.loads = pickle.Unpickler = torch.load = refuse\n"
        "print(load_directory(Path(sys.argv[1]), 'cpu').embedding_dim)\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code, packed], capture_output=True, text=True, check=False)
    assert outcome.stdout == f"{DIM}\n", outcome.stderr


def test_anonymous_leaves_out_who_trained_it(exp: Path, tmp_path: Path) -> None:
    pack(exp, tmp_path / "out", anonymous=True)
    found = load_directory(tmp_path / "out", "cpu")
    assert found.cohort is None
    assert not (tmp_path / "out/cohort.safetensors").exists()
    assert all(
        b"s3" not in data for name, data in bytes_of(tmp_path / "out").items() if name.endswith((".json", ".md"))
    )


def test_only_what_is_there_is_packed(tmp_path: Path) -> None:
    write_model(tmp_path / "exp", "softmax")
    write_embeddings(tmp_path / "exp/training/cohort.npz", ["a"], np.ones((1, DIM), np.float32), "other weights")
    pack(tmp_path / "exp", tmp_path / "out")
    assert {*bytes_of(tmp_path / "out")} == {WEIGHTS, "config.yaml", MODEL, SUMS, CARD}
    found = load_directory(tmp_path / "out", "cpu")
    assert (found.decisions, found.cohort) == (None, None)


def test_results_of_other_weights_are_refused(tmp_path: Path) -> None:
    write_whole(tmp_path / "exp")
    found = read_results(tmp_path / "exp/results.json")
    write_results(tmp_path / "exp/results.json", replace(found, fingerprint="others"))
    with pytest.raises(DataError, match="of other weights"):
        pack(tmp_path / "exp", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_replaced_only_when_asked(exp: Path, packed: Path) -> None:
    before = bytes_of(packed)
    pack(exp, packed)  # the same again
    (packed / CARD).write_text("my own words")
    with pytest.raises(ConfigError, match="--force replaces it"):
        pack(exp, packed)
    assert (packed / CARD).read_text() == "my own words"
    for name in (CARD, MODEL, WEIGHTS):
        (packed / name).write_text("damaged")
        pack(exp, packed, force=True)
        assert bytes_of(packed) == before
    (packed.parent / "empty").mkdir()
    pack(exp, packed.parent / "empty")
    assert bytes_of(packed.parent / "empty") == before


def test_what_another_program_packed_in_the_meantime_is_not_replaced(
    exp: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def late(place: Path) -> Iterator[Path]:
        packed.rename(place)  # the other program is done now
        with replacing_folder(place) as part:
            yield part

    monkeypatch.setattr(directory, "replacing_folder", late)
    with pytest.raises(ConfigError, match="--force replaces it"):
        pack(exp, tmp_path / "late", licence="mit")
    assert "license: mit" not in (tmp_path / "late" / CARD).read_text()


@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_ours_is_never_replaced(exp: Path, packed: Path, tmp_path: Path, force: bool) -> None:
    (packed / "model.onnx").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    (tmp_path / "others").mkdir()
    (tmp_path / "others/model.json").write_text("{}")
    (tmp_path / "file").write_text("x")
    for name, words in [
        ("packed", "also holds model.onnx"), ("mine", "found another folder"), ("others", "found another folder"),
        ("file", "found a file"), (".", "found another folder"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            pack(exp, tmp_path / name, force=force)
    with pytest.raises(ConfigError, match="found another folder"):
        pack(exp, exp, force=force)
    assert (tmp_path / "mine/thesis.txt").exists()
    assert (packed / "model.onnx").exists()


def test_a_full_disk_leaves_what_was_there(exp: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bytes_of(packed)

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(directory, "write_text", full)
    for place in (packed, packed.parent / "new"):
        with pytest.raises(OSError, match="No space"):
            pack(exp, place, licence="mit", force=True)
    assert bytes_of(packed) == before
    assert [path.name for path in packed.parent.iterdir()] == [packed.name]


def test_a_copy_of_links_is_loaded(packed: Path) -> None:
    """As the cache of the hub holds it."""
    blobs = packed.rename(packed.with_name("blobs"))
    packed.mkdir()
    for path in blobs.iterdir():
        (packed / path.name).symlink_to(path)
    assert load_directory(packed, "cpu").embedding_dim == DIM


def test_the_card_may_be_edited_and_other_files_do_not_count(packed: Path) -> None:
    (packed / CARD).write_text("my own words")
    (packed / "run.py").write_text("raise SystemExit('run')")
    assert load_directory(packed, "cpu").embedding_dim == DIM
    (packed / CARD).unlink()
    assert load_directory(packed, "cpu").embedding_dim == DIM


@pytest.mark.parametrize("name", ["average.pt", "nothing"])
def test_what_is_no_experiment(tmp_path: Path, name: str) -> None:
    (tmp_path / "average.pt").write_bytes(b"x")
    with pytest.raises(HamError, match=r"damaged|expected an experiment"):
        pack(tmp_path if name == "average.pt" else tmp_path / name, tmp_path / "out")


def test_broken_weights_are_not_packed(tmp_path: Path) -> None:
    write_model(tmp_path / "exp", "softmax")
    state = torch.load(tmp_path / "exp/average.pt", weights_only=True)
    state["loss"]["weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "exp/average.pt")
    with pytest.raises(HamError, match="NaN or infinity in weight"):
        pack(tmp_path / "exp", tmp_path / "out")


Damage = Callable[[Path], Any]


def edit(name: str, old: str, new: str) -> Damage:
    """Replace text in a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def flip(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def cut(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, 5000)


def loop(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").symlink_to("config.yaml")


def a_folder(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").mkdir()


def a_pipe(folder: Path) -> None:
    (folder / MODEL).unlink()
    os.mkfifo(folder / MODEL)


def a_secret(folder: Path) -> None:
    (folder.parent / "secret").write_text("key: value")
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").symlink_to("../secret")


DAMAGED: list[tuple[Damage, list[str]]] = [
    (lambda folder: shutil.rmtree(folder), ["no model.json"]),
    (lambda folder: (folder / MODEL).unlink(), ["no model.json", "ham pack"]),
    (lambda folder: (folder / WEIGHTS).unlink(), [WEIGHTS, "found nothing"]),
    (lambda folder: (folder / "config.yaml").unlink(), ["config.yaml", "found nothing"]),
    (lambda folder: (folder / "results.json").unlink(), ["results.json", "found nothing"]),
    (lambda folder: (folder / "cohort.safetensors").unlink(), ["cohort.safetensors", "found nothing"]),
    (lambda folder: (folder / SUMS).unlink(), [SUMS, "found no file"]),
    (flip, [WEIGHTS, "damaged or edited"]),
    (cut, [WEIGHTS, "damaged or edited"]),
    (edit("config.yaml", "width: 4", "width: 8"), ["config.yaml", "damaged or edited"]),
    (edit("results.json", "0.0198", "0.0098"), ["results.json", "damaged or edited"]),
    (edit(MODEL, '"seed": 3', '"seed": 4'), [MODEL, "damaged or edited"]),
    (edit(MODEL, '"version": 1', '"version": 2'), ["version 1, found 2", "install a newer ham"]),
    (edit(MODEL, '"version": 1', '"version": 0'), ["version 1, found 0", "pack it again"]),
    (edit(MODEL, '"version": 1', '"version": "1"'), ["version", "a whole number"]),
    (edit(MODEL, "ham model directory", "another"), ["another program"]),
    (edit(MODEL, "{", ""), [MODEL, "object of JSON"]),
    (edit(SUMS, "  model.safetensors", "  ../../etc/passwd"), [f"{SUMS}:1", "etc/passwd"]),
    (edit(SUMS, "  model.safetensors", "  /etc/passwd"), [f"{SUMS}:1"]),
    (edit(SUMS, "  model.safetensors", "  config.yaml"), [f"{SUMS}:2", "once"]),
    (lambda folder: (folder / SUMS).write_text(""), [SUMS, "a line for model.safetensors"]),
    (lambda folder: (folder / SUMS).write_bytes(b"\xff\x00" * 99), [f"{SUMS}:1"]),
    (loop, ["config.yaml", "found nothing"]),
    (a_folder, ["config.yaml", "found something else"]),
    (a_pipe, [MODEL, "no file"]),
    (a_secret, ["config.yaml", "damaged or edited"]),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGED, ids=[words[0] + words[-1] for _, words in DAMAGED])
def test_damage_is_one_sentence(packed: Path, damage: Damage, words: list[str]) -> None:
    damage(packed)
    refused(packed, words)


def refused(packed: Path, words: list[str]) -> None:
    with pytest.raises(HamError) as caught:
        load_directory(packed, "cpu")
    line = str(caught.value)
    assert str(packed) in line
    assert len(line) <= LONGEST
    assert "\n" not in line
    for word in words:
        assert word in line


def resave(change: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    """Change the tensors."""

    def change_file(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        (folder / WEIGHTS).write_bytes(save(tensors))

    return change_file


def raw(data: bytes) -> Damage:
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harmed",)


CENTRES = "loss.weight"
FORGED: list[tuple[Damage, list[str]]] = [
    (raw(b""), [WEIGHTS, "safetensors"]),
    (raw(struct.pack("<Q", 2**62) + b"{}"), [WEIGHTS, "safetensors"]),
    (raw(struct.pack("<Q", 10) + b"not json!!"), [WEIGHTS, "safetensors"]),
    (raw(struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9999],"data_offsets":[0,4]}}   ' + b"1234"), [WEIGHTS]),
    (raw(pickle.dumps(Harm())), [WEIGHTS, "safetensors"]),
    (resave(lambda t: t.pop(CENTRES)), [WEIGHTS, "centres of 6 speakers"]),
    (resave(lambda t: t.pop("backbone.embed.weight")), [WEIGHTS, "backbone.embed.weight"]),
    (resave(lambda t: t.update(other=torch.ones(1))), [WEIGHTS, "other"]),
    (resave(lambda t: t.update({CENTRES: torch.ones(3, DIM)})), ["centres of 6 speakers"]),
    (resave(lambda t: t.update({CENTRES: torch.ones(DIM, NUM_SPEAKERS)})), [CENTRES, "(6, 8) float32", "(8, 6)"]),
    (resave(lambda t: t.update({CENTRES: t[CENTRES].half()})), [CENTRES, "float16"]),
    (resave(lambda t: t.update({CENTRES: t[CENTRES].log()})), ["NaN or infinity", CENTRES]),
    (resave(lambda t: t["backbone.embed.weight"].mul_(2)), ["fingerprint"]),
    (edit("config.yaml", "width: 4", "width: 100000000"), ["config.yaml: backbone resnet18: cannot be built"]),
    (edit("config.yaml", "width: 4", "width: 400"), [WEIGHTS, "as config.yaml says"]),
    (edit("config.yaml", "width: 4", "width: 5"), [WEIGHTS, "as config.yaml says"]),
    (edit("config.yaml", "resnet18", "resnet"), ["backbone"]),
    (edit("config.yaml", "embedding_dim: 8", "embedding_dim: 9"), ["9 numbers an embedding"]),
    (edit("config.yaml", "backbone:", "backbone: !!python/object/apply:os.mkdir [harmed]\nx:"), ["config.yaml"]),
    (edit(MODEL, '"num_speakers": 6', '"num_speakers": 100000000000'), ["centres of 100000000000 speakers"]),
    (edit(MODEL, '"num_speakers": 6', '"num_speakers": 5'), [CENTRES]),
    (edit(MODEL, '"num_speakers": 6', '"num_speakers": "6"'), ["num_speakers", "a whole number"]),
    (edit(MODEL, '"sample_rate": 16000', '"sample_rate": 8000'), ["8000 Hz"]),
    (edit(MODEL, '"tensors": [', '"tensors": ["a", '), [WEIGHTS]),
    (edit(MODEL, '"checkpoint": {', '"checkpoint": 1, "x": {'), ["checkpoint"]),
    (edit(MODEL, '"decisions": null', '"decisions": {"a": 1}'), ["decisions"]),
    (edit(MODEL, '"decisions": null', '"decisions": []'), ["decisions"]),
    (edit(MODEL, '"licence": ""', '"licence": 5'), ["licence"]),
    (lambda folder: (folder / MODEL).write_text("[" * 100_000), ["object of JSON"]),
    (lambda folder: (folder / "results.json").write_text("[" * 100_000), ["results.json"]),
    (lambda folder: (folder / "results.json").write_text("[]"), ["results.json"]),
    (lambda folder: (folder / "cohort.safetensors").write_bytes(save({"cohort": torch.ones(2, 3)})), ["rows of 8"]),
    (lambda folder: (folder / "cohort.safetensors").write_bytes(save({"x": torch.ones(2, 8)})), ["rows of 8"]),
]


@pytest.mark.parametrize(("damage", "words"), FORGED, ids=[f"{at}{words[-1]}" for at, (_, words) in enumerate(FORGED)])
def test_what_has_right_checksums_and_means_harm_does_none(
    packed: Path, damage: Damage, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(packed.parent)
    damage(packed)
    sum_again(packed)
    refused(packed, words)
    assert not (packed.parent / "harmed").exists()


def test_decisions_are_packed(tmp_path: Path) -> None:
    write_whole(tmp_path / "exp")
    content = json.loads((tmp_path / "exp/results.json").read_text())
    point = {"name": "eer", "threshold": 0.5, "low": 0.4, "high": 0.6, "miss": 0.02, "false_alarm": 0.02, "note": ""}
    cosine = {
        "backend": "cosine", "scale": 10.0, "offset": -4.0, "points": [point], "whose": "3 speakers kept aside",
        "num_speakers": 3, "num_target": 5, "num_nontarget": 6,
    }  # fmt: skip
    (tmp_path / "exp/results.json").write_text(json.dumps({**content, "decisions": {"cosine": cosine}}))
    pack(tmp_path / "exp", tmp_path / "out")
    found = load_directory(tmp_path / "out", "cpu").decisions
    assert found is not None
    assert found.to_dict() == cosine
    assert "| eer | 0.500 \\[0.400, 0.600\\] | 2.00 | 2.00 |" in (tmp_path / "out" / CARD).read_text()
