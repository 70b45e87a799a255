"""Models at the hub, played by a local server: fetched, found again without it, published, and what goes wrong."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.utils._http as http
import numpy as np
import pytest
from huggingface_hub import constants

from ham.errors import CheckpointError, ConfigError, DownloadError, HamError
from ham.model import hub
from ham.model.directory import FILES, pack
from ham.model.load import load
from tests.hub_server import HubServer, Repo
from tests.tiny_system import write_model

TOKEN = "hf_right"
NAME = "owner/name"
COHORT_GONE = "cohort.safetensors"
SUM = b"0" * 64 + b"  cohort.safetensors\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder / "exp", "ham_softmax")
    pack(folder / "exp", folder / "out")
    return folder / "out"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that this process asks, with an empty cache and nobody logged in; repeated requests do not wait."""
    with HubServer(TOKEN) as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", found.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(http.time, "sleep", lambda seconds: None)
        yield found


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def put(server: HubServer, directory: Path) -> Repo:
    return server.put(NAME, files_of(directory))


def speech() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 20000).astype(np.float32)


def test_a_model_is_fetched_once_and_embeds_as_the_directory_does(server: HubServer, directory: Path) -> None:
    put(server, directory)
    found = load(NAME, "cpu")
    np.testing.assert_array_equal(found.embed(speech(), 16000), load(directory, "cpu").embed(speech(), 16000))
    number = len(server.requests)
    assert number > 0
    assert hub.fetch(NAME) == found.folder
    assert len(server.requests) == number  # the cache answers


def test_only_files_of_a_model_directory_are_fetched(server: HubServer, directory: Path, tmp_path: Path) -> None:
    repo = put(server, directory)
    repo.files |= {"../../../escaped": b"x", "pytorch_model.bin": b"x", "run.py": b"x", "a/model.json": b"{}"}
    folder = hub.fetch(NAME)
    assert {path.name for path in folder.iterdir()} == {path.name for path in directory.iterdir()} <= {*FILES}
    assert not [path for path in tmp_path.rglob("*") if path.name in ("escaped", "pytorch_model.bin", "run.py")]


def test_a_commit_names_one_version(server: HubServer, directory: Path) -> None:
    repo = put(server, directory)
    first = repo.commit
    assert hub.fetch(f"{NAME}@{first}").name == first
    repo.files["README.md"] = b"edited"
    assert hub.fetch(f"{NAME}@main").name == repo.commit != first


def test_a_damaged_copy_in_the_cache_is_fetched_again(
    server: HubServer, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(server, directory)
    place = hub.fetch(NAME) / "model.safetensors"
    place.resolve().write_bytes(place.read_bytes()[:-1] + b"x")
    hub.fetch(NAME)
    assert place.read_bytes() == (directory / place.name).read_bytes()
    assert "is fetched again" in caplog.text


def test_a_half_copy_is_completed(server: HubServer, directory: Path) -> None:
    put(server, directory)
    place = hub.fetch(NAME) / "config.yaml"
    place.unlink()
    assert hub.fetch(NAME) == place.parent
    assert place.exists()


def test_without_a_server_the_cache_serves(server: HubServer, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(server, directory)
    folder = hub.fetch(NAME)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.fetch(NAME) == folder
    with pytest.raises(DownloadError, match=r"owner/other: .*cannot be reached"):
        hub.fetch("owner/other")


OTHERS = json.dumps({"architectures": ["Bert"]}).encode()
NEWER = json.dumps({"format": "ham model directory", "version": 9}).encode()


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda hub, repo: hub.answers.update({"/": 401}), "no such model at the hub, or a private one"),
        (lambda hub, repo: hub.repos.clear(), "no such model at the hub, or a private one"),
        (lambda hub, repo: hub.answers.update({"/": 404}), "no such model at the hub"),
        (lambda hub, repo: hub.answers.update({"/": 500}), "status 500"),
        (lambda hub, repo: hub.answers.update({"/api/": 503}), "status 503"),
        (lambda hub, repo: hub.answers.update({"/": 418}), "status 418"),
        (lambda hub, repo: setattr(repo, "private", True), "private one: look at the name, or log in"),
        (lambda hub, repo: setattr(repo, "gated", True), "accept the terms on its page"),
        (lambda hub, repo: hub.cut.update({"model.safetensors": 1000}), "broke off"),
        (lambda hub, repo: hub.bodies.update({"/api/": b"<html>"}), "HF_ENDPOINT"),
        (lambda hub, repo: hub.bodies.update({"/api/": b"{}"}), "HF_ENDPOINT"),
        (lambda hub, repo: repo.files.pop("model.json"), "not a model of this program, as it has no model.json"),
        (
            lambda hub, repo: repo.files.update({"SHA256SUMS": repo.files["SHA256SUMS"] + SUM}),
            "cohort.safetensors: exp",
        ),
        (lambda hub, repo: repo.files.update({"model.json": OTHERS}), "expected the format"),
        (lambda hub, repo: repo.files.update({"model.json": NEWER}), "install a newer ham"),
        (lambda hub, repo: repo.files.update({"model.json": b"[" * 100_000}), "an object of JSON"),
        (lambda hub, repo: repo.files.pop("model.safetensors"), "no model.safetensors"),
        (lambda hub, repo: repo.files.pop("SHA256SUMS"), "no SHA256SUMS"),
        (lambda hub, repo: repo.files.update({"model.safetensors": b"other"}), "model.safetensors: damaged"),
        (lambda hub, repo: repo.files.update({"SHA256SUMS": b"0" * 64 + b"  ../../x\n"}), "SHA256SUMS:1"),
    ],
)
def test_what_goes_wrong_is_one_sentence(server: HubServer, directory: Path, prepare: object, words: str) -> None:
    repo = put(server, directory)
    prepare(server, repo)  # type: ignore[operator]
    with pytest.raises(HamError) as caught:
        hub.fetch(NAME)
    line = str(caught.value)
    assert words in line
    assert "\n" not in line
    assert TOKEN not in line


@pytest.mark.parametrize("name", ["name", "a/b/c", "../x", "a/..", "a/b@", "a--b/c", "a/b@x y", "a b/c", "-a/b", "ä/b"])
def test_what_is_no_name_is_refused_without_a_request(server: HubServer, name: str) -> None:
    with pytest.raises(ConfigError, match="expected owner/name"):
        hub.fetch(name)
    assert server.requests == []


def test_another_revision(server: HubServer, directory: Path) -> None:
    put(server, directory)
    with pytest.raises(DownloadError, match="no such revision"):
        hub.fetch(f"{NAME}@nowhere")


def test_a_private_model_is_fetched_by_who_may(
    server: HubServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, directory).private = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (hub.fetch(NAME) / "model.json").exists()


def test_what_is_published_is_what_is_fetched(
    server: HubServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.put(NAME, {COHORT_GONE: b"of the version before", "kept.txt": b"x"})
    assert hub.publish(directory, NAME) == f"{server.url}/{NAME}"
    assert server.repos[NAME].files == {**files_of(directory), "kept.txt": b"x"}
    assert files_of(hub.fetch(NAME)) == files_of(directory)


def test_private_is_kept(server: HubServer, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.publish(directory, NAME, private=True)
    assert server.repos[NAME].private
    server.put("owner/open", {})
    with pytest.raises(ConfigError, match="for everybody to see"):
        hub.publish(directory, "owner/open", private=True)
    assert server.repos["owner/open"].files == {}


def test_a_dry_run_sends_nothing(server: HubServer, directory: Path) -> None:
    assert hub.publish(directory, NAME, dry_run=True) == f"{server.url}/{NAME}"
    assert server.requests == []


@pytest.mark.parametrize(
    ("token", "answers", "words"),
    [
        ("", {}, "log in"),
        ("hf_wrong_token", {}, "log in"),
        (TOKEN, {"/commit/": 403}, "log in"),
        (TOKEN, {"/preupload/": 500}, "status 500"),
        (TOKEN, {"/commit/": 500}, "status 500"),
        (TOKEN, {"/validate-yaml": 400}, "model card"),
    ],
)
def test_a_refused_publication_is_one_sentence_without_the_token(
    server: HubServer,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    token: str,
    answers: dict[str, int],
    words: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", token)
    server.answers |= answers
    with pytest.raises(DownloadError) as caught:
        hub.publish(directory, NAME)
    assert words in str(caught.value)
    assert not token or token not in f"{caught.value}{caplog.text}"
    assert not server.repos.get(NAME, Repo()).files


def test_what_is_damaged_or_linked_is_not_published(
    server: HubServer, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, data in files_of(directory).items():
        (copy / name).write_bytes(data)
    (tmp_path / "secret").write_text("key")
    (copy / "README.md").unlink()
    with pytest.raises(ConfigError, match="model card"):
        hub.publish(copy, NAME)
    (copy / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="found a link"):
        hub.publish(copy, NAME)
    (copy / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(CheckpointError, match=r"config\.yaml: damaged or edited"):
        hub.publish(copy, NAME)
    with pytest.raises(ConfigError, match="owner/name alone"):
        hub.publish(directory, f"{NAME}@main")
    assert server.requests == []


@pytest.mark.recipe
def test_the_environment_names_server_and_cache_and_keeps_offline(
    server: HubServer, directory: Path, tmp_path: Path
) -> None:
    put(server, directory)
    code = "import ham, sys; print(ham.load(sys.argv[1], 'cpu').embedding_dim)"

    def called(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), **variables}
        command = [sys.executable, "-c", code, NAME]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    first = called(HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE keeps this program from the hub" in first.stderr.splitlines()[-1]
    assert called().stdout == "8\n"
    assert called(HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9").stdout == "8\n"
