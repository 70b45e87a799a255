"""A teacher: what its lessons cost and change, and that nothing changes the teacher."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ham import backbones, frontends, losses
from ham.augment.augmenter import Augmenter, Materials, build_kinds
from ham.augment.speed import SpeedPerturbation
from ham.bin import train
from ham.config import Config, DistillConfig, from_dict
from ham.data.batches import Batch, CropBatches, TrainingSet
from ham.data.sampler import plan_epoch
from ham.data.store import ArrayStore
from ham.errors import CheckpointError, ConfigError
from ham.frontends import SpecAugment
from ham.losses.base import SpeakerLoss
from ham.model import checkpoint
from ham.model.directory import pack
from ham.model.encoder import Network
from ham.train import distributed
from ham.train.blocks import remarks, resolve
from ham.train.distill import Distillation, Teacher, check_teacher, read_teacher
from ham.train.finetune import large_margin
from ham.train.loop import Loop
from ham.train.monitor import Monitor
from ham.train.profile import profile
from ham.train.recording_targets import recording_targets
from ham.train.step import TrainingStep
from tests.model.test_directory import sum_again
from tests.processes import together
from tests.tiny_system import DIM, write_model
from tests.tiny_training import events, write_data
from tests.train.test_distributed import NUM_SAMPLES, SPEAKERS, Simple, make_loop, make_store

Make = Callable[..., TrainingStep]

CPU = torch.device("cpu")
GEOMETRIES = {"published": 3.0, "poincare": 0.7, "lorentz": 0.7}


def a_teacher(dim: int = 6, seed: int = 7) -> Teacher:
    """Of another front end, another network and another dimension than the student's."""
    torch.manual_seed(seed)
    frontend = frontends.build("mel", num_mel_bins=20)
    network = Network(frontend, backbones.build("resnet18", 20, dim, width=4)).eval().requires_grad_(False)
    for buffer in network.buffers():  # statistics that a pass in training mode would be told apart by
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return Teacher(network, dim, "digest")


def lessons(loss: SpeakerLoss, dim: int = 6, **options: Any) -> Distillation:
    torch.manual_seed(3)
    return Distillation(a_teacher(dim), loss, DistillConfig("there", **{"weight": 2.0, **options}))


def taught(make_step: Make, dim: int = 6, *, lesson: Mapping[str, Any], **options: Any) -> TrainingStep:
    step = make_step(**options)
    step.distillation = step.compare = lessons(step.loss, dim, **lesson)
    return step


def by_definition(x: Tensor, t: Tensor, geometry: str, curvature: float, scale: float) -> Tensor:
    """The square of the distance from the point on the shell, row by row, in float64 and the ball's textbook form."""
    c, direction = curvature, t / t.norm(dim=1, keepdim=True)
    if geometry == "published":
        radius, unit = (1 - 1e-5) / c**0.5, 1.0
        z, w = x * (radius / x.norm(dim=1, keepdim=True)).clamp(max=1.0), radius * direction
    else:  # the hyperboloid is the same space as the ball
        reach, unit = 1.5 / c**0.5, c**-0.5
        tangent = scale * x
        tangent = tangent * (reach / tangent.norm(dim=1, keepdim=True)).clamp(max=1.0)
        length = tangent.norm(dim=1, keepdim=True)
        z, w = torch.tanh(c**0.5 * length) * tangent / length, np.tanh(1.5) * direction
    squared = (z - w).square().sum(1) / ((1 - z.square().sum(1)) * (1 - w.square().sum(1)))
    return (unit * torch.arccosh(1 + 2 * squared)).square()


@pytest.mark.parametrize("dim", [16, 6, 20])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_hyperbolic_distance_is_that_of_its_definition(geometry: str, dim: int) -> None:
    torch.manual_seed(0)
    curvature = GEOMETRIES[geometry]
    loss = losses.build("ham_softmax", 16, 5, geometry=geometry, curvature=curvature).double()
    distillation = lessons(loss, dim, distance="hyperbolic").double()
    x = (torch.randn(6, 16) * torch.tensor([0.02, 0.1, 0.5, 1, 5, 50])[:, None]).double().requires_grad_()
    t = 30 * torch.randn(6, dim).double()
    p = torch.eye(16).double() if dim == 16 else distillation.projection.weight
    expected = by_definition(x @ p.T, t, geometry, curvature, loss.space.embedding_scale or 1.0).mean()
    found = distillation(x, t)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(one, x, retain_graph=True)[0] for one in (found, expected)))


@pytest.mark.parametrize("distance", ["cosine", "hyperbolic"])
def test_gradients_are_those_of_finite_differences(distance: str) -> None:
    torch.manual_seed(0)
    distillation = lessons(losses.build("ham_softmax", 8, 5).double(), 6, distance=distance).double()
    x, t = torch.randn(4, 8).double().requires_grad_(), torch.randn(4, 6).double()
    assert torch.autograd.gradcheck(lambda x: distillation(x, t), x)
    matrix = distillation.projection.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: torch.func.functional_call(distillation, {"projection.weight": p}, (x, t)), matrix
    )


def test_the_cosine_is_one_minus_the_cosine_of_whatever_length() -> None:
    distillation = lessons(losses.build("am_softmax", 2, 5), 2)
    x, t = torch.tensor([[3.0, 0.0], [0.0, 0.1]]), torch.tensor([[5.0, 5.0], [0.0, -2.0]])
    assert float(distillation(x, t)) == pytest.approx((1 - 0.5**0.5 + 2) / 2)
    assert not list(distillation.parameters())  # where the dimensions agree nothing stands between


@pytest.mark.parametrize("geometry", ["poincare", "lorentz"])
def test_the_space_learns_nothing_from_the_teacher(geometry: str) -> None:
    loss = losses.build("ham_softmax", 8, 5, geometry=geometry, curvature=1.0, learn_curvature=True)
    distillation, x = lessons(loss, 6, distance="hyperbolic"), torch.randn(4, 8, requires_grad=True)
    distillation(x, torch.randn(4, 6)).backward()
    assert all(p.grad is None and p.requires_grad for p in loss.parameters())
    assert x.grad is not None
    assert distillation.projection.weight.grad is not None


@pytest.mark.parametrize("dim", [6, 20])
def test_the_projection_begins_as_an_isometry_and_is_all_that_is_saved(dim: int) -> None:
    distillation = lessons(losses.build("am_softmax", 16, 5), dim)
    assert {name: tuple(value.shape) for name, value in distillation.state_dict().items()} == {
        "projection.weight": (dim, 16)
    }
    p = distillation.projection.weight.detach()
    torch.testing.assert_close(p @ p.T if dim < 16 else p.T @ p, torch.eye(min(dim, 16)))
    assert [id(one) for one in distillation.parameters()] == [id(distillation.projection.weight)]


def test_a_loss_without_a_space_has_no_distance_to_its_shell() -> None:
    with pytest.raises(ConfigError, match="loss am_softmax: has no hyperbolic distance"):
        losses.build("am_softmax", 4, 5).distance_to_shell(torch.ones(2, 4), torch.ones(2, 4))


def a_batch(store: ArrayStore, data: TrainingSet, step: TrainingStep) -> Batch:
    batch = CropBatches(store, data, plan_epoch(24, seed=1, epoch=1), 8, 4400 if step.speed else 4000)[0]
    return step.draws(batch, torch.Generator().manual_seed(3))


VIEWS = {
    "clean only": {},
    "replaced": {"augment": True},
    "two passes": {"augment": True, "keep_clean": True},
    "one pass": {"augment": True, "keep_clean": True, "joint_pass": True},
}


@pytest.mark.parametrize("hears", ["clean", "same"])
@pytest.mark.parametrize("distance", ["cosine", "hyperbolic"])
@pytest.mark.parametrize("views", VIEWS)
def test_the_loss_is_the_speaker_loss_and_the_weighted_distance(
    views: str, distance: str, hears: str, store: ArrayStore, data: TrainingSet, make_step: Make
) -> None:
    options = {"speed": True, "loss": "ham_softmax", "mask": SpecAugment(10, 8), **VIEWS[views]}
    step = taught(make_step, lesson={"distance": distance, "hears": hears}, **options)
    step.backbone.eval()
    heard: list[Tensor] = []
    step.network.frontend.register_forward_pre_hook(lambda _, given: heard.append(given[0].clone()))
    embedded: list[Tensor] = []
    step.loss.register_forward_pre_hook(lambda _, given: embedded.append(given[0]))
    batch = a_batch(store, data, step)
    out = step(batch)
    clean = step.speed.apply(batch.rows.float() / 32768, batch.drawn.speeds, 4000)
    targets = [
        step.distillation.teacher.network(one if hears == "same" else clean.repeat(len(one) // 8, 1)) for one in heard
    ]
    distances = [step.distillation(x.detach(), t) for x, t in zip(embedded, targets, strict=True)]
    step.distillation = step.compare = None
    plain = step(batch)
    mean = torch.stack(distances).mean()
    torch.testing.assert_close(out.loss, plain.loss + step.views * 2.0 * mean)
    assert torch.equal(out.accuracy, plain.accuracy)
    assert step.distances == []


def test_parts_of_a_batch_give_the_gradients_and_the_distance_of_the_batch(
    store: ArrayStore, data: TrainingSet, make_step: Make
) -> None:
    found = []
    for parts in (1, 3):
        step = taught(make_step, lesson={"distance": "hyperbolic"}, augment=True, keep_clean=True, loss="ham_softmax")
        step.backbone.eval()
        step.accumulate = parts
        out = step.backward(a_batch(store, data, step))
        every = (*step.backbone.parameters(), *step.loss.parameters(), *step.distillation.parameters())
        found.append((out, step.distances, [p.grad for p in every]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert float(found[0][1][0]) > 0


def test_the_teacher_computes_in_the_precision_of_the_training(
    store: ArrayStore, data: TrainingSet, make_step: Make
) -> None:
    step = taught(make_step, lesson={}, precision=torch.bfloat16)
    seen: list[torch.dtype] = []
    inner = next(m for m in step.distillation.teacher.network.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    inner.register_forward_hook(lambda _, __, given: seen.append(given.dtype))
    step.backward(a_batch(store, data, step))
    assert seen == [torch.bfloat16]
    wave = torch.randn(2, 4000) / 10
    embed = step.distillation.teacher.embed
    low, full = embed(wave, precision=torch.bfloat16), embed(wave)
    assert low.dtype == full.dtype == torch.float32
    assert cosine_similarity(low, full).min() > 0.99
    torch.testing.assert_close(embed(wave, parts=2), full)


def test_a_resting_backbone_lets_the_projection_learn(store: ArrayStore, data: TrainingSet, make_step: Make) -> None:
    step = taught(make_step, lesson={})
    step.rests = True
    step.backward(a_batch(store, data, step))
    assert all(p.grad is None for p in step.backbone.parameters())
    assert step.distillation.projection.weight.grad is not None


def with_projection(loop: Loop) -> Loop:
    """The loop with the projection among what is trained, as the configured training has it."""
    loop.optimiser.add_param_group({"params": list(loop.step.distillation.parameters())})
    loop.parameters = [p for group in loop.optimiser.param_groups for p in group["params"]]
    return loop


def test_it_draws_near_the_teacher_tells_and_changes_nothing_of_the_teacher(
    make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    loop = with_projection(make_loop(taught(make_step, lesson={"weight": 20.0}), epochs=8))
    before = copy.deepcopy(loop.step.distillation.teacher.network.state_dict())
    loop.run()
    after = loop.step.distillation.teacher.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    log = events(loop.folder)
    told = [line["distill_loss"] for line in log if line["event"] == "epoch"]
    assert told[-1] < 0.5 * told[0]
    assert {"loss", "distill_loss"} <= set(next(line for line in log if line["event"] == "step"))
    state = checkpoint.load(checkpoint.epoch_path(loop.folder / "checkpoints", 8))
    assert set(state["distillation"]) == {"projection.weight"}
    assert len(state["backbone"]) == len(loop.step.backbone.state_dict())


def test_a_profile_has_a_part_for_the_teacher(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    found = profile(loop := with_projection(make_loop(taught(make_step, lesson={}))), loop_folder(loop))
    assert found.seconds["teacher"] > 0
    assert "\n| teacher | " in found.table()


def loop_folder(loop: Loop) -> Path:
    return loop.folder / "profile"


def test_curves_of_the_distance_follow_that_of_the_loss(tmp_path: Path) -> None:
    with Monitor(tmp_path, first_epoch=1, first_step=0, total_steps=1) as monitor:
        monitor.step(1, {"lr": 0.1, "distill_loss": 0.5, "loss": 2.0, "accuracy": 0.1})
        monitor.epoch(1, {"epoch": 1, "lr": 0.1, "distill_loss": 0.5, "loss": 2.0, "valid_eer": 0.3})
    shown = sorted(EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tags()["scalars"])
    assert [tag.partition("/")[0] for tag in shown][:5] == ["1_loss"] * 2 + ["1_loss_distill"] * 2 + ["2_eer"]


class Lab:
    """A tiny training with a teacher, by the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = write_data(folder)
        write_model(folder / "teacher", "am_softmax")

    def train(self, name: str, *options: str, teacher: str = "teacher", changes: tuple[str, ...] = ()) -> Path:
        exp = self.folder / "exp" / name
        given = (f"distill.teacher={self.folder / teacher}", "train.epochs=2", "backbone.embedding_dim=5", *changes)
        train.main([*self.options, "--exp_dir", str(exp), *options, "--set", *given])
        return exp

    def weights(self, exp: Path, epoch: int = 2) -> dict[str, Any]:
        state = checkpoint.load(checkpoint.epoch_path(exp / "checkpoints", epoch))
        return {part: state[part] for part in ("backbone", "loss", "distillation", "optimiser")}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    backward = TrainingStep.backward
    left = iter(range(steps))

    def _backward(self: TrainingStep, batch: Batch) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return backward(self, batch)

    monkeypatch.setattr(TrainingStep, "backward", _backward)


def test_a_resumed_training_is_the_one_that_was_not_stopped_wherever_the_teacher_lies(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("train.checkpoint_steps=5",)
    whole = lab.train("whole", changes=changes)
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            lab.train("stopped", changes=changes)
    shutil.move(lab.folder / "teacher", lab.folder / "moved")
    with pytest.raises(ConfigError, match=r"^distill.teacher: model .*teacher: expected an experiment's folder"):
        lab.train("stopped", "--resume", "true", changes=changes)
    resumed = lab.train("stopped", "--resume", "true", teacher="moved", changes=changes)
    torch.testing.assert_close(lab.weights(resumed), lab.weights(whole), rtol=0, atol=0)
    assert events(resumed) == events(whole)
    assert lab.weights(whole)["distillation"]["projection.weight"].shape == (DIM, 5)


def test_another_teacher_is_another_experiment_and_none_is_the_plain_one(lab: Lab) -> None:
    exp = lab.train("a")
    write_model(lab.folder / "other", "am_softmax")
    state = torch.load(lab.folder / "other/average.pt", weights_only=True)
    next(iter(state["backbone"].values())).add_(1.0)
    torch.save(state, lab.folder / "other/average.pt")
    with pytest.raises(ConfigError, match=r"teacher: [0-9a-f]{64} -> [0-9a-f]{64}\)"):
        lab.train("a", teacher="other")
    with pytest.raises(ConfigError, match=r"distill.weight: 1.0 -> 3.0"):
        lab.train("a", changes=("distill.weight=3",))
    with pytest.raises(ConfigError, match=r"teacher: [0-9a-f]{64} -> \(absent\)"):
        lab.train("a", changes=('distill.teacher=""',))
    left_out = ('distill.teacher=""', "distill.weight=3")
    plain = [lab.train(name, changes=changes) for name, changes in (("c", left_out[:1]), ("d", left_out))]
    states = [checkpoint.load(checkpoint.epoch_path(one / "checkpoints", 2)) for one in plain]
    torch.testing.assert_close(states[0]["backbone"], states[1]["backbone"], rtol=0, atol=0)
    assert "distillation" not in states[0]
    assert not any("distill_loss" in line for line in events(plain[0]))
    saved = checkpoint.load(checkpoint.epoch_path(exp / "checkpoints", 2))
    assert saved["config"]["distill"] == states[0]["config"]["distill"]  # a model is used without its teacher
    assert "teacher: " in (exp / "config.yaml").read_text(encoding="utf-8")


def test_a_model_directory_teaches_unless_it_is_of_another_rate(lab: Lab) -> None:
    pack(lab.folder / "teacher", lab.folder / "directory")
    found = [read_teacher(DistillConfig(str(lab.folder / name)), CPU) for name in ("teacher", "directory")]
    assert found[0].digest == found[1].digest
    assert found[0].embedding_dim == DIM
    assert not any(p.requires_grad for p in found[1].network.parameters())
    assert not found[1].network.training
    place = lab.folder / "directory/model.json"
    model = json.loads(place.read_text(encoding="utf-8"))
    place.write_text(json.dumps({**model, "sample_rate": 8000}), encoding="utf-8")
    sum_again(place.parent)
    with pytest.raises(CheckpointError, match=r"^distill.teacher: .*8000 Hz"):
        read_teacher(DistillConfig(str(place.parent)), CPU)


def test_a_teacher_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    check_teacher(DistillConfig())
    with pytest.raises(ConfigError, match=r"^distill.teacher: model .*none: expected .* found nothing there$"):
        check_teacher(DistillConfig(str(tmp_path / "none")))
    assert read_teacher(DistillConfig(), CPU) is None


def system(**distill: Any) -> Config:
    return from_dict({"loss": {"name": "am_softmax"}, "distill": distill})


@pytest.mark.parametrize(
    ("distill", "said"),
    [
        ({"weight": 0}, "distill.weight: expected a number above 0, found 0"),
        ({"teacher": "x", "distance": "euclidean"}, "expected one of cosine, hyperbolic, found 'euclidean'"),
        ({"teacher": "x", "hears": "all"}, "distill.hears: expected one of clean, same, recording, found"),
        ({"teacher": "x", "distance": "hyperbolic"}, "expected a hyperbolic loss.* found am_softmax; set distill.dist"),
        ({"techer": "x"}, r"unknown key 'distill.techer'; did you mean 'distill.teacher'\?"),
    ],
)
def test_a_block_without_sense_is_refused(distill: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        resolve(system(**distill))


def test_stored_features_are_not_heard_but_their_recordings_are() -> None:
    tree: dict[str, Any] = {"features": "stored", "augment": {"mode": "off"}, "distill": {"teacher": "x"}}
    with pytest.raises(ConfigError, match=r"distill.hears: expected recording where features: stored .* found clean$"):
        from_dict(tree)
    tree["distill"]["hears"] = "recording"
    assert from_dict(tree).features == "stored"


def test_without_a_teacher_the_block_means_nothing() -> None:
    asked = system(weight=7, distance="hyperbolic")
    assert resolve(asked) == resolve(system())
    assert "distill: left out, it has no teacher" in remarks(asked, resolve(asked))


def first_gradients(folder: Path, hears: str, geometry: str) -> dict[str, Tensor]:
    """Loss, distance and gradients of a step, of as many processes as there are."""
    torch.manual_seed(0)
    speed = SpeedPerturbation(SPEAKERS)
    loss = losses.build("ham_softmax", 16, speed.num_classes, geometry=geometry)
    step = TrainingStep(
        network=Network(frontends.build("mel", num_mel_bins=24), Simple()),
        loss=loss,
        mask=SpecAugment(),
        augmenter=Augmenter(build_kinds(["noise", "speech"], Materials()), probability=0.8),
        keep_clean=True,
        speed=speed,
        crop_samples=NUM_SAMPLES,
        distillation=lessons(loss, 6, distance="hyperbolic", hears=hears),
    )
    if hears == "recording":
        store = make_store(folder / "store")
        step.distillation.recordings = recording_targets(
            step.distillation.teacher, store, np.arange(30), speed.speeds, folder / f"of {distributed.world_size()}"
        )
    step.distribute(sync_batchnorm=False, shard_loss=False)
    out = step.backward(next(make_loop(folder / "a", step).crops.batches(1)))
    value, accuracy, distance = distributed.mean_of_all(*out, *step.distances)
    parts = {"backbone": step.backbone, "loss": step.loss, "lessons": step.distillation}
    grads = {f"{name}.{key}": p.grad for name, part in parts.items() for key, p in part.named_parameters()}
    return {"value": value, "accuracy": accuracy, "distance": distance, **grads}


def all_steps(folder: Path) -> dict[str, dict[str, Any]]:
    cases = (("clean", "published"), ("same", "published"), ("clean", "lorentz"), ("recording", "published"))
    return {f"{hears} {geometry}": first_gradients(folder, hears, geometry) for hears, geometry in cases}


@pytest.mark.recipe
def test_two_processes_learn_as_one_does(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    (tmp_path / "meet").mkdir()
    found = together(all_steps, 2, tmp_path / "meet", tmp_path)
    for name, expected in all_steps(tmp_path).items():
        for one in found:
            for key, value in expected.items():
                assert (one[name][key] - value).norm() <= 3e-4 * value.norm() + 1e-6, (name, key)  # float32


def test_large_margin_fine_tuning_has_no_teacher() -> None:
    before = replace(resolve(system()), distill=DistillConfig("x", 2.0))
    assert large_margin(before, "exp/x").distill == DistillConfig()
