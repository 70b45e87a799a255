"""The job of Slurm, with programs in place of Slurm's that write down how they were called."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
FAKES = {
    "srun": 'echo "srun $*" >> "$CALLS"; [ -z "${SLOW:-}" ] || until grep -q requeue "$CALLS"; do sleep 0.02; done',
    "scontrol": 'echo "scontrol $*" >> "$CALLS"; [ "$1" != show ] || printf "first\\nsecond\\n"',
    "run.sh": 'echo "run.sh $*" >> "$CALLS"',
}


class Job:
    """A folder that stands for the repository, with the programs in it."""

    def __init__(
        self, folder: Path, num_nodes: int, options: tuple[str, ...] = ("--corpus", "folder"), **further: str
    ) -> None:
        for name, text in FAKES.items():
            (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
            (folder / name).chmod(0o755)
        self.calls = folder / "calls"
        slurm = {"SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_ID": "31234", "SLURM_JOB_NUM_NODES": str(num_nodes)}
        told = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(self.calls), "SLURM_JOB_NODELIST": "node[1-2]"}
        self.process = subprocess.Popen(
            ["bash", str(TOP / "local/slurm.sbatch"), *options], env={**slurm, **told, **further}
        )

    def lines(self) -> list[str]:
        return self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []


@pytest.mark.parametrize(
    ("num_nodes", "machines"), [(1, "--nnodes 1"), (2, "--nnodes 2 --rdzv first:21234")], ids=["one", "two"]
)
def test_all_machines_train_and_one_does_the_rest(tmp_path: Path, num_nodes: int, machines: str) -> None:
    job = Job(tmp_path, num_nodes)
    assert job.process.wait() == 0
    training = f"srun ./run.sh --stage 4 --stop_stage 4 --num_gpus auto {machines} --resume true --corpus folder"
    calls = [line for line in job.lines() if "show" not in line]
    assert calls == [training, "run.sh --stage 5 --stop_stage 7 --num_gpus auto --corpus folder"]


def test_a_job_of_an_array_takes_its_row(tmp_path: Path) -> None:
    row = "/x/run.sh --loss {} --set 'train.epochs=3 loss.margin=0.3'  # 10.1 h, 1.942 GB\n"
    (tmp_path / "rows").write_text(row.format("softmax") + row.format("ham_softmax"), encoding="utf-8")
    job = Job(tmp_path, 1, ("rows",), SLURM_ARRAY_TASK_ID="2")
    assert job.process.wait() == 0
    assert len(job.lines()) == 2
    assert all(line.endswith(" --loss ham_softmax --set train.epochs=3 loss.margin=0.3") for line in job.lines())


def test_a_job_whose_time_is_over_goes_back_into_the_queue(tmp_path: Path) -> None:
    job = Job(tmp_path, 1, SLOW="1")
    while not job.lines():
        time.sleep(0.01)
    job.process.send_signal(signal.SIGUSR1)
    assert job.process.wait() == 0
    assert job.lines()[1:] == ["scontrol requeue 31234"]
