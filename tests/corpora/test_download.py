"""A folder of archives: what is fetched, what is checked, what is moved aside, and in which words."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ham.corpora import checksums, download
from ham.corpora.catalogue import ArchiveSet, Catalogue, RemoteFile, TrialListFile
from ham.corpora.disk_space import SpacePlan
from ham.corpora.download import Ways, mirror_address
from ham.corpora.fetch import Fetcher, Limits
from ham.corpora.records import Unpacked
from ham.corpora.web import Address, RefusedError, Secret
from ham.errors import ConfigError, DataError, DownloadError
from ham.files import lock_folder
from tests.corpora.site import Site, cut, serve, status
from tests.packed import LAYOUT, SETS, VOXCELEB

LIMITS = Limits(3, backoff_s=0.01, max_backoff_s=0.04, stall_s=60.0, progress_bytes=10_000)
KEY = "p3rs0nal"
PARTS = {f"v_part{letter}": random.Random(letter).randbytes(40_000) for letter in "abcd"}
JOINED = b"".join(PARTS.values())
NOISE = random.Random("n").randbytes(30_000)
LIST = b"1 a/b/c.wav a/d/e.wav\n" * 50


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


SPEECH = ArchiveSet(
    "v",
    tuple(RemoteFile(name, md5(content), len(content)) for name, content in PARTS.items()),
    LAYOUT,
    "v.zip",
    md5(JOINED),
    len(JOINED),
    mirror_path="vox",
)
MUSIC = ArchiveSet(
    "n",
    (RemoteFile("n.tar.gz", md5(NOISE), about_size=1000),),
    SETS["musan"].layout,
    "n.tar.gz",
    md5(NOISE),
    openslr_path="9",
)
TRIALS = TrialListFile("t.txt", "T", 50, 0, md5(LIST))


@dataclass
class World:
    """The sites, and a folder to load into."""

    site: Site
    folder: Path

    def ways(self, source: str = "official", key: str = KEY) -> Ways:
        return Ways(
            source,
            Secret(key, "test") if key else None,
            self.site.url("/owners"),
            self.site.url("/meta"),
            (self.site.url("/slr"), self.site.url("/slr2")),
            "me/vox",
            self.site.url("/hf"),
        )

    def __call__(
        self, *wanted: ArchiveSet | TrialListFile, ways: Ways | None = None, **options: object
    ) -> dict[str, tuple[Path, ...]]:
        sets = [one for one in wanted if isinstance(one, ArchiveSet)]
        lists = [one for one in wanted if isinstance(one, TrialListFile)]
        keys = {"official_page": "https://owners.example/form", "key_variable": "HAM_OWNERS_KEY"}
        catalogue = Catalogue({one.name: one for one in sets}, {one.name: one for one in lists}, **keys)
        plan = SpacePlan(self.folder.parent / "corpora")
        chosen = ways or self.ways()
        return download.download(sets, lists, self.folder, chosen, plan, catalogue, limits=LIMITS, **options)  # type: ignore[arg-type]

    def bring(self, **contents: bytes) -> None:
        self.folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            (self.folder / name).write_bytes(content)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Site() as site:
        # The owners' site takes the name from the query.
        site.always["/owners"] = lambda handler: serve(content=PARTS[handler.path.rsplit("file=", 1)[1]])(handler)
        site.files |= {f"/hf/datasets/me/vox/resolve/main/vox/{name}": content for name, content in PARTS.items()}
        site.files |= {"/slr/9/n.tar.gz": NOISE, "/slr2/9/n.tar.gz": NOISE, "/meta/t.txt": LIST}
        yield World(site, tmp_path / "archives")


@pytest.mark.parametrize("source", ["official", "mirror"])
def test_everything_is_fetched_and_checked(world: World, source: str) -> None:
    found = world(SPEECH, MUSIC, TRIALS, ways=world.ways(source))
    assert found["v"] == tuple(world.folder / name for name in PARTS)
    assert b"".join(path.read_bytes() for path in found["v"]) == JOINED
    assert found["n"][0].read_bytes() == NOISE
    assert found["t.txt"][0].read_bytes() == LIST
    assert world.names() == {*PARTS, "n.tar.gz", "t.txt", checksums.BOOK}
    keyed = [asked for asked, _ in world.site.requests if KEY in asked]
    assert len(keyed) == (len(PARTS) if source == "official" else 0)


def test_a_second_run_reads_and_asks_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world(SPEECH, MUSIC, TRIALS)
    asked = len(world.site.requests)

    def _read(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(download, "md5_of", _read)
    world(SPEECH, MUSIC, TRIALS)
    world(SPEECH, MUSIC, TRIALS, ways=Ways("none"))
    assert len(world.site.requests) == asked


def test_parts_are_loaded_side_by_side(world: World) -> None:
    together = threading.Barrier(len(PARTS), timeout=60)
    usual = world.site.always["/owners"]

    def _wait(handler: object) -> None:
        together.wait()
        usual(handler)  # type: ignore[arg-type]

    world.site.always["/owners"] = _wait
    world(SPEECH, num_connections=len(PARTS))


@pytest.mark.parametrize("joined", [False, True])
def test_what_the_user_brings_is_checked_once(world: World, joined: bool) -> None:
    world.bring(**({"v.zip": JOINED} if joined else PARTS))
    found = world(SPEECH, ways=Ways("none"))
    assert found["v"] == tuple(world.folder / name for name in (["v.zip"] if joined else PARTS))
    book = json.loads((world.folder / checksums.BOOK).read_text())
    expected = {"v.zip": md5(JOINED)} if joined else {name: md5(content) for name, content in PARTS.items()}
    assert {name: entry["md5"] for name, entry in book.items()} == expected
    assert world.site.requests == []


def test_what_the_user_did_not_bring_is_named(world: World) -> None:
    with pytest.raises(ConfigError, match=r"--archives .*: expected the folder of your archives, found none"):
        world(SPEECH, ways=Ways("none"))
    world.bring(v_parta=PARTS["v_parta"], v_partb=PARTS["v_partb"])
    with pytest.raises(ConfigError) as caught:
        world(SPEECH, MUSIC, TRIALS, ways=Ways("none"))
    text = str(caught.value)
    assert text.startswith(
        f"--archives {world.folder}: 3 problems: expected v_partc, v_partd (or v.zip), found nothing"
    )
    assert "expected n.tar.gz, found nothing" in text
    assert "expected t.txt, found" in text
    assert "--source official or mirror" in text


def test_a_wrong_file_of_the_user_is_moved_aside(world: World) -> None:
    world.bring(**{**PARTS, "v_partb": b"x" * 39_999})
    with pytest.raises(DownloadError) as caught:
        world(SPEECH, ways=Ways("none"))
    bad = world.folder / "bad/v_partb"
    assert f"v_partb: expected md5 {md5(PARTS['v_partb'])}, found {md5(b'x' * 39_999)}" in str(caught.value)
    assert (
        f"(39999 bytes of 40000); moved to {bad}; bring it again; if you have packed it anew, move it back and add"
        in str(caught.value)
    )
    assert bad.read_bytes() == b"x" * 39_999
    assert not (world.folder / "v_partb").exists()


def test_a_wrong_file_that_was_there_is_fetched(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.bring(**{"v.zip": b"half a file", "n.tar.gz": NOISE})
    found = world(SPEECH, MUSIC)
    assert "fetching it again" in caplog.text
    assert (world.folder / "bad/v.zip").read_bytes() == b"half a file"
    assert len(found["v"]) == 4
    assert len(world.site.requests) == 4


def test_wrong_bytes_are_moved_aside_and_fetched_by_the_next_run(world: World) -> None:
    world.site.then("/slr/9/n.tar.gz", serve(content=NOISE[::-1]))
    with pytest.raises(DownloadError, match=r"n\.tar\.gz: expected md5 .* the next run fetches it again"):
        world(SPEECH, MUSIC, TRIALS)
    assert (world.folder / "bad/n.tar.gz").read_bytes() == NOISE[::-1]
    assert world.names() == {*PARTS, "t.txt", "bad", checksums.BOOK}  # the others were not kept from being loaded
    asked = len(world.site.requests)
    world(SPEECH, MUSIC, TRIALS)
    assert (world.folder / "n.tar.gz").read_bytes() == NOISE
    assert len(world.site.requests) == asked + 1


def test_a_killed_run_is_gone_on_from(world: World) -> None:
    world.site.then("/slr/9/n.tar.gz", serve(end=12_345, after=cut), *[status(500)] * 2)
    world.site.then("/slr2/9/n.tar.gz", *[status(500)] * 3)
    with pytest.raises(DownloadError, match="3 times in a row"):
        world(MUSIC)
    assert world.names() == {"n.tar.gz.part", "n.tar.gz.part.json"}
    world(MUSIC)
    assert world.site.ranges("/slr/9/n.tar.gz")[-1] == "bytes=12345-"
    assert world.names() == {"n.tar.gz", checksums.BOOK}


def test_a_whole_part_whose_name_was_not_given_yet(world: World) -> None:
    """Killed between the last byte and the new name, or between the name and the end."""
    world(MUSIC)
    path = world.folder / "n.tar.gz"
    (world.folder / "n.tar.gz.part.json").write_text(json.dumps({"host": "127.0.0.1", "total": len(NOISE)}))
    path.rename(world.folder / "n.tar.gz.part")
    asked = len(world.site.requests)
    world(MUSIC)
    assert len(world.site.requests) == asked
    assert world.names() == {"n.tar.gz", checksums.BOOK}


def test_a_wrong_key_stops_at_once_and_is_not_shown(world: World) -> None:
    world.site.always["/owners"] = status(401)
    with pytest.raises(DownloadError, match="answered 401 Unauthorized; the key is wrong or has run out") as caught:
        world(SPEECH, num_connections=1)
    assert len(world.site.requests) == 1
    assert KEY not in str(caught.value)
    assert "https://owners.example/form" in str(caught.value)


def test_a_missing_key_is_asked_for_before_anything_happens(world: World) -> None:
    with pytest.raises(ConfigError, match=r"HAM_OWNERS_KEY .* --key_file"):
        world(MUSIC, SPEECH, ways=world.ways(key=""))
    assert world.site.requests == []
    world.bring(**PARTS)
    world(MUSIC, SPEECH, ways=world.ways(key=""))  # who has VoxCeleb already needs none


def test_the_key_is_in_no_file_and_no_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.site.then("/owners", status(500), serve(content=b"wrong", etag=f'"{KEY}"'))
    with pytest.raises(DownloadError):
        world(SPEECH)
    texts = [path.read_bytes() for path in world.folder.rglob("*") if path.is_file()]
    assert all(KEY.encode() not in text for text in texts)
    assert KEY not in caplog.text


def test_a_second_server_of_openslr(world: World) -> None:
    world.site.always["/slr/9/n.tar.gz"] = status(404)
    world(MUSIC)
    assert world.site.ranges("/slr2/9/n.tar.gz") == [None]


def test_two_runs_at_once(world: World) -> None:
    world.folder.mkdir()
    with (
        lock_folder(world.folder, "a download"),
        pytest.raises(DataError, match="found at work: a download, process"),
    ):
        world(MUSIC)
    world(MUSIC)


def test_no_room_is_said_before_anything_starts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(DownloadError, match="of free disk space, found 10 B"):
        world(SPEECH)
    assert world.site.requests == []


def test_unpacked_sets_are_not_fetched_again(world: World, tmp_path: Path) -> None:
    corpora = tmp_path / "corpora"
    for folder in ("music", "speech", "noise"):
        (corpora / "musan" / folder).mkdir(parents=True)
        (corpora / "musan" / folder / "1.wav").write_bytes(b"")
    music, path = replace(MUSIC, name="musan"), corpora / "musan.unpacked.json"
    done = Unpacked("musan", [f"{part.md5} {part.name}" for part in MUSIC.parts], 3, 0, 0, [], {})
    path.write_text(json.dumps(asdict(done)))
    assert world(SPEECH, music) == {"v": tuple(world.folder / name for name in PARTS), "musan": ()}
    assert world.names() == {*PARTS, checksums.BOOK}
    shutil.rmtree(world.folder)
    assert world(music, ways=Ways("none")) == {"musan": ()}
    for damaged in ("", "[]", '{"complete": 1}', '{"complete": true, "archive": ["0 n.tar.gz"]}'):
        path.write_text(damaged)
        with pytest.raises(DataError, match=r"musan\.unpacked\.json: is not a record of what was unpacked; remove it"):
            world(music)
    path.write_text(json.dumps(asdict(replace(done, archive=["0 n.tar.gz"]))))
    assert world(music) == {"musan": (world.folder / "n.tar.gz",)}
    path.write_text(json.dumps(asdict(done)))
    shutil.rmtree(world.folder)
    shutil.rmtree(corpora / "musan/noise")
    assert world(music) == {"musan": (world.folder / "n.tar.gz",)}


@pytest.mark.parametrize("num_connections", [1, 6])
def test_a_file_that_is_not_there_keeps_no_other_from_being_loaded(world: World, num_connections: int) -> None:
    usual = world.site.always["/owners"]
    world.site.always["/meta/t.txt"] = status(404)
    world.site.then("/owners", status(404))
    with pytest.raises(DownloadError, match=r"2 problems: .*127\.0\.0\.1: answered 404") as caught:
        world(SPEECH, MUSIC, TRIALS, num_connections=num_connections)
    assert "t.txt: 127.0.0.1" in str(caught.value)
    assert len(world.names() & {*PARTS, "n.tar.gz"}) == len(PARTS)  # all but one of the parts, and the noise
    world.site.always["/owners"] = usual
    with pytest.raises(DownloadError, match=r"^t\.txt: 127\.0\.0\.1: answered 404 .* --lists_url"):
        world(SPEECH, MUSIC, TRIALS, num_connections=num_connections)
    assert world.names() == {*PARTS, "n.tar.gz", checksums.BOOK}


def test_a_wrong_key_keeps_files_of_other_servers_coming(world: World) -> None:
    world.site.always["/owners"] = status(403)
    elsewhere = {"lists_url": world.site.url("/meta", "localhost"), "openslr_urls": (world.site.url("/slr"),)}
    with pytest.raises(DownloadError, match=r"^v_parta: 127\.0\.0\.1: answered 403 Forbidden; the key is wrong"):
        world(SPEECH, TRIALS, ways=replace(world.ways(), **elsewhere), num_connections=1)
    assert world.names() == {"t.txt", checksums.BOOK}
    assert [asked.split("?")[0] for asked, _ in world.site.requests] == ["/owners", "/meta/t.txt"]


def test_a_key_that_has_opened_one_part_is_tried_for_all(world: World) -> None:
    usual = world.site.always["/owners"]
    world.site.then("/owners", usual, status(403))
    with pytest.raises(DownloadError, match=r"^v_partb: 127\.0\.0\.1: answered 403"):
        world(SPEECH, num_connections=1)
    assert world.names() == {"v_parta", "v_partc", "v_partd", checksums.BOOK}


def test_addresses_of_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_t0ken")
    address = mirror_address("a/b", "vox2", "vox2_dev_aac_partaa", "https://hf.example")
    assert address.url == "https://hf.example/datasets/a/b/resolve/main/vox2/vox2_dev_aac_partaa"
    assert address.headers == {"Authorization": "Bearer hf_t0ken"}
    assert "hf_t0ken" not in repr(address)
    with pytest.raises(ConfigError, match="--mirror_repo: expected the name"):
        mirror_address("a b/c/d", "vox2", "x")


def addresses(ways: Ways, folder: Path, monkeypatch: pytest.MonkeyPatch, *wanted: str) -> dict[str, list[str]]:
    """Where files of VoxCeleb's catalogue would be fetched from; nothing is."""
    found: dict[str, list[str]] = {}

    def _fetch(self: Fetcher, where: Sequence[Address], part: Path, *_: object) -> str:
        found[part.name.removesuffix(".part")] = [one.url for one in where]
        raise RefusedError("asked")

    monkeypatch.setattr(Fetcher, "fetch", _fetch)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**15))
    sets, lists = ([table[name] for name in wanted if name in table] for table in (VOXCELEB.sets, VOXCELEB.lists))
    with pytest.raises(DownloadError, match="asked"):
        download.download(sets, lists, folder / "archives", ways, SpacePlan(folder), VOXCELEB)
    return found


def test_addresses_of_a_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ("vox2_dev", "musan", "veri_test2.txt")
    found = addresses(Ways("official", Secret(KEY, "t")), tmp_path, monkeypatch, *wanted)
    official = "https://cn01.mmai.io/download/voxceleb?key=YOUR-KEY&file=vox2_dev_aac_partah"
    assert found["vox2_dev_aac_partah"] == [official]
    assert found["musan.tar.gz"][0] == "https://www.openslr.org/resources/17/musan.tar.gz"
    assert len(found["musan.tar.gz"]) == 3
    assert found["veri_test2.txt"] == ["https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/veri_test2.txt"]
    mirrored = addresses(Ways("mirror", endpoint="https://h"), tmp_path, monkeypatch, *wanted)
    url = "https://h/datasets/ProgramComputer/voxceleb/resolve/main/vox2/vox2_dev_aac_partaa"
    assert mirrored["vox2_dev_aac_partaa"] == [url]


def test_a_set_without_any_address_is_named(world: World) -> None:
    ways = replace(world.ways(), official_url="")
    with pytest.raises(ConfigError, match="v: its catalogue has no url, openslr_path or official_url; add one"):
        world(SPEECH, ways=ways)


@pytest.mark.parametrize("joined", [False, True])
def test_an_archive_that_was_packed_anew_is_taken_on_request(
    joined: bool, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"v.zip": JOINED[::-1]} if joined else {**PARTS, "v_partb": b"x" * 50_000}
    caplog.set_level(logging.INFO)
    world.bring(**own, **{"t.txt": b"another list"})
    found = world(SPEECH, ways=Ways("none"), accept_repacked=True)
    assert [path.read_bytes() for path in found["v"]] == list(own.values())
    assert caplog.text.count("its md5 is not the owners'; taken as packed anew") == 1
    assert "checksums as published, but for 1 packed anew" in caplog.text
    assert "bad" not in world.names()
    with pytest.raises(DownloadError, match=r"t\.txt: expected md5 .*; bring it again$"):  # it has no archive's guards
        world(TRIALS, ways=Ways("none"), accept_repacked=True)


def test_what_is_fetched_is_never_taken_with_another_checksum(world: World) -> None:
    world.site.then("/slr/9/n.tar.gz", serve(content=NOISE[::-1]))
    with pytest.raises(DownloadError, match=r"n\.tar\.gz: expected md5 .* the next run fetches it again"):
        world(MUSIC, accept_repacked=True)


def test_a_key_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="--official_url") as caught:
        Ways("official", official_url=f"https://h/d?key={KEY}")
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigError, match="--source: expected one of official, mirror, none"):
        Ways("owners")
