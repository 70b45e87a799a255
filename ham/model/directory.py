"""A model directory: a trained system as one folder that can be given away, is checked, and loads without code.

=======================  ============================================================================================
model.safetensors        the weights: ``backbone.*`` and ``loss.*``
config.yaml              the system, as in ``conf/``
model.json               format version; what ``average.pt`` holds beside these; thresholds; where it comes from
cohort.safetensors       optional: ``cohort`` (S, D), unit mean embeddings of training speakers
results.json             optional: the numbers of stage 6
SHA256SUMS               of all of them, as ``sha256sum`` writes it
README.md                the model card, for people: it is not read here, and may be edited
=======================  ============================================================================================

Nothing in it is code, and nothing but these names is read. Its bytes depend on the experiment alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
import yaml
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.config import Config, load_config, to_dict
from ham.errors import CheckpointError, ConfigError
from ham.files import CHUNK_BYTES, replacing_folder, write_text
from ham.model import checkpoint
from ham.model.build import build_backbone, build_loss, pick_device, resolve_model
from ham.model.card import card
from ham.model.contents import RESULTS, Contents, of_experiment, refuse_not_finite
from ham.model.encoder import SpeakerEncoder
from ham.schema import Range, accept
from ham.score.decisions import Decisions
from ham.score.results import Results, read_results

WEIGHTS, CONFIG, MODEL, COHORT = "model.safetensors", "config.yaml", "model.json", "cohort.safetensors"
CARD, SUMS = "README.md", "SHA256SUMS"
NEEDED = (WEIGHTS, CONFIG, MODEL)
SUMMED = (*NEEDED, COHORT, RESULTS)
FILES = (*SUMMED, SUMS, CARD)
"""Every file that a model directory may have; no other is ever read, written or published."""

FORMAT, VERSION = "ham model directory", 1
"""First entries of ``model.json``; the version grows when an older program could not read it."""

MAX_TEXT_BYTES = 2**28
"""Of ``model.json``: ten million ids of speakers."""

AGAIN = "pack it again, or fetch it again"

_MODEL = {
    "name": str, "licence": str, "data_licence": str, "embedding_dim": int, "sample_rate": int, "parameters": int,
    "fingerprint": str, "init_from": str, "tensors": tuple[str, ...],
}  # fmt: skip
_IMPORTED = ("file", "sha256", "layout", "source")
_CHECKPOINT = {
    "seed": int, "num_speakers": Annotated[int, Range(0)], "command": str, "valid_speakers": tuple[str, ...],
}  # fmt: skip
"""Entries of ``model.json`` and of its block ``checkpoint`` that loading needs, and their types."""


def pack(
    exp: Path, out: Path, *, licence: str = "", data_licence: str = "", anonymous: bool = False, force: bool = False
) -> None:
    """Make a model directory of an experiment; it is there whole or not at all.

    Args:
        exp: the experiment, with ``average.pt``.
        out: the folder to make. A model directory that is there stays if it is the same, and is replaced with
            ``force``; any other folder is refused, and so is one with files that no model directory has.
        licence: of the weights.
        data_licence: of the training speech, a sentence.
        anonymous: leave out the ids of the training speakers, and their mean embeddings.
        force: replace another model directory.

    Raises:
        HamError: if the experiment is damaged or not finished, or ``out`` is refused.
    """
    check_place(out)
    contents = of_experiment(exp, licence=licence, data_licence=data_licence, anonymous=anonymous)
    write_directory(contents, out, force=force)


def write_directory(contents: Contents, out: Path, *, force: bool = False) -> None:
    """Write a model directory; it is there whole or not at all.

    Args:
        contents: of the directory.
        out: as for :func:`pack`.
        force: likewise.

    Raises:
        ConfigError: if ``out`` is refused.
    """
    out = out.resolve()
    with replacing_folder(out) as part:
        there = check_place(out)
        _write(contents, part)
        if there and not force and not _same(part, out):
            raise ConfigError(f"--out {out}: another model directory, or one that was edited; --force replaces it")


def check_place(out: Path) -> bool:
    """Whether there is a model directory; anything else but nothing or an empty folder is refused.

    Raises:
        ConfigError: if the place must not be replaced.
    """
    if not out.exists():
        return False
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if out.is_dir() and not names:
        return False
    if not {MODEL, SUMS} <= {*names}:  # a damaged one can be packed again
        found = "another folder" if out.is_dir() else "a file"
        raise ConfigError(f"--out {out}: expected a new folder or a model directory, found {found}; choose another one")
    if foreign := [name for name in names if name not in FILES]:
        raise ConfigError(f"--out {out}: also holds {foreign[0]}, which would be lost; move it, or choose another one")
    return True


def _same(one: Path, other: Path) -> bool:
    """Whether two model directories have the same files with the same bytes."""
    names = [[name for name in FILES if (folder / name).exists()] for folder in (one, other)]
    return names[0] == names[1] and all((one / name).read_bytes() == (other / name).read_bytes() for name in names[0])


def _write(contents: Contents, folder: Path) -> None:
    """Write all files into an empty folder."""
    tensors = _tensors(contents.state)
    copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(copies))  # save_file() makes files that others cannot read
    system = yaml.safe_dump(to_dict(contents.config), sort_keys=False, default_flow_style=None)
    write_text(folder / CONFIG, system)
    write_text(folder / MODEL, json.dumps(_model(contents, list(tensors)), indent=1, ensure_ascii=False) + "\n")
    if contents.cohort is not None:
        (folder / COHORT).write_bytes(safetensors.numpy.save({"cohort": contents.cohort}))
    if contents.results is not None:
        shutil.copyfile(contents.folder / RESULTS, folder / RESULTS)
    write_text(folder / CARD, card(contents))
    sums = [f"{_sha256(folder / name)}  {name}\n" for name in SUMMED if (folder / name).exists()]
    write_text(folder / SUMS, "".join(sums))


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {f"{part}.{name}": value for part in ("backbone", "loss") for name, value in state[part].items()}


def _model(contents: Contents, tensors: list[str]) -> dict[str, Any]:
    """What ``model.json`` says; the names of the weights are there for their order, which the fingerprint goes by."""
    decisions = contents.decisions
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": contents.name,
        "licence": contents.licence,
        "data_licence": contents.data_licence,
        "embedding_dim": contents.config.backbone.embedding_dim,
        "sample_rate": SAMPLE_RATE,
        "parameters": contents.parameters,
        "fingerprint": contents.fingerprint,
        "init_from": contents.init_from,
        "commit": contents.commit,
        "decisions": decisions.to_dict() if decisions else None,
        "checkpoint": {k: v for k, v in contents.state.items() if k not in ("config", "backbone", "loss")},
        "tensors": tensors,
    }


def load_directory(path: Path, device: str = "auto") -> SpeakerEncoder:
    """Load a model directory; its checksums are verified, nothing in it is run, and no network is needed.

    Args:
        path: the directory.
        device: where to embed: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The system; its embeddings are those of the experiment, bit for bit.

    Raises:
        HamError: if it is no model directory, of a newer format, or damaged, naming the file.
    """
    found = read_directory(path)
    there = pick_device(device)
    return SpeakerEncoder.from_state(path / MODEL, found.state, there, found.decisions, found.cohort)


def read_directory(path: Path) -> Contents:
    """Read and check a model directory.

    Raises:
        HamError: as :func:`load_directory`.
    """
    model = read_model(path)
    verify(path)
    place, config = path / MODEL, load_config(path / CONFIG)
    if model["embedding_dim"] != config.backbone.embedding_dim or model["sample_rate"] != SAMPLE_RATE:
        found = f"{model['embedding_dim']} and {model['sample_rate']} Hz"
        expected = f"{config.backbone.embedding_dim} numbers an embedding and {SAMPLE_RATE} Hz"
        raise CheckpointError(f"{place}: expected {expected}, found {found}; {AGAIN}")
    tensors = _read_weights(path / WEIGHTS, model, config)
    parts = {
        part: {name.partition(".")[2]: tensors[name] for name in model["tensors"] if name.startswith(f"{part}.")}
        for part in ("backbone", "loss")
    }
    if checkpoint.weights_digest(parts) != model["fingerprint"]:
        raise CheckpointError(f"{path / WEIGHTS}: not the weights whose fingerprint {MODEL} names; {AGAIN}")
    decisions = model["decisions"]
    return Contents(
        folder=path,
        name=model["name"],
        state={**model["checkpoint"], **parts, "config": to_dict(config)},
        config=config,
        fingerprint=model["fingerprint"],
        parameters=model["parameters"],
        licence=model["licence"],
        data_licence=model["data_licence"],
        init_from=model["init_from"],
        results=_read_results(path / RESULTS),
        decisions=None if decisions is None else Decisions.from_dict(decisions, f"{place}: decisions"),
        cohort=_read_cohort(path / COHORT, model["embedding_dim"]),
    )


def unpack(path: Path, exp: Path) -> None:
    """Make an experiment of a model directory, so that stages 5 to 7 can measure it: ``average.pt``, ``config.yaml``.

    Args:
        path: the model directory.
        exp: the experiment's folder; the same model may be there already.

    Raises:
        ConfigError: if ``exp`` holds another model or a training.
        HamError: as :func:`load_directory`.
    """
    found = read_directory(path)
    place = exp / "average.pt"
    if (exp / "checkpoints").exists():
        raise ConfigError(f"--model {path}: {exp} is the experiment of a training; choose another --exp_name")
    if place.exists() and checkpoint.weights_digest(checkpoint.load(place)) != found.fingerprint:
        raise ConfigError(f"--model {path}: {exp} holds another model; choose another --exp_name, or remove it")
    write_text(exp / CONFIG, (path / CONFIG).read_text(encoding="utf-8"))
    checkpoint.save(place, found.state)


def read_model(path: Path) -> dict[str, Any]:
    """Read ``model.json`` and check version and types.

    Raises:
        ConfigError: if there is none, or another program's, or an entry has another type.
        CheckpointError: if it is of another version or damaged.
    """
    place = path / MODEL
    if not place.exists():
        made = "`ham pack EXP --out DIR` makes one of an experiment"
        raise ConfigError(f"{path}: expected a model directory, found no {MODEL}; {made}")
    content = _read_json(place)
    if content.get("format") != FORMAT:
        raise ConfigError(f"{place}: expected the format '{FORMAT}', found another; is it a model of another program?")
    version = accept(f"{place}: version", content.get("version"), int)
    if version != VERSION:
        cure = "install a newer ham" if version > VERSION else "pack it again"
        raise CheckpointError(f"{place}: expected format version {VERSION}, found {version}; {cure}")
    if missing := [name for name in (*_MODEL, "checkpoint", "decisions") if name not in content]:
        raise CheckpointError(f"{place}: expected the entry '{missing[0]}', found none; {AGAIN}")
    content |= {name: accept(f"{place}: {name}", content[name], hint) for name, hint in _MODEL.items()}
    kept = content["checkpoint"]
    if not isinstance(kept, dict):
        raise CheckpointError(f"{place}: expected a block as 'checkpoint', found something else; {AGAIN}")
    for name, hint in _CHECKPOINT.items():
        accept(f"{place}: checkpoint.{name}", kept.get(name), hint)
    imported = accept(f"{place}: checkpoint.imported", kept.get("imported", {}), dict[str, str])
    if imported and {*imported} != {*_IMPORTED}:
        raise CheckpointError(f"{place}: checkpoint.imported: expected {', '.join(_IMPORTED)}, found others; {AGAIN}")
    return content


def _read_json(place: Path) -> dict[str, Any]:
    """A file that holds one JSON object."""
    expected = f"{place}: expected an object of JSON"
    if not place.is_file() or place.stat().st_size > MAX_TEXT_BYTES:
        raise CheckpointError(f"{expected}, found no file, or one above {MAX_TEXT_BYTES} bytes; {AGAIN}")
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise CheckpointError(f"{expected}, found something else; {AGAIN}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{expected}, found something else; {AGAIN}")
    return content


def verify(path: Path) -> None:
    """Compare every file of a model directory, but the card, with its checksum: 60 MB take about 0.3 s.

    Links are followed, as the cache of the hub is made of them; what they lead to is checked like any file.

    Raises:
        CheckpointError: if a file is missing, was changed, or is named that no model directory has.
    """
    sums = _read_sums(path / SUMS)
    for name in SUMMED:
        place, there = path / name, (path / name).exists()
        if name in sums and not there:
            raise CheckpointError(f"{place}: expected a file, found nothing; {AGAIN}")
        if there and not place.is_file():
            raise CheckpointError(f"{place}: expected a file, found something else; {AGAIN}")
        if there and _sha256(place) != sums.get(name):
            raise CheckpointError(f"{place}: damaged or edited since it was packed (its SHA-256 is another); {AGAIN}")


def _read_sums(place: Path) -> dict[str, str]:
    """The checksums by name; only names of this format count."""
    if not place.is_file() or place.stat().st_size > CHUNK_BYTES:
        raise CheckpointError(f"{place}: expected checksums, found no file, or a very large one; {AGAIN}")
    sums: dict[str, str] = {}
    for number, line in enumerate(place.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not found or found[2] not in SUMMED or found[2] in sums:
            expected = "expected '<SHA-256>  <file>', each file of a model directory once"
            raise CheckpointError(f"{place}:{number}: {expected}, found '{line[:100]}'; {AGAIN}")
        sums[found[2]] = found[1]
    if missing := [name for name in NEEDED if name not in sums]:
        raise CheckpointError(f"{place}: expected a line for {missing[0]}, found none; {AGAIN}")
    return sums


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read_weights(place: Path, model: Mapping[str, Any], config: Config) -> dict[str, Tensor]:
    """The weights, if their names, shapes and types are those of the configuration, and all are finite.

    They are compared with a network that takes no memory, so that no configuration can ask for more than there is.
    """
    tensors: dict[str, Tensor] = _load(place, safetensors.torch.load_file)
    try:
        resolve_model(config)
    except ConfigError as error:
        raise ConfigError(f"{place.with_name(CONFIG)}: {error}") from None
    with torch.device("meta"):
        backbone = build_backbone(config).state_dict()
    number = model["checkpoint"]["num_speakers"]
    room = sum(value.numel() for name, value in tensors.items() if name.startswith("loss."))
    if number * config.backbone.embedding_dim > room:
        raise CheckpointError(f"{place}: expected the centres of {number} speakers, found fewer numbers; {AGAIN}")
    expected = _tensors({"backbone": backbone, "loss": build_loss(config, number).state_dict()})
    if {*tensors} != {*expected} or {*model["tensors"]} != {*expected}:
        odd = sorted(({*tensors} | {*model["tensors"]}) ^ {*expected} or {*tensors} ^ {*expected})
        raise CheckpointError(f"{place}: expected the weights of {CONFIG}, found others (see {odd[0]}); {AGAIN}")
    for name, value in tensors.items():
        if (value.shape, value.dtype) != (expected[name].shape, expected[name].dtype):
            wanted, found = (f"{tuple(x.shape)} {x.dtype}".replace("torch.", "") for x in (expected[name], value))
            raise CheckpointError(f"{place}: {name}: expected {wanted} as {CONFIG} says, found {found}; {AGAIN}")
    refuse_not_finite(place, tensors)
    return tensors


def _read_results(place: Path) -> Results | None:
    try:
        return read_results(place) if place.exists() else None
    except RecursionError:
        raise CheckpointError(f"{place}: nested too deep for results; {AGAIN}") from None


def _read_cohort(place: Path, dim: int) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    if not place.exists():
        return None
    cohort = _load(place, safetensors.numpy.load_file).get("cohort")
    if cohort is None or cohort.ndim != 2 or cohort.shape[1] != dim or cohort.dtype != np.float32:
        raise CheckpointError(f"{place}: expected 'cohort', rows of {dim} numbers, found something else; {AGAIN}")
    refuse_not_finite(place, {"cohort": torch.from_numpy(cohort)})
    found: np.ndarray[Any, np.dtype[np.float32]] = cohort
    return found


def _load(place: Path, load: Any) -> dict[str, Any]:
    """What a safetensors file holds."""
    try:
        found: dict[str, Any] = load(place)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{place}: not a file of safetensors ({reason}); {AGAIN}") from None
    return found
