"""The demo's page in a real browser: recorded, chosen and dropped speech, answers, and how it looks at every width."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ham
from ham.demo.page import POINTS, render
from ham.demo.server import MOST_QUESTIONS, Server
from ham.score.decisions import DEFAULT_POINT
from ham.score.thresholds import POINTS as MEASURED
from tests.browser import SCRIPT
from tests.demo.serving import demo, wav, write_demo_model
from tests.driven import Browser
from tests.speaking import thresholds, voice, write_decisions, write_voice
from tests.tiny_system import write_model

HEARD = "!document.querySelector('#{} .heard').hidden"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_demo_model(tmp_path_factory.mktemp("model") / "exp")
    write_voice(folder / "one.wav")
    write_voice(folder / "other.wav", 4, 200)
    write_voice(folder / "short.wav", 1.2)
    write_voice(folder / "microphone.wav", 8, 120, 48000)
    (folder / "garbage.wav").write_bytes(b"garbage" * 100)
    (folder / "letter.txt").write_text("Dear Ada", encoding="utf-8")
    return folder


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[Server]:
    with demo(model, tmp_path / "speakers.db") as running:
        yield running


@pytest.fixture(scope="module")
def browser(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), model / "microphone.wav") as running:
        yield running


def choose(browser: Browser, side: str, path: Path) -> None:
    browser.choose(f"#{side} input", [path])
    browser.wait_for(HEARD.format(side))


def test_two_files_are_compared(browser: Browser, server: Server, model: Path) -> None:
    browser.open(server.url)
    assert browser.run("document.querySelector('#verify').disabled")
    choose(browser, "A", model / "one.wav")
    choose(browser, "B", model / "other.wav")
    assert "3.0 s" in browser.text("#A .axis")
    browser.click("#verify")
    browser.wait_for("document.querySelector('#answer .word')")
    expected = ham.load(model, "cpu").score(model / "one.wav", model / "other.wav")
    assert browser.text("#answer .word") == "Two speakers"
    assert f"Score {expected:.3f}; from 1.000 on they count as one speaker (eer, measured on 12" in browser.text(
        "#answer"
    )
    choose(browser, "B", model / "one.wav")
    browser.wait_for("document.querySelector('#answer').innerText === ''")
    browser.click("#verify")
    browser.wait_for("document.querySelector('#answer.same .word')")
    assert browser.text("#answer .word") == "One speaker"


def test_another_threshold_answers_anew(browser: Browser, server: Server, model: Path) -> None:
    browser.open(server.url)
    choose(browser, "A", model / "one.wav")
    choose(browser, "B", model / "one.wav")
    browser.click("#verify")
    browser.wait_for("/eer, measured/.test(document.querySelector('#answer').innerText)")
    browser.run("document.querySelector('#threshold').focus()")
    browser.key("ArrowDown", 40)
    browser.wait_for("/far_1, measured/.test(document.querySelector('#answer').innerText)")


def test_pictures_are_drawn(browser: Browser, server: Server, model: Path) -> None:
    browser.open(server.url)
    choose(browser, "A", model / "one.wav")
    for canvas in (".wave", ".spectrum"):
        script = (
            f"(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v))"
            f"(document.querySelector('#A {canvas}')).length"
        )
        assert browser.run(script) > 1000


def test_speech_is_recorded(browser: Browser, server: Server) -> None:
    browser.open(server.url)
    browser.click("#A .record")
    browser.wait_for("/Recording, ([3-9]|[1-9][0-9]) s/.test(document.querySelector('#A .said').innerText)")
    assert browser.run("document.querySelector('#B .record').disabled")
    browser.click("#A .record")
    browser.wait_for(HEARD.format("A"))
    assert browser.text("#A .said") == "Recorded here"
    browser.wait_for("document.querySelector('#A audio').duration > 2")
    assert browser.text("#A .record").split() == ["Record", "A"]


def test_a_dropped_file_is_heard(browser: Browser, server: Server) -> None:
    browser.open(server.url)
    content = base64.b64encode(wav(voice(4), form="FLAC")).decode()
    browser.run(
        "(() => { const data = new DataTransfer();"
        f"data.items.add(new File([Uint8Array.from(atob('{content}'), c => c.charCodeAt(0))], 'dropped.flac'));"
        "const drop = new DragEvent('drop', {dataTransfer: data, bubbles: true});"
        "document.querySelector('#B h3').dispatchEvent(drop); })()"
    )
    browser.wait_for(HEARD.format("B"))
    assert (browser.text("#B .said"), "4.0 s" in browser.text("#B .axis")) == ("dropped.flac", True)


@pytest.mark.parametrize(
    ("name", "says"), [("garbage.wav", "is not audio of a kind"), ("letter.txt", "is not audio that this browser")]
)
def test_what_is_no_speech_is_told(browser: Browser, server: Server, model: Path, name: str, says: str) -> None:
    browser.open(server.url)
    browser.choose("#A input", [model / name])
    browser.wait_for("document.querySelector('#A .said .problem')")
    assert says in browser.text("#A .said")
    assert browser.run("document.querySelector('#identify').disabled")


def test_short_speech_is_compared_with_a_remark_and_not_enrolled(browser: Browser, server: Server, model: Path) -> None:
    browser.open(server.url)
    choose(browser, "A", model / "short.wav")
    choose(browser, "B", model / "one.wav")
    assert "below 2 s decisions err much more often" in browser.text("#A .facts")
    browser.click("#verify")
    browser.wait_for("document.querySelector('#answer .word')")
    assert "Recording A: It holds" in browser.text("#answer")
    browser.click("#name")
    browser.write("Ada")
    browser.click("#enrol")
    browser.wait_for("document.querySelector('#said .problem')")
    assert browser.text("#said").startswith("not enrolled: It holds")


def test_speakers_are_enrolled_named_and_forgotten_by_keyboard(browser: Browser, server: Server, model: Path) -> None:
    browser.open(server.url)
    choose(browser, "A", model / "one.wav")
    choose(browser, "B", model / "other.wav")
    browser.run("document.querySelector('#name').focus()")
    name = "<i>Łukasz</i> & 李"
    browser.write(name)
    browser.key("Enter", 13, "\r")
    browser.wait_for("document.querySelectorAll('#speakers tr').length === 1")
    assert browser.text("#speakers th") == name
    browser.wait_for("!document.querySelector('#identify').disabled")
    browser.run("document.querySelector('#identify').focus()")
    browser.key(" ", 32, " ")
    browser.wait_for("document.querySelector('#said.named .word')")
    assert browser.text("#said .word") == name
    browser.run("document.querySelector('[value=B]').focus()")
    browser.key(" ", 32, " ")
    browser.run("document.querySelector('#identify').focus()")
    browser.key(" ", 32, " ")
    browser.wait_for("document.querySelector('#said.nobody .word')")
    assert browser.text("#said .word") == "None of them"
    browser.open(server.url + "?again")
    browser.wait_for("document.querySelector('#speakers button')")
    assert browser.run("document.querySelector('#speakers button').getAttribute('aria-label')") == f"Remove {name}"
    browser.run("document.querySelector('#speakers button').focus()")
    browser.key("Enter", 13, "\r")
    browser.wait_for("!document.querySelector('#nobody').hidden")
    assert server.answers.speakers() == {"speakers": []}


def test_a_busy_demo_is_asked_again(browser: Browser, server: Server, model: Path) -> None:
    browser.open(server.url)
    for _ in range(MOST_QUESTIONS):
        server.questions.acquire()
    browser.choose("#A input", [model / "one.wav"])
    busy = threading.Timer(1, lambda: [server.questions.release() for _ in range(MOST_QUESTIONS)])
    busy.start()
    browser.wait_for(HEARD.format("A"))
    busy.join()


def look(browser: Browser) -> dict[str, Any]:
    """What :data:`tests.browser.SCRIPT` finds on the page as it is now."""
    browser.run("document.querySelectorAll('.measured').forEach(found => found.remove())")
    browser.run("dispatchEvent(new Event('load'))")
    found: dict[str, Any] = json.loads(browser.run("document.querySelector('.measured').textContent"))
    browser.run("document.querySelectorAll('.measured').forEach(found => found.remove())")
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_at_every_width_and_asks_nobody_else(
    browser: Browser, server: Server, model: Path, dark: bool
) -> None:
    script = browser("Page.addScriptToEvaluateOnNewDocument", source=SCRIPT)["identifier"]
    browser.events.clear()
    for width in (360, 420, 768, 1280):
        browser.open(f"{server.url}?{width}", width=width, dark=dark)
        empty = look(browser)
        choose(browser, "A", model / "short.wav")
        choose(browser, "B", model / "other.wav")
        browser.click("#verify")
        browser.wait_for("document.querySelector('#answer .word')")
        browser.run("document.querySelector('[value=B]').click()")
        browser.click("#name")
        browser.write("Wolfeschlegelsteinhausenbergerdorff " * 3)
        browser.click("#enrol")
        browser.wait_for("document.querySelector('#speakers tr')")
        browser.wait_for("!document.querySelector('#identify').disabled")
        browser.click("#identify")
        browser.wait_for("document.querySelector('#said.named')")
        for found in (empty, look(browser)):
            assert (found["width"], found["overflow"], found["faint"], found["wrong"]) == (width, [], [], [])
        assert "Two speakers" in found["texts"]
    browser("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    assert [url for url in browser.asked() if not url.startswith((server.url, f"blob:{server.url}", "data:"))] == []
    assert browser.complaints() == []


def test_every_control_has_a_name_and_shows_the_focus(browser: Browser, server: Server, model: Path) -> None:
    browser.open(server.url)
    choose(browser, "A", model / "one.wav")
    tree = browser("Accessibility.getFullAXTree")["nodes"]
    kinds = {"button", "textbox", "radio", "combobox", "image", "heading", "radiogroup", "table"}
    named = [
        (node["role"]["value"], node["name"]["value"])
        for node in tree
        if not node["ignored"] and node["role"]["value"] in kinds
    ]
    assert [kind for kind, name in named if not name.strip() and kind != "table"] == []
    names = [name for kind, name in named if kind == "button"]
    assert {"Record A", "Record B", "Are they one speaker?", "Enrol", "Who is it?"} <= set(names)
    reached = []
    for _ in range(30):
        browser.key("Tab", 9)
        reached.append(
            browser.run(
                "[document.activeElement.id || document.activeElement.className || document.activeElement.type, "
                "getComputedStyle(document.activeElement.closest('.button') || document.activeElement).outlineStyle]"
            )
        )
    places = {place for place, _ in reached}
    assert {"record", "file", "threshold", "identify", "name", "enrol"} <= places
    assert {style for place, style in reached if place in {"record", "file", "threshold", "name", "enrol"}} == {"solid"}


def test_a_model_without_thresholds_offers_none(tmp_path: Path) -> None:
    write_model(tmp_path, "softmax")
    page = render(ham.load(tmp_path, "cpu"), "until this demo ends")["/"].body.decode()
    assert "gives the score, and no decision" in page
    assert "<select" not in page


def test_thresholds_that_were_measured_are_offered(tmp_path: Path) -> None:
    write_model(tmp_path, "softmax")
    write_decisions(tmp_path, thresholds())
    page = render(ham.load(tmp_path, "cpu"), "in <b>")["/"].body.decode()
    assert f'<option value="{DEFAULT_POINT}" selected>{POINTS[DEFAULT_POINT]}' in page
    assert {*POINTS} == {*MEASURED}
    assert 'value="far_1"' in page
    assert "far_0_01" not in page
    assert "in &lt;b&gt;" in page
