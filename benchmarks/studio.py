"""Makes the figures and the screens of docs/studio.md, in headless Chromium (tests/browser/install.py gets it).

    python benchmarks/studio.py run RUNS      measure with the runs of a folder, and keep
    python benchmarks/studio.py write         write the table
    python benchmarks/studio.py screens RUNS  take the screens

RUNS holds a trained conditional run on MNIST, named by --run (default: the newest conditional one).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from records import commit, write_section

from saddlepoint.engine.machine import runtime
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.lab import EXPERIMENTS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "studio.json"
PAGE = HERE.parent / "docs" / "studio.md"
IMAGES = HERE.parent / "docs" / "images"
COPIES = 200
REPEATS = 9


@contextlib.contextmanager
def studio(runs: Path) -> Iterator[str]:
    """Run a studio over a folder; yield its address."""
    words = [sys.executable, "-m", "saddlepoint", "studio", str(runs), "--no-browser", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        time.sleep(2)
        yield address.rstrip("/")
        process.send_signal(signal.SIGINT)
        process.wait(30)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    path = next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
    from playwright.sync_api import sync_playwright  # here: what writes the table needs no browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def many(run: Path, folder: Path) -> None:
    """Fill a folder with copies of a run's files that a table reads."""
    for number in range(COPIES):
        copy = folder / f"{run.name}-{number:03d}"
        (copy / "report").mkdir(parents=True)
        for name in ("config.json", "log.jsonl", "status.json", "report/metrics.jsonl"):
            if (run / name).exists():
                shutil.copy(run / name, copy / name)


def median(values: list[float]) -> list[float]:
    """Return median, least and most, rounded."""
    return [round(value, 3) for value in (statistics.median(values), min(values), max(values))]


def page_seconds(page: Page, address: str) -> float:
    """Return the time from asking for the table of runs to its rows."""
    started = time.perf_counter()
    page.goto(address)
    page.get_by_text(f"1-25 of {COPIES}").wait_for()
    return time.perf_counter() - started


def slider_seconds(page: Page, address: str, run: str) -> list[float]:
    """Return times from a key on a slider to the changed picture."""
    page.goto(f"{address}/run/{run}")
    page.get_by_role("tab", name="Explorer").click()
    picture = page.locator("img.pixels:visible")
    picture.wait_for()
    page.wait_for_timeout(1000)
    page.get_by_role("slider", name="direction 1", exact=True).locator("[tabindex='0']").focus()
    found = []
    for _ in range(4 * REPEATS):
        # Measured inside the page, from the key to the new source, so that the driver's own delay is not counted.
        waiting = page.evaluate_handle(
            """() => { const image = document.querySelector('img.pixels'); let started;
            document.addEventListener('keydown', () => { started = performance.now(); }, {once: true, capture: true});
            return {done: new Promise(resolve => new MutationObserver((_, self) => {
                self.disconnect(); image.decode().then(() => resolve(performance.now() - started)); })
                .observe(image, {attributes: true, attributeFilter: ['src']}))}; }"""
        )
        page.keyboard.press("ArrowRight")
        found.append(float(page.evaluate("handle => handle.done", waiting)) / 1000)
        page.wait_for_timeout(80)
    return found


def frames_a_second(page: Page, address: str, name: str) -> float:
    """Return how many frames of a live experiment are shown in a second."""
    page.goto(f"{address}/lab/{name}")
    count = page.locator(".frames")
    count.get_by_text("frame").wait_for()
    page.wait_for_timeout(1000)

    def shown() -> int:
        return int(count.inner_text().split()[1].replace(",", ""))

    before, started = shown(), time.perf_counter()
    page.wait_for_timeout(4000)
    return (shown() - before) / (time.perf_counter() - started)


def measure(runs: Path, run: str) -> None:
    """Measure everything and keep it."""
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        folder = Path(temporary)
        many(runs / run, folder)
        with studio(folder) as address:
            page = browser.new_page()
            first = page_seconds(page, address)
            again = [page_seconds(page, address) for _ in range(REPEATS)]
        with studio(runs) as address:
            page = browser.new_page()
            slider = slider_seconds(page, address, run)
            frames = {name: round(frames_a_second(page, address, name), 1) for name in EXPERIMENTS}
    config = RunFolder(runs / run).read_config()
    found = {
        "machine": runtime.machine(), "commit": commit(), "runs": COPIES,
        "first": round(first, 3), "again": median(again),
        "model": f"{config['family']}, preset {config['preset']}, {config['data']['name']}", "slider": median(slider),
        "frames": frames,
    }  # fmt: skip
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def write() -> None:
    """Write the table into the page."""
    found = json.loads(FIGURES.read_text())
    least, cores = min(found["frames"].values()), f"{found['machine']['processor']}, {found['machine']['cores']} cores"
    again, slider = found["again"], [1000 * seconds for seconds in found["slider"]]
    lines = [
        f"Commit `{found['commit']}`, {cores}; browser and studio on the same machine; median [least, most].",
        "",
        "| | asked for | measured |", "|---|---|---|",
        f"| table of {found['runs']} runs, from the request to its rows | 1 s | "
        f"{again[0]:.2f} s [{again[1]:.2f}, {again[2]:.2f}], the first time {found['first']:.2f} s |",
        f"| from a key on a slider to the new picture ({found['model']}) | 100 ms | "
        f"{slider[0]:.0f} ms [{slider[1]:.0f}, {slider[2]:.0f}] |",
        f"| frames a second of the live experiments | 10 | {least:.1f} or more: "
        + ", ".join(f"`{name}` {rate:.1f}" for name, rate in found["frames"].items()) + " |",
    ]  # fmt: skip
    write_section(PAGE, "studio", lines)


def screens(runs: Path, run: str) -> None:
    """Take the screens of the documents."""
    with chromium() as browser, studio(runs) as address:
        for name, path, tab, width, dark in (
            ("studio-runs", "/", "", 1200, False),
            ("studio-run", f"/run/{run}", "Training", 1200, False),
            ("studio-explorer", f"/run/{run}", "Explorer", 1200, False),
            ("studio-lab", "/lab/figure1", "", 1200, True),
            ("studio-phone", f"/run/{run}", "Filmstrip", 375, True),
        ):
            scheme: Any = "dark" if dark else "light"
            page = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme).new_page()
            page.goto(address + path)
            if tab:
                page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(20_000 if "lab" in name else 3_000)
            if tab == "Explorer":
                page.get_by_role("slider", name="direction 1", exact=True).locator("[tabindex='0']").focus()
                for _ in range(30):
                    page.keyboard.press("ArrowRight")
                page.wait_for_timeout(500)
            if tab == "Filmstrip":
                page.get_by_role("slider", name="step of training").locator("[tabindex='0']").focus()
                page.keyboard.press("PageDown")
                page.wait_for_timeout(500)
            page.screenshot(path=IMAGES / f"{name}.png", full_page=True)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "write", "screens"))
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    parser.add_argument("--run", required=False)
    words = parser.parse_args()
    if words.what == "write":
        write()
        return
    run = words.run or max(
        path.name for path in words.runs.iterdir() if RunFolder(path).read_config()["options"].get("conditional")
    )
    (measure if words.what == "run" else screens)(words.runs, run)


if __name__ == "__main__":
    main()
