from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from docs.figures import picture_demo
from tests.demo.serving import write_demo_model
from tests.speaking import write_voice


def test_the_picture_is_of_a_comparison_as_wide_as_a_page(tmp_path: Path) -> None:
    model, voice = write_demo_model(tmp_path / "exp"), write_voice(tmp_path / "one.wav")
    (tmp_path / "files").mkdir()
    shown = Image.open(io.BytesIO(picture_demo.picture(model, [voice, voice], tmp_path / "files")))
    assert shown.width == picture_demo.WIDTH_PX * picture_demo.SCALE
    assert shown.height > shown.width
    assert len(shown.convert("RGB").getcolors(1 << 20) or []) > 100


def test_the_picture_in_the_documents_is_small() -> None:
    assert picture_demo.PLACE.stat().st_size < 150_000
    assert Image.open(picture_demo.PLACE).width == picture_demo.WIDTH_PX * picture_demo.SCALE
