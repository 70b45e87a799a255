"""Published numbers: the files of the corpora against the printed tables, and every kind of mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.errors import DataError
from ham.losses import LOSSES
from ham.report.published import Published, read_published

TOP = Path(__file__).parents[2]
FILES = [TOP / "egs" / corpus / "conf/published.yaml" for corpus in ("voxceleb", "cnceleb")]
ENTRY = {
    "config": "a", "system": "softmax", "list": "r/l", "backend": "cosine", "eer": "2.5", "source": "a log"
}  # fmt: skip
VOX = ("vox1_o_clean", "vox1_e_clean", "vox1_h_clean")
# EER in per cent on O, E, H, typed again from the publications' tables.
RELEASED = {
    "softmax": (2.074, 2.322, 4.321),
    "scaled_softmax": (3.046, 3.180, 6.082),
    "am_softmax": (1.298, 1.461, 2.732),
    "aam_softmax": (1.249, 1.371, 2.662),
    "ram_softmax": (1.085, 1.223, 2.258),
    "h_softmax": (1.468, 1.507, 2.889),
    "ham_softmax": (1.048, 1.178, 2.268),
}
WESPEAKER = {
    ("ecapa_c512_wespeaker", "cosine+mean", False): (1.069, 1.209, 2.310),
    ("ecapa_c512_wespeaker", "cosine+mean+as_norm", False): (0.957, 1.128, 2.105),
    ("ecapa_c512_wespeaker", "cosine+mean+as_norm", True): (0.782, 1.005, 1.824),
    ("ecapa_c512_wespeaker", "cosine+mean+as_norm+qmf_wespeaker", False): (0.909, 1.075, 1.976),
    ("ecapa_c1024_wespeaker", "cosine+mean", False): (0.856, 1.072, 2.059),
    ("ecapa_c1024_wespeaker", "cosine+mean+as_norm", False): (0.808, 0.990, 1.874),
    ("ecapa_c1024_wespeaker", "cosine+mean+as_norm", True): (0.728, 0.929, 1.721),
    ("ecapa_c1024_wespeaker", "cosine+mean+as_norm+qmf_wespeaker", True): (0.707, 0.894, 1.615),
    ("resnet34", "cosine+mean", False): (0.867, 1.049, 1.959),
    ("resnet34", "cosine+mean+as_norm", False): (0.787, 0.964, 1.726),
    ("resnet34", "cosine+mean+as_norm", True): (0.723, 0.867, 1.532),
    ("resnet34", "cosine+mean+as_norm+qmf_wespeaker", True): (0.659, 0.821, 1.437),
    ("resnet34", "cosine+mean+as_norm+qmf_wespeaker", False): (0.691, 0.895, 1.596),
}


def write(path: Path, *entries: dict[str, str]) -> Path:
    lines = ["- {" + ", ".join(f"{key}: {value}" for key, value in entry.items()) + "}" for entry in entries]
    path.write_text("# head\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.parts[-3])
def test_a_corpus_names_what_exists(path: Path) -> None:
    lists = {"cnceleb/eval", *(f"vox1/vox1_{name}{cleaned}" for name in "oeh" for cleaned in ("", "_clean"))}
    published = read_published(path)
    assert {entry.system for entry in published} <= LOSSES.keys()
    assert {entry.trial_list for entry in published} <= lists


def test_the_released_recipes_numbers() -> None:
    entries = [e for e in read_published(FILES[0]) if e.config == "ecapa_tdnn"]
    found = {(e.system, e.trial_list): e for e in entries}
    assert len(found) == len(entries) == 3 * len(RELEASED)
    for system, eers in RELEASED.items():
        for name, eer in zip(VOX, eers, strict=True):
            entry = found[system, f"vox1/{name}"]
            assert entry.eer == pytest.approx(eer / 100)
            assert entry.backend == ("cosine+crops" if name == "vox1_o_clean" else "cosine")
            assert (entry.verified, entry.finetuned) == (True, False)
    ham = [found["ham_softmax", f"vox1/{name}"] for name in VOX]
    assert [(e.min_dcf_p01, e.min_dcf_p05) for e in ham] == [(0.119, 0.072), (0.138, 0.080), (0.233, 0.143)]
    scaled = [found["scaled_softmax", f"vox1/{name}"] for name in VOX]
    assert [(e.min_dcf_p01, e.min_dcf_p05) for e in scaled] == [(0.364, 0.217), (0.354, 0.214), (0.509, 0.353)]
    assert found["am_softmax", "vox1/vox1_o_clean"].min_dcf_p05 is None
    assert found["am_softmax", "vox1/vox1_h_clean"].min_dcf_p05 == 0.168


def test_wespeakers_numbers() -> None:
    entries = [e for e in read_published(FILES[0]) if e.source.startswith("wespeaker")]
    found = {(e.config, e.system, e.backend, e.finetuned, e.trial_list): e.eer for e in entries}
    expected = {(config, "aam_softmax", *rest): eers for (config, *rest), eers in WESPEAKER.items()}
    expected["ecapa_c512_wespeaker", "ham_softmax", "cosine+mean+as_norm+qmf_wespeaker", False] = (0.872, 1.040, 1.856)
    expected["resnet34", "ham_softmax", "cosine+mean+as_norm+qmf_wespeaker", False] = (0.702, 0.886, 1.547)
    wanted = {(*key, f"vox1/{n}"): e / 100 for key, eers in expected.items() for n, e in zip(VOX, eers, strict=True)}
    assert found == pytest.approx(wanted)


def test_cnceleb_with_and_without_fine_tuning() -> None:
    found = {
        (e.config, e.backend.removeprefix("cosine+mean"), e.finetuned): round(100 * e.eer, 3)
        for e in read_published(FILES[1])
        if e.verified
    }
    assert found == {
        ("resnet34", "", False): 7.134, ("resnet34", "+as_norm", False): 6.747,
        ("resnet34", "+as_norm+qmf_wespeaker", False): 6.336, ("resnet34", "", True): 6.652,
        ("resnet34", "+as_norm", True): 6.492, ("resnet34", "+as_norm+qmf_wespeaker", True): 6.119,
        ("ecapa_c512_wespeaker", "", False): 8.313, ("ecapa_c512_wespeaker", "+as_norm", False): 7.644,
        ("ecapa_c512_wespeaker", "", True): 8.004, ("ecapa_c512_wespeaker", "+as_norm", True): 7.417,
        ("ecapa_c1024_wespeaker", "", False): 7.879, ("ecapa_c1024_wespeaker", "+as_norm", False): 7.412,
        ("ecapa_c1024_wespeaker", "", True): 7.986, ("ecapa_c1024_wespeaker", "+as_norm", True): 7.395,
    }  # fmt: skip


def test_hearsay_is_marked() -> None:
    doubtful = [entry for path in FILES for entry in read_published(path) if not entry.verified]
    assert [(e.config, e.system) for e in doubtful] == [
        ("ecapa_tdnn_vox1", "ram_softmax"),
        ("ecapa_tdnn_cnceleb", "ram_softmax"),
    ]
    assert [e.eer for e in doubtful] == pytest.approx([0.02484, 0.10138])


def test_defaults_and_per_cent(tmp_path: Path) -> None:
    path = write(tmp_path / "p.yaml", ENTRY, {**ENTRY, "finetuned": "true", "verified": "false", "min_dcf_p05": "1"})
    plain, tuned = read_published(path)
    assert plain == Published("a", "softmax", "r/l", "cosine", 0.025, None, None, "a log", True, False)
    assert (tuned.finetuned, tuned.verified, tuned.min_dcf_p05) == (True, False, 1.0)


def test_an_empty_file_has_no_entries(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing yet\n")
    assert read_published(tmp_path / "p.yaml") == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eer": "0"}, "eer: expected per cent above 0"),
        ({"eer": "51"}, "at most 50, found '51'"),
        ({"eer": "'2.5'"}, "eer: expected per cent"),
        ({"eer": ".nan"}, "eer: expected per cent"),
        ({"eer": "0x10"}, "eer: expected per cent"),
        ({"eer": "1:30"}, "eer: expected per cent"),
        ({"min_dcf_p01": "1.2"}, "min_dcf_p01: expected a cost above 0 and at most 1, found '1.2'"),
        ({"backend": "cosine+asnorm"}, "backend: expected a back-end such as"),
        ({"backend": "cosine+crops+mean"}, "backend: expected a back-end such as"),
        ({"list": "vox1_o"}, "list: expected ROOT/LIST, found 'vox1_o'"),
        ({"system": "5"}, "system: expected words, found '5'"),
        ({"source": "''"}, "source: expected words"),
        ({"verified": "maybe"}, "verified: expected true or false"),
        ({"finetuned": "1"}, "finetuned: expected true or false"),
        ({"min_dcf": "0.1"}, "unknown key 'min_dcf'"),
    ],
)
def test_a_wrong_value_is_one_line(tmp_path: Path, change: dict[str, str], words: str) -> None:
    path = write(tmp_path / "p.yaml", ENTRY, {**ENTRY, "config": "b", **change})
    with pytest.raises(DataError) as caught:
        read_published(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:3: ")
    assert words in message
    assert "write '- {config: NAME" in message
    assert "\n" not in message


@pytest.mark.parametrize("key", ENTRY)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "p.yaml", {name: value for name, value in ENTRY.items() if name != key})
    with pytest.raises(DataError, match=rf"p\.yaml:2: expected the key '{key}', found none"):
        read_published(path)


def test_the_same_number_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.yaml", ENTRY, {**ENTRY, "eer": "3", "finetuned": "false"})
    with pytest.raises(DataError, match=r"p\.yaml:3: the same system, list and back-end as .*p\.yaml:2"):
        read_published(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config: a\n", "expected a YAML list of entries"),
        ("- [a, b]\n", ":1: expected an entry of keys and plain values"),
        ("- {config: [a]}\n", ":1: expected an entry of keys and plain values"),
        ("- {config: a, config: b}\n", ":1: the key 'config' is given twice"),
        ("- {", "expected a YAML list, found"),
    ],
)
def test_another_format_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_published(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml: expected published numbers"):
        read_published(tmp_path / "none.yaml")
