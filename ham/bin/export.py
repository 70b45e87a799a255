"""Write a trained system as one ONNX or torch.export file, from samples to embeddings, and check that it is the same.

docs/export.md says how other programs use the file.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from ham.bin._use_options import add_model, answer, load_model
from ham.cli import Parser, run
from ham.errors import ConfigError
from ham.model.export import FORMATS, LEAST_COSINE, export_model

SUFFIXES = {".onnx": "onnx", ".pt2": "torch"}
"""The format that a file's name says."""


def main(argv: Sequence[str]) -> None:
    """Export.

    Args:
        argv: the arguments without the command's name.
    """
    parser = Parser(prog="ham export", description=__doc__)
    add_model(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to, as model.onnx or model.pt2")
    parser.add_argument(
        "--format", choices=FORMATS, help="onnx, or torch, the archive of torch.export; else by the name"
    )
    parser.add_argument(
        "--precision",
        choices=tuple(LEAST_COSINE),
        default="float32",
        help="float16: weights in half the space, computed in float32; int8: matrix products in int8; both onnx only",
    )
    options = parser.parse_args(argv)
    by_name = SUFFIXES.get(options.out.suffix, options.format or FORMATS[0])
    if options.format not in (None, by_name):
        raise ConfigError(f"--out {options.out}: the name says {by_name}, and --format {options.format}")
    options.format = by_name
    encoder = load_model(options)
    worst = export_model(encoder, options.out, options.format, options.precision)
    size = options.out.stat().st_size
    found = {
        "out": str(options.out), "format": options.format, "precision": options.precision, "bytes": size,
        "fingerprint": encoder.fingerprint, "least_cosine": worst.cosine, "where": worst.where,
    }  # fmt: skip
    least = math.floor(worst.cosine * 1e7) / 1e7
    said = f"cosine to the model's own embeddings at least {least:.7f} ({worst.where})"
    answer(options, found, f"{options.out}: {options.format}, {options.precision}, {size / 1e6:.1f} MB, {said}")


if __name__ == "__main__":
    sys.exit(run(main))
