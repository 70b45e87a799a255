"""Take the picture of the demo: ``python docs/figures/picture_demo.py MODEL A B`` makes ``demo.png`` of docs/demo.md.

The demo runs with a model, a browser compares two recordings with it, and its page is kept in 32 colours. The picture
in the repository: MODEL is ``egs/mini/exp/mini_ham_softmax``, A and B are ``s1/01.flac`` and ``s2/01.flac`` of
``egs/mini/data/mini/wav/mini0031``, a speaker of the test list.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ham.files import replacing
from tests.demo.serving import demo
from tests.driven import Browser

PLACE = Path(__file__).with_name("demo.png")
WIDTH_PX, SCALE = 838, 1.5
COLOURS = 32


def picture(model: Path, recordings: list[Path], folder: Path) -> bytes:
    """The page after it has compared two recordings, as PNG.

    Args:
        model: an experiment's folder or a model directory.
        recordings: two.
        folder: an empty one for the browser's and the demo's files.
    """
    with demo(model, folder / "speakers.db") as server, Browser(folder / "profile") as browser:
        browser.open(server.url, width=WIDTH_PX)
        for side, path in zip("AB", recordings, strict=True):
            browser.choose(f"#{side} input", [path.resolve()])
            browser.wait_for(f"!document.querySelector('#{side} .heard').hidden")
        browser.click("#verify")
        browser.wait_for("document.querySelector('#answer .word')")
        browser.run("document.activeElement.blur()")
        return browser.picture("#answer + .hint", SCALE)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("recordings", type=Path, nargs=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        png = picture(options.model, options.recordings, Path(folder))
    with replacing(PLACE) as new:
        Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS).save(new, "PNG", optimize=True)
    print(PLACE, PLACE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
