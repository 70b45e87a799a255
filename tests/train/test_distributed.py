"""Several processes train as one does: the same crops, the same noise, samples, gradients and weights to rounding.

torch has no batch normalisation over processes on the CPU, so the network here has none, or takes the statistics that
it has stored.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ham import backbones, frontends, losses
from ham.augment.augmenter import Augmenter, Materials, build_kinds
from ham.augment.speed import SpeedPerturbation
from ham.backbones.base import Backbone
from ham.config import DataConfig, TrainConfig
from ham.data.batches import Batch, training_set
from ham.data.store import ArrayStore, write_store
from ham.errors import ConfigError
from ham.frontends import SpecAugment
from ham.losses.base import LossOutput
from ham.model.encoder import Network
from ham.train import distributed
from ham.train.crops import TrainingCrops
from ham.train.loop import Loop
from ham.train.schedules import Schedules, cosine_rate
from ham.train.step import TrainingStep
from tests.processes import together

pytestmark = pytest.mark.recipe

NUM_SAMPLES, BATCH, SPEAKERS = 4000, 8, 6


class Simple(Backbone):
    """No batch normalisation."""

    name = "simple"

    def __init__(self) -> None:
        super().__init__(24, 16)
        self.layers = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16))

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        del padded
        embeddings: Tensor = self.layers(features).mean(1)
        return embeddings


def make_store(folder: Path) -> ArrayStore:
    if not folder.exists():
        rng = np.random.default_rng(0)
        items = [(f"s{i % SPEAKERS}-u{i:02d}", rng.normal(0, 3000, 6000).astype(np.int16)) for i in range(30)]
        write_store(folder, sorted(items), {"sample_rate": 16000})
    return ArrayStore(folder)


def make_step(
    loss: str = "am_softmax",
    *,
    keep_clean: bool = True,
    joint: bool = False,
    backbone: Backbone | None = None,
    shard: bool = False,
) -> TrainingStep:
    torch.manual_seed(0)
    kinds = build_kinds(["noise", "speech", "reverb"], Materials())
    network = Network(frontends.build("mel", num_mel_bins=24), backbone or Simple())
    speed = SpeedPerturbation(SPEAKERS)
    step = TrainingStep(
        network=network,
        loss=losses.build(loss, 16, speed.num_classes),
        mask=SpecAugment(),
        augmenter=Augmenter(kinds, probability=0.8),
        keep_clean=keep_clean,
        joint_pass=joint,
        speed=speed,
        crop_samples=NUM_SAMPLES,
    )
    step.distribute(sync_batchnorm=False, shard_loss=shard)
    return step


def make_loop(folder: Path, step: TrainingStep, epochs: int = 2, **sampling: Any) -> Loop:
    store = make_store(folder.parent / "store")
    exp = folder
    exp.mkdir(exist_ok=True)
    optimiser = torch.optim.Adam([*step.backbone.parameters(), *step.loss.parameters()], lr=1e-2)
    distributed.save_whole(optimiser, step.split)
    return Loop(
        step=step,
        optimiser=optimiser,
        schedules=Schedules(cosine_rate(1e-2, epochs, warmup_epochs=0.5)),
        crops=TrainingCrops(
            store, training_set(store, {utt: utt[:2] for utt in store.utts}),
            DataConfig(**{"batch_size": BATCH, **sampling}), num_rows=4400, seed=5, draws=step.draws,
        ),
        training=TrainConfig(epochs, clip_grad_norm=0.5, checkpoint_steps=2),
        seed=5,
        device=torch.device("cpu"),
        folder=exp,
        described={},
        validate=lambda: distributed.from_first(lambda: 0.25 + distributed.rank()),
    )  # fmt: skip


def first_step(folder: Path, **options: Any) -> dict[str, Any]:
    """Loss, accuracy and gradients of the first step, as the log and the optimiser see them."""
    step = make_step(**options)
    if options.get("backbone"):
        step.backbone.eval()
    loop = make_loop(folder, step)
    batch, heard = next(loop.crops.batches(1)), []
    step.network.frontend.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    out = step(batch)
    out.loss.backward()  # type: ignore[no-untyped-call]
    loss, accuracy = distributed.mean_of_all(*out)
    parts = {**dict(step.backbone.named_parameters()), **dict(step.loss.named_parameters())}
    grads = {name: step.split[p].whole(p.grad) if p in step.split else p.grad for name, p in parts.items()}
    return {"loss": loss, "accuracy": accuracy, "entries": batch.entries, "heard": heard, **grads}


def steps(folder: Path) -> dict[str, dict[str, Any]]:
    """First steps of several systems."""
    resnet = backbones.build("resnet18", 24, 16, width=4)
    return {
        "replaced": first_step(folder / "a", keep_clean=False),
        "two passes": first_step(folder / "a"),
        "one pass": first_step(folder / "a", joint=True),
        "learnt scale": first_step(folder / "a", loss="h_softmax"),
        "split": first_step(folder / "a", loss="ham_softmax", shard=True),
        "stored statistics": first_step(folder / "a", backbone=resnet),
    }


def trainings(folder: Path) -> None:
    """Whole trainings; one with split centres."""
    make_loop(folder / "plain", make_step()).run()
    make_loop(folder / "split", make_step("ham_softmax", shard=True)).run()
    make_loop(folder / "balanced", make_step(), 1, order="balanced").run()


class StoppedError(Exception):
    """Stands for the end of the process."""


def part(folder: Path, done: int, until: int) -> None:
    """Go on with a training after some steps, and be stopped in the step after some more."""
    loop = make_loop(folder, make_step(), crops_per_utterance=2)
    if done:
        loop.resume(1, done)
    steps, backward = iter(range(done, until)), loop.step.backward

    def _backward(batch: Batch) -> LossOutput:
        if next(steps, None) is None:
            raise StoppedError
        return backward(batch)

    loop.step.backward = _backward  # type: ignore[method-assign]
    try:
        loop.run()
    except StoppedError:
        assert loop.done == until


def work_of_two(folder: Path) -> dict[str, dict[str, Any]]:
    trainings(folder)
    part(folder / "resumed", 0, 5)
    return {
        **steps(folder),
        "clipped": {"norm": clipped()},
        "short": short_epoch(folder),
    }


def work_of_four(folder: Path) -> dict[str, dict[str, Any]]:
    part(folder / "resumed", 6, 99)
    return steps(folder)


def clipped() -> Tensor:
    """The gradient's norm of a shared and of a split parameter, and what clipping leaves of both."""
    number = distributed.rank()
    shared, split = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))
    shared.grad, split.grad = torch.tensor([2.0]), torch.tensor([3.0, 1.0]) if number else torch.tensor([1.0, 1.0])
    distributed.clip_grad_norm([shared, split], {split}, 2.0)
    return torch.cat([shared.grad, split.grad])


def short_epoch(folder: Path) -> dict[str, Any]:
    try:
        next(make_loop(folder / "a", make_step(), batch_size=64).crops.batches(1))
    except ConfigError as error:
        return {"said": str(error)}
    raise AssertionError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[int, list[Any]]]:
    """Folders of one process and of several, and what these have found."""
    alone, many = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("many")
    make_store(many / "store")
    two = together(work_of_two, 2, tmp_path_factory.mktemp("two"), many)
    part(many / "resumed", 4, 6)
    four = together(work_of_four, 4, tmp_path_factory.mktemp("four"), many)
    trainings(alone)
    make_loop(alone / "resumed", make_step(), crops_per_utterance=2).run()
    return alone, many, {1: [steps(alone)], 2: two, 4: four}


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("system", ["replaced", "two passes", "one pass", "learnt scale", "split", "stored statistics"])
def test_the_first_gradients_are_those_of_one_process(runs: Any, system: str, world_size: int) -> None:
    expected = runs[2][1][0][system]
    for found in runs[2][world_size]:
        for name in expected.keys() - {"entries", "heard"}:
            gap = (found[system][name] - expected[name]).norm()
            assert gap <= 3e-4 * expected[name].norm(), name  # float32, near the edge of the ball


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("system", ["replaced", "two passes", "one pass"])
def test_what_the_network_hears_is_that_of_one_process(runs: Any, system: str, world_size: int) -> None:
    """But for the last bits: the same arithmetic on fewer rows may be rounded otherwise."""
    parts = [found[system]["heard"] for found in runs[2][world_size]]
    views = 2 if system == "one pass" else 1
    for number, whole in enumerate(runs[2][1][0][system]["heard"]):
        own = torch.cat([one[number].view(views, BATCH // world_size, -1) for one in parts], dim=1)
        torch.testing.assert_close(own.flatten(0, 1), whole, rtol=0.0, atol=5e-7)


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_order_of_the_epoch_is_that_of_one_process(runs: Any, world_size: int) -> None:
    for found in runs[2][world_size]:
        assert found["two passes"]["entries"].tolist() == runs[2][1][0]["two passes"]["entries"].tolist()


def lines(folder: Path) -> list[dict[str, Any]]:
    times = {"crops_per_s", "data_wait", "seconds", "hardware"}
    text = (folder / "train.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    told = [one for one in records if one["event"] != "start"]  # a resumed run says so
    return [{key: value for key, value in one.items() if key not in times and "diag" not in key} for one in told]


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["plain", "split", "balanced", "resumed"])
def test_a_training_is_that_of_one_process(runs: Any, name: str) -> None:
    """The resumed one: two processes, then one, then four, each from a checkpoint within the epoch."""
    alone, many = runs[0] / name, runs[1] / name
    last = max(path.name for path in (alone / "checkpoints").iterdir())
    one, other = (torch.load(folder / "checkpoints" / last, weights_only=True) for folder in (many, alone))
    assert one["step"] == other["step"]
    assert sorted(path.name for path in (many / "checkpoints").iterdir()) == sorted(
        path.name for path in (alone / "checkpoints").iterdir()
    )
    for key in ("backbone", "loss", "optimiser"):
        close(one[key], other[key])
    for line, expected in zip(lines(many), lines(alone), strict=True):
        assert line.pop("event") == expected.pop("event")
        close(line, expected)


def test_the_first_process_alone_validates_and_all_know_the_result(runs: Any) -> None:
    epochs = [line for line in lines(runs[1] / "plain") if line["event"] == "epoch"]
    assert [line["valid_eer"] for line in epochs] == [0.25, 0.25]


def test_a_gradient_is_clipped_by_the_norm_of_all_its_parts(runs: Any) -> None:
    first, second = (found["clipped"]["norm"] for found in runs[2][2])
    torch.testing.assert_close(first, torch.tensor([2.0, 1.0, 1.0]) / 2)  # the norm is 4
    torch.testing.assert_close(second, torch.tensor([2.0, 3.0, 1.0]) / 2)


def test_an_epoch_shorter_than_a_batch_is_refused(runs: Any) -> None:
    for found in runs[2][2]:
        assert found["short"]["said"].startswith("data.batch_size: expected at most 30, the crops of an epoch")


@pytest.mark.parametrize(
    ("batch_size", "processes", "accumulate", "said"),
    [
        (9, 2, 1, "2, the number of processes, and at least 2 crops for each"),
        (8, 3, 1, "3, the number of processes, and"),
        (2, 2, 1, "2, the number of processes, and"),
        (4, 4, 1, "4, the number of processes, and"),
        (8, 4, 2, "8, the number of processes times train.accumulate 2, and at least 2 crops for each, found 8"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(batch_size: int, processes: int, accumulate: int, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"expected a multiple of {said}")):
        distributed.check_batch(batch_size, processes, accumulate)


def test_a_batch_that_divides_is_taken() -> None:
    for batch_size, processes, accumulate in ((9, 1, 1), (8, 4, 1), (256, 8, 4), (2, 1, 1), (16, 4, 2)):
        distributed.check_batch(batch_size, processes, accumulate)


def test_batch_normalisation_over_processes_needs_gpus() -> None:
    with pytest.raises(ConfigError, match=r"train.sync_batchnorm: torch has it for GPUs only"):
        distributed.synchronise(nn.BatchNorm1d(4))


def test_one_process_is_left_alone() -> None:
    step = make_step(shard=True)
    assert step.embed is step.network
    assert step.classify is step.loss
    assert not step.split
    assert distributed.from_first(lambda: 0.5) == 0.5
    assert not dist.is_initialized()
