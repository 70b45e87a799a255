"""TensorBoard's projector finds the embeddings with what is known of them; writing again replaces them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from ham.analysis import projector
from ham.errors import DataError

COLUMNS = ["utterance", "speaker"]


def write(board: Path, count: int = 5) -> Path:
    rows = [[f"u{at}", f"s{at % 2}"] for at in range(count)]
    return projector.write_projector(board, np.arange(count * 3, dtype=np.float32).reshape(count, 3), COLUMNS, rows)


def entries(folder: Path) -> list[tuple[list[str], list[str]]]:
    """Lines of the tensors and the metadata of everything that the configuration names."""
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    return [
        ((folder / entry.tensor_path).read_text().splitlines(), (folder / entry.metadata_path).read_text().splitlines())
        for entry in config.embeddings
    ]


def test_tensors_and_metadata_belong_together(tmp_path: Path) -> None:
    folder = write(tmp_path)
    [(tensors, metadata)] = entries(folder)
    assert metadata == ["utterance\tspeaker", *(f"u{at}\ts{at % 2}" for at in range(5))]
    assert [[float(x) for x in line.split("\t")] for line in tensors] == np.arange(15).reshape(5, 3).tolist()
    assert list(folder.glob("events.out.tfevents.*"))  # by which TensorBoard knows a run


def test_writing_again_replaces(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(b"the training's")
    write(tmp_path)
    (tmp_path / ".projector.part").mkdir()
    [(tensors, metadata)] = entries(write(tmp_path, 7))
    assert (len(tensors), len(metadata)) == (7, 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.out.tfevents.1", "projector"]
    assert len(list((tmp_path / "projector").glob("events.out.tfevents.*"))) == 1


def test_of_very_many_some_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "MOST_ROWS", 4)
    [(tensors, metadata)] = entries(write(tmp_path, 9))
    assert [line.split("\t")[0] for line in metadata[1:]] == ["u0", "u2", "u4", "u6"]
    assert tensors[1] == "6.0\t7.0\t8.0"


def test_what_is_no_such_run_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "projector").mkdir()
    (tmp_path / "projector/thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"expected a run with projector_config\.pbtxt to replace, .*; move it away"):
        write(tmp_path)
    assert [path.name for path in (tmp_path / "projector").iterdir()] == ["thesis.tex"]
