"""Model directories at the Hugging Face hub: fetched into its cache, found there without network, and published.

Whoever is logged in (``hf auth login``, or ``HF_TOKEN``) can fetch private models and publish; the token is handed to
the library alone and stands in no message. ``HF_ENDPOINT`` names another server, ``HF_HUB_OFFLINE=1`` keeps to the
cache.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ham
from ham.errors import CheckpointError, ConfigError, DownloadError
from ham.model.directory import AGAIN, CARD, FILES, NEEDED, SUMMED, SUMS, read_directory, read_model, verify
from ham.model.load import HUB_ID
from ham.words import clip

logger = logging.getLogger(__name__)


def fetch(name: str) -> Path:
    """Find a model in the cache of the hub, or fetch it.

    A copy that is complete and undamaged is taken as it is, without asking the hub for a newer one; a commit as the
    revision names one version for ever. Only files that a model directory may have are fetched.

    Args:
        name: ``owner/name`` or ``owner/name@revision``.

    Returns:
        The model directory.

    Raises:
        ConfigError: if it is no such name, or is not a model of this program.
        DownloadError: if it is not there, may not be read, or the hub cannot be reached.
        CheckpointError: if what came is damaged.
    """
    from huggingface_hub import HfApi, snapshot_download

    repo, revision = _split(name)
    cached = _cached(repo, revision)
    if cached is not None and _undamaged(cached):
        return cached
    with _telling(name):
        there = {file.rfilename for file in HfApi().model_info(repo, revision=revision).siblings or ()}
        if missing := [file for file in (*NEEDED, SUMS) if file not in there]:
            raise ConfigError(f"model {name}: not a model of this program, as it has no {missing[0]}; look at the name")
        again = cached is not None  # and damaged
        folder = snapshot_download(repo, revision=revision, allow_patterns=[*FILES], force_download=again)
    read_model(Path(folder))
    verify(Path(folder))
    return Path(folder)


def publish(folder: Path, name: str, *, private: bool = False, dry_run: bool = False) -> str:
    """Put a model directory at the hub; what it holds there already becomes an older version.

    Args:
        folder: the model directory; it is checked first.
        name: ``owner/name``; made where it is not there yet.
        private: only for those whom the owner lets in.
        dry_run: check, and send nothing.

    Returns:
        The address of the model.

    Raises:
        HamError: if the directory is damaged, or the name wrong.
        DownloadError: if the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    repo, revision = _split(name)
    if revision is not None:
        raise ConfigError(f"{name}: expected owner/name alone, since what is published is a new revision")
    read_directory(folder)
    if links := [file for file in FILES if (folder / file).is_symlink()]:
        raise ConfigError(f"{folder / links[0]}: expected a file, found a link; publish the folder that it leads to")
    if not (folder / CARD).is_file():
        raise ConfigError(f"{folder}: expected the model card {CARD}, found none; {AGAIN}")
    api = HfApi()
    address = f"{api.endpoint}/{repo}"
    if dry_run:
        return address
    with _telling(name):
        api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise ConfigError(f"{name}: --private was asked for, but it is there already, for everybody to see")
        message = f"ham {ham.__version__}: {sum(1 for file in FILES if (folder / file).exists())} files"
        stale = [file for file in SUMMED if file not in NEEDED]
        api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=[*FILES], delete_patterns=stale, commit_message=message
        )
    return address


def _split(name: str) -> tuple[str, str | None]:
    """Name and revision; None where it names none."""
    found = HUB_ID.fullmatch(name)
    if not found or "--" in name or ".." in name:
        raise ConfigError(f"model {clip(name)}: expected owner/name or owner/name@revision, as the hub writes them")
    return found[1], found[2]


def _cached(repo: str, revision: str | None) -> Path | None:
    """The copy in the cache; None where there is none, or a part of one."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=[*FILES], local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _undamaged(folder: Path) -> bool:
    """Whether a copy in the cache is what was published."""
    try:
        verify(folder)
    except CheckpointError as error:
        logger.warning("%s; it is fetched again", error)
        return False
    return True


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Turn what goes wrong with the hub into a sentence, in our own words: the library's may hold anything.

    Raises:
        DownloadError: naming the model, what happened, and what helps.
    """
    import httpx2
    from huggingface_hub import errors

    login = "log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError:
        said = f"its owner asks for consent first: accept the terms on its page, then {login}"
    except errors.RepositoryNotFoundError:
        said = f"no such model at the hub, or a private one: look at the name, or {login}"
    except errors.RevisionNotFoundError:
        said = "the hub has no such revision of it; look at the name behind the @"
    except errors.LocalEntryNotFoundError as error:
        said = f"not in the cache, and {_why_not(error)}"
    except errors.HfHubHTTPError as error:
        refused = error.response.status_code in (401, 403)
        said = f"the hub refuses: {login}, as somebody who may do this" if refused else _why_not(error)
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled) as error:
        said = _why_not(error)
    except (ValueError, KeyError, TypeError, AssertionError):
        said = "the hub's answer, or the head of the model card, is not what the hub's rules say; is HF_ENDPOINT right?"
    except OSError as error:
        if error.errno is not None:
            raise
        said = "what came is not as long as the hub says; try again"
    else:
        return
    raise DownloadError(f"model {name}: {said}")


def _why_not(error: BaseException) -> str:
    """Why the hub did not serve, and what helps."""
    from huggingface_hub import constants, errors

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, errors.HfHubHTTPError):
            return f"the hub answers with status {cause.response.status_code}; try again later"
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE keeps this program from the hub; unset it to reach the hub"
        cause = cause.__cause__
    return f"the hub ({constants.ENDPOINT}) cannot be reached, or broke off; look at the network, and try again"
