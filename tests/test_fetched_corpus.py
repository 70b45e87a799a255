"""A corpus that is fetched, added as egs/README.md says: files of its own folder, and no edit elsewhere."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpora.site import Site
from tests.packed import EGS, noise_files, tar_of, tree

TOP = EGS.parent
ARCHIVES = """\
sets:
  river:
    parts:
      - {{name: river.tar.gzaa, md5: '{0}'}}
      - {{name: river.tar.gzab, md5: {1}}}
    joined_name: river.tar.gz
    url: {url}
    num_speakers: 2
    num_utts: 10
    layout:
      place: river
      folder: speech
      example: speech/<speaker>/<number>.wav
      wanted: '(\\w+)/\\d+\\.wav'
"""
STAGE_1 = """
set -euo pipefail
top=$1 corpus_dir=$2 data_dir=$3 num_workers=1 made_in_stage_1=()
. "$top/local/log.sh"
. "$top/local/parse_options.sh"
. "$corpus_dir/conf/corpus.sh"
musan= rirs=
option_names=("${corpus_options[@]}")
derive_options
ham() { PYTHONSAFEPATH=1 python -m "ham.bin.$1" "${@:2}"; }
. "$corpus_dir/local/download.sh"
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder of egs/ with what CN-Celeb's has, and other archives."""
    folder = tmp_path / "egs/river"
    (folder / "local").mkdir(parents=True)
    shutil.copytree(EGS / "cnceleb/conf", folder / "conf", ignore=shutil.ignore_patterns("*.yaml", "tables.sh"))
    (folder / "local/download.sh").write_text('fetch_corpora river "" "" --source official\n')
    return folder


def stage_1(corpus: Path, data: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-c", STAGE_1, "bash", str(TOP), str(corpus), str(data)]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(TOP)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_its_archives_are_fetched_and_unpacked(corpus: Path, tmp_path: Path) -> None:
    files = noise_files("speech/s{}/{}.wav", 10)
    whole = tar_of(files)
    parts = {"aa": whole[:9000], "ab": whole[9000:]}
    with Site() as site:
        site.files |= {f"/river/river.tar.gz{end}": content for end, content in parts.items()}
        md5s = [hashlib.md5(content).hexdigest() for content in parts.values()]
        (corpus / "conf/archives.yaml").write_text(ARCHIVES.format(*md5s, url=site.url("/river")))
        done = stage_1(corpus, tmp_path / "data")
        assert done.returncode == 0, done.stderr
        asked = len(site.requests)
        assert asked == 2
        assert stage_1(corpus, tmp_path / "data").returncode == 0
        assert len(site.requests) == asked
    found = tree(tmp_path / "data/corpora/river")
    assert found == {name.removeprefix("speech/"): content for name, content in files.items()}
    assert "river: 10 files of 2 speakers in" in done.stderr


def test_a_mistake_in_its_archives_is_one_line(corpus: Path, tmp_path: Path) -> None:
    (corpus / "conf/archives.yaml").write_text(ARCHIVES.format("0" * 32, "1", url="http://127.0.0.1:1/river"))
    done = stage_1(corpus, tmp_path / "data")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {corpus}/conf/archives.yaml: sets.river.parts[1].md5: expected a text, found 1")
