"""Pages of the studio as a visitor finds them, without a browser: what stands on them, and what their controls do.

Looks, scripts and the security policy are checked in a real browser (tests/browser).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import saddlepoint
from saddlepoint.core.errors import ConfigError

pytest.importorskip("nicegui")

from nicegui import Client, ui
from nicegui.testing import User, user_simulation

from saddlepoint.run.sweeps.summary import Point, Summary
from saddlepoint.serve.studio import app, edit, parts, run, sweeps
from saddlepoint.serve.studio.state import Studio

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio")
    saddlepoint.train("gan", data="digits", steps=20, options=OPTIONS, threads=1, out=folder / "whole")
    return folder


def visited(folder: Path, path: str, look: Callable[[Page], Coroutine[Any, Any, None]]) -> None:
    """Open a page, and look at it."""

    async def visit() -> None:
        async with opened(Studio(folder), path) as page:
            await look(page)

    asyncio.run(visit())


@asynccontextmanager
async def opened(studio: Studio, path: str) -> AsyncIterator[Page]:
    """Open a page of a studio that no server serves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_with_word", lambda head: head)  # the word of a policy that nobody carries out here
        async with user_simulation() as user:
            app._pages(studio)
            try:
                await user.open(path)
                yield Page(user)
            finally:
                Client.page_routes.clear()  # else NiceGUI takes the modules of pages, and all above, out of sys.modules


class Page:
    """A page that a visitor looks at."""

    def __init__(self, user: User) -> None:
        self.user = user

    def all(self, kind: type[Any]) -> list[Any]:
        """Return all elements of a kind that are visible."""
        try:
            return [one for one in self.user.find(kind).elements if one.visible]
        except AssertionError:
            return []

    def texts(self) -> list[str]:
        return [str(one.text) for one in self.all(ui.label)]

    def one(self, kind: type[Any], label: str) -> Any:
        """Return the visible element of a kind with such a label."""
        (found,) = [one for one in self.all(kind) if label in (one.props.get("label"), one.props.get("aria-label"))]
        return found

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds."""
        for _ in range(600):
            if holds():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within 30 s; the page says {self.texts()}")


def test_the_explorer_moves_and_goes_back(runs: Path) -> None:
    async def look(page: Page) -> None:
        def told() -> str:
            return next((text for text in page.texts() if text.startswith("saddle explore")), "")

        await page.until(told)
        start = told()
        assert "--point 0 " in start
        page.one(ui.slider, "direction 1").value = 1.5
        page.one(ui.slider, "truncation").value = 0.7
        await page.until(lambda: "1=1.5" in told() and "--truncation 0.7" in told())
        page.user.find("Back to the seed").click()
        await page.until(lambda: told() == start)
        assert page.one(ui.slider, "direction 1").value == 0
        assert page.one(ui.slider, "truncation").value == 1

    visited(runs, "/run/whole?tab=Explorer", look)


def test_samples_are_asked_for_by_label_only_where_the_run_knows_labels(runs: Path) -> None:
    async def look(page: Page) -> None:
        await page.until(lambda: any(text.startswith("saddle sample") for text in page.texts()))
        shown = [one.props.get("label") for one in page.all(ui.select)]
        assert "picture" in shown
        assert "label" not in shown
        await page.until(lambda: not [one for one in page.all(ui.timer) if one.active and one.interval < 0.5])

    visited(runs, "/run/whole?tab=Samples", look)


def test_neighbours_say_what_they_are_and_what_is_missing(runs: Path) -> None:
    async def look(page: Page) -> None:
        await page.until(lambda: any("nearest to the sample on its left, by" in text for text in page.texts()))
        await page.until(lambda: any("saddle evaluate" in text for text in page.texts()))

    visited(runs, "/run/whole?tab=Neighbours", look)


def test_an_experiment_runs_pauses_and_goes_on(runs: Path) -> None:
    async def look(page: Page) -> None:
        (timer,) = [one for one in page.all(ui.timer) if one.interval < 0.5]
        assert timer.active
        page.user.find("Pause").click()
        assert not timer.active
        page.user.find("Go on").click()
        assert timer.active
        page.user.find("Pause").click()
        page.user.find("Again").click()
        await page.until(lambda: timer.active)

    visited(runs, "/lab/dirac", look)


def test_the_wheel_is_gone_once_data_is_read_or_not_found(runs: Path) -> None:
    async def look(page: Page) -> None:
        (place,) = [one for one in page.all(ui.input) if "data" in str(one.props.get("label"))]
        place.value = str(runs / "nowhere")
        page.user.find("Look into the data").click()
        await page.until(lambda: page.user.notify.messages)
        assert "nowhere" in page.user.notify.messages[-1]
        assert not page.all(ui.spinner)
        place.value = "digits"
        page.user.find("Look into the data").click()
        await page.until(lambda: page.all(parts.Picture))
        assert not page.all(ui.spinner)

    visited(runs, "/train", look)


def test_trials_of_a_sweep_stand_the_best_first(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = tuple(Point(n, {"lr": 0.1 * n}, figure, "complete") for n, figure in enumerate((3.0, 1.0, None, 2.0)))
    tables: list[list[list[str]]] = []
    monkeypatch.setattr(parts, "heading", lambda text: None)
    monkeypatch.setattr(parts, "say", lambda text: None)
    monkeypatch.setattr(parts, "wide", nullcontext)
    monkeypatch.setattr(parts, "table", tables.append)
    sweeps._sweep(Summary("one", "gan on digits", ("lr=0..1",), "fd", points, 1, ()))
    assert [line[1] for line in tables[0][1:]] == ["1", "2", "3"]


def test_the_picture_that_is_given_is_the_first_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[bytes, str]] = []
    monkeypatch.setattr(ui.download, "content", lambda content, name, kind: given.append((content, name)))
    sample = np.zeros((1, 1, 4, 4), np.float32)
    edit.Editor.download(SimpleNamespace(session=SimpleNamespace(sample=sample), name="a run"))  # type: ignore[arg-type]
    ((content, name),) = given
    assert content.startswith(b"\x89PNG")
    assert name.endswith("-after.png")


def test_a_folder_whose_name_is_no_text_is_in_no_table(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "fine")
    try:
        shutil.copytree(runs / "whole", tmp_path / b"\xff".decode("utf-8", "surrogateescape"))
    except OSError:
        return  # this file system holds texts only
    assert [entry.name for entry in Studio(tmp_path).entries()] == ["fine"]


def test_a_generator_without_a_latent_space_is_not_edited() -> None:
    studio = SimpleNamespace(open=lambda name: (None, None))
    with pytest.raises(ConfigError, match="'one' has no latent space"):
        edit._edited(studio, "one", [("a.png", b"")], {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "family", "reloads"), [("starting", "", 0), ("starting", "gan", 1), ("running", "", 1)]
)
def test_a_page_of_a_run_that_begins_is_shown_anew_once_it_has_begun(
    state: str, family: str, reloads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def looked(look: Callable[[str], object], name: str) -> object:
        return look(name)

    shown: list[str] = []
    monkeypatch.setattr(run.waits, "looked", looked)
    monkeypatch.setattr(ui.navigate, "reload", lambda: shown.append("anew"))
    studio = SimpleNamespace(entry=lambda name: SimpleNamespace(state=state, family=family))
    asyncio.run(run._until_begun(studio, "one"))  # type: ignore[arg-type]
    assert len(shown) == reloads


def test_a_page_that_stands_does_nothing_but_look_for_news(runs: Path) -> None:
    async def look(page: Page) -> None:
        await page.until(lambda: page.all(ui.echart))
        await page.until(lambda: not [one for one in page.all(ui.timer) if one.active and one.interval < 0.5])

    visited(runs, "/run/whole?tab=Training", look)
