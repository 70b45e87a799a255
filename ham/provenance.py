"""Who made a number: commit, versions, hardware."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import numpy
import torch

import ham


def git_commit(package: Path) -> str | None:
    """Commit of the checkout that a package is run from.

    ``-dirty`` is appended where a file under version control was changed, as ``git describe --dirty`` does.

    Args:
        package: folder of the package, directly below the root of the checkout.

    Returns:
        The full hash, or None where the package is installed elsewhere or git does not answer.
    """
    root = package.resolve().parent
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        return _git(root, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def versions() -> dict[str, str]:
    """Versions of what a number depends on."""
    return {
        "ham": ham.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": str(numpy.__version__),
    }


def hardware() -> str:
    """Describe this machine.

    Returns:
        Processor, number of cores that this process may use, and the GPU where there is one.
    """
    match = re.search(r"^model name\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    model = match[1] if match else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join([model, f"{cores} cores" if cores > 1 else "1 core", *(gpus or ["no GPU"])])


def _cpu_info() -> str:
    """What Linux says of the processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
