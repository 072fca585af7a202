"""The server's own page in a real browser: it draws what the server makes, says what is wrong, asks no other host."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from saddlepoint.export.service import Service
from saddlepoint.serve.api.app import make_app
from saddlepoint.serve.api.timeouts import make_server
from tests.browser.legible import illegible
from tests.unit.data_helpers import pictures, png
from tests.unit.serving import run_of, served

pytestmark = pytest.mark.slow
PIXELS = """() => {
    const image = document.querySelector("#results img"), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const brush = canvas.getContext("2d");
    brush.drawImage(image, 0, 0);
    return Array.from(brush.getImageData(0, 0, canvas.width, canvas.height).data).filter((_, i) => i % 4 === 0);
}"""
"""Returns the grey values of the picture on the page."""


@contextlib.contextmanager
def serving(name: str, preset: str, **options: Any) -> Iterator[str]:
    """Yield the address of a server."""
    app = make_app(Service(run_of(name, preset), batch=8), **options)
    with served(app, make_server(app, grace=0.1)) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def visited(
    browser: Any, address: str, width: int = 1200, mistakes: bool = False, others: tuple[str, ...] = ()
) -> Iterator[Any]:
    """Yield the page of a server; no request to another host, no error that nobody caused."""
    scheme = "dark" if width < 600 else "light"
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") and not mistakes else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((address, "blob:", "data:", *others)) else complaints.append(r.url),
    )
    page.goto(address)
    yield page
    if page.url.rstrip("/") == address:
        assert illegible(page) == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "it scrolls sideways"
    context.close()
    assert complaints == []


def waited(page: Any, times: int) -> None:
    page.locator(f"body[data-drawn='{times}']").wait_for(timeout=30_000)


@pytest.mark.parametrize("width", [1200, 375])
def test_the_page_draws_what_its_address_gives(browser: Any, width: int) -> None:
    with serving("cgan", "mnist") as address, visited(browser, address, width, mistakes=True) as page:
        waited(page, 1)
        assert page.title() == "made: cgan"
        page.get_by_label("Class").select_option("b")
        page.get_by_label("Seed").fill("5")
        page.get_by_role("button", name="Draw").click()
        waited(page, 2)
        own = page.evaluate(PIXELS)
        url = page.inner_text("#url")
        assert url == f"{address}/v1/sample?n=16&seed=5&label=b&format=png"
        with Image.open(io.BytesIO(httpx.get(url).content)) as sheet:
            assert list(sheet.convert("L").tobytes()) == own
        assert page.locator("#results img").evaluate("(image) => image.width % image.naturalWidth") == 0
        page.get_by_role("button", name="Next seed").click()
        waited(page, 3)
        assert page.get_by_label("Seed").input_value() == "6"
        page.get_by_role("button", name="Walk").click()
        waited(page, 4)
        page.get_by_label("Samples").fill("999")
        page.get_by_role("button", name="Draw").click()
        page.get_by_text("n is 999, but it must be at most 256").wait_for()


def test_what_the_page_shows_for_other_languages_runs(browser: Any, tmp_path: Path) -> None:
    with serving("timegan", "increments") as address, visited(browser, address) as page:
        waited(page, 1)
        lines = page.inner_text("#python").replace("import requests", "import httpx as requests")
        subprocess.run([sys.executable, "-c", lines], check=True, cwd=tmp_path)
        wanted = httpx.get(page.inner_text("#url")).content
        assert (tmp_path / "samples.csv").read_bytes() == wanted
        subprocess.run(["bash", "-c", page.inner_text("#curl").replace("-o samples.csv", "-o curl.csv")], check=True,
                       cwd=tmp_path)  # fmt: skip
        assert (tmp_path / "curl.csv").read_bytes() == wanted


def test_the_name_of_a_class_is_one_word_in_every_language(browser: Any, tmp_path: Path) -> None:
    name, run = "$(touch escaped)' \" \\ \x9b1m\u202e", run_of("cgan", "mnist")
    run.family.data = dataclasses.replace(run.family.data, classes=(name, *run.family.data.classes[1:]))
    app = make_app(Service(run, batch=8))
    with served(app, make_server(app, grace=0.1)) as port, visited(browser, f"http://127.0.0.1:{port}") as page:
        waited(page, 1)
        page.get_by_label("Class").select_option(index=1)
        page.get_by_role("button", name="Draw").click()
        waited(page, 2)
        curl, python = page.inner_text("#curl"), page.inner_text("#python").replace("import requests", "import httpx")
        assert not {"\x9b", "\u202e"} & {*curl, *python}
        subprocess.run(["bash", "-c", curl], check=True, cwd=tmp_path)
        (file,) = tmp_path.iterdir()
        made = file.rename(tmp_path / "curl")
        lines = python.replace("requests.", "httpx.")
        subprocess.run([sys.executable, "-c", lines], check=True, cwd=tmp_path)
        wanted = httpx.post(
            f"http://127.0.0.1:{port}/v1/sample", json={"n": 16, "seed": 0, "label": name, "format": "png"}
        )
        assert made.read_bytes() == file.read_bytes() == wanted.content
        assert {path.name for path in tmp_path.iterdir()} == {"curl", file.name}


def test_a_token_is_asked_for_and_kept_off_the_page(browser: Any) -> None:
    with (
        serving("stylegan", "tiny-32", token="secret") as address,
        visited(browser, address, mistakes=True) as page,
    ):
        page.get_by_role("button", name="Draw").click()
        page.get_by_text("this server asks for its token").wait_for()
        page.get_by_label("Token").fill("secret")
        page.get_by_label("Truncation").fill("0.5")
        page.get_by_role("button", name="Draw").click()
        waited(page, 1)
        assert "secret" not in page.inner_text("body")
        assert '"truncation": 0.5' in page.inner_text("#python")


def test_pictures_of_the_visitor_are_translated(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "me.png").write_bytes(png(pictures(1, 32, 3)[0]))
    with serving("stargan", "tiny-32") as address, visited(browser, address, mistakes=True) as page:
        page.get_by_label("Your pictures").wait_for()
        page.get_by_role("button", name="Draw").click()
        page.get_by_text("choose pictures of your own first").wait_for()
        page.get_by_label("Your pictures").set_input_files([tmp_path / "me.png", tmp_path / "me.png"])
        page.get_by_role("button", name="Draw").click()
        waited(page, 1)
        assert page.locator("#results img").count() == 2


def test_a_page_of_another_origin_reads_answers_only_where_it_is_named(browser: Any) -> None:
    with serving("cgan", "mnist") as other, serving("cgan", "mnist", origins=[other]) as named:
        asked = """async ([address, headers]) => {
            const words = { method: "POST", body: '{"seed": 1}', headers };
            try { return (await fetch(`${address}/v1/sample`, words)).status; }
            catch { return "blocked"; }
        }"""
        headers = {"Content-Type": "application/json"}
        with visited(browser, other, mistakes=True, others=(named,)) as page:
            waited(page, 1)
            # The page's own policy lets it ask its own server only, so a bare document of that origin does the asking.
            page.goto(f"{other}/health")
            assert page.evaluate(asked, [named, headers]) == 200
        with visited(browser, named, mistakes=True, others=(other,)) as page:
            page.goto(f"{named}/health")
            assert page.evaluate(asked, [other, headers]) == "blocked"
