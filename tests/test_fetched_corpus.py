"""A corpus that is fetched, added with the files that egs/README.md shows, and no edit elsewhere."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.corpora.site import Site
from tests.packed import EGS, tar_of, tree

pytestmark = pytest.mark.recipe

TOP = EGS.parent
BLOCKS = [
    "\n".join(line[4:] for line in block.splitlines())
    for block in (EGS / "README.md").read_text().split("takes one more file")[1].split("\n\n")
    if block.startswith("    ")
]
"""What the page shows, in its order: conf/archives.yaml, conf/corpus.sh, local/download.sh."""


def recordings() -> dict[str, bytes]:
    """Six speakers of two sessions of two utterances, below ``speech/``."""
    files = {}
    for number in range(24):
        file, samples = io.BytesIO(), np.random.default_rng(number).integers(-900, 900, 16000)
        soundfile.write(file, samples.astype(np.int16), 16000, format="WAV", subtype="PCM_16")
        files[f"speech/s{number // 4}/a{number // 2 % 2}/u{number % 2}.wav"] = file.getvalue()
    return files


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The recipe with one more corpus, as its README says."""
    folder = tmp_path / "recipe"
    corpus = folder / "egs/river"
    for name in ("conf", "local"):
        (corpus / name).mkdir(parents=True)
    for name in ("ham", "local", "conf", "requirements.txt"):
        (folder / name).symlink_to(TOP / name)
    for name in ("run.sh", "path.sh"):
        shutil.copy(TOP / name, folder)
    for name in ("run.sh", "path.sh"):
        shutil.copy(EGS / "mini" / name, corpus)
    (corpus / "run.sh").write_text((EGS / "mini/run.sh").read_text().replace("mini", "river"))
    shared = (EGS / "cnceleb/conf/corpus.sh").read_text().splitlines()
    names = [line.split("=")[0] for line in shared]
    kept = shared[names.index("source") : names.index("test_roots") + 1]
    lines = BLOCKS[1].splitlines()
    place = next(number for number, line in enumerate(lines) if "egs/cnceleb/conf/corpus.sh" in line)
    (corpus / "conf/corpus.sh").write_text("\n".join([*lines[:place], *kept, *lines[place + 1 :], ""]))
    (corpus / "local/download.sh").write_text(BLOCKS[2] + "\n")
    return folder


def stages_1_and_2(top: Path) -> subprocess.CompletedProcess[str]:
    command = [top / "egs/river/run.sh", "--stop_stage", "2", "--musan", "", "--rirs", "", "--device", "cpu"]
    environment = {**os.environ, "HAM_VENV": sys.prefix}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_it_is_fetched_unpacked_and_prepared(top: Path) -> None:
    files = recordings()
    content = tar_of(files)
    with Site() as site:
        site.files["/river/river.tar.gz"] = content
        made = BLOCKS[0].replace("https://example.org", site.url(""))
        made = made.replace("0123456789abcdef0123456789abcdef", hashlib.md5(content).hexdigest())
        (top / "egs/river/conf/archives.yaml").write_text(made)
        done = stages_1_and_2(top)
        assert done.returncode == 0, done.stderr
        assert len(site.requests) == 1
    assert "river: 24 files of 6 speakers in" in done.stderr
    data = top / "egs/river/data"
    assert tree(data / "corpora/river") == {n.replace("speech/", "wav/"): content for n, content in files.items()}
    assert len((data / "train/utt2spk").read_text().splitlines()) >= 8
    assert list((data / "test/river").glob("*/trials"))


def test_a_mistake_in_its_archives_is_one_line(top: Path) -> None:
    (top / "egs/river/conf/archives.yaml").write_text(BLOCKS[0].replace("river/wav", "../wav"))
    done = stages_1_and_2(top)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {top}/egs/river/conf/archives.yaml: sets.river.layout.place: expected a path below the folder"
    )
