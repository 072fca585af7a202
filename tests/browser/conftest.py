"""A studio over runs of every kind, and a browser that notes every error and every request to another host."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import saddlepoint
from saddlepoint.engine.storage.folder import RunFolder
from tests.browser.install import NAMES

COPIES = 200
OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two trained runs, 200 copies, and broken ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs")
        run = saddlepoint.train(
            "cgan", data="digits", steps=1300, options=OPTIONS, threads=1, out=folder / "conditional"
        )
        run.save_report(run.evaluate(["memorisation"]))
        saddlepoint.train("gan", data="ring8", preset="points", steps=1200, threads=1, out=folder / "points")
    for number in range(COPIES):
        copy = folder / f"copy-{number:03d}"
        copy.mkdir()
        for name in ("config.json", "log.jsonl"):
            shutil.copy(folder / "conditional" / name, copy / name)
        RunFolder(copy).write_status(state="finished", reason="budget")
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text('{"family": ')
    return folder


@pytest.fixture(scope="session")
def studio(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a studio."""
    words = [sys.executable, "-m", "saddlepoint", "studio", str(runs), "--no-browser", "--port", "0"]
    place = tmp_path_factory.mktemp("studio")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=place) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http"))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                import urllib.request

                urllib.request.urlopen(address).read()
                break
            time.sleep(0.1)
        yield address.rstrip("/")
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return headless Chromium, or skip with the reason."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: tests/browser/install.py"
    )
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium: run tests/browser/install.py")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """A page of one visitor.

    Args:
        browser: Chromium.
        address: of the studio.
        width: of the window, in pixels.
    """

    def __init__(self, browser: Any, address: str, width: int = 1600) -> None:
        self.address, self.complaints = address, list[str]()
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = self.context.new_page()
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self.asked)

    def asked(self, request: Any) -> None:
        """Note a request to another host."""
        own = self.address.removeprefix("http://")
        if not request.url.startswith((self.address, f"ws://{own}", "data:", "blob:")):
            self.complaints.append(f"request to {request.url}")

    def open(self, path: str, tab: str = "") -> Any:
        """Open a page, and one of its tabs."""
        self.page.goto(self.address + path)
        if tab:
            self.page.get_by_role("tab", name=tab).click()
        return self.page

    def press(self, slider: str, key: str, times: int = 1) -> None:
        """Move a slider by the keyboard."""
        self.page.get_by_role("slider", name=slider, exact=True).locator("[tabindex='0']").focus()
        for _ in range(times):
            self.page.keyboard.press(key)


@pytest.fixture(params=[1600])
def visit(browser: Any, studio: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Return a visitor's page; whatever it complained of fails the test."""
    here = Visit(browser, studio, request.param)
    yield here
    here.context.close()
    assert here.complaints == []
