"""An exported page in a real browser: opened from a disk, it samples, and asks no other host for anything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from saddlepoint._errors import ConfigError
from saddlepoint.export import export_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def page_of(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what exports a run as a page, or skips where its runtime cannot be fetched."""
    kept: dict[str, Path] = {}

    def exported(name: str) -> Path:
        if name not in kept:
            if shutil.which("npm") is None:
                pytest.skip("there is no npm to fetch the page's runtime")
            try:
                kept[name] = export_run(runs / name, "web", tmp_path_factory.mktemp("pages") / name, measure=False)
            except ConfigError as error:
                pytest.skip(f"the page's runtime cannot be had: {error}")
        return kept[name]

    return exported


def opened(browser: Any, folder: Path, complaints: list[str]) -> Any:
    """Open the page of a folder from the disk and wait for its first samples."""
    page = browser.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    allowed = (folder.as_uri(), "blob:", "data:")
    page.on("request", lambda r: None if r.url.startswith(allowed) else complaints.append(f"request to {r.url}"))
    page.goto((folder / "index.html").as_uri())
    page.wait_for_function("document.body.dataset.drawn === '1'", timeout=60_000)
    return page


def drawn(page: Any) -> str:
    return str(page.evaluate("document.getElementById('canvas').toDataURL()"))


def test_a_page_samples_by_seed_and_class(browser: Any, page_of: Any) -> None:
    complaints: list[str] = []
    page = opened(browser, page_of("conditional"), complaints)
    first = drawn(page)
    page.get_by_role("button", name="Next seed").click()
    page.wait_for_function("document.body.dataset.drawn === '2'")
    assert drawn(page) != first
    page.get_by_label("Seed").fill("0")
    page.get_by_role("button", name="Draw").click()
    page.wait_for_function("document.body.dataset.drawn === '3'")
    assert drawn(page) == first, "the same seed gives the same samples"
    page.get_by_label("Class").select_option("3")
    page.wait_for_function("document.body.dataset.drawn === '4'")
    assert drawn(page) != first
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    assert download.value.suggested_filename == "samples.png"
    assert complaints == []
    page.close()


def test_a_page_makes_what_pytorch_makes(browser: Any, page_of: Any, runs: Path) -> None:
    import numpy as np

    import saddlepoint

    run, complaints = saddlepoint.load(runs / "conditional"), list[str]()
    page = opened(browser, page_of("conditional"), complaints)
    z, labels = run.inputs(4, seed=3), run.labels(4, seed=3)
    assert labels is not None
    found = page.evaluate(
        """async ([z, shape, labels]) => {
            const inputs = new ort.Tensor("float32", Float32Array.from(z), shape);
            const asked = new ort.Tensor("int64", BigInt64Array.from(labels, BigInt), [labels.length]);
            return Array.from((await run("model", { inputs, labels: asked })).data);
        }""",
        [z.flatten().tolist(), list(z.shape), labels.tolist()],
    )
    wanted = run.generate(z, labels).numpy().ravel()
    # Weights in 16 bits have 11 digits.
    assert np.abs(np.array(found) - wanted).max() < 0.02
    assert np.abs(np.array(found) - wanted).mean() < 0.002
    assert complaints == []
    page.close()


def test_points_are_drawn_too(browser: Any, page_of: Any) -> None:
    complaints: list[str] = []
    page = opened(browser, page_of("points"), complaints)
    assert "16 samples" in page.inner_text("#status")
    assert complaints == []
    page.close()
