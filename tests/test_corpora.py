"""VoxCeleb and CN-Celeb from their owners' archives to a table, in miniature and without the network."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shlex
import shutil
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
import pytest

from ham.corpora.catalogue import load_catalogue
from tests.killing import KILLS, TOP, Forked, audio, command, contents, kill_ten_times, run, size_of, started
from tests.miniature import Miniature, build, write_m4a
from tests.packed import SETS, write_catalogue
from tests.server import ALWAYS, MIRROR_REPO, Server, Trouble

pytestmark = pytest.mark.recipe


SHARE = f"s3cr3t{os.getpid()}"
"""What a trace of the key would contain, quoted or not; of another run of these tests on this machine, none."""
KEY = f"{SHARE}+k3y/f0r=a.t3st"


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """All archives in small; not to be changed."""
    return build(tmp_path_factory.mktemp("miniature"))


@pytest.fixture
def server(miniature: Miniature) -> Iterator[Server]:
    """The owners, openslr and the mirror."""
    with Server(miniature.archives, KEY) as started:
        yield started


def joined(miniature: Miniature, name: str) -> bytes:
    """The archive of a set in one piece."""
    return b"".join((miniature.archives / part.name).read_bytes() for part in SETS[name].parts)


def get(url: str, timeout_s: float = 60.0, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer."""
    request = urllib.request.Request(url, headers={name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_the_miniature_is_the_same_every_time(miniature: Miniature, tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    for path in sorted(miniature.archives.iterdir()):
        assert path.read_bytes() == (again.archives / path.name).read_bytes(), path.name
    assert miniature.catalogue.read_bytes() == again.catalogue.read_bytes()


def test_the_miniature_has_the_true_names_and_counts(miniature: Miniature) -> None:
    catalogue = load_catalogue(miniature.catalogue)
    served = {path.name for path in miniature.archives.iterdir()}
    assert served == {part.name for one in SETS.values() for part in one.parts} | set(catalogue.lists)
    for name, one in catalogue.sets.items():
        assert [part.name for part in one.parts] == [part.name for part in SETS[name].parts]
        if len(one.parts) > 1:
            assert one.parts[-1].expected_size < one.parts[0].expected_size
    for name, one in catalogue.lists.items():
        labels = [line.split()[0] for line in (miniature.archives / name).read_text().splitlines()]
        assert (one.num_target, one.num_nontarget) == (labels.count("1"), labels.count("0"))


INNER = {
    "vox1_dev": "wav/id10001/*/00001.wav",
    "vox1_test": "wav/id10270/*/00001.wav",
    "vox2_dev": "dev/aac/id00012/*/00001.m4a",
    "vox2_test": "aac/id00017/*/00001.m4a",
    "musan": "musan/noise/free-sound/noise-free-sound-0000.wav",
    "rirs": "RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav",
    "cn1": "CN-Celeb_flac/eval/lists/trials.lst",
    "cn2": "CN-Celeb2_flac/data/id10000/*-01-001.flac",
}


@pytest.mark.parametrize("name", SETS)
def test_the_joined_parts_are_the_archive(miniature: Miniature, name: str) -> None:
    data, tree = BytesIO(joined(miniature, name)), miniature.tree(name)
    assert list(tree.glob(INNER[name])), INNER[name]
    files = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    if SETS[name].is_zip:
        with zipfile.ZipFile(data) as archive:
            inside = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    else:
        with tarfile.open(fileobj=data) as archive:
            inside = {info.name: archive.extractfile(info).read() for info in archive if info.isfile()}
    assert inside == files


def test_the_aac_encoder_keeps_the_speech(tmp_path: Path) -> None:
    samples = (8000 * np.sin(np.arange(16000) / 20)).astype(np.int16)
    write_m4a(tmp_path / "a.m4a", samples)
    with av.open(tmp_path / "a.m4a") as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", 16000, 1)
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    middle = decoded[4000:12000] * 32768
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(8000 / np.sqrt(2), rel=0.05)


def test_the_server_knows_its_sites(miniature: Miniature, server: Server) -> None:
    part = "vox1_dev_wav_partaa"
    data = (miniature.archives / part).read_bytes()
    assert get(f"{server.official_url}?key={quote(KEY, safe='')}&file={part}")[:2] == (200, data)
    assert get(f"{server.official_url}?key=other&file={part}")[0] == 401
    assert get(f"{server.official_url}?file={part}")[0] == 401
    assert get(f"{server.official_url}?key={quote(KEY, safe='')}&file=nothing")[0] == 404
    assert get(f"{server.lists_url}/veri_test2.txt")[0] == 200
    assert [get(f"{url}/17/musan.tar.gz")[0] for url in server.openslr_urls] == [200] * 3
    assert get(f"{server.openslr_urls[0]}/28/musan.tar.gz")[0] == 404
    mirror = f"{server.hf_endpoint}/datasets/{MIRROR_REPO}/resolve/main"
    assert get(f"{mirror}/vox1/{part}")[:2] == (200, data)
    assert get(f"{mirror}/vox2/{part}")[0] == 404
    assert [request.status for request in server.asked(part)] == [200, 401, 401, 302, 200, 404]


def test_the_server_sends_ranges(miniature: Miniature, server: Server) -> None:
    data = (miniature.archives / "veri_test.txt").read_bytes()
    url = f"{server.lists_url}/veri_test.txt"
    status, body, headers = get(url, Range="bytes=10-19")
    assert (status, body, headers["Content-Range"]) == (206, data[10:20], f"bytes 10-19/{len(data)}")
    assert get(url, Range="bytes=10-")[1] == data[10:]
    assert get(url, Range=f"bytes={len(data)}-")[0] == 416
    assert get(url, Range="bytes=10-", If_Range='"another"')[:2] == (200, data)
    assert get(url, Range="bytes=10-", If_Range=headers["ETag"])[0] == 206


def test_the_server_misbehaves_where_it_is_told(miniature: Miniature, server: Server) -> None:
    data = (miniature.archives / "veri_test.txt").read_bytes()
    url = f"{server.lists_url}/veri_test.txt"
    troubles = [Trouble(status=429, retry_after_s=7), Trouble(status=500), Trouble(wrong=True), Trouble(changed=True)]
    troubles += [Trouble(page=True), Trouble(no_ranges=True), Trouble(rate=len(data) / 0.2)]
    for number, trouble in enumerate(troubles, 1):
        server.misbehave("veri_test.txt", number, trouble)
    answers = [get(url, Range="bytes=0-99") for _ in range(len(troubles) + 1)]
    assert [status for status, _, _ in answers] == [429, 500, 206, 206, 200, 200, 206, 206]
    assert answers[0][2]["Retry-After"] == "7"
    assert answers[2][1] == data[::-1][:100]
    assert answers[3][2]["ETag"] != answers[2][2]["ETag"]
    assert answers[4][1].startswith(b"<html>")
    assert answers[5][1] == data
    assert answers[6][1] == answers[7][1] == data[:100]


def test_the_server_cuts_and_stalls(miniature: Miniature, server: Server) -> None:
    url = f"{server.lists_url}/list_test_all.txt"
    server.misbehave("list_test_all.txt", 1, Trouble(cut=100))
    server.misbehave("list_test_all.txt", 2, Trouble(stall=100))
    server.misbehave("list_test_all.txt", ALWAYS, Trouble(status=403))
    with pytest.raises(http.client.IncompleteRead):
        get(url)
    with pytest.raises(TimeoutError):
        get(url, 1.0)
    assert get(url)[0] == 403
    assert [request.sent for request in server.asked()] == [100, 100, 0]


def download_command(server: Server, miniature: Miniature, archives: Path, *sets: str) -> list[str]:
    """Fetch from the owners and openslr."""
    addresses = ["--official_url", server.official_url, "--lists_url", server.lists_url]
    where = ["--archives", archives, "--catalogue", miniature.catalogue, "--openslr_urls", *server.openslr_urls]
    return command("download", "--sets", *sets, "--source", "official", *addresses, *where, "--backoff_s", "0.05")


@pytest.mark.long
def test_a_download_killed_at_any_moment_ends_the_same(miniature: Miniature, tmp_path: Path) -> None:
    with Server(miniature.archives, KEY, rate=400e3) as slow:

        def _make(folder: Path) -> list[str]:
            folder.mkdir(parents=True)
            return download_command(slow, miniature, folder / "archives", "vox1_dev", "vox2_dev", "rirs")

        first, *others = kill_ten_times(tmp_path, _make, "archives", started(HAM_VOXCELEB_KEY=KEY), seed=1)
    assert {name for name in first if not name.startswith(".")} >= {part.name for part in SETS["vox2_dev"].parts}
    assert others == [first] * KILLS


def unpack_command(miniature: Miniature, corpora: Path, *sets: str, **options: object) -> list[str]:
    """Unpack sets from the owners' archives."""
    given = {"archives": miniature.archives, "catalogue": miniature.catalogue, "num_workers": 1, **options}
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    return command("unpack", "--sets", *sets, "--corpora_dir", corpora, *words)


UNPACKED = ("vox1_dev", "vox1_test", "vox2_dev", "musan", "rirs", "cn1", "cn2")


def test_unpacking_killed_at_any_moment_ends_the_same(miniature: Miniature, tmp_path: Path) -> None:
    def _make(folder: Path) -> list[str]:
        (folder / "corpora").mkdir(parents=True)
        return unpack_command(miniature, folder / "corpora", *UNPACKED)

    first, *others = kill_ten_times(tmp_path, _make, "corpora", started(), seed=2)
    assert len(first) > 200
    assert others == [first] * KILLS


@pytest.mark.long
def test_unpacking_that_removes_archives_killed_at_any_moment_ends_the_same(
    miniature: Miniature, tmp_path: Path
) -> None:
    """As stage 1 does it with archives of the user: what is gone must never be needed again."""
    sets = ("vox1_dev", "vox2_dev", "cn2", "musan")

    def _make(folder: Path) -> list[str]:
        own, corpora = folder / "own", folder / "corpora"
        own.mkdir(parents=True)
        for name in (part.name for one in sets for part in SETS[one].parts):
            shutil.copy(miniature.archives / name, own)
        options = {"archives": own, "keep_archives": "false"}
        check = command("download", "--source", "none", "--sets", *sets, "--archives", own, "--corpora_dir", corpora)
        check += ["--keep_archives", "false", "--catalogue", str(miniature.catalogue)]
        return [
            "bash",
            "-c",
            f"{shlex.join(check)} && {shlex.join(unpack_command(miniature, corpora, *sets, **options))}",
        ]

    first, *others = kill_ten_times(tmp_path, _make, "corpora", started(), seed=5)
    assert others == [first] * KILLS
    assert {path.name for path in (tmp_path / "undisturbed/own").iterdir()} <= {".lock", "checksums.json"}


@pytest.mark.long
def test_conversion_killed_at_any_moment_ends_the_same(miniature: Miniature, tmp_path: Path) -> None:
    def _make(folder: Path) -> list[str]:
        folder.mkdir(parents=True)
        where = ["--source", miniature.tree("vox2_dev") / "dev/aac", "--target", folder / "wav"]
        return command("convert", *where, "--format", "wav", "--num_workers", 1)

    first, *others = kill_ten_times(tmp_path, _make, "wav", started(), seed=3)
    assert sum(name.endswith(".wav") for name in first) == 32
    assert others == [first] * KILLS


def hostile_zip(name: str, content: bytes = b"hostile", mode: int = 0o100644) -> bytes:
    """A zip with a good utterance and one member that is not."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wav/id10270/x6uYqmx31kE/00001.wav", b"speech")
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # as it is: the constructor would mend it
        info.external_attr, info.create_system, info.compress_type = mode << 16, 3, zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return file.getvalue()


def hostile_tar(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"hostile") -> bytes:
    """A tar.gz with a good file and one member that is not."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        good, bad = tarfile.TarInfo("musan/noise/free-sound/noise-free-sound-0000.wav"), tarfile.TarInfo(name)
        good.size, bad.type, bad.linkname = 6, kind, link
        archive.addfile(good, BytesIO(b"speech"))
        bad.size = len(content) if kind == tarfile.REGTYPE else 0
        archive.addfile(bad, BytesIO(content) if bad.size else None)
    return file.getvalue()


ZEROS = bytes(30_000_000)
SYMLINK, FIFO = 0o120777, 0o010644
OUTSIDE = "/tmp/hostile-archive-of-a-test"
HOSTILE = {
    "zip_above": ("vox1_test", lambda: hostile_zip("../escaped.wav")),
    "zip_far_above": ("vox1_test", lambda: hostile_zip("wav/id10270/../../../escaped.wav")),
    "zip_backslash": ("vox1_test", lambda: hostile_zip("wav\\..\\..\\escaped.wav")),
    "zip_absolute": ("vox1_test", lambda: hostile_zip(OUTSIDE)),
    "zip_link": ("vox1_test", lambda: hostile_zip("wav/id10270/x6uYqmx31kE/00002.wav", b"../../../../..", SYMLINK)),
    "zip_bomb": ("vox1_test", lambda: hostile_zip("wav/id10270/x6uYqmx31kE/00002.wav", ZEROS)),
    "tar_above": ("musan", lambda: hostile_tar("musan/../../escaped.wav")),
    "tar_absolute": ("musan", lambda: hostile_tar(OUTSIDE)),
    "tar_link": ("musan", lambda: hostile_tar("musan/noise/link.wav", tarfile.SYMTYPE, "../../../..")),
    "tar_hard_link": ("musan", lambda: hostile_tar("musan/noise/link.wav", tarfile.LNKTYPE, "/etc/hostname")),
    "tar_device": ("musan", lambda: hostile_tar("musan/noise/device.wav", tarfile.FIFOTYPE)),
    "tar_bomb": ("musan", lambda: hostile_tar("musan/noise/zeros.wav", content=ZEROS)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused(miniature: Miniature, tmp_path: Path, case: str) -> None:
    name, make = HOSTILE[case]
    data, real = make(), load_catalogue(miniature.catalogue)
    part = replace(real.sets[name].parts[0], md5=hashlib.md5(data).hexdigest(), size=len(data), about_size=None)
    entry = replace(real.sets[name], parts=(part,), joined_md5=part.md5, joined_size=len(data), unpacked_size=None)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / part.name).write_bytes(data)
    write_catalogue(replace(real, sets={name: entry}), tmp_path / "catalogue.json")
    (tmp_path / "inner").mkdir()
    where = {"archives": tmp_path / "archives", "catalogue": tmp_path / "catalogue.json"}
    done = run(unpack_command(miniature, tmp_path / "inner/corpora", name, **where), check=False)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert part.name in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(OUTSIDE).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"archives", "catalogue.json", "inner"}
    assert {path.name for path in (tmp_path / "inner").iterdir()} <= {"corpora"}
    inside = list((tmp_path / "inner").rglob("*"))
    assert all((path.is_file() or path.is_dir()) and not path.is_symlink() for path in inside)
    assert size_of(tmp_path / "inner") < 5_000_000
    assert not any("escaped" in path.name or "hostile" in path.name for path in inside)


SMALL = "data.valid_speakers=2 data.batch_size=8 data.num_workers=0 train.epochs=2 train.average_last=2"
SMALL += " backbone.channels=32 backbone.embedding_dim=32 backbone.mfa_channels=48 backbone.attention_channels=16"
SMALL += " backbone.se_channels=8 backbone.embedding_dim=32"


def address_book(miniature: Miniature, server: Server, path: Path) -> Path:
    """The miniature's catalogue with the addresses of a server."""
    real = load_catalogue(miniature.catalogue)
    urls = {"official_url": server.official_url, "lists_url": server.lists_url}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_catalogue(replace(real, openslr_urls=tuple(server.openslr_urls), **urls), path)
    return path


class Spy(threading.Thread):
    """Looks at the command line of every process for a trace of the key, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def __enter__(self) -> Spy:
        self.start()
        return self

    def saw(self, word: str) -> bool:
        """Whether a command line held a word."""
        return any(word.encode() in line for line in self.seen)


class Corpus:
    """``run.sh --corpus NAME`` on the miniature: what it has left in ``folder``, and what it has said."""

    def __init__(self, name: str, folder: Path, catalogue: Path) -> None:
        self.folder, self.catalogue = folder, catalogue
        self.data, self.exp = folder / "data", folder / f"exp/{name}_tiny"
        where = ["--data_dir", self.data, "--exp_root", folder / "exp", "--exp_name", self.exp.name]
        tiny = ["--set", SMALL, "--device", "cpu", "--catalogue", catalogue, "--geometry", "false"]
        self.command: list[str | Path] = [TOP / "run.sh", "--corpus", name, *where, *tiny]
        self.said: list[str] = []

    def __call__(self, *options: str | Path, check: bool = True, **further: str) -> subprocess.CompletedProcess[str]:
        done = run([*self.command, *options], check, **further)
        self.said += [done.stdout, done.stderr]
        return done

    def lists(self) -> dict[str, tuple[int, int]]:
        """Target and non-target trials of each list, as the results count them."""
        rows = json.loads((self.exp / "results.json").read_text())["results"]
        return {row["list"]: (row["num_target"], row["num_nontarget"]) for row in rows}


ALL_LISTS = {
    "vox1_o_clean": "veri_test2.txt",
    "vox1_e_clean": "list_test_all2.txt",
    "vox1_h_clean": "list_test_hard2.txt",
    "vox1_o": "veri_test.txt",
    "vox1_e": "list_test_all.txt",
    "vox1_h": "list_test_hard.txt",
}
TROUBLES = {
    "vox1_dev_wav_partab": Trouble(cut=100_000),
    "vox1_dev_wav_partac": Trouble(rate=300e3),
    "vox1_test_wav.zip": Trouble(status=429, retry_after_s=1),
    "vox2_dev_aac_partac": Trouble(status=500),
    "vox2_dev_aac_partae": Trouble(wrong=True),
    "veri_test2.txt": Trouble(status=503),
    "musan.tar.gz": Trouble(status=404),
}
"""What happens to the first request for a file."""


@dataclass(frozen=True)
class Finished:
    """VoxCeleb from the owners to the table: the troubled download, the run that finishes, and what was seen."""

    corpus: Corpus
    server: Server
    troubled: subprocess.CompletedProcess[str]
    done: subprocess.CompletedProcess[str]
    spy: Spy


@pytest.fixture(scope="module")
def voxceleb(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """All stages of ``--corpus voxceleb``; the server stays up."""
    folder = tmp_path_factory.mktemp("voxceleb")
    with Server(miniature.archives, KEY) as server:
        corpus = Corpus("voxceleb", folder, address_book(miniature, server, folder / "catalogue.json"))
        for name, trouble in TROUBLES.items():
            server.misbehave(name, 1, trouble)
        options = ["--trial_lists", " ".join(ALL_LISTS)]
        with Spy() as spy:
            troubled = corpus(*options, check=False, HAM_VOXCELEB_KEY=KEY)
            done = corpus(*options, HAM_VOXCELEB_KEY=KEY)
        yield Finished(corpus, server, troubled, done, spy)


def test_voxceleb_first_names_the_part_that_came_wrong(voxceleb: Finished) -> None:
    assert voxceleb.troubled.returncode == 1
    errors = [line for line in voxceleb.troubled.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "vox2_dev_aac_partae: expected md5" in errors[0]
    assert (voxceleb.corpus.data / "archives/bad/vox2_dev_aac_partae").is_file()


def test_voxceleb_is_fetched_whatever_the_servers_do(miniature: Miniature, voxceleb: Finished) -> None:
    for name in (
        part.name for one in ("vox1_dev", "vox1_test", "vox2_dev", "musan", "rirs") for part in SETS[one].parts
    ):
        assert (voxceleb.corpus.data / "archives" / name).read_bytes() == (miniature.archives / name).read_bytes()
        expected = {"vox2_dev_aac_partae": 2}.get(name, 2 if name in TROUBLES and name != "vox1_dev_wav_partac" else 1)
        assert len(voxceleb.server.asked(name)) == expected, name
    again = voxceleb.server.asked("vox1_dev_wav_partab")[1]
    assert (again.status, again.range) == (206, "bytes=100000-")


def test_voxceleb_is_unpacked_as_it_was_packed(miniature: Miniature, voxceleb: Finished) -> None:
    corpora = voxceleb.corpus.data / "corpora"
    vox1 = {**contents(miniature.tree("vox1_dev") / "wav"), **contents(miniature.tree("vox1_test") / "wav")}
    assert contents(corpora / "vox1/wav") == vox1
    assert contents(corpora / "vox2_dev/m4a") == contents(miniature.tree("vox2_dev") / "dev/aac")
    for name, folder in (("musan", "musan"), ("rirs", "RIRS_NOISES/simulated_rirs")):
        assert audio(corpora / folder) == audio(miniature.tree(name) / folder)
    assert len(list((corpora / "vox2_dev/wav").rglob("*.flac"))) == 32


def test_voxceleb_ends_with_a_table_of_all_lists(miniature: Miniature, voxceleb: Finished) -> None:
    known = load_catalogue(miniature.catalogue).lists
    expected = {f"vox1/{name}": (known[f].num_target, known[f].num_nontarget) for name, f in ALL_LISTS.items()}
    assert voxceleb.corpus.lists() == expected
    assert "vox1/vox1_h_clean" in voxceleb.done.stdout
    for name in ("average.pt", "RESULTS.md", "report.html"):
        assert (voxceleb.corpus.exp / name).stat().st_size > 0


def test_the_key_is_nowhere(voxceleb: Finished) -> None:
    if Path("/proc/self/cmdline").exists():
        assert voxceleb.spy.saw("ham.bin.commands"), "the spy has slept"
    assert not voxceleb.spy.saw(SHARE)
    assert not any(SHARE in text for text in voxceleb.corpus.said)
    files = [path for path in voxceleb.corpus.folder.rglob("*") if path.is_file()]
    assert len(files) > 200
    assert [path for path in files if SHARE.encode() in path.read_bytes() or SHARE in path.name] == []


def test_a_refused_key_is_in_no_message(miniature: Miniature, server: Server, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"other-{SHARE}\n")
    (tmp_path / "key").chmod(0o600)
    fetch = download_command(server, miniature, tmp_path / "archives", "vox1_test")
    for done in (
        run(fetch, check=False, HAM_VOXCELEB_KEY=f"other-{SHARE}"),
        run([*fetch, "--key_file", str(tmp_path / "key")], check=False),
        run(
            [*fetch, "--official_url", "http://127.0.0.1:9/x", "--num_attempts", "2"], check=False, HAM_VOXCELEB_KEY=KEY
        ),
    ):
        assert done.returncode == 1
        assert SHARE not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.count("error:") == 1


@pytest.mark.parametrize("options", [("--official_url", f"http://127.0.0.1:9/x?key={SHARE}"), ("--key_file", SHARE)])
def test_a_key_in_the_wrong_place_is_not_repeated(miniature: Miniature, tmp_path: Path, options: list[str]) -> None:
    done = Corpus("voxceleb", tmp_path, miniature.catalogue)(*options, check=False)
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert SHARE not in done.stdout + done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file() and SHARE in path.read_text()] == []


def test_a_server_that_falls_silent_is_asked_again(miniature: Miniature, server: Server, tmp_path: Path) -> None:
    server.misbehave("vox1_test_wav.zip", 1, Trouble(stall=50_000))
    server.misbehave("vox1_test_wav.zip", 2, Trouble(changed=True, cut=60_000))
    server.misbehave("vox1_test_wav.zip", 3, Trouble(no_ranges=True))
    fetch = download_command(server, miniature, tmp_path / "archives", "vox1_test")
    run([*fetch, "--stall_s", "0.3"], HAM_VOXCELEB_KEY=KEY)
    assert (tmp_path / "archives/vox1_test_wav.zip").read_bytes() == joined(miniature, "vox1_test")


def test_voxceleb_again_fetches_nothing_and_changes_nothing(voxceleb: Finished) -> None:
    def _stamps() -> dict[str, int]:
        paths = [*voxceleb.corpus.data.rglob("*"), *(voxceleb.corpus.exp / "checkpoints").rglob("*")]
        return {str(path): path.stat().st_mtime_ns for path in paths if path.is_file() and path.name != ".lock"}

    before, kept = _stamps(), contents(voxceleb.corpus.data)
    voxceleb.server.forget()
    again = voxceleb.corpus("--trial_lists", " ".join(ALL_LISTS), "--stop_stage", "4")  # and needs no key
    assert voxceleb.server.requests == []
    assert "trained already" in again.stderr
    changed = {path for path, stamp in _stamps().items() if before.get(path) != stamp}
    assert contents(voxceleb.corpus.data) == kept
    assert not any("/archives/" in path or "/corpora/" in path or "/store/" in path for path in changed)


def test_voxceleb_from_the_mirror_is_the_same(miniature: Miniature, voxceleb: Finished, tmp_path: Path) -> None:
    voxceleb.server.forget()
    voxceleb.server.misbehave("vox2_dev_aac_partab", 1, Trouble(cut=20_000))
    corpus = Corpus("voxceleb", tmp_path, voxceleb.corpus.catalogue)
    corpus("--source", "mirror", "--stop_stage", "1", HF_ENDPOINT=voxceleb.server.hf_endpoint)
    assert contents(tmp_path / "data/corpora") == contents(voxceleb.corpus.data / "corpora")
    asked = {request.site for request in voxceleb.server.requests if request.name.startswith("vox")}
    assert asked <= {"mirror", "cdn", "api"}
    assert "official" not in asked


def test_voxceleb_from_archives_of_the_user_is_the_same(
    miniature: Miniature, voxceleb: Finished, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(miniature.archives, own)
    (own / "vox1_dev_wav.zip").write_bytes(joined(miniature, "vox1_dev"))
    for part in SETS["vox1_dev"].parts:
        (own / part.name).unlink()
    corpus = Corpus("voxceleb", tmp_path, miniature.catalogue)
    corpus("--source", "none", "--archives", own, "--stop_stage", "2", "--keep_archives", "false")
    ours, theirs = contents(tmp_path / "data/corpora"), contents(voxceleb.corpus.data / "corpora")
    assert {n: c for n, c in ours.items() if not n.endswith(".unpacked.json")} == {
        n: c for n, c in theirs.items() if not n.endswith(".unpacked.json")
    }
    for name in ("trials", "utt2spk", "utt2dur"):
        path = f"test/vox1/vox1_h_clean/{name}"
        assert (corpus.data / path).read_bytes() == (voxceleb.corpus.data / path).read_bytes()
    assert {path.name for path in own.glob("vox*_*_*")} == {"vox2_test_aac.zip"}, "archives were to go"
    shutil.rmtree(tmp_path / "data/corpora/vox2_dev/m4a")
    first = ["--source", "none", "--archives", own, "--stop_stage", "1"]
    assert "vox2_dev/wav: 32 files" in corpus(*first).stderr, "what was converted is enough"
    asked = corpus(*first, "--vox2_audio", "m4a", check=False)
    assert asked.returncode == 1
    assert f"or remove {tmp_path}/data/corpora/vox2_dev.unpacked.json to load them again" in asked.stderr


def test_voxceleb_from_unpacked_folders(miniature: Miniature, voxceleb: Finished, tmp_path: Path) -> None:
    """In a layout that is not ours, and VoxCeleb2 as m4a straight into the store."""
    corpus = Corpus("voxceleb", tmp_path, miniature.catalogue)
    options = ["--wav_root", miniature.root / "tree", "--vox2_audio", "m4a", "--musan", "", "--rirs", ""]
    corpus(*options, "--source", "none", "--archives", miniature.archives, "--stop_stage", "3")
    assert len((corpus.data / "train/wav.scp").read_text().splitlines()) == 32
    assert all(line.endswith(".m4a") for line in (corpus.data / "train/wav.scp").read_text().splitlines())
    theirs = voxceleb.corpus.data / "test/vox1/vox1_e_clean/trials"
    assert (corpus.data / "test/vox1/vox1_e_clean/trials").read_bytes() == theirs.read_bytes()
    assert not (corpus.data / "corpora").exists() or not any((corpus.data / "corpora").iterdir())


def test_speech_that_lacks_a_file_is_counted_before_anything_is_fetched(
    miniature: Miniature, server: Server, tmp_path: Path
) -> None:
    shutil.copytree(miniature.root / "tree", tmp_path / "tree")
    next((tmp_path / "tree").rglob("id1*/*/*.wav")).unlink()
    corpus = Corpus("voxceleb", tmp_path, address_book(miniature, server, tmp_path / "catalogue.json"))
    asked = corpus("--wav_root", tmp_path / "tree", "--vox2_audio", "m4a", "--stop_stage", "1", check=False)
    assert asked.returncode == 1
    assert "1 utterance fewer" in asked.stderr
    assert server.asked() == []


def test_packing_killed_at_any_moment_ends_the_same(voxceleb: Finished, tmp_path: Path) -> None:
    corpora, kept = voxceleb.corpus.data / "corpora", voxceleb.corpus.data

    def _make(folder: Path) -> list[str]:
        for name in ("train", "test"):
            shutil.copytree(kept / name, folder / name)
        material = ["--musan", corpora / "musan", "--rirs", corpora / "RIRS_NOISES"]
        config = ["--config", TOP / "conf/ecapa_tdnn.yaml", "--set", SMALL]
        return command("make_store", "--data_dir", folder, "--num_workers", 1, *material, *config)

    first, *others = kill_ten_times(tmp_path, _make, "store", Forked, seed=4)
    assert first == contents(kept / "store")
    assert others == [first] * KILLS


@pytest.fixture(scope="module")
def cnceleb(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Corpus, Server]]:
    """All stages of ``--corpus cnceleb``; the server stays up."""
    folder = tmp_path_factory.mktemp("cnceleb")
    with Server(miniature.archives) as server:
        corpus = Corpus("cnceleb", folder, address_book(miniature, server, folder / "catalogue.json"))
        server.misbehave("cn-celeb_v2.tar.gz", 1, Trouble(cut=1_000_000))
        server.misbehave("cn-celeb2_v2.tar.gzab", 1, Trouble(status=403))
        corpus()
        yield corpus, server


def test_cnceleb_is_unpacked_as_it_was_packed(miniature: Miniature, cnceleb: tuple[Corpus, Server]) -> None:
    corpora = cnceleb[0].data / "corpora"
    for name, folder in (("cn1", "CN-Celeb_flac"), ("cn2", "CN-Celeb2_flac")):
        assert audio(corpora / folder) == audio(miniature.tree(name) / folder)


def test_cnceleb_ends_with_a_table(cnceleb: tuple[Corpus, Server]) -> None:
    corpus, _ = cnceleb
    assert corpus.lists() == {"cnceleb/eval": (16, 48)}
    assert (corpus.exp / "report.html").stat().st_size > 0


def test_cnceleb_trains_on_its_development_speakers_joined(cnceleb: tuple[Corpus, Server]) -> None:
    corpus, _ = cnceleb
    train = dict(line.split() for line in (corpus.data / "train/utt2spk").read_text().splitlines())
    assert len(set(train.values())) == 9
    seconds = {
        line.split()[0]: float(line.split()[1]) for line in (corpus.data / "train/utt2dur").read_text().splitlines()
    }
    assert max(seconds.values()) > 5
    assert sum(value >= 5 for value in seconds.values()) == 2 * 9  # one of each speaker and genre


def test_cnceleb_again_fetches_nothing(cnceleb: tuple[Corpus, Server]) -> None:
    corpus, server = cnceleb
    server.forget()
    again = corpus("--stop_stage", "3")
    assert server.requests == []
    assert "store/train: 18 recordings" in again.stderr
    assert again.stderr.count("is up to date") >= 4


def test_cnceleb_from_unpacked_folders(miniature: Miniature, cnceleb: tuple[Corpus, Server], tmp_path: Path) -> None:
    corpus = Corpus("cnceleb", tmp_path, miniature.catalogue)
    unpacked = ["--wav_root", miniature.root / "tree", "--musan", "", "--rirs", ""]
    corpus(*unpacked, "--source", "none", "--enrol_list", "lst", "--stop_stage", "2")
    theirs = cnceleb[0].data / "train/utt2spk"
    assert (corpus.data / "train/utt2spk").read_bytes() == theirs.read_bytes()


AUTHORS = "data.batch_size=8 data.num_workers=0 train.epochs=1 train.average_last=1"
"""The authors' configuration is taken as it is, but for the epochs and a batch that the miniature can fill."""


def tables(name: str, corpus: Corpus, *options: str | Path, **further: str) -> str:
    """``egs/NAME/tables.sh`` with the data of a corpus that is prepared already: RESULTS.md of its table."""
    where = ["--data_dir", corpus.data, "--exp_root", corpus.folder / "exp", "--catalogue", corpus.catalogue]
    changes = ["--set", AUTHORS, "--device", "cpu", "--geometry", "false"]
    run([TOP / f"egs/{name}/tables.sh", *where, *changes, *options], True, **further)
    (table,) = (corpus.folder / "exp/tables").glob("*/RESULTS.md")
    return table.read_text()


@pytest.mark.long
def test_the_authors_recipe_and_protocol_through_the_table_of_voxceleb(voxceleb: Finished) -> None:
    options = ["--configs", "ecapa_tdnn", "--losses", "ham_softmax", "--trial_lists", " ".join(ALL_LISTS)]
    text = tables("voxceleb", voxceleb.corpus, *options, HAM_VOXCELEB_KEY=KEY)
    exp = voxceleb.corpus.folder / "exp/ecapa_tdnn_ham_softmax"
    config = (exp / "config.yaml").read_text()
    assert all(words in config for words in ("channels: 1024", "clean_plus_augmented", "gamma: 0.97", "lr: 0.001"))
    found = {(row["list"], row["backend"]) for row in json.loads((exp / "results.json").read_text())["results"]}
    assert found == {(f"vox1/{name}", b) for name in ALL_LISTS for b in ("cosine", "cosine+crops", "hyperbolic")}
    with np.load(exp / "crops.npz") as crops, np.load(exp / "embeddings.npz") as whole:
        assert len(crops["utts"]) == 5 * len(whole["utts"])
    assert "vox1/vox1_o_clean (cosine+crops)" in text
    assert "vox1/vox1_h_clean (cosine)" in text
    assert all(number in text for number in ("1.048", "1.178", "2.268"))  # the released log's, beside ours


@pytest.mark.long
def test_the_authors_recipe_through_the_table_of_cnceleb(cnceleb: tuple[Corpus, Server]) -> None:
    corpus, _ = cnceleb
    text = tables("cnceleb", corpus, "--losses", "ham_softmax", "--top_n", "4")
    results = json.loads((corpus.folder / "exp/ecapa_tdnn_cnceleb_ham_softmax/results.json").read_text())["results"]
    assert len(results) == 4
    assert all((row["num_target"], row["num_nontarget"]) == (16, 48) for row in results)
    assert all(words in text for words in ("cnceleb/eval", "ham_softmax", "cosine+mean+as_norm", "hyperbolic+as_norm"))
