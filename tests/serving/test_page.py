"""The page at /, in headless Chromium: drop images, pick a schema, watch the block fill, see the plan drawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import jsonschema
import pytest
from PIL import Image

from robotics.driving.demo import demo_window
from robotics.driving.evaluate import sample
from robotics.driving.planner import Planner
from tests.serving.conftest import Running, running
from tests.serving.test_chat import SCHEMA

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium is installed, so the page is not tried (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        started = p.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser, served: Running) -> Iterator:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    wrong: list[str] = []
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.goto(served.url)
    page.wait_for_function("document.getElementById('model').textContent !== ''")
    page.wrong = wrong
    yield page
    page.close()


def test_the_block_fills_and_the_answer_follows_the_schema(page, served: Running) -> None:
    assert page.inner_text("#model") == "nano"
    page.select_option("#choice", "own")
    page.fill("#schema", json.dumps(SCHEMA))
    page.click("#ask")
    page.wait_for_selector("#counts:not(:empty)")
    answer = json.loads(page.inner_text("#text"))
    jsonschema.validate(answer, SCHEMA)
    ask = [{"role": "user", "content": [{"type": "text", "text": "Plan the next five seconds."}]}]
    assert answer == json.loads(served.server.engine.generate(ask, schema=SCHEMA).text)
    said = "".join(page.locator("#block i:not(.gone)").all_inner_texts())
    assert json.loads(said) == answer
    assert page.locator("#block i.f, #block i.s").count() > 3
    assert page.wrong == []


def test_refusals_are_shown(page) -> None:
    page.select_option("#choice", "own")
    page.fill("#schema", '{"type": 3}')
    page.click("#ask")
    page.wait_for_selector("#error:not(:empty)")
    assert "schema" in page.inner_text("#error")
    page.fill("#schema", "{")
    page.click("#ask")
    page.wait_for_function("document.getElementById('error').textContent.includes('JSON')")


def test_a_plan_is_drawn_from_dropped_images(page, served: Running, tmp_path) -> None:
    planner = served.server.planner
    assert isinstance(planner, Planner)
    s = sample(demo_window(0), planner.config.image_size)
    files = []
    for n, image in enumerate(s.images):
        Image.fromarray(image).save(tmp_path / f"{n}.png")
        files.append(str(tmp_path / f"{n}.png"))
    page.set_input_files("#files", files)
    page.wait_for_function("document.querySelectorAll('#views img').length === 3")
    page.fill("#history", json.dumps(s.history.model_dump(mode="json")))
    page.select_option("#command", s.command)
    page.click("#plan")
    page.wait_for_selector("#map .waypoint")
    assert page.locator("#map .waypoint").count() == 5
    expected = planner.plan(list(s.images), s.history, s.command)
    drawn = [(-float(c.get_attribute("cy")), -float(c.get_attribute("cx"))) for c in page.locator("#map .waypoint").all()]
    assert drawn == [(round(float(x), 2), round(float(y), 2)) for x, y in expected.waypoints]
    assert page.wrong == []


def test_images_can_be_dropped(page) -> None:
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>';
            data.items.add(new File([svg], 'a.svg', {type: 'image/svg+xml'}));
            document.getElementById('drop').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
        }"""
    )
    page.wait_for_selector("#views img")


def test_a_server_with_a_key_is_asked_with_it(browser) -> None:
    with running(api_key="secret") as locked:
        page = browser.new_page()
        page.goto(locked.url)
        page.wait_for_selector("#locked:not([hidden])")
        page.fill("#key", "secret")
        page.press("#key", "Tab")
        page.wait_for_function("document.getElementById('model').textContent === 'nano'")
        assert page.inner_text("#error") == ""
        page.fill("#tokens", "8")
        page.click("#ask")
        page.wait_for_selector("#counts:not(:empty)")
        assert page.inner_text("#text")
        page.close()
