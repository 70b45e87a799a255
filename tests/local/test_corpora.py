"""What corpora that are fetched share: their options reach the commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
SCRIPT = """
set -euo pipefail
top=$1 corpus_dir=$1/egs/$2 data_dir=/d num_workers=1 stop_stage=2 made_in_stage_1=(musan)
. "$top/local/parse_options.sh"
export lists_url=http://environment
. "$corpus_dir/conf/corpus.sh"
option_names=("${corpus_options[@]}")
parse_options "${@:3}"
ham() { printf '<%s>' "$@" >&2; echo >&2; }
python() { [ "$2" != --needs ] || echo "vox1_dev vox2_dev"; printf '<%s>' "${1##*/}" "${@:2}" >&2; echo >&2; }
. "$corpus_dir/local/download.sh"
"""


def commands(corpus: str, *options: str) -> dict[str, str]:
    """The commands that stage 1 calls, by name, their words in brackets."""
    words = ["bash", "-c", SCRIPT, "bash", str(TOP), corpus, *options]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("<")]
    return {line[1:].split(">")[0]: line for line in lines}


@pytest.mark.parametrize("corpus", ["voxceleb", "cnceleb"])
def test_addresses_of_the_catalogue_are_not_repeated(corpus: str) -> None:
    called = commands(corpus)
    for option in ("--openslr_urls", "--mirror_repo", "--lists_url", "--insecure"):
        assert option not in called["download"]


@pytest.mark.parametrize("corpus", ["voxceleb", "cnceleb"])
def test_addresses_and_certificates_reach_the_download_only(corpus: str) -> None:
    called = commands(corpus, "--openslr_urls", "http://a/r http://b/r", "--insecure")
    assert "<--openslr_urls><http://a/r><http://b/r><--" in called["download"]
    assert called["download"].count("<--insecure>") == 1
    assert "openslr" not in called["unpack"]


@pytest.mark.parametrize("corpus", ["voxceleb", "cnceleb"])
def test_archives_of_the_corpus_or_of_the_user(corpus: str) -> None:
    called = commands(corpus)
    for name in ("download", "unpack"):
        assert f"<--catalogue><{TOP}/egs/{corpus}/conf/archives.yaml>" in called[name]
        assert "<--accept_repacked><false>" in called[name]
    assert "--catalogue" not in called["prepare.py"]  # which knows its own
    called = commands(corpus, "--catalogue", "c.json", "--accept_repacked")
    for name in ("download", "unpack", "prepare.py"):
        assert "<--catalogue><c.json>" in called[name]
    assert "<--accept_repacked><true>" in called["download"]
    assert "<--accept_repacked><true>" in called["unpack"]


def test_voxceleb_has_addresses_of_its_own() -> None:
    called = commands("voxceleb", "--mirror_repo", "me/vox", "--lists_url", "http://l/my lists")
    assert "<--mirror_repo><me/vox><--lists_url><http://l/my lists>" in called["download"]


@pytest.mark.parametrize(
    ("corpus", "options", "words"),
    [
        ("voxceleb", [], "<--format><flac><--saving=--vox2_audio m4a>"),
        ("voxceleb", ["--vox2_audio", "wav"], "<--format><wav><--saving=--vox2_audio flac or m4a>"),
        ("cnceleb", [], "<--made_share><0.16>"),
    ],
)
def test_what_the_check_of_the_disk_is_told(corpus: str, options: list[str], words: str) -> None:
    download = commands(corpus, *options)["download"]
    assert words in download
    assert "<--stop_stage><2>" in download


def test_what_is_not_copied_or_joined_needs_no_disk() -> None:
    assert "<--made_share>" not in commands("cnceleb", "--join_short_s", "0")["download"]
