"""Stage 1: fetch archives and trial lists, or check those that are there.

What can be fetched is listed in --catalogue; MUSAN and RIRS_NOISES always can. Where owners ask for a personal key it
comes from them (--source official, the key in the variable that the catalogue names or in a file), from a mirror at
Hugging Face (--source mirror) or from you (--source none: nothing is fetched, what is in --archives is checked). What
was loaded is kept, and the next run goes on from there; what was checked is not read again.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ham.cli import Parser, above_zero, at_least, boolean, run
from ham.corpora.catalogue import ArchiveSet, load_catalogue
from ham.corpora.disk_space import SpacePlan
from ham.corpora.download import SOURCES, Ways, download
from ham.corpora.fetch import Limits
from ham.corpora.web import INSECURE, Secret
from ham.errors import ConfigError
from ham.schema import choose

logger = logging.getLogger(__name__)

STAGE_OF_STORES = 3


def main(argv: Sequence[str]) -> None:
    """Fetch and check."""
    options = _parser().parse_args(argv)
    catalogue = load_catalogue(options.catalogue)
    sets = [catalogue.sets[choose("--sets", name, catalogue.sets)] for name in dict.fromkeys(options.sets)]
    stored = [catalogue.sets[choose("--stored", name, catalogue.sets)] for name in dict.fromkeys(options.stored)]
    lists = [catalogue.lists[choose("--lists", name, catalogue.lists)] for name in dict.fromkeys(options.lists)]
    if not sets and not lists:
        raise ConfigError(f"--sets, --lists: expected something to fetch; the sets are {', '.join(catalogue.sets)}")
    if options.insecure:
        logger.warning("--insecure: certificates are not verified; %s", INSECURE)
    limits = Limits(num_attempts=options.num_attempts, backoff_s=options.backoff_s, stall_s=options.stall_s)
    corpora = options.corpora_dir or options.archives.absolute().parent / "corpora"
    download(
        sets,
        lists,
        options.archives,
        _ways(options, catalogue.key_variable),
        _plan(options, corpora, stored),
        catalogue,
        accept_repacked=options.accept_repacked,
        limits=limits,
        insecure=options.insecure,
        num_connections=options.num_connections,
    )


def _plan(options: Any, corpora: Path, stored: Sequence[ArchiveSet]) -> SpacePlan:
    return SpacePlan(
        corpora,
        options.format,
        options.keep_archives,
        options.store_dir,
        stored,
        made_share=options.made_share,
        packs_now=options.stop_stage >= STAGE_OF_STORES,
        saving=options.saving,
    )


def _parser() -> Parser:
    parser = Parser(prog="ham.bin.download", description=__doc__)
    parser.add_argument("--sets", nargs="*", default=[], metavar="SET", help="names of the catalogue, musan, rirs")
    parser.add_argument("--lists", nargs="*", default=[], metavar="FILE", help="trial lists of the catalogue")
    parser.add_argument("--archives", type=Path, required=True, help="folder of the archives")
    parser.add_argument("--source", choices=SOURCES, required=True, help="where archives with a key come from")
    parser.add_argument("--key_file", type=Path, help="file that holds the personal key, in place of the variable")
    parser.add_argument("--official_url", help="the owners' address, without key; default: the catalogue's")
    parser.add_argument("--lists_url", help="folder of the trial lists; default: the catalogue's")
    parser.add_argument(
        "--openslr_urls", nargs="*", help="openslr's mirrors in the order to try; default: the catalogue's"
    )
    parser.add_argument("--mirror_repo", help="the Hugging Face data set; its server: HF_ENDPOINT")
    parser.add_argument("--catalogue", type=Path, required=True, help="a corpus's archives.yaml: what is where")
    parser.add_argument("--corpora_dir", type=Path, help="folder to unpack into; default: corpora beside the archives")
    parser.add_argument("--store_dir", type=Path, help="folder of the audio stores, for the check of the disk space")
    parser.add_argument("--stored", nargs="*", default=[], metavar="SET", help="sets whose audio goes into the stores")
    parser.add_argument("--made_share", type=_share, default=0.0, help="what will be made of the files, of their size")
    parser.add_argument(
        "--stop_stage", type=at_least(1), default=STAGE_OF_STORES, help="below 3 the stores may lack room; that is said"
    )
    parser.add_argument("--saving", default="", metavar="TEXT", help="an option of the caller that needs less disk")
    parser.add_argument("--keep_archives", type=boolean, default=True, help="whether unpacking will keep the archives")
    parser.add_argument(
        "--accept_repacked", type=boolean, default=False, help="take archives that are there with another checksum"
    )
    parser.add_argument("--format", choices=("wav", "flac", "store"), default="wav", help="copy of m4a speech")
    parser.add_argument("--num_connections", type=at_least(1), default=4, help="files loaded at the same time")
    parser.add_argument("--num_attempts", type=at_least(1), default=8, help="failures in a row before giving up")
    seconds = above_zero("seconds")
    parser.add_argument("--backoff_s", type=seconds, default=1.0, help="pause after the first failure")
    parser.add_argument("--stall_s", type=seconds, default=60.0, help="silence after which a server counts as gone")
    parser.add_argument("--insecure", action="store_true", help=f"do not verify certificates: {INSECURE}")
    return parser


def _share(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"expected a share such as 0.5, found {text!r}")
    return float(text)


def _ways(options: Any, key_variable: str) -> Ways:
    return Ways(
        source=options.source,
        key=_key(options.key_file, key_variable) if options.source == "official" else None,
        official_url=options.official_url or "",
        lists_url=options.lists_url or "",
        openslr_urls=tuple(options.openslr_urls or ()),
        mirror_repo=options.mirror_repo or "",
        endpoint=os.environ.get("HF_ENDPOINT") or None,
    )


def _key(path: Path | None, variable: str) -> Secret | None:
    """The personal key from the file or else the environment; None where there is none.

    A wrong name of the file is not repeated: it may be the key itself, typed in the wrong place.
    """
    if path is None:
        text = os.environ.get(variable, "")
        return Secret(text, variable) if text.strip() else None
    try:
        text = path.read_text(encoding="utf-8")
        open_to_others = path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    except (OSError, ValueError) as error:
        found = (isinstance(error, OSError) and error.strerror) or "no text"
    else:
        if open_to_others:
            logger.warning("--key_file: others on this machine can read it; `chmod 600` keeps it yours")
        return Secret(text, "--key_file")
    raise ConfigError(f"--key_file: expected a file that holds the key, found: {found}")


if __name__ == "__main__":
    sys.exit(run(main))
