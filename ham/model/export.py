"""Write a trained system as one file that other programs run: ONNX or torch.export, with the front end inside."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import ham
from ham.audio import SAMPLE_RATE
from ham.errors import ConfigError, DataError
from ham.files import replacing
from ham.frontends import Frontend
from ham.model.encoder import Network, SpeakerEncoder
from ham.schema import choose

FORMATS = ("onnx", "torch")
"""ONNX, for ONNX Runtime in any language; or the archive of ``torch.export``, for torch without this package."""

LEAST_COSINE = {"float32": 0.99999, "float16": 0.9999, "int8": 0.9}
"""The precisions, and how near an exported embedding must come to the network's own for the file to be kept."""

IN_INT8 = ("Gemm", "MatMul")
"""Operations of the backbone that int8 is for."""

CHECKED_SECONDS = (0.5, 1.0, 3.21, 7.0, 20.0)
CHECKED_BATCHES = (1, 3)
"""What an exported file is tried with, beside the shortest waveform that gives a frame."""

NEEDED = ("onnx", "onnxruntime", "onnxscript")
"""Packages of the extra ``export``."""

Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From samples ``(B, N)`` to embeddings ``(B, D)``."""


@dataclass(frozen=True)
class Parity:
    """Where an exported file differs most from the network that it was made of.

    Attributes:
        cosine: the lowest one between the two embeddings of a waveform; NaN if one is not finite.
        where: the batch, in words.
    """

    cosine: float
    where: str


class Exportable(nn.Module):
    """A network of operations that every exporter knows, on the CPU.

    Args:
        network: front end and backbone; it stays as it is.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        copied = copy.deepcopy(network).cpu().eval()
        assert isinstance(copied.frontend, Frontend)
        self.frontend, self.backbone = copied.frontend, copied.backbone
        self.register_buffer("filters", self.frontend.filters())

    def forward(self, samples: Tensor) -> Tensor:
        """Embed equally long waveforms.

        Args:
            samples: in [-1, 1], float32, shape ``(B, N)``.

        Returns:
            Embeddings, shape ``(B, D)``.
        """
        embeddings: Tensor = self.backbone(self.frontend.by_product(samples, self.get_buffer("filters")))
        return embeddings


def export_model(encoder: SpeakerEncoder, out: Path, kind: str = "onnx", precision: str = "float32") -> Parity:
    """Write one file that turns samples into embeddings: any number of waveforms of any one length.

    The input ``samples`` is float32 in [-1, 1] at 16 kHz, shape ``(B, N)``; the output ``embeddings`` is float32, shape
    ``(B, D)``, not of length 1. See :func:`metadata` for what else the file says.

    Args:
        encoder: the system.
        out: the file.
        kind: one of ``FORMATS``.
        precision: one of ``LEAST_COSINE``; ``torch`` has float32 alone.

    Returns:
        Where the file differs most from the network.

    Raises:
        ConfigError: if there is no such format or precision, or a package is missing.
        DataError: if the file would differ more than ``LEAST_COSINE`` says; nothing is left then.
    """
    choose("--format", kind, FORMATS)
    choose("--precision", precision, LEAST_COSINE)
    if kind == "torch" and precision != "float32":
        raise ConfigError(f"--precision {precision}: expected float32 with --format torch; only ONNX has others")
    if kind == "onnx":
        _require_packages()
    exportable = Exportable(encoder.network)
    with replacing(out) as part, _quiet():
        program = trace(exportable)
        said = metadata(encoder, precision)
        if kind == "torch":
            said["min_samples"] = str(max(int(said["min_samples"]), _shortest(program)))
            with part.open("wb") as stream:
                torch.export.save(program, stream, extra_files={"ham.json": json.dumps(said)})
        else:
            _write_onnx(to_onnx(program), part, said, precision)
        embed = open_torch(part) if kind == "torch" else open_onnx(part)
        worst = parity(encoder.network, embed, int(said["min_samples"]))
        if not worst.cosine >= LEAST_COSINE[precision]:
            expected = f"expected a cosine of at least {LEAST_COSINE[precision]} to the network's own embeddings"
            cure = "use float32" if precision != "float32" else "report it with config.yaml"
            raise DataError(f"{out}: {expected}, found {worst.cosine:.6f} with {worst.where}; not kept, {cure}")
    return worst


def trace(exportable: Exportable) -> torch.export.ExportedProgram:
    """The network as a graph, in which number and length of the waveforms are open."""
    example = torch.linspace(-0.1, 0.1, 2 * 32000).view(2, -1)
    open_ended = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        return torch.export.export(
            exportable, (example,), dynamic_shapes={"samples": {0: open_ended, 1: open_ended}}, strict=False
        )


def _shortest(program: torch.export.ExportedProgram) -> int:
    """Samples below which a traced graph refuses a waveform: to a tracer 1 frame is a special case."""
    return int(max(allowed.lower for allowed in program.range_constraints.values()))


def metadata(encoder: SpeakerEncoder, precision: str) -> dict[str, str]:
    """What an exported file says of itself: in ONNX its metadata, in an archive of torch the file ``ham.json``.

    ``decisions`` holds the thresholds of stage 6 as JSON, where there are some.
    """
    frontend = encoder.network.frontend
    assert isinstance(frontend, Frontend)
    said = {
        "ham_version": ham.__version__,
        "fingerprint": encoder.fingerprint,
        "embedding_dim": str(encoder.embedding_dim),
        "sample_rate": str(encoder.sample_rate),
        "min_samples": str(frontend.min_samples),
        "precision": precision,
    }
    if encoder.decisions is not None:
        said["decisions"] = json.dumps(encoder.decisions.to_dict())
    return said


def open_onnx(path: Path, num_threads: int = 0) -> Embed:
    """A file of ONNX as a function; ``num_threads`` 0 takes as many as torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def _embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, {"samples": samples})[0]
        return found

    return _embed


def open_torch(path: Path) -> Embed:
    """An archive of ``torch.export`` as a function.

    Its guards are left out: the tracer writes down that it saw more than one waveform and frame, and would refuse one,
    which the graph embeds as well; :func:`parity` tries it.
    """
    module = torch.export.load(io.BytesIO(path.read_bytes())).module(check_guards=False)

    def _embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = module(torch.from_numpy(samples)).numpy()
        return found

    return _embed


def parity(network: Network, embed: Embed, min_samples: int) -> Parity:
    """Try a function on noise and on signals like speech, alone and in a batch, from one frame to 20 s.

    Args:
        network: what it must equal.
        embed: the function.
        min_samples: shortest waveform that the function takes.
    """
    found = []
    with torch.inference_mode():
        for where, samples in _signals(min_samples):
            device = next(network.parameters()).device
            expected = network(torch.from_numpy(samples).to(device)).cpu().double().numpy()
            rows = embed(samples).astype(np.float64)
            norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(rows, axis=1)
            found.append(Parity(float(((expected * rows).sum(1) / norms).min()), where))
    return min(found, key=lambda one: (not np.isnan(one.cosine), one.cosine))


def _signals(min_samples: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Batches to try, with their names."""
    generator = np.random.default_rng(0)
    for num_samples in (min_samples, *(round(seconds * SAMPLE_RATE) for seconds in CHECKED_SECONDS)):
        noise = generator.normal(0, 0.1, (max(CHECKED_BATCHES), num_samples)).astype(np.float32)
        voices = np.stack([speech_like(num_samples, 90.0 * 1.5**index) for index in range(len(noise))])
        for batch in CHECKED_BATCHES:
            for name, samples in (("noise", noise), ("a signal like speech", voices + 0.001 * noise)):
                yield f"{name}, {batch} x {num_samples} samples", samples[:batch]


def speech_like(num_samples: int, pitch_hz: float) -> NDArray[np.float32]:
    """Harmonics of a gliding pitch under two moving formants, four syllables a second, samples in [-1, 1]."""
    time = np.arange(num_samples) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time))) / SAMPLE_RATE
    voice = np.zeros(num_samples)
    for number in range(1, int(4000 / pitch_hz)):
        hz = number * pitch_hz
        formants = (500 + 200 * np.sin(2 * np.pi * 2 * time), 1800 + 500 * np.sin(2 * np.pi * 3 * time + 1))
        loud = sum(1 / (1 + ((hz - formant) / 150) ** 2) for formant in formants)
        voice += (0.01 + loud) / number**0.5 * np.sin(number * phase)
    voice *= np.sin(2 * np.pi * 2 * time) ** 2
    return np.asarray(0.5 * voice / np.abs(voice).max(), np.float32)


def to_onnx(program: torch.export.ExportedProgram) -> Any:
    """A traced graph as an ``onnx.ModelProto``."""
    exported = torch.onnx.export(
        program, dynamo=True, input_names=["samples"], output_names=["embeddings"], verbose=False
    )
    assert exported is not None
    return exported.model_proto


def _write_onnx(model: Any, path: Path, said: Mapping[str, str], precision: str) -> None:
    import onnx

    if precision == "float16":
        _halve_weights(model)
    elif precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        kept = [node.name for node in model.graph.node if not _of_backbone(node)]
        quantize_dynamic(
            model, path, op_types_to_quantize=list(IN_INT8), per_channel=True, weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )  # fmt: skip
        model = onnx.load(path)
    onnx.helper.set_model_props(model, {**said})
    onnx.save(model, path)


def _halve_weights(model: Any) -> None:
    """Keep the backbone's matrices and filters in float16; ONNX Runtime widens them when it loads the file."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = model.graph, []
    for weight in graph.initializer:
        if weight.name.startswith("backbone.") and len(weight.dims) > 1:
            name, values = weight.name, numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(values, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _of_backbone(node: Any) -> bool:
    """Whether a node was made from a part of the backbone, as the exporter notes beside it."""
    scopes = {prop.key: prop.value for prop in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
    return "'backbone'" in scopes


def _require_packages() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        cure = 'pip install "ham-speaker[export]", or pip install ".[export]" in a clone'
        raise ConfigError(f"--format onnx: needs {', '.join(NEEDED)}, found no {', '.join(missing)}; {cure}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporters and the quantiser say of themselves: of torchvision, of deprecations."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
