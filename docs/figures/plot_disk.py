"""Draw the README's picture, speakers on the Poincaré disk: ``python docs/figures/plot_disk.py EXP`` makes disk.svg.

``EXP`` is an experiment after stage 7; its ``geometry.json`` says where the points are, and gives the same bytes
every time.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ham.analysis.picture import Picture, ShownSpeaker
from ham.files import write_text
from ham.report.figures import PAPER
from ham.report.geometry_figures import disk

PICTURE = Path(__file__).resolve().parent / "disk.svg"


def read_picture(path: Path) -> Picture:
    """The picture in a ``geometry.json``.

    Args:
        path: the file.

    Returns:
        The speakers on the disk or in the plane.
    """
    found = json.loads(path.read_text(encoding="utf-8"))["picture"]
    return Picture(**{**found, "speakers": tuple(ShownSpeaker(**speaker) for speaker in found["speakers"])})


def draw(picture: Picture) -> str:
    """The whole disk on a ground of its own, so that it can be seen on a page of any colour; without a legend.

    Args:
        picture: what to draw.

    Returns:
        An SVG file.
    """
    head, end, rest = disk(picture).decode().partition(' version="1.1">\n')
    return f'{head}{end} <rect width="100%" height="100%" fill="{PAPER}"/>\n{rest}'


def main() -> None:
    """Draw, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path, help="experiment with geometry.json")
    parser.add_argument("--out", type=Path, default=PICTURE, help="the file")
    options = parser.parse_args()
    write_text(options.out, draw(read_picture(options.exp_dir / "geometry.json")))
    print(options.out)


if __name__ == "__main__":
    main()
