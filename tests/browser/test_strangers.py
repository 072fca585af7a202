"""What a page of another origin can do to a studio that runs beside it, in a real browser: link to it, nothing else."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from saddlepoint.lab import EXPERIMENTS
from tests.browser.conftest import Visit

pytestmark = pytest.mark.slow

FOREIGN = """<!doctype html><title>foreign</title><h1>foreign</h1><iframe id=frame src="STUDIO/lab"></iframe>
<img id=icon src="STUDIO/favicon.ico"><a id=link href="STUDIO/lab">in</a>
<form id=form method=post action="STUDIO/bring/x?path=a"><input name=a value=b></form>
<script>
window.found = {};
const note = name => value => window.found[name] = value;
const line = new WebSocket("STUDIO/_nicegui_ws/socket.io/?EIO=4&transport=websocket".replace("http", "ws"));
line.onopen = () => note("line")("open");
line.onclose = () => window.found.line || note("line")("refused");
const ask = (name, path, how) =>
  fetch("STUDIO" + path, how).then(a => note(name)(a.type + a.status), () => note(name)("refused"));
ask("read", "/lab"); ask("poll", "/_nicegui_ws/socket.io/?EIO=4&transport=polling");
ask("send", "/bring/x?path=a", {method: "POST", body: "x"});
ask("blind", "/bring/x?path=a", {method: "POST", body: "x", mode: "no-cors"});
const icon = document.getElementById("icon");
icon.onload = () => note("icon")("shown"); icon.onerror = () => note("icon")("refused");
</script>"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a studio without runs."""
    place = tmp_path_factory.mktemp("alone")
    words = [sys.executable, "-m", "saddlepoint", "studio", str(place / "runs"), "--no-browser", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=place) as process:
        assert process.stdout is not None
        yield next(word for word in process.stdout.readline().split() if word.startswith("http")).rstrip("/")
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.fixture(scope="module")
def elsewhere(alone: str) -> Iterator[str]:
    """Return the address of another server of this machine: of the same site, but another origin."""

    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(FOREIGN.replace("STUDIO", alone).encode())

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_foreign_page_frames_shows_reads_and_sends_nothing(browser: Any, alone: str, elsewhere: str) -> None:
    page = browser.new_page()
    page.goto(elsewhere)
    page.wait_for_function("Object.keys(window.found).length >= 6", timeout=60_000)
    found = page.evaluate("window.found")
    # An opaque answer is what a browser shows of one that it may not read.
    assert found.pop("blind") in ("opaque0", "refused")
    assert found == dict.fromkeys(("line", "read", "poll", "send", "icon"), "refused")
    page.wait_for_timeout(1000)
    assert page.frames[1].url.startswith("chrome-error:"), "the page is in no frame"
    page.evaluate("document.getElementById('form').submit()")
    page.get_by_text("the studio answers its own pages only").wait_for()
    page.goto(elsewhere)
    page.get_by_role("link", name="in").click()
    page.get_by_role("heading", name="Lab").wait_for()
    page.close()


PLACES = ["/", "/train", "/compare", "/lab", "/nope", *(f"/lab/{name}" for name in EXPERIMENTS)]


def test_no_page_asks_another_host(browser: Any, alone: str) -> None:
    asked: list[str] = []
    visit = Visit(browser, alone)
    visit.page.on("request", lambda request: asked.append(request.url))
    for path in PLACES:
        visit.open(path).get_by_role("heading", level=1).wait_for()
        visit.page.wait_for_timeout(500)
    visit.context.close()
    assert len(asked) > 10 * len(PLACES)
    own = re.compile(rf"(http|ws)://{re.escape(alone.removeprefix('http://'))}/|data:|blob:")
    assert [url for url in asked if not own.match(url)] == []
    assert [words for words in visit.complaints if "404" not in words] == []


def test_a_text_that_is_taken_for_html_carries_out_nothing(browser: Any, alone: str) -> None:
    """Whatever slips through: no script in it runs, no other host is asked, nothing is sent anywhere."""
    visit = Visit(browser, alone)
    page = visit.open("/lab")
    page.get_by_role("heading", level=1).wait_for()
    page.evaluate(
        """() => document.querySelector("main").insertAdjacentHTML("beforeend", `<img src=x onerror="window.ran = 1">
        <svg onload="window.ran = 2"></svg><iframe srcdoc="<script>parent.ran = 3</scr` + `ipt>"></iframe>
        <a id=away href="javascript:window.ran = 4">a</a><base href="http://evil.example/">
        <img src="http://127.0.0.1:9/seen.png"><form id=leak action="http://127.0.0.1:9/"><input></form>`)"""
    )
    page.evaluate(
        """() => { const script = document.createElement("script"); script.text = "window.ran = 5";
        document.body.append(script); document.getElementById("away").click();
        document.getElementById("leak").submit(); }"""
    )
    page.wait_for_timeout(1000)
    assert page.evaluate("window.ran") is None
    assert page.url == f"{alone}/lab"
    said = " ".join(visit.complaints)
    for directive in ("script-src", "img-src", "form-action", "base-uri"):
        assert directive in said, directive
    visit.context.close()


def test_a_studio_that_began_anew_is_found_again(browser: Any, tmp_path: Path) -> None:
    """The limits of connections do not part a page from its studio: it loads itself again."""
    words = [sys.executable, "-m", "saddlepoint", "studio", str(tmp_path), "--no-browser", "--port"]
    port, page = "0", browser.new_page()
    for _ in range(2):
        with subprocess.Popen([*words, port], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            address = next(word for word in process.stdout.readline().split() if word.startswith("http")).rstrip("/")
            if port == "0":
                port = address.rsplit(":", 1)[1]
                page.goto(address + "/lab/dirac")
            else:
                page.wait_for_event("load", timeout=60_000)
            frames = page.locator(".frames")
            frames.get_by_text(re.compile("frame")).wait_for(timeout=60_000)
            before, until = frames.inner_text(), time.monotonic() + 60
            while frames.inner_text() == before:
                assert time.monotonic() < until, "it stands still"
            process.kill()
    page.close()
