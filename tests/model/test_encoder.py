"""A trained system as one object: what it takes, what it refuses, and the example of its module."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import ham
from ham import backbones, frontends
from ham.audio.quality import Problem
from ham.bin import score
from ham.cli import run
from ham.data.store import ArrayStore
from ham.embeddings.table import EmbeddingTable, read_embeddings, with_models
from ham.errors import CheckpointError, ConfigError, DataError
from ham.model import checkpoint, encoder
from ham.model.encoder import Network, SpeakerEncoder
from tests.speaking import thresholds, voice, write_decisions, write_system, write_voice
from tests.tiny_system import DIM, RATE, write_corpus, write_experiment, write_model


def test_the_example_of_the_module_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "data")
    write_experiment(tmp_path / "exp/ham_softmax", tmp_path / "data", "ham_softmax")
    for name in ("one.wav", "other.wav"):
        soundfile.write(tmp_path / name, np.random.default_rng(len(name)).normal(0, 0.1, 20000), 16000)
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(encoder)
    assert (outcome.failed, outcome.attempted > 5) == (0, True)


def test_samples_features_and_lists_of_waveforms_are_embedded_alike() -> None:
    torch.manual_seed(0)
    frontend = frontends.build("mel", num_mel_bins=24)
    network = Network(frontend, backbones.build("resnet18", 24, DIM, width=4)).eval()
    samples = torch.randn(2, 8000)
    expected = network.backbone(frontend(samples))
    torch.testing.assert_close(network(samples), expected, rtol=0, atol=0)
    torch.testing.assert_close(network(frontend(samples)), expected, rtol=0, atol=0)
    found = network([samples[0], torch.randn(12000), samples[1]])
    torch.testing.assert_close(found[[0, 2]], expected, rtol=1e-4, atol=1e-5)


def test_an_experiment_is_loaded_with_all_that_it_says(tmp_path: Path) -> None:
    loss = write_model(tmp_path, "ham_softmax", seed=4)
    found = SpeakerEncoder.load(tmp_path, "cpu")
    state = checkpoint.load(tmp_path / "average.pt")
    assert (found.folder, found.seed, found.command, found.valid_speakers) == (tmp_path, 4, "./run.sh --stage 4", ())
    assert found.fingerprint == checkpoint.weights_digest(state)
    assert found.config.loss.name == "ham_softmax"
    assert torch.equal(found.loss.weight, loss.weight)
    assert all(torch.equal(x, state["backbone"][name]) for name, x in found.network.backbone.state_dict().items())
    assert not any(part.training for part in (*found.network.modules(), *found.loss.modules()))


def test_recordings_are_embedded_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    write_model(tmp_path, "softmax")
    found, store = SpeakerEncoder.load(tmp_path, "cpu"), ArrayStore(tmp_path / "store/test")
    rows = found.embed_recordings(store, batch_size=4)
    assert (rows.shape, rows.dtype) == ((len(store), DIM), np.float32)
    np.testing.assert_allclose(found.embed_recordings(store, [7, 2]), rows[[7, 2]], atol=1e-5)


def test_models_that_do_not_fit_and_devices_that_are_not_there(tmp_path: Path) -> None:
    write_model(tmp_path, "softmax")
    state = checkpoint.load(tmp_path / "average.pt")
    for change, message in (
        ({"backbone": {}}, "the backbone does not fit its configuration"),
        ({"num_speakers": 9}, "the loss does not fit its configuration"),
    ):
        checkpoint.save(tmp_path / "average.pt", {**state, **change})
        with pytest.raises(CheckpointError, match=message):
            SpeakerEncoder.load(tmp_path, "cpu")
    checkpoint.save(tmp_path / "average.pt", {key: value for key, value in state.items() if key != "seed"})
    with pytest.raises(CheckpointError, match=r"expected the entry 'seed', found none; average again \(stage 5\)"):
        SpeakerEncoder.load(tmp_path, "cpu")
    with pytest.raises(ConfigError, match="--device cuda:77"):
        SpeakerEncoder.load(tmp_path, "cuda:77")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_system(tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="module")
def loaded(system: Path) -> SpeakerEncoder:
    return ham.load(system, "cpu")


@pytest.fixture(scope="module")
def table(system: Path) -> EmbeddingTable:
    return read_embeddings(system / "embeddings.npz")


@pytest.fixture(scope="module")
def files(system: Path, table: EmbeddingTable) -> list[Path]:
    return [system.parent / f"wav/{utt}.wav" for utt in table.utts]


def test_files_and_samples_give_the_embeddings_of_stage_5(
    loaded: SpeakerEncoder, table: EmbeddingTable, files: list[Path]
) -> None:
    assert (loaded.embedding_dim, loaded.sample_rate) == (DIM, RATE)
    rows = loaded.embed_many(files)
    assert (rows.shape, rows.dtype) == ((len(files), DIM), np.float32)
    np.testing.assert_allclose(rows, table.embeddings, atol=1e-5)
    for number in (0, 2, 7):
        samples, rate = soundfile.read(files[number], dtype="int16")
        for one in (loaded.embed(files[number]), loaded.embed(str(files[number])), loaded.embed(samples, rate)):
            np.testing.assert_allclose(one, table.embeddings[number], atol=1e-5)


def test_what_shares_a_batch_or_a_block_changes_nothing(
    loaded: SpeakerEncoder, table: EmbeddingTable, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch_size, block in ((1, 10**9), (7, 10**9), (16, 1), (4, 100_000)):
        monkeypatch.setattr(encoder, "BLOCK_SAMPLES", block)
        np.testing.assert_allclose(loaded.embed_many(files, batch_size=batch_size), table.embeddings, atol=1e-5)
    mixed = [files[3], soundfile.read(files[5]), str(files[1])]
    np.testing.assert_allclose(loaded.embed_many(iter(mixed)), table.embeddings[[3, 5, 1]], atol=1e-5)
    assert loaded.embed_many([]).shape == (0, DIM)


def test_files_are_read_block_by_block(
    loaded: SpeakerEncoder, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, most, read = 0, 0, encoder.to_waveform

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal held, most
        held += 1
        most = max(most, held)
        return read(*args, **kwargs)

    def embedded(self: SpeakerEncoder, recordings: Any, **kwargs: Any) -> Any:
        nonlocal held
        held -= len(recordings.utts)
        return np.zeros((len(recordings.utts), DIM), np.float32)

    monkeypatch.setattr(encoder, "to_waveform", counted)
    monkeypatch.setattr(SpeakerEncoder, "embed_recordings", embedded)
    monkeypatch.setattr(encoder, "BLOCK_SAMPLES", 100_000)  # four of these files at most
    loaded.embed_many(files)
    assert (held, most) == (0, 4)


def test_scores_are_those_of_stage_6(system: Path, loaded: SpeakerEncoder, files: list[Path]) -> None:
    argv = ["--data_dir", str(system.parent / "data"), "--exp_dir", str(system), "--backends", "cosine"]
    assert run(score.main, argv) == 0
    (system / "results.json").unlink()
    lines = [line.split() for line in (system / "scores/tiny/all.cosine").read_text().splitlines()]
    assert len(lines) == 2
    for enrol, test, expected in lines:
        found = loaded.score(*(system.parent / f"wav/{utt}.wav" for utt in (enrol, test)))
        assert found == pytest.approx(float(expected), abs=1e-5)


def test_several_recordings_of_a_speaker_are_averaged_as_in_stage_6(
    loaded: SpeakerEncoder, table: EmbeddingTable, files: list[Path]
) -> None:
    with_model = with_models(table, {"m": table.utts[:3]}, unit=True)
    model, test = with_model.embeddings[-1].astype(float), table.embeddings[8].astype(float)
    expected = model @ test / np.linalg.norm(model) / np.linalg.norm(test)
    assert loaded.score(files[:3], files[8]) == pytest.approx(expected, abs=1e-5)
    assert loaded.score(files[8], files[:3]) == pytest.approx(expected, abs=1e-5)
    assert loaded.score(files[0], files[0]) == pytest.approx(1)


def test_a_verification_is_the_score_with_a_decision(system: Path, tmp_path: Path) -> None:
    one, other = write_voice(tmp_path / "a.wav"), write_voice(tmp_path / "b.wav", 4, 200)
    plain = ham.load(system, "cpu")
    assert plain.verify(one, other).decision == "cannot_say"
    expected = plain.score([one, one], other)
    write_decisions(system, thresholds(eer=expected - 0.01, far_1=expected + 0.01))
    knowing = ham.load(system, "cpu")
    (system / "results.json").unlink()
    found = knowing.verify([one, one], other)
    assert found.score == pytest.approx(expected, abs=1e-5)
    assert found.decision == "same"
    assert knowing.verify([one, one], other, "far_1").decision == "different"
    assert [found.quality[side].duration_s for side in "ab"] == [6, 4]
    for bad in (np.zeros(RATE, np.float32), voice(0.05), np.zeros(3, np.float32)):
        poor = knowing.verify((bad, RATE), other)
        assert (poor.decision, poor.score) == ("cannot_say", None)
        assert poor.quality["a"].cannot_say
        assert not poor.quality["b"].problems


def test_several_speakers_are_said_once_there_is_a_calibration(
    loaded: SpeakerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem("several_speakers", "Two.")
    monkeypatch.setattr(encoder, "several_speakers", lambda embeddings, decisions: problem)
    samples = voice(9.0)
    assert loaded.assess(samples, RATE).problems == ()
    knowing = encoder.replace(loaded, decisions=thresholds())
    assert knowing.assess(samples, RATE).problems == (problem,)
    assert knowing.assess(voice(4.0), RATE).problems == ()  # too short to be split


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.wav", "none.wav: cannot be read (No such file"),
        (lambda folder: folder, "expected .wav, .flac, .ogg, .m4a, .mp3"),
        (lambda folder: (np.zeros(1599, np.float32), RATE), "speech 2: expected at least 0.1 s"),
        (lambda folder: np.zeros(RATE, np.float32), "speech 2: expected the sample rate"),
        (lambda folder: (np.full(RATE, np.nan), RATE), "speech 2: holds samples that are infinite or not a number"),
    ],
)
def test_the_recording_that_cannot_be_embedded_is_named(
    make: Any, words: str, loaded: SpeakerEncoder, files: list[Path], tmp_path: Path
) -> None:
    for use in (lambda bad: loaded.embed_many([files[0], bad]), lambda bad: loaded.score([files[0], bad], files[1])):
        with pytest.raises(DataError) as caught:
            use(make(tmp_path))
        assert words in str(caught.value)
    with pytest.raises(DataError, match="at least one recording of a speaker"):
        loaded.verify([], files[0])
