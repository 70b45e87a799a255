"""Checkpoints: atomic, safe to load, averaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from ham.errors import CheckpointError
from ham.model import checkpoint


def test_round_trip_and_no_leftovers(tmp_path: Path) -> None:
    path = checkpoint.epoch_path(tmp_path / "c", 12)
    checkpoint.save(path, {"epoch": 12, "backbone": nn.Linear(2, 3).state_dict(), "seed": 1})
    assert path.name == "epoch_0012.pt"
    assert [p.name for p in path.parent.iterdir()] == ["epoch_0012.pt"]
    assert checkpoint.load(path)["epoch"] == 12


def test_missing_damaged_and_wrong_files_are_named(tmp_path: Path) -> None:
    path = checkpoint.epoch_path(tmp_path, 1)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(path)
    checkpoint.save(path, {"weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)
    path.write_text("no checkpoint", encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("PytorchStreamWriter failed writing file", CheckpointError, "is the disk full"),
        ("DataLoader worker (pid 1) is killed by signal: Killed.", RuntimeError, "^DataLoader worker"),
    ],
)
def test_only_the_writer_blames_the_disk(
    said: str, kind: type[Exception], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader's error may come at any moment, also while a checkpoint is written."""

    def fail(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(kind, match=told):
        checkpoint.save(tmp_path / "epoch_0001.pt", {})
    assert not list(tmp_path.iterdir())


def test_prune_keeps_the_last(tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 10):
        checkpoint.save(checkpoint.epoch_path(tmp_path, epoch), {})
    checkpoint.prune(tmp_path, 2)
    assert checkpoint.saved_epochs(tmp_path) == [3, 10]


def test_within_an_epoch_only_the_last_one_stays_until_the_epoch_has_one(tmp_path: Path) -> None:
    for place in ((3, 21), (3, 25), (4, 30), (4, 40)):
        checkpoint.save(checkpoint.step_path(tmp_path, *place), {})
    assert checkpoint.saved_epochs(tmp_path) == []
    assert checkpoint.saved_steps(tmp_path) == [(3, 21), (3, 25), (4, 30), (4, 40)]
    checkpoint.save(checkpoint.epoch_path(tmp_path, 3), {})
    checkpoint.prune(tmp_path, 2)
    assert checkpoint.saved_steps(tmp_path) == [(4, 40)]
    checkpoint.save(checkpoint.epoch_path(tmp_path, 4), {})
    checkpoint.prune(tmp_path, 2)
    assert checkpoint.saved_steps(tmp_path) == []
    assert checkpoint.saved_epochs(tmp_path) == [3, 4]


def test_average_is_the_mean_and_takes_the_last_counter() -> None:
    norms = [nn.BatchNorm1d(4) for _ in range(3)]
    for k, norm in enumerate(norms):
        norm.running_mean.fill_(float(k))
        norm.weight.data.fill_(3.0 * k)
        norm.num_batches_tracked.fill_(10 * k)
    mean = checkpoint.average([n.state_dict() for n in norms])
    assert mean["running_mean"].tolist() == [1.0] * 4
    assert mean["weight"].tolist() == [3.0] * 4
    assert int(mean["num_batches_tracked"]) == 20


def test_average_of_equal_weights_is_those_weights() -> None:
    state = nn.Linear(7, 5).state_dict()
    mean = checkpoint.average([state] * 3)
    assert all(torch.equal(mean[k], state[k]) for k in state)


def test_the_digest_follows_the_weights() -> None:
    model = {"backbone": {"w": torch.zeros(3)}}
    same = {"backbone": {"w": torch.zeros(3)}, "other": 1}
    moved = {"backbone": {"w": torch.tensor([0.0, 0.0, 1e-7])}}
    assert checkpoint.weights_digest(model) == checkpoint.weights_digest(same) != checkpoint.weights_digest(moved)


def state() -> dict[str, object]:
    torch.manual_seed(0)
    return {"backbone": nn.Linear(40, 30).state_dict(), "optimiser": {"rates": [0.1, 0.2]}, "epoch": 3}


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = checkpoint.epoch_path(tmp_path, 3)
    checkpoint.save(path, state())
    content, rng, found = path.read_bytes(), random.Random(1), 0
    for _ in range(300):
        damaged, place = bytearray(content), rng.randrange(len(content))
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            torch.testing.assert_close(checkpoint.load(path), state(), rtol=0, atol=0)
        except CheckpointError as error:
            found += "damaged" in str(error)
    assert found > 200


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_newest_is_the_last_one_that_is_not_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert checkpoint.newest(tmp_path) == (0, None)
    places = [(3, None), (4, 35), (4, None), (5, 47)]
    for place in places:
        checkpoint.save(checkpoint.path_of(tmp_path, *place), state())
    assert checkpoint.newest(tmp_path) == (5, 47)
    for place, before in zip(places[:0:-1], places[-2::-1], strict=True):
        flip(checkpoint.path_of(tmp_path, *place))
        assert checkpoint.newest(tmp_path) == before
    assert "epoch_0005_step_00000047.pt: damaged (the CRC-32 of " in caplog.text
    checkpoint.set_aside(tmp_path, 3, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch_0003.pt",
        "epoch_0004.pt.damaged",
        "epoch_0004_step_00000035.pt.damaged",
        "epoch_0005_step_00000047.pt.damaged",
    ]
    flip(checkpoint.epoch_path(tmp_path, 3))
    with pytest.raises(CheckpointError, match=r"every checkpoint is damaged; put back a copy, or delete"):
        checkpoint.newest(tmp_path)


def test_the_cure_says_what_it_costs(tmp_path: Path) -> None:
    for epoch in (4, 5):
        checkpoint.save(checkpoint.epoch_path(tmp_path, epoch), state())
        flip(checkpoint.epoch_path(tmp_path, epoch))
    with pytest.raises(CheckpointError, match=r"delete it and later ones, then --stage 4 --resume goes on after .* 4"):
        checkpoint.load(checkpoint.epoch_path(tmp_path, 5))
    with pytest.raises(CheckpointError, match="--resume begins anew, as there is no earlier one"):
        checkpoint.load(checkpoint.epoch_path(tmp_path, 4))


def test_other_contents_are_a_sentence(tmp_path: Path) -> None:
    network = nn.Linear(3, 4)
    for use, said in (
        (lambda: network.load_state_dict(nn.Linear(3, 5).state_dict()), r"size mismatch for weight"),
        (lambda: network.load_state_dict({}), r"Missing key\(s\)"),
        (lambda: state()["rng"], r"it lacks 'rng'"),
        (lambda: torch.stack([torch.zeros(3), torch.zeros(4)]), r"equal size"),
    ):
        with pytest.raises(CheckpointError, match=said) as caught, checkpoint.fitting(tmp_path / "epoch_0001.pt"):
            use()
        assert str(caught.value).startswith(f"{tmp_path}/epoch_0001.pt: can be read, but is not of this experiment (")
        assert "\n" not in str(caught.value)
