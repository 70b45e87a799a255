"""The arithmetic of disk space, against sums done by hand."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from ham.corpora import disk_space
from ham.corpora.catalogue import BLOCK_WASTE_BYTES, ArchiveSet, RemoteFile, load_catalogue
from ham.corpora.disk_space import SpacePlan, check_space, gigabytes, needs
from ham.errors import DownloadError
from tests.packed import LAYOUT, SETS

GIGA = 10**9


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def archive(name: str, size: int, unpacked: int) -> ArchiveSet:
    return ArchiveSet(name, (RemoteFile(name, "0" * 32, size),), LAYOUT, name, unpacked_size=unpacked)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    bytes_free = [0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, bytes_free[0]))
    return bytes_free


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (949, "949 B"), (960, "1.0 kB"), (77_477_283_208, "77.5 GB"), (384e6, "384.0 MB")]
)
def test_sizes_are_written_in_powers_of_ten(size: float, text: str) -> None:
    assert gigabytes(size) == text


@pytest.mark.parametrize(
    ("keep", "needed"),
    [
        (True, 3 + 1 + 10 + 40),  # to fetch, and all that is unpacked
        (False, 3 + 1 + 10 + 40 - 5),  # the first archive is gone when the second one is unpacked
    ],
)
def test_the_sum_is_the_limit(tmp_path: Path, free: list[int], keep: bool, needed: int) -> None:
    sets = [archive("a.zip", 5 * GIGA, 10 * GIGA), archive("b.zip", 7 * GIGA, 40 * GIGA)]
    missing = {"a.zip": 3 * GIGA, "b.zip": 1 * GIGA}
    plan = SpacePlan(tmp_path / "not/there/yet", keep_archives=keep)
    free[0] = needed * GIGA
    check_space(tmp_path / "archives", missing, sets, plan)
    free[0] -= 1
    with pytest.raises(DownloadError, match=f"expected {needed}.0 GB of free disk space, found") as caught:
        check_space(tmp_path / "archives", missing, sets, plan)
    assert ("--keep_archives false" in str(caught.value)) == keep


@pytest.mark.parametrize(
    ("keep", "saving", "cures"),
    [
        (True, "--speech less", ", or need less: --keep_archives false, --speech less"),
        (False, "--speech less", ", or need less: --speech less"),
        (True, "", ", or need less: --keep_archives false"),
        (False, "", "--corpora_dir"),
    ],
)
def test_the_cures_are_those_that_help(tmp_path: Path, free: list[int], keep: bool, saving: str, cures: str) -> None:
    with pytest.raises(DownloadError) as caught:
        check_space(tmp_path, {"x": GIGA}, [SETS["vox2_dev"]], SpacePlan(tmp_path, "flac", keep, saving=saving))
    assert str(caught.value).endswith(cures)


def test_no_corpus_is_named() -> None:
    assert "vox" not in Path(disk_space.__file__).read_text(encoding="utf-8").lower()


def test_the_arithmetic_is_shown(tmp_path: Path, free: list[int], caplog: pytest.LogCaptureFixture) -> None:
    free[0] = 10**15
    caplog.set_level(logging.INFO)
    sets = [replace(SETS["vox2_dev"], num_utts=None), SETS["musan"]]
    check_space(tmp_path, {"vox2_dev_aac_partah": 2_315_355_528, "x.txt": 1000}, sets, SpacePlan(tmp_path))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "disk space: vox2_dev: 2.3 GB to fetch + 77.5 GB unpacked + 271.9 GB as wav"
    assert lines[1].startswith("disk space: musan: 0 B to fetch + 12.6 GB unpacked")
    assert lines[2] == "disk space: trial lists: 1.0 kB to fetch"
    assert f"in {tmp_path}: needed 364.3 GB, free 1000000.0 GB" in lines[3]


def test_small_files_waste_blocks() -> None:
    assert SETS["vox2_dev"].unpacked_bytes - SETS["vox2_dev"].archive_bytes == 1_092_009 * BLOCK_WASTE_BYTES


def test_two_disks_are_two_sums(tmp_path: Path, free: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    sets = [archive("a.zip", 5 * GIGA, 10 * GIGA)]
    free[0] = 10 * GIGA
    check_space(tmp_path, {"a.zip": 5 * GIGA}, sets, SpacePlan(Path("/dev/shm/corpora"), keep_archives=False))
    free[0] = 10 * GIGA - 1
    with pytest.raises(DownloadError, match=r"^/dev/shm: expected 10\.0 GB"):
        check_space(tmp_path, {"a.zip": 5 * GIGA}, sets, SpacePlan(Path("/dev/shm/corpora")))


def test_nothing_to_do_needs_nothing(tmp_path: Path, free: list[int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    check_space(tmp_path, {}, [], SpacePlan(tmp_path))
    assert free == [0]
    assert caplog.records == []


def test_unpacking_needs_room_where_nothing_is_fetched(tmp_path: Path, free: list[int]) -> None:
    with pytest.raises(DownloadError, match=r"expected 10\.0 GB of free disk space"):
        check_space(tmp_path, {}, [archive("a.zip", 5, 10 * GIGA)], SpacePlan(tmp_path))


def test_the_stores_count_until_they_are_there(tmp_path: Path, free: list[int]) -> None:
    speech, musan = replace(archive("a.zip", 5 * GIGA, 10 * GIGA), hours=1000.0), SETS["musan"]
    plan = SpacePlan(tmp_path, store=tmp_path / "store", stored=(speech, musan))
    hour = 3600 * 16000 * 2
    assert plan.store_bytes == 1000 * hour + 12_600_000_000
    (tmp_path / "store" / "train").mkdir(parents=True)
    assert plan.store_bytes == 12_600_000_000
    free[0] = 5 * GIGA + 10 * GIGA + 12_600_000_000
    check_space(tmp_path, {"a.zip": 5 * GIGA}, [speech], plan)
    free[0] -= 1
    with pytest.raises(DownloadError, match=r"expected 27\.6 GB .* --archives, --corpora_dir and --data_dir"):
        check_space(tmp_path, {"a.zip": 5 * GIGA}, [speech], plan)


def test_stores_that_are_not_packed_now_are_a_warning(
    tmp_path: Path, free: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    speech = replace(archive("a.zip", 5 * GIGA, 10 * GIGA), hours=1000.0)
    plan = SpacePlan(tmp_path, store=tmp_path / "store", stored=(speech,), made_share=0.2, packs_now=False)
    free[0] = 17 * GIGA
    with caplog.at_level(logging.INFO):
        check_space(tmp_path, {"a.zip": 5 * GIGA}, [speech], plan)
    both = "132.2 GB by the end of stage 3 (17.0 GB in stage 1)"
    assert f"disk space: in {tmp_path}: needed {both}, free 17.0 GB" in caplog.text
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warning == f"{tmp_path}: expected {both} of free disk space, found 17.0 GB: stage 3 will refuse"
    with pytest.raises(DownloadError, match=re.escape(f"expected {both} of free disk space, found 17.0 GB")):
        check_space(tmp_path, {"a.zip": 5 * GIGA}, [speech], replace(plan, packs_now=True))
    free[0] -= 1
    with pytest.raises(DownloadError):
        check_space(tmp_path, {"a.zip": 5 * GIGA}, [speech], plan)


VOX, CN = ("vox1_dev", "vox1_test", "vox2_dev"), ("cn1", "cn2")


@pytest.mark.parametrize(
    ("corpus", "names", "plan", "in_gb"),
    [  # egs/*/README.md: archives, unpacked, copy as flac or joined utterances; and the stores
        ("voxceleb", VOX, SpacePlan(Path(), "flac"), (123.6 + 139.8 + 165.4, 331.0)),
        ("voxceleb", VOX, SpacePlan(Path(), "store", keep_archives=False), (139.8, 331.0)),
        ("cnceleb", CN, SpacePlan(Path(), made_share=0.16), (121.5 + 128.0 + 20, 175.7)),
    ],
)
def test_the_sums_of_the_corpora(
    tmp_path: Path, corpus: str, names: tuple[str, ...], plan: SpacePlan, in_gb: tuple[float, float]
) -> None:
    sets = load_catalogue(Path(__file__).parents[2] / f"egs/{corpus}/conf/archives.yaml").sets
    wanted = [sets[name] for name in (*names, "musan", "rirs")]
    fetch = sum(one.archive_bytes for one in wanted)
    (need,) = needs(tmp_path, fetch, wanted, replace(plan, corpora=tmp_path, store=tmp_path / "store", stored=wanted))
    first, stores = in_gb
    assert need.stage_3 / GIGA == pytest.approx(first + stores, abs=1)
    if plan.keep_archives:
        assert need.stage_1 / GIGA == pytest.approx(first, abs=1)


def test_the_whole_of_voxceleb_with_its_stores(tmp_path: Path) -> None:
    sets = [SETS[name] for name in ("vox1_dev", "vox1_test", "vox2_dev", "musan", "rirs")]
    hours = 340.4 + 11.2 + 2360.2
    assert SpacePlan(tmp_path, store=tmp_path, stored=sets).store_bytes == round(hours * 115.2e6) + 18_600_000_000
