"""``ham verify``: answers and exit statuses, against the scores of the encoder; bad requests cost one line."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import ham
from ham.bin.front import main
from tests.miniature import write_m4a
from tests.speaking import thresholds, voice, write_decisions, write_voice
from tests.tiny_system import write_model


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "exp"
    write_model(folder, "ham_softmax")
    one, other = write_voice(folder / "a.wav"), write_voice(folder / "b.wav", 4, 200)
    score = ham.load(folder, "cpu").score(one, other)
    write_decisions(folder, thresholds(eer=score - 0.01, far_1=score + 0.01))
    return folder


@pytest.fixture
def ask(exp: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def asked(*words: Any) -> tuple[int, str, str]:
        status = main(["verify", "--model", str(exp), "--device", "cpu", *map(str, words)])
        return status, *capsys.readouterr()

    return asked


Ask = Callable[..., tuple[int, str, str]]
REPOSITORY = Path(ham.__file__).parents[1]
NEEDLESS = {"scipy", "matplotlib", "tensorboard", "av", "jinja2", "silero_vad", "pyarrow", "onnx"}


def test_the_status_is_the_answer(ask: Ask, exp: Path) -> None:
    one, other = exp / "a.wav", exp / "b.wav"
    expected = ham.load(exp, "cpu").score(one, other)
    status, out, err = ask(one, other)
    assert (status, out.splitlines()[0], err) == (0, "same", "")
    assert f"score {expected:.3f}, threshold {expected - 0.01:.3f} (eer, measured on 12 speakers" in out
    assert ask(one, other, "--threshold", "far_1")[:2] == (1, ask(one, other, "--threshold", "far_1")[1])
    assert ask(one, other, "--threshold", expected - 0.001)[0] == 0
    assert ask(one, other, "--threshold", expected + 0.001)[0] == 1
    assert ask(one, other, "--threshold", -1)[0] == 0


def test_json_is_one_document_with_the_same(ask: Ask, exp: Path) -> None:
    status, out, _ = ask(exp / "a.wav", exp / "b.wav", "--json", "--threshold", "far_1")
    found = json.loads(out)
    assert (status, found["decision"]) == (1, "different")
    assert found["score"] == pytest.approx(ham.load(exp, "cpu").score(exp / "a.wav", exp / "b.wav"), abs=1e-6)
    assert found["llr"] == pytest.approx(10 * found["score"] - 4)
    assert found["quality"]["b"]["duration_s"] == 4


def test_all_files_but_the_last_are_of_one_speaker(ask: Ask, exp: Path, tmp_path: Path) -> None:
    more = write_voice(tmp_path / "more.wav", 3, 160)
    found = json.loads(ask(exp / "a.wav", more, exp / "b.wav", "--json")[1])
    expected = ham.load(exp, "cpu").score([exp / "a.wav", more], exp / "b.wav")
    assert found["score"] == pytest.approx(expected, abs=1e-5)
    assert found["quality"]["a"]["duration_s"] == 6


@pytest.mark.parametrize("form", ["flac", "ogg", "mp3", "m4a", "wav"])
def test_every_form_and_rate_and_standard_input_are_heard(
    form: str, ask: Ask, exp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.stack([voice(rate=44100), voice(rate=44100)], axis=1)
    if form == "m4a":
        write_m4a(tmp_path / "a.m4a", (32768 * voice()).astype(np.int16))
    else:
        soundfile.write(tmp_path / f"a.{form}", samples, 44100)
    status, out, _ = ask(exp / "a.wav", tmp_path / f"a.{form}", "--json")
    assert (status, json.loads(out)["score"] > 0.98) == (0, True)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((tmp_path / f"a.{form}").read_bytes())))
    assert json.loads(ask(exp / "a.wav", "-", "--json")[1]) == json.loads(out)


def test_speech_that_is_too_poor_ends_with_3_and_says_why(ask: Ask, exp: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "zeros.wav", np.zeros(32000), 16000)
    status, out, _ = ask(exp / "a.wav", tmp_path / "zeros.wav")
    assert (status, out.splitlines()[0]) == (3, "cannot say")
    assert "last recording: It is silent" in out
    status, out, _ = ask(write_voice(tmp_path / "short.wav", 1.2), exp / "b.wav", "--json")
    assert status in (0, 1)
    assert json.loads(out)["quality"]["a"]["problems"][0]["name"] == "short"


def test_a_model_without_thresholds_gives_the_score_and_the_cure(
    exp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, "softmax")
    argv = ["verify", "--model", str(tmp_path), str(exp / "a.wav"), str(exp / "b.wav")]
    assert main(argv) == 3
    assert "threshold none (the model has no thresholds of its own; run stage 6" in capsys.readouterr().out
    assert main([*argv, "--threshold", "-0.99"]) == 0


def test_the_model_can_stand_in_a_variable(exp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAM_MODEL", str(exp))
    assert main(["verify", str(exp / "a.wav"), str(exp / "a.wav")]) == 0
    monkeypatch.delenv("HAM_MODEL")
    assert main(["verify", str(exp / "a.wav"), str(exp / "a.wav")]) == 2


def wav_of(rate: int, samples: int = 32000) -> bytes:
    return (
        struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 2 * samples, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16,
                    b"data", 2 * samples) + bytes(2 * samples)
    )  # fmt: skip


def encoded(form: str, damage: Callable[[bytes], bytes]) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, voice(), 16000, format=form)
    return damage(content.getvalue())


NAN = np.where(np.arange(32000) == 99, np.nan, voice(2.0))
BAD: dict[str, tuple[str, bytes | Callable[[Path], object], str]] = {
    "missing": ("a.wav", lambda path: None, "No such file"),
    "folder": ("a.wav", lambda path: path.mkdir(), "found a directory"),
    "folder_of_no_kind": ("a", lambda path: path.mkdir(), "expected .wav"),
    "dangling_link": ("a.wav", lambda path: path.symlink_to("gone"), "the link points to gone"),
    "link_to_itself": ("a.wav", lambda path: path.symlink_to(path), "cannot be read"),
    "text": ("a.wav", b"hello world\n" * 99, "is not audio"),
    "text_of_other_kind": ("a.txt", b"hello\n", "expected .wav"),
    "empty_wav": ("a.wav", b"", "is empty"),
    "empty_flac": ("a.flac", b"", "is empty"),
    "empty_ogg": ("a.ogg", b"", "is empty"),
    "empty_mp3": ("a.mp3", b"", "is empty"),
    "empty_m4a": ("a.m4a", b"", "is empty"),
    "no_samples": ("a.wav", wav_of(16000, 0), "holds no samples"),
    "rate_of_1": ("a.wav", wav_of(1), "expected a sample rate"),
    "rate_of_0": ("a.wav", wav_of(0), "a.wav"),
    "header_only": ("a.wav", wav_of(16000)[:44], "is truncated"),
    "half_a_header": ("a.wav", wav_of(16000)[:30], "a.wav"),
    "cut_wav": ("a.wav", wav_of(16000)[:-999], "is truncated"),
    "longer_wav": ("a.wav", wav_of(16000) + b"x" * 999, "as its header says"),
    "cut_flac": ("a.flac", encoded("FLAC", lambda b: b[:-500]), "a.flac"),
    "cut_ogg": ("a.ogg", encoded("OGG", lambda b: b[:-500]), "a.ogg"),
    "cut_mp3": ("a.mp3", encoded("MP3", lambda b: b[:-50]), "is truncated"),
    "gap_in_mp3": ("a.mp3", encoded("MP3", lambda b: b[:900] + b[1000:]), "is damaged"),
    "zeros_in_flac": ("a.flac", encoded("FLAC", lambda b: b[:9000] + bytes(99) + b[9099:]), "a.flac"),
    "zeros_in_ogg": ("a.ogg", encoded("OGG", lambda b: b[:5000] + bytes(99) + b[5099:]), "a.ogg"),
    "noise_as_mp3": ("a.mp3", bytes(range(256)) * 40, "is not MP3 audio"),
    "noise_as_m4a": ("a.m4a", bytes(range(256)) * 40, "a.m4a"),
    "aiff_as_wav": ("a.wav", encoded("AIFF", lambda b: b), "is not audio of a kind"),
    "not_a_number": ("a.wav", lambda path: soundfile.write(path, NAN, 16000, subtype="FLOAT"), "not a number"),
    "weights": ("a.pt", b"PK\3\4", "expected .wav"),
    "a_line_in_its_name": ("a\nb.wav", lambda path: None, "No such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recording_costs_one_line_and_is_named(name: str, ask: Ask, exp: Path, tmp_path: Path) -> None:
    file, content, words = BAD[name]
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    else:
        content(tmp_path / file)
    for argv in ((tmp_path / file, exp / "a.wav"), (exp / "a.wav", tmp_path / file)):
        status, out, err = ask(*argv, "--json")
        assert (status, err.count("\n"), err[:7]) == (2, 1, "error: ")
        assert words in err
        assert "Traceback" not in err
        assert list(json.loads(out)) == ["error"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["a.wav"], "expected two files or more"),
        (["-", "-"], "standard input can be read only once"),
        ([], "the following arguments are required: FILE"),
        (["a.wav", "b.wav", "--threshold", "strict"], "expected one of eer, far_1"),
        (["a.wav", "b.wav", "--threshold", "7"], "a number from -1 to 1"),
        (["a.wav", "b.wav", "--threshold", "far_0_01"], "too few trials"),
        (["a.wav", "b.wav", "--device", "cuda:77"], "--device cuda:77"),
        (["a.wav", "b.wav", "--model", "nowhere"], "model nowhere"),
        (["a.wav", "b.wav", "--treshold", "1"], "did you mean --threshold?"),
    ],
)
def test_a_wrong_request_costs_one_line(argv: list[str], words: str, ask: Ask, exp: Path) -> None:
    status, out, err = ask(*(exp / word if word.endswith(".wav") else word for word in argv))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_from_any_folder_without_what_it_does_not_need(exp: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from ham.bin.front import main; import ham.bin.verify;"
        f"status = main(['verify', '--model', {str(exp)!r}, *2 * [{str(exp / 'a.wav')!r}]]);"
        f"print(status, sorted({NEEDLESS} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
