"""Archives and trial lists into a folder: what is there is checked, what is missing is fetched, if there is space.

The sources differ only in the addresses: the owners' site with a personal key, the Hugging Face mirror, or none, where
all that is done is to check what the user has brought. An archive may lie there in its parts or joined. A file that is
fetched gets its final name only when its md5 is right; one that proved wrong is moved to the folder ``bad``. An archive
that the user has packed anew is taken on request: unpacking checks its names, growth and counts as it always does.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from ham.corpora.catalogue import ArchiveSet, Catalogue, RemoteFile, TrialListFile
from ham.corpora.checksums import ChecksumBook, md5_of, set_aside
from ham.corpora.disk_space import SpacePlan, check_space, gigabytes
from ham.corpora.fetch import Fetcher, Limits, StoppedError, UnreachableError, state_path
from ham.corpora.records import is_unpacked
from ham.corpora.web import PLACEHOLDER, Address, RefusedError, Secret
from ham.errors import ConfigError, DownloadError, summarise
from ham.files import lock_folder
from ham.schema import choose

logger = logging.getLogger(__name__)

SOURCES = ("official", "mirror", "none")
"""Where archives come from that have owners who ask for a key."""


@dataclass(frozen=True)
class Ways:
    """Where files come from: the source, and addresses in place of the catalogue's.

    ``lists_url`` is the folder of the trial lists. ``endpoint`` is the Hugging Face server, None for the one that
    huggingface_hub is set to. ``key`` is needed for ``official`` only.
    """

    source: str
    key: Secret | None = None
    official_url: str = ""
    lists_url: str = ""
    openslr_urls: tuple[str, ...] = ()
    mirror_repo: str = ""
    endpoint: str | None = None

    def __post_init__(self) -> None:
        choose("--source", self.source, SOURCES)
        if "?" in self.official_url:  # whose text is not repeated, since it may hold the key
            raise ConfigError("--official_url: expected the address up to the question mark; the key has its own place")


@dataclass(frozen=True)
class _File:
    """One file of the folder: what it must be, and where it is if it has to be fetched."""

    remote: RemoteFile
    folder: Path
    origin: ArchiveSet | TrialListFile

    @property
    def path(self) -> Path:
        """Where the whole file lies."""
        return self.folder / self.remote.name

    @property
    def unfinished(self) -> Path:
        """Where it lies while it is loaded."""
        return self.folder / f"{self.remote.name}.part"

    @property
    def num_missing_bytes(self) -> int:
        """How much has to be fetched, as far as the size is known."""
        loaded = self.unfinished.stat().st_size if self.unfinished.exists() else 0
        return max(0, self.remote.expected_size - loaded)


def download(
    sets: Sequence[ArchiveSet],
    lists: Sequence[TrialListFile],
    archives: Path,
    ways: Ways,
    plan: SpacePlan,
    catalogue: Catalogue,
    *,
    accept_repacked: bool = False,
    limits: Limits | None = None,
    insecure: bool = False,
    num_connections: int = 4,
) -> dict[str, tuple[Path, ...]]:
    """Make sure that archives and lists are in a folder and are what they should be.

    Sets that are unpacked already are left alone.

    Args:
        sets: the archives wanted.
        lists: the trial lists wanted.
        archives: the folder; it is made where files are fetched.
        ways: where they come from.
        plan: what will be done with them, for the check of the disk space.
        catalogue: its addresses are the ones that ``ways`` does not give.
        accept_repacked: whether an archive that is there is taken with another checksum than the owners'.
        limits: how patient loading is.
        insecure: do not verify certificates.
        num_connections: how many files are loaded or read at the same time.

    Returns:
        The files of every set and list: one, or the parts in order; none for sets that are unpacked already.

    Raises:
        ConfigError: if files are missing and may not be fetched, or the key is missing.
        DownloadError: if there is not enough disk space, or files could not be fetched or are wrong.
        DataError: if another program works in the folder.
    """
    wanted = [one for one in sets if not is_unpacked(one, plan.corpora)]
    if not wanted and not lists:
        logger.info("%s: %d sets, unpacked already", plan.corpora, len(sets))
        return {one.name: () for one in sets}
    if ways.source != "none":
        archives.mkdir(parents=True, exist_ok=True)
    elif not archives.is_dir():
        raise ConfigError(f"--archives {archives}: expected the folder of your archives, found none")
    with lock_folder(archives, "a download"):
        folder = _Folder(archives, ways, catalogue, accept_repacked, num_connections)
        while True:
            files = folder.files(wanted, lists)
            missing = [one for one in files if not one.path.exists()]
            addresses = folder.addresses(missing)
            check_space(archives, {one.remote.name: one.num_missing_bytes for one in missing}, wanted, plan)
            if not folder.check(files):
                break
        if missing:
            folder.fetch(missing, addresses, limits or Limits(), insecure)
        folder.say_done(files, len(sets) - len(wanted))
    origins: list[ArchiveSet | TrialListFile] = [*sets, *lists]
    return {one.name: tuple(file.path for file in files if file.origin is one) for one in origins}


class _Folder:
    """The folder of archives during a download: what is there, what is wrong, what is fetched."""

    def __init__(
        self, archives: Path, ways: Ways, catalogue: Catalogue, accept_repacked: bool, num_connections: int
    ) -> None:
        self._archives = archives
        self._ways = ways
        self._catalogue = catalogue
        self._accepts = accept_repacked
        self._repacked: set[Path] = set()
        self._book = ChecksumBook(archives)
        self._num_connections = num_connections

    def files(self, sets: Sequence[ArchiveSet], lists: Sequence[TrialListFile]) -> list[_File]:
        """The files to have, by what is in the folder now: an archive that is there in one piece needs no parts."""
        found = []
        for one in sets:
            is_joined = (self._archives / one.joined_name).is_file()
            found += [_File(part, self._archives, one) for part in ((one.joined,) if is_joined else one.parts)]
        return found + [_File(one.file, self._archives, one) for one in lists]

    def check(self, files: Sequence[_File]) -> bool:
        """Check what is there, reading only what no earlier run has read; wrong files are moved aside.

        Returns:
            Whether any was.

        Raises:
            DownloadError: if some were wrong and may not be fetched.
        """
        unread = [one for one in files if one.path.exists() and self._book.known(one.remote.name) is None]
        if unread:
            total = sum(one.path.stat().st_size for one in unread)
            stop = threading.Event()
            with _bar("check archives", total, 0, stop) as advance, _pool(self._num_connections, stop.set) as run:
                run([partial(self._read, one, advance) for one in unread])
        wrong = {one: problem for one in files if one.path.exists() and (problem := self._problem(one))}
        if wrong and self._ways.source == "none":
            them = "it" if len(wrong) == 1 else "them"
            own = f"; if you have packed {them} anew, move {them} back and add --accept_repacked true"
            cure = own if any(isinstance(one.origin, ArchiveSet) for one in wrong) else ""
            raise DownloadError(f"{summarise([*wrong.values()])}; bring {them} again{cure}")
        for problem in wrong.values():
            logger.warning("%s; fetching it again", problem)
        return bool(wrong)

    def _read(self, file: _File, advance: Callable[[int], None]) -> None:
        self._book.remember(file.remote.name, file.path, md5_of(file.path, advance))

    def _problem(self, file: _File) -> str:
        """Move a file aside if it is wrong, and say so; nothing where it is right."""
        found = self._book.known(file.remote.name)
        if not file.remote.md5 or found == file.remote.md5:
            return ""
        if self._accepts and isinstance(file.origin, ArchiveSet):
            logger.warning("%s: its md5 is not the owners'; taken as packed anew (--accept_repacked true)", file.path)
            self._repacked.add(file.path)
            return ""
        size = file.path.stat().st_size
        return self._set_aside(file, file.path, str(found), size)

    def _set_aside(self, file: _File, path: Path, found: str, size: int) -> str:
        self._book.forget(file.remote.name)
        place = set_aside(path, file.remote.name)
        lengths = f" ({size} bytes of {file.remote.size})" if file.remote.size not in (None, size) else ""
        return f"{file.path}: expected md5 {file.remote.md5}, found {found}{lengths}; moved to {place}"

    def fetch(
        self, files: Sequence[_File], addresses: Mapping[str, list[Address]], limits: Limits, insecure: bool
    ) -> None:
        """Load missing files side by side; one that fails does not keep the others from being loaded.

        Raises:
            DownloadError: if some could not be fetched or are wrong.
        """
        loaded = [one.unfinished.stat().st_size if one.unfinished.exists() else 0 for one in files]
        total = sum(max(one.remote.expected_size, size) for one, size in zip(files, loaded, strict=True))
        connections = min(self._num_connections, len(files))
        with Fetcher(limits, insecure=insecure, num_connections=connections) as fetcher:
            fetch = _Fetch(fetcher, addresses, self._book, self._set_aside)
            with _bar("fetch archives", total, sum(loaded)) as advance, _pool(connections, fetcher.stop) as run:
                problems = run([partial(fetch, one, advance) for one in files])
        if problems:
            raise DownloadError(summarise(problems))

    def addresses(self, missing: Sequence[_File]) -> dict[str, list[Address]]:
        """Where every missing file is, in the order to try.

        Raises:
            ConfigError: if they may not be fetched, the key is missing, or an address is none.
        """
        if missing and self._ways.source == "none":
            raise ConfigError(self._what_is_missing(missing))
        return {one.remote.name: self._addresses(one) for one in missing}

    def _addresses(self, file: _File) -> list[Address]:
        name, origin = file.remote.name, file.origin
        if isinstance(origin, TrialListFile):
            return [_below(self._ways.lists_url or self._catalogue.lists_url, "--lists_url", name)]
        if origin.url:
            return [_below(origin.url, "--catalogue", name)]
        if origin.openslr_path:
            bases = self._ways.openslr_urls or self._catalogue.openslr_urls
            return [_below(base, "--openslr_urls", origin.openslr_path, name) for base in bases]
        if self._ways.source == "official":
            return [self._official(origin, name)]
        repo = self._ways.mirror_repo or self._catalogue.mirror_repo
        return [mirror_address(repo, origin.mirror_path, name, self._ways.endpoint)]

    def _official(self, archive: ArchiveSet, name: str) -> Address:
        base, page = self._ways.official_url or self._catalogue.official_url, self._catalogue.official_page
        if not base:
            raise ConfigError(f"{archive.name}: its catalogue has no url, openslr_path or official_url; add one")
        variable = self._catalogue.key_variable
        if self._ways.key is None:
            raise ConfigError(
                f"--source official: expected your personal key in the variable {variable} or in a file named by "
                f"--key_file, found neither; ask for one at {page}, or take --source mirror, which needs none"
            )
        cure = f"the key is wrong or has run out: check {variable} or --key_file, or ask anew at {page}"
        url = f"{base}?key={PLACEHOLDER}&file={quote(name)}"
        return Address(url, "--official_url", login_cure=cure, secret=self._ways.key)

    def _what_is_missing(self, missing: Sequence[_File]) -> str:
        """With ``--source none``: which files to bring, by archive."""
        problems = []
        for origin in dict.fromkeys(one.origin for one in missing):
            names = [one.remote.name for one in missing if one.origin is origin]
            joined = f" (or {origin.joined_name})" if isinstance(origin, ArchiveSet) and len(origin.parts) > 1 else ""
            problems.append(f"expected {', '.join(names)}{joined}, found nothing of that name")
        cure = "put them there, or choose --source official or mirror"
        return f"--archives {self._archives}: {summarise(problems)}; {cure}"

    def say_done(self, files: Sequence[_File], num_unpacked: int) -> None:
        """Log what is there now.

        Args:
            files: all that was wanted.
            num_unpacked: sets of which nothing is wanted any more.
        """
        size = gigabytes(sum(one.path.stat().st_size for one in files))
        repacked = f", but for {len(self._repacked)} packed anew" if self._repacked else ""
        unpacked = f"; {num_unpacked} sets are unpacked already" if num_unpacked else ""
        tail = f"checksums as published{repacked}{unpacked}"
        logger.info("%s: %d files, %s, %s", self._archives, len(files), size, tail)


def _below(base: str, option: str, *path: str) -> Address:
    return Address("/".join([base.rstrip("/"), *map(quote, path)]), option)


def mirror_address(repo: str, folder: str, name: str, endpoint: str | None = None) -> Address:
    """The address of a file of a Hugging Face data set, with the user's login there if there is one.

    Args:
        repo: the data set, ``owner/name``.
        folder: the file's folder in it.
        name: the file.
        endpoint: the server; None for the one that huggingface_hub is set to (``HF_ENDPOINT``).

    Returns:
        The address.

    Raises:
        ConfigError: if the data set's name is none.
    """
    # Imported here, since it takes half a second and only this way in needs it.
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.errors import HFValidationError

    try:
        url = hf_hub_url(repo, name, subfolder=folder or None, repo_type="dataset", endpoint=endpoint)
    except HFValidationError as error:
        raise ConfigError(f"--mirror_repo: expected the name of a data set, owner/name, found {repo!r}") from error
    cure = (
        "the mirror wants a login (`hf auth login`), or is gone: try --mirror_repo of another one, or --source official"
    )
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Address(url, "--mirror_repo", login_cure=cure, headers=headers)


class _Fetch:
    """Loads one file, checks it, and gives it its name; one for all threads.

    A server that refuses a key or a login before it has given anything, or that cannot be connected to, is asked for
    no further file: it would refuse that too. Any other refusal concerns one file only, and so the rest is loaded.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        addresses: Mapping[str, list[Address]],
        book: ChecksumBook,
        wrong: Callable[[_File, Path, str, int], str],
    ) -> None:
        self._fetcher = fetcher
        self._addresses = addresses
        self._book = book
        self._wrong = wrong
        self._giving: set[str] = set()
        self._refusing: set[str] = set()

    def __call__(self, file: _File, advance: Callable[[int], None]) -> None:
        """Load one file.

        Raises:
            StoppedError: if its server has refused the key, or cannot be connected to.
            DownloadError: if no server gives it, or it is wrong.
        """
        part = file.unfinished
        md5 = self._load(file, advance)
        size = part.stat().st_size
        if md5 != file.remote.md5:
            state_path(part).unlink(missing_ok=True)
            raise DownloadError(f"{self._wrong(file, part, md5, size)}; the next run fetches it again")
        self._book.remember(file.remote.name, part, md5)
        part.replace(file.path)  # only now it has its name
        state_path(part).unlink(missing_ok=True)
        logger.info("%s: %s, md5 as published", file.path, gigabytes(size))

    def _load(self, file: _File, advance: Callable[[int], None]) -> str:
        """Load a file, taking note of whether its last server gives or refuses; its md5."""
        addresses = self._addresses[file.remote.name]
        host, cure = addresses[-1].host, addresses[-1].login_cure
        if host in self._refusing and host not in self._giving:
            raise StoppedError(f"{file.remote.name}: {host}: not asked, since it gives nothing")

        def _advance(num_bytes: int) -> None:
            if num_bytes > 0:
                self._giving.add(host)
            advance(num_bytes)

        try:
            remote = file.remote
            return self._fetcher.fetch(addresses, file.unfinished, remote.size, _advance, remote.most_bytes)
        except UnreachableError:
            self._refusing.add(host)
            raise
        except RefusedError as error:
            if cure and cure in str(error):
                self._refusing.add(host)
            raise


@contextlib.contextmanager
def _bar(what: str, total: int, initial: int, stop: threading.Event | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar in bytes with rate and time left, for several threads; they end where ``stop`` is set."""
    guard = threading.Lock()
    with tqdm(desc=what, total=total, initial=initial, unit="B", unit_scale=True, dynamic_ncols=True, delay=1.0) as bar:

        def _advance(num_bytes: int) -> None:
            if stop is not None and stop.is_set():
                raise StoppedError("stopped")
            with guard:
                bar.total = max(bar.total or 0, bar.n + num_bytes)  # where the size was only roughly known
                bar.update(num_bytes)

        yield _advance


@contextlib.contextmanager
def _pool(num_threads: int, stop: Callable[[], None]) -> Iterator[Callable[[Sequence[Callable[[], None]]], list[str]]]:
    """Gives what runs jobs side by side and returns what went wrong; a full disk, Ctrl-C and bugs end all of them."""
    executor = ThreadPoolExecutor(num_threads)

    def _run(jobs: Sequence[Callable[[], None]]) -> list[str]:
        problems = []
        futures = [executor.submit(job) for job in jobs]
        for future in as_completed(futures):
            error = future.exception() if not future.cancelled() else None
            if error is None or isinstance(error, StoppedError):
                continue
            if not isinstance(error, DownloadError):
                raise error
            problems.append(str(error))
        return problems

    is_done = False
    try:
        yield _run
        is_done = True
    finally:
        if not is_done:
            stop()
        executor.shutdown(cancel_futures=True)
