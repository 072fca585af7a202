"""Leaving a page of the studio while something loads: nothing is said, nothing is changed, the work is kept."""

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from nicegui import Client, ui

from saddlepoint.core.errors import DataError
from saddlepoint.run.entries import Entry
from saddlepoint.serve import studio
from saddlepoint.serve.studio import parts, run, waits
from saddlepoint.serve.studio.state import Studio

PAGES = Path(studio.__file__).parent
UNSEEN = ("app.py", "state.py")
"""What touches no element after a wait."""


def left_while(action: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Do something on a page that its visitor leaves while it waits."""

    async def visit() -> None:
        client, going_on = Client(ui.page("")), asyncio.Event()

        async def beside() -> None:
            with client:  # the page is where the task's elements go
                await action(going_on)

        task = asyncio.ensure_future(beside())
        await asyncio.sleep(0)
        client.delete()
        going_on.set()
        await task

    asyncio.run(visit())


@pytest.mark.parametrize("problem", [None, DataError("gone")])
def test_a_page_that_was_left_hears_nothing(problem: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    touched: list[str] = []

    async def load(event: asyncio.Event) -> str:
        await event.wait()
        if problem is not None:
            raise problem
        return "loaded"

    async def act(going_on: asyncio.Event) -> None:
        wheel = parts.waiting("Loading")

        async def fill() -> None:
            def over() -> None:
                touched.append("wheel")
                wheel.delete()

            with waits.afterwards(over):
                await waits.here(load(going_on))
            touched.append("page")

        await waits.guarded(fill)()

    with caplog.at_level(logging.WARNING):
        left_while(act)
    assert touched == []
    assert caplog.records == []


def test_the_wheel_goes_where_the_visitor_stayed() -> None:
    async def stay() -> list[str]:
        found: list[str] = []
        with Client(ui.page("")):
            with waits.afterwards(lambda: found.append("over")):
                found.append(await waits.here(asyncio.sleep(0, "loaded")))
            with pytest.raises(DataError, match="gone"), waits.afterwards(lambda: found.append("over")):
                raise DataError("gone")
        return found

    assert asyncio.run(stay()) == ["loaded", "over", "over"]


def test_a_panel_that_loads_is_left_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put: list[str] = []

    async def act(going_on: asyncio.Event) -> None:
        async def needs(studio: Studio, name: str) -> None:
            await going_on.wait()

        def panel(studio: Studio, name: str, entry: Entry) -> None:
            put.append(name)

        with ui.column():
            await waits.guarded(run._fill)(panel, Studio(tmp_path), "a run", Entry("a run", "finished"), needs)

    with caplog.at_level(logging.WARNING):
        left_while(act)
    assert put == []
    assert caplog.records == []


def unguarded(path: Path) -> list[str]:
    """Return the waits for work or a dialog in a module that do not look whether the page is still there."""
    found = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Await)]
    words = [ast.unparse(node) for node in found]
    return [word for word in words if word.startswith(("asyncio.", "studio.", "needs(", "dialog", "run."))]


def test_every_wait_looks_whether_the_page_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(
        "async def show():\n    await asyncio.to_thread(load)\n    await waits.here(x())\n"
    )
    assert unguarded(tmp_path / "page.py") == ["asyncio.to_thread(load)"], "the rule can fail"
    pages = [path for path in PAGES.glob("*.py") if path.name not in UNSEEN]
    assert len(pages) > 10
    assert {path.name: found for path in pages if (found := unguarded(path))} == {}
