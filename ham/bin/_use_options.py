"""Options that the commands for a trained model share: the model, the device, answers for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ham
from ham.cli import Parser
from ham.errors import ConfigError

if TYPE_CHECKING:
    from ham.model.encoder import SpeakerEncoder

SOUNDS = "wav, flac, ogg, mp3 or m4a, any rate, mono or not; - is standard input"
"""What a command takes for speech."""


def add_model(parser: Parser) -> None:
    """Add ``--model``, ``--device`` and ``--json``."""
    parser.add_argument(
        "--model",
        default=os.environ.get("HAM_MODEL"),
        help="an experiment's folder, a model directory, or owner/name at the hub; else what HAM_MODEL names",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_json(parser)


def add_json(parser: Parser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="answer with one JSON document; errors too")


def load_model(options: Any) -> SpeakerEncoder:
    """Load the model that the options name.

    Raises:
        ConfigError: if they name none.
        HamError: if there is no such model, or it is damaged.
    """
    if not options.model:
        raise ConfigError("expected a model, found none; give --model M, or name it in the variable HAM_MODEL")
    return ham.load(options.model, options.device)


def answer(options: Any, document: Mapping[str, Any], text: str) -> None:
    """Print the answer: the document with ``--json``, the text without."""
    print(json.dumps(document, ensure_ascii=False, allow_nan=False) if options.json else text)
