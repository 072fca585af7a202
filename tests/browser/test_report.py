"""The page of a report in a real browser: nothing is cut, on a phone every control row is there to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saddlepoint.evaluation import Gallery, Metric, Report, Result, Row
from saddlepoint.evaluation.report.page import write_page

pytestmark = pytest.mark.slow

CONTROLS = (
    "held-out windows", "training windows", "block bootstrap", "vector autoregression", "shuffled in time",
    "constant windows", "uniform noise",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [Row("increments, Wasserstein", "generator (EMA)", 0.137, interval=(0.113, 0.161))]
    rows += [Row("increments, Wasserstein", name, 1.309, None, (1.279, 1.339), "control") for name in CONTROLS[:-1]]
    rows.append(Row("increments, Wasserstein", CONTROLS[-1], 14.73, None, (14.68, 14.79), "control"))
    shared: dict[str, Any] = {"data": "weather", "fingerprint": "ab", "seed": 0, "version": 1, "seconds": 1.0}
    metric = Metric("increments, Wasserstein", "lower", "sd", digits=3)
    result = Result("increments", summary="", verdict="", metrics=(metric,), rows=tuple(rows), **shared)
    windows = np.cumsum(np.random.default_rng(0).normal(size=(6, 12, 3)), 1).astype(np.float32)
    gallery = Gallery(windows, real=windows, columns=("temperature", "dew point", "wind"))
    report = Report((result,), "generator (EMA)", "Words.", standing="far", gallery=gallery)
    return write_page(tmp_path_factory.mktemp("report") / "index.html", report)


def opened(browser: Any, page: Path, width: int) -> Any:
    shown = browser.new_page(viewport={"width": width, "height": 900})
    shown.goto(page.as_uri())
    return shown


def cut(shown: Any) -> list[list[int]]:
    """Return width inside and out of the page, and of each part that may scroll, where something is cut."""
    widths = shown.evaluate(
        "[document.documentElement, ...document.querySelectorAll('.wide')].map(e => [e.scrollWidth, e.clientWidth])"
    )
    return [pair for pair in widths if pair[0] > pair[1]]


@pytest.mark.parametrize("width", [375, 1280])
def test_the_figures_fit(browser: Any, page: Path, width: int) -> None:
    shown = opened(browser, page, width)
    assert cut(shown) == []
    shown.close()


def test_a_table_that_scrolls_shows_it_and_keeps_its_names(browser: Any, page: Path) -> None:
    shown = opened(browser, page, 700)
    assert len(cut(shown)) == 1, "the table, and not the page"
    assert "linear-gradient" in shown.locator(".wide").first.evaluate("e => getComputedStyle(e).backgroundImage")
    name = shown.get_by_role("rowheader", name="increments").first
    before = name.bounding_box()["x"]
    shown.locator(".wide").first.evaluate("e => e.scrollLeft = 200")
    assert name.bounding_box()["x"] == before
    shown.close()


def test_on_a_phone_every_control_row_has_its_name_and_figure(browser: Any, page: Path) -> None:
    shown = opened(browser, page, 375)
    lines = shown.evaluate(
        "[...document.querySelectorAll('.figures td')].filter(e => e.offsetParent).map(e => ["
        "getComputedStyle(e, '::before').content, e.innerText.split(/\\s/)[0], e.getBoundingClientRect().right])"
    )
    assert [line[0].strip('"') for line in lines] == ["generator (EMA)", *CONTROLS]
    assert [line[1] for line in lines][-2:] == ["1.309", "14.73"]
    assert max(line[2] for line in lines) <= 375
    shown.close()


@pytest.mark.parametrize(("width", "across"), [(375, 1), (1280, 2)])
def test_pictures_use_the_width(browser: Any, page: Path, width: int, across: int) -> None:
    shown = opened(browser, page, width)
    boxes = [image.bounding_box() for image in shown.locator(".plots.large img").all()]
    assert len(boxes) == 3
    assert len({box["x"] for box in boxes}) == across
    room = shown.locator("body").evaluate("e => e.clientWidth - 32")
    assert max(box["x"] + box["width"] for box in boxes) == pytest.approx(boxes[0]["x"] + room, abs=2)
    shown.close()
