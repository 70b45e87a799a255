"""Published encoders: what is read of them, where they are found, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from ham.errors import CheckpointError, ConfigError
from ham.model.pretrained import find_pretrained, read_pretrained
from tests.self_supervised import needs_transformers, write_encoder

pytestmark = needs_transformers

SIZES = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "feed_forward_size": 24}


@pytest.mark.parametrize(
    ("name", "further", "options"),
    [
        ("w2v_bert", {}, {}),
        ("wavlm", {}, {"layer_norm": False}),
        ("wavlm", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}, {"layer_norm": True}),
    ],
)
def test_every_weight_is_read_by_its_name(
    tmp_path: Path, name: str, further: dict[str, object], options: dict[str, object]
) -> None:
    state = write_encoder(tmp_path, name, **further).state_dict()
    found = read_pretrained(tmp_path)
    assert found.backbone.name == name
    assert found.backbone.options == {**SIZES, **options}
    assert {*found.weights} == {f"encoder.{key}" for key in state.keys() - {"masked_spec_embed"}}
    assert all(torch.equal(value, state[key.removeprefix("encoder.")]) for key, value in found.weights.items())


def test_old_files_with_heads_of_other_tasks_are_read(tmp_path: Path) -> None:
    """As microsoft/wavlm-base-plus: a file of torch, names of old, a quantiser that nobody needs."""
    state = write_encoder(tmp_path, "wavlm").state_dict()
    (tmp_path / "model.safetensors").unlink()
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    old: dict[str, torch.Tensor] = {"project_q.weight": torch.zeros(2, 2)}
    for key, value in state.items():
        module, _, last = key.partition(".parametrizations.")
        old[f"{module}.{names['parametrizations.' + last]}" if last else key] = value
    torch.save(old, tmp_path / "pytorch_model.bin")
    found = read_pretrained(tmp_path).weights
    assert all(torch.equal(value, state[key.removeprefix("encoder.")]) for key, value in found.items())


def test_a_folder_is_found_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert find_pretrained(tmp_path) == tmp_path
    (tmp_path / "other").mkdir()
    assert find_pretrained(tmp_path / "other") is None
    assert find_pretrained(tmp_path / "no" / "such" / "folder") is None


def test_a_name_is_found_in_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"some/encoder: found no such .*downloads nothing: `hf download some/encoder`"
    ):
        find_pretrained(Path("some/encoder"))
    with pytest.raises(ConfigError, match=r"`hf download some/encoder --revision v2`"):
        find_pretrained(Path("some/encoder@v2"))
    folder = tmp_path / "models--some--encoder"
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("a" * 40, encoding="utf-8")
    with pytest.raises(ConfigError, match="no encoder of that name"):  # a part of one
        find_pretrained(Path("some/encoder"))
    write_encoder(folder / "snapshots" / ("a" * 40))
    found = find_pretrained(Path("some/encoder"))
    assert found == folder / "snapshots" / ("a" * 40)
    assert read_pretrained(found).backbone.options == SIZES


def edited(folder: Path, key: str, value: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: value}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda f: edited(f, "model_type", "hubert"), ConfigError, "expected wav2vec2-bert or wavlm, found 'hubert'"),
        (lambda f: edited(f, "position_embeddings_type", "rotary"), ConfigError, "found 'rotary'"),
        (lambda f: edited(f, "hidden_size", "wide"), CheckpointError, "config.json: cannot be read"),
        (lambda f: edited(f, "num_attention_heads", 3), ConfigError, "config.json: backbone w2v_bert: .*multiple of 3"),
        (lambda f: edited(f, "num_hidden_layers", 3), CheckpointError, r"weights are missing .*\(encoder.layers.2"),
        (lambda f: edited(f, "intermediate_size", 32), CheckpointError, "of another shape than config.json says"),
        (lambda f: (f / "config.json").write_text("[1"), CheckpointError, "expected an object of JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), CheckpointError, "expected an object of JSON"),
        (lambda f: (f / "model.safetensors").unlink(), CheckpointError, "the weights cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), CheckpointError, "the weights cannot be read"),
    ],
)
def test_what_is_no_such_encoder_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], error: type[Exception], words: str
) -> None:
    write_encoder(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=words) as refused:
        read_pretrained(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_that_holds_code_is_refused(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"masked_spec_embed": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"the weights cannot be read \(Weights only load failed\)"):
        read_pretrained(tmp_path)
