"""Time and memory of the losses in a training step, forward and backward, as ratios to am_softmax.

``python -m benchmarks.losses`` prints tables in Markdown and writes JSON. All contenders of a setting take turns in one
process; a ratio is taken within each round and the table has its median. The extra memory is the highest that one
step, its gradients included, adds to a fresh process that has warmed up at a tiny size. MB are 10^6 bytes.

Settings, batch x speakers x embedding dimension, and targets (each printed as met or missed):

* 256 x 5,994 x 192 (VoxCeleb2): the default ham_softmax takes at most 1.15 times am_softmax, is at least 100 times as
  fast as the expanded form, and needs at most the memory of am_softmax;
* 256 x 17,982 x 192 (the same with every speaker at three speeds): at most 1.25 times am_softmax;
* 256 x 1,000,000 x 192: the default, streamed there, takes at most the time of am_softmax and at most 100 MB beyond
  the gradient of the centres (C x D x 4 bytes).

The expanded form makes the B x C x D differences and leaves the rest to autograd, as released implementations do; it
gives the same loss, which is checked. Embeddings have norm sqrt(D) and lie beyond the ball; centres have norms from
0.1 to 0.9, so that they lie on either side of the shell. ``run.sh`` sets ``OMP_WAIT_POLICY`` and ``MALLOC_*``; what
is in force here is written beside the figures, except that memory is measured without ``MALLOC_*``, which would count
memory that is kept for later.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ham.losses
from ham.model.build import pick_device
from ham.provenance import git_commit, hardware

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MALLOC_")
REFERENCE, DEFAULT, EXPANDED, FLOOR = "am_softmax", "ham_softmax", "expanded to B x C x D", "three matrix products"
SLACK_MB = 100.0
CHUNK, TINY_CHUNK = 2048, 32
"""Centres at a time where a contender is called streamed, and the same for tiny sizes."""

Step = Callable[[], "Tensor | None"]


class Expanded(nn.Module):
    """ham_softmax at its published settings by way of all B x C x D differences.

    Args:
        centres: speaker centres, shape ``(C, D)``.
    """

    def __init__(self, centres: nn.Parameter) -> None:
        super().__init__()
        options = ham.losses.LOSSES["ham_softmax"].options()
        self.scale, self.margin = options["scale"], options["margin"]
        self.radius = (1 - 1e-5) / options["curvature"] ** 0.5
        self.weight = centres

    def clip(self, x: Tensor) -> Tensor:
        """Points of norm at most the radius."""
        return torch.mul(x, (self.radius / x.norm(dim=1, keepdim=True).clamp_min(1e-5)).clamp_max(1))

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of a batch."""
        x, w = self.clip(embeddings), self.clip(self.weight)
        square = (x[:, None] - w[None]).square().sum(dim=2)
        gaps = (1 - x.square().sum(dim=1))[:, None] * (1 - w.square().sum(dim=1))[None]
        distance = torch.acosh(1 + 2 * square / gaps.clamp_min(1e-5))
        accuracy = (distance.argmin(dim=1) == labels).float().mean()
        margin = self.margin * F.one_hot(labels, len(w))
        return F.cross_entropy(-self.scale * (distance + margin), labels), accuracy


@dataclass(frozen=True)
class Contender:
    """One way through a training step's loss.

    Attributes:
        loss: name of a loss of the table, or one of the two forms that are written here.
        options: the loss's options where they are not the defaults.
        slow: whether few rounds have to do; it then comes last in them.
        same_loss: whether its loss must equal that of the default ham_softmax.
    """

    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False
    same_loss: bool = False

    def shrunk(self) -> Contender:
        """The same way for tiny sizes: what would be streamed at the full size still is."""
        streamed = self.options.get("chunk") == CHUNK
        return replace(self, options={**self.options, "chunk": TINY_CHUNK}) if streamed else self


@dataclass(frozen=True)
class Setting:
    """Sizes, and the contenders by their names; am_softmax and ham_softmax are always among them.

    Attributes:
        num_speakers: ``C``.
        contenders: by the names in the table.
        rounds: how often each contender runs.
        batch_size: ``B``.
        embedding_dim: ``D``.
    """

    num_speakers: int
    contenders: Mapping[str, Contender]
    rounds: int
    batch_size: int = 256
    embedding_dim: int = 192

    @property
    def sizes(self) -> str:
        """The sizes in words."""
        return f"{self.batch_size} x {self.num_speakers:,} x {self.embedding_dim}"

    @property
    def gradient_mb(self) -> float:
        """Size of the centres' gradient."""
        return self.num_speakers * self.embedding_dim * 4 / 1e6


PLAIN = Contender("am_softmax", {"chunk": "off"})
HAM = Contender("ham_softmax", same_loss=True)
STREAMED = replace(HAM, options={"chunk": CHUNK})

SETTINGS = {
    5994: Setting(
        5994,
        {
            REFERENCE: PLAIN,
            DEFAULT: HAM,
            "ham_softmax, streamed": STREAMED,
            "ham_softmax, Gram form with autograd": replace(HAM, options={"fused": False, "chunk": "off"}),
            "ham_softmax, poincare": Contender("ham_softmax", {"geometry": "poincare", "curvature": 1.0}),
            "ham_softmax, lorentz": Contender("ham_softmax", {"geometry": "lorentz", "curvature": 1.0}),
            "am_softmax, streamed": Contender("am_softmax", {"chunk": CHUNK}),
            EXPANDED: Contender(EXPANDED, slow=True, same_loss=True),
            FLOOR: Contender(FLOOR),
        },
        rounds=21,
    ),
    17982: Setting(
        17982,
        {REFERENCE: PLAIN, DEFAULT: HAM, "ham_softmax, streamed": STREAMED, FLOOR: Contender(FLOOR)},
        rounds=11,
    ),
    1_000_000: Setting(
        1_000_000, {REFERENCE: PLAIN, "am_softmax, auto": Contender("am_softmax"), DEFAULT: HAM}, rounds=3
    ),
}
SLOW_ROUNDS = 3


@dataclass(frozen=True)
class Problem:
    """One batch and the centres that all contenders share."""

    embeddings: Tensor
    labels: Tensor
    centres: nn.Parameter

    def forget(self) -> None:
        """Set the gradients to None."""
        self.embeddings.grad = self.centres.grad = None


def make_problem(num_speakers: int, batch_size: int, embedding_dim: int, device: torch.device) -> Problem:
    """A batch of random directions of norm sqrt(D), and centres of norms from 0.1 to 0.9."""
    generator = torch.Generator().manual_seed(0)
    embeddings = F.normalize(torch.randn(batch_size, embedding_dim, generator=generator)) * embedding_dim**0.5
    centres = torch.randn(num_speakers, embedding_dim, generator=generator)
    centres.mul_(torch.empty(num_speakers, 1).uniform_(0.1, 0.9, generator=generator) / centres.norm(dim=1)[:, None])
    labels = torch.randint(num_speakers, (batch_size,), generator=generator)
    return Problem(embeddings.to(device).requires_grad_(), labels.to(device), nn.Parameter(centres.to(device)))


def make_step(contender: Contender, problem: Problem) -> Step:
    """What is measured: forward and backward, with gradients of the embeddings and of the centres."""
    x, labels, centres = problem.embeddings, problem.labels, problem.centres
    if contender.loss == FLOOR:

        def products() -> None:
            logits = x.detach() @ centres.detach().T
            x.grad, centres.grad = logits @ centres.detach(), logits.T @ x.detach()

        return products
    loss: nn.Module
    if contender.loss == EXPANDED:
        loss = Expanded(centres)
    else:
        loss = ham.losses.build(contender.loss, x.shape[1], len(centres), **contender.options)
        loss.weight = centres
        loss.to(x.device)  # whatever it learns beside the centres

    def both() -> Tensor:
        value: Tensor = loss(x, labels)[0]
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    return both


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(step: Step, problem: Problem, device: torch.device) -> float:
    """Time of one step that starts without gradients."""
    problem.forget()
    synchronise(device)
    started = time.perf_counter()
    step()
    synchronise(device)
    taken = time.perf_counter() - started
    problem.forget()
    return taken


def first_losses(steps: Mapping[str, Step], setting: Setting, problem: Problem) -> dict[str, float | None]:
    """Warm up, and check that those contenders agree that must.

    Raises:
        RuntimeError: if one gives another loss than the default by more than 1e-3.
    """
    losses: dict[str, float | None] = {}
    for name, step in steps.items():
        problem.forget()
        value = step()
        losses[name] = None if value is None else value.item()
        note(f"{setting.sizes}: {name}: " + ("no loss" if value is None else f"loss {value.item():.4f}"))
    for name, contender in setting.contenders.items():
        if contender.same_loss and abs((losses[name] or 0.0) - (losses[DEFAULT] or 0.0)) > 1e-3:
            raise RuntimeError(f"{setting.sizes}: {name}: expected the loss {losses[DEFAULT]}, found {losses[name]}")
    return losses


def measure_times(
    steps: Mapping[str, Step], setting: Setting, problem: Problem, device: torch.device
) -> dict[str, list[float | None]]:
    """Seconds of each contender in each round; None in the rounds that a slow one sits out."""
    times: dict[str, list[float | None]] = {name: [] for name in steps}
    quick = [name for name in steps if not setting.contenders[name].slow]
    slow = [name for name in steps if setting.contenders[name].slow]
    for at in range(setting.rounds):
        note(f"{setting.sizes}: round {at + 1} of {setting.rounds}")
        first = at % len(quick)
        turn = [*quick[first:], *quick[:first], *(slow if at < SLOW_ROUNDS else [])]
        for name in steps:
            times[name].append(None)
        for name in turn:
            times[name][at] = seconds_of(steps[name], problem, device)
    return times


def median_ratio(times: Sequence[float | None], others: Sequence[float | None]) -> float:
    """Median over the rounds in which both ran of the ratio within the round."""
    return median(a / b for a, b in zip(times, others, strict=True) if a is not None and b is not None)


def status_bytes(entry: str) -> int:
    """An entry of /proc/self/status: VmRSS is the memory in use, VmHWM the highest so far."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: {entry} not found")


def extra_bytes(step: Step, problem: Problem, device: torch.device) -> int:
    """Highest memory during one step beyond the memory before it."""
    problem.forget()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that stays with the process would be used unseen
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again from VmRSS
    before = status_bytes("VmRSS")
    step()
    return status_bytes("VmHWM") - before


def measure_here(contender: Contender, setting: Setting, device: torch.device) -> int:
    """Extra memory of one contender in this process, which should be fresh."""
    tiny = make_problem(128, 16, 32, device)
    make_step(contender.shrunk(), tiny)()
    problem = make_problem(setting.num_speakers, setting.batch_size, setting.embedding_dim, device)
    return extra_bytes(make_step(contender, problem), problem, device)


def measure_memory(key: int, name: str, options: argparse.Namespace) -> float | None:
    """Extra MB of one contender, from a process of its own; None where it cannot be known."""
    if options.device.type != "cuda" and not sys.platform.startswith("linux"):
        return None
    command = [sys.executable, "-m", "benchmarks.losses", "--device", str(options.device), "--settings", str(key)]
    command += ["--memory_of", name, *["--quick"] * options.quick]
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("MALLOC_")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    extra = int(done.stdout) / 1e6
    note(f"{choose_setting(key, options).sizes}: {name}: {extra:.1f} MB")
    return extra


@dataclass(frozen=True)
class Row:
    """What was found of one contender.

    Attributes:
        ms: median time of a step.
        ratio: median over the rounds of its time over that of am_softmax.
        over_default: the same over the default ham_softmax.
        extra_mb: highest memory of a step beyond what was there before.
        loss: value of the loss.
        times_s: seconds by round, None where it did not run.
    """

    ms: float
    ratio: float
    over_default: float
    extra_mb: float | None
    loss: float | None
    times_s: list[float | None]


def measure(key: int, options: argparse.Namespace) -> dict[str, Row]:
    """Memory and times of all contenders of a setting."""
    setting, device = choose_setting(key, options), options.device
    memory = {name: measure_memory(key, name, options) for name in setting.contenders}
    problem = make_problem(setting.num_speakers, setting.batch_size, setting.embedding_dim, device)
    steps = {name: make_step(contender, problem) for name, contender in setting.contenders.items()}
    losses = first_losses(steps, setting, problem)
    times = measure_times(steps, setting, problem, device)
    return {
        name: Row(
            ms=1000 * median(value for value in own if value is not None),
            ratio=median_ratio(own, times[REFERENCE]),
            over_default=median_ratio(own, times[DEFAULT]),
            extra_mb=memory[name],
            loss=losses[name],
            times_s=own,
        )
        for name, own in times.items()
    }


@dataclass(frozen=True)
class Target:
    """A bound on what was found.

    Attributes:
        text: what is bounded.
        found: the figure, None where it is not known.
        bound: what it must not exceed, or must reach where ``least``.
        unit: of both.
        least: whether the bound is a lower one.
    """

    text: str
    found: float | None
    bound: float
    unit: str = ""
    least: bool = False

    @property
    def verdict(self) -> str:
        """Whether it was met."""
        if self.found is None:
            return "not measured"
        return "met" if (self.found >= self.bound if self.least else self.found <= self.bound) else "missed"


def targets(key: int, rows: Mapping[str, Row]) -> list[Target]:
    """The targets of a setting, as the description of this module states them."""
    reference, default = rows[REFERENCE], rows[DEFAULT]
    time_text, memory_text = "time of the default over am_softmax", "extra memory of the default"
    if key == 5994:
        return [
            Target(time_text, default.ratio, 1.15),
            Target("time of the expanded form over the default", rows[EXPANDED].over_default, 100.0, least=True),
            Target(f"{memory_text}, against am_softmax", default.extra_mb, reference.extra_mb or 0.0, " MB"),
        ]
    if key == 17982:
        return [Target(time_text, default.ratio, 1.25)]
    bound = SETTINGS[key].gradient_mb + SLACK_MB
    return [
        Target(time_text, default.ratio, 1.0),
        Target(f"{memory_text}, against gradient + {SLACK_MB:.0f} MB", default.extra_mb, bound, " MB"),
    ]


def tables(key: int, setting: Setting, rows: Mapping[str, Row], quick: bool) -> str:
    """A setting in Markdown: the contenders, then the targets unless the sizes are not theirs."""
    lines = [f"\n### {setting.sizes}, {setting.rounds} rounds\n"]
    lines += [f"| contender | ms | x {REFERENCE} | extra memory MB |", "|---|---:|---:|---:|"]
    for name, row in rows.items():
        memory = "-" if row.extra_mb is None else f"{row.extra_mb:,.1f}"
        lines.append(f"| {name} | {row.ms:,.1f} | {row.ratio:.2f} | {memory} |")
    if quick:
        return "\n".join([*lines, "\nSmall sizes: the targets are not for these."])
    lines += ["\n| target | bound | found | |", "|---|---:|---:|---|"]
    for target in targets(key, rows):
        found = "-" if target.found is None else f"{target.found:,.2f}{target.unit}"
        word = "at least" if target.least else "at most"
        lines.append(f"| {target.text} | {word} {target.bound:,.2f}{target.unit} | {found} | {target.verdict} |")
    return "\n".join(lines)


def choose_setting(key: int, options: argparse.Namespace) -> Setting:
    """A setting with the sizes and rounds that the command line asks for."""
    setting = SETTINGS[key]
    if options.quick:
        contenders = {name: contender.shrunk() for name, contender in setting.contenders.items()}
        setting = Setting(min(key // 10, 20_000), contenders, rounds=2, batch_size=32, embedding_dim=32)
    return replace(setting, rounds=options.rounds) if options.rounds else setting


def note(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


def conditions(options: argparse.Namespace) -> dict[str, Any]:
    """What travels with the figures."""
    environment = {name: value for name, value in sorted(os.environ.items()) if name.startswith(ENVIRONMENT)}
    return {
        "command": " ".join(["python", "-m", "benchmarks.losses", *sys.argv[1:]]),
        "commit": git_commit(Path(ham.losses.__file__).parent.parent),
        "machine": hardware(),
        "device": str(options.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "environment": environment,
    }


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, nargs="+", choices=SETTINGS, default=list(SETTINGS), help="speakers")
    parser.add_argument("--rounds", type=int, help="rounds of every setting, at least 1, instead of its own number")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/losses.json"), help="JSON to write")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds: expected at least 1, found {options.rounds}")
    options.device = pick_device(options.device)
    return options


def main() -> None:
    """Measure, print and write; or, in a process that another started, print the extra bytes of one contender."""
    options = parse_options()
    torch.set_flush_denormal(True)
    if options.memory_of is not None:
        setting = choose_setting(options.settings[0], options)
        print(measure_here(setting.contenders[options.memory_of], setting, options.device))
        return
    facts, settings = conditions(options), {}
    print("\n".join(f"- {name}: {value or 'none'}" for name, value in facts.items()))
    for key in options.settings:
        setting, rows = choose_setting(key, options), measure(key, options)
        print(tables(key, setting, rows, options.quick), flush=True)
        judged = [] if options.quick else [{**asdict(it), "verdict": it.verdict} for it in targets(key, rows)]
        found = {name: asdict(row) for name, row in rows.items()}
        settings[setting.sizes] = {"rounds": setting.rounds, "contenders": found, "targets": judged}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**facts, "settings": settings}, indent=1) + "\n", encoding="utf-8")
    note(str(options.out))


if __name__ == "__main__":
    main()
