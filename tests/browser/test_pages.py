"""The studio in a real browser: every page at both widths, all that moves, no complaint, no request to another host."""

from __future__ import annotations

import base64
import datetime
import io
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import saddlepoint
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.figures import grids
from saddlepoint.lab import EXPERIMENTS
from tests.browser.conftest import COPIES, Visit
from tests.browser.legible import illegible

pytestmark = pytest.mark.slow

PAGES = [
    ("/", ""), ("/train", ""), ("/compare?one=conditional&two=points", ""), ("/lab", ""),
    ("/run/broken", ""), ("/run/nowhere", ""),
    *(("/run/conditional", tab) for tab in ("Overview", "Training", "Samples", "Neighbours", "Figures", "Data")),
    *(("/run/conditional", tab) for tab in ("Explorer", "Projection")),
    *(("/run/points", tab) for tab in ("Samples", "Explorer")),
    *((f"/lab/{name}", "") for name in EXPERIMENTS),
]  # fmt: skip


def changed(read: Any, before: object, seconds: float = 20.0) -> Any:
    """Wait until something is no longer what it was, and return it."""
    until = time.monotonic() + seconds
    while (now := read()) == before:
        assert time.monotonic() < until, f"it is still {before!r}"
        time.sleep(0.02)
    return now


def settled(page: Any, read: Any, seconds: float = 30.0) -> Any:
    """Wait until something stays what it is for a second, and return it."""
    until = time.monotonic() + seconds
    while True:
        before = read()
        page.wait_for_timeout(1000)
        if read() == before:
            return before
        assert time.monotonic() < until, f"it still changes: {before!r}"


def source(page: Any) -> str:
    return str(page.locator("img.pixels:visible").first.get_attribute("src"))


def content(url: str | None) -> bytes:
    """Return the bytes of a picture that stands in its own address, which a page may show but not ask for."""
    return base64.b64decode(str(url).removeprefix("data:image/png;base64,"), validate=True)


@pytest.mark.parametrize("visit", [375, 1600], indirect=True)
@pytest.mark.parametrize(("path", "tab"), PAGES)
def test_pages_fit_their_window(visit: Visit, path: str, tab: str) -> None:
    page = visit.open(path, tab)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_timeout(1000)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("[...document.images].every(image => !image.offsetParent || image.naturalWidth > 0)")
    assert page.evaluate("[...document.images].every(image => image.alt)")
    for dark in ("false", "true"):
        page.evaluate(f"Quasar.Dark.set({dark})")
        page.wait_for_timeout(500)
        assert illegible(page) == [], f"dark: {dark}"


def test_what_cannot_be_read_is_found(browser: Any) -> None:
    page = browser.new_page()
    page.set_content(
        "<p style='color:#777'>grey</p><p style='opacity:.5'>faint</p><p style='color:#767676'>enough</p>"
        "<div style='background:#c10015'><b style='color:#3b6fc4'>blue on red</b><i style='color:#fff'>white</i></div>"
    )
    assert [line.partition(": ")[2] for line in illegible(page)] == ["grey", "faint", "blue on red"]
    page.close()


@pytest.mark.parametrize("visit", [375], indirect=True)
def test_an_error_and_what_closes_it_can_be_read(visit: Visit) -> None:
    page = visit.open("/train")
    page.get_by_label("data", exact=True).fill("/no/such")
    page.get_by_role("button", name="Look into the data").click()
    page.get_by_text("there is no data set or path").wait_for()
    page.wait_for_timeout(500)
    assert illegible(page) == []


@pytest.mark.parametrize("visit", [375], indirect=True)
def test_a_broken_run_on_a_phone_has_no_half_sentence(visit: Visit) -> None:
    page = visit.open("/")
    page.get_by_label("Search").fill("broken")
    page.get_by_text("cannot be read").wait_for()
    words = [line.strip() for line in page.locator(".q-card").inner_text().splitlines()]
    assert words[:2] == ["broken", "broken"], "its name and its state; of family and data nothing is known"
    page.get_by_label("Search").fill("zzz")
    page.get_by_text("No run fits what is searched for.").wait_for()


def test_many_runs_a_broken_one_and_a_search(visit: Visit) -> None:
    page = visit.open("/")
    page.get_by_text(re.compile(rf"1-25 of {COPIES + 3}")).wait_for()
    page.get_by_label("Search").fill("broken")
    page.get_by_text("cannot be read").wait_for()
    page.get_by_role("link", name="broken").click()
    page.get_by_text("This folder is no run that can be read").wait_for()


@pytest.mark.parametrize("visit", [1280], indirect=True)
def test_the_table_of_runs_fits_and_a_run_is_trained_on_from_it(visit: Visit) -> None:
    page = visit.open("/")
    page.get_by_label("Search").fill("conditional")
    page.get_by_role("link", name="conditional").first.wait_for()
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.q-table__middle'))")
    page.get_by_label("What to do with conditional").click()
    page.get_by_text("Train on", exact=True).click()
    time_field = page.get_by_label("more training time")
    assert time_field.input_value() == "+10m"
    time_field.fill("ten")
    page.get_by_role("button", name="Train on").click()
    page.locator(".q-notification").get_by_text("budget").wait_for()


def test_the_scrubber_goes_through_training(visit: Visit) -> None:
    page = visit.open("/run/conditional")
    caption = page.get_by_text(re.compile(r"^step \d"))
    caption.wait_for()
    assert caption.inner_text() == "step 1,300"
    last = source(page)
    visit.press("step of training", "PageDown", 9)
    changed(lambda: source(page), last)
    page.get_by_text("step 0", exact=True).wait_for()
    marks = page.get_by_role("group", name="steps of training").get_by_role("button")
    steps = [text.strip() for text in marks.all_inner_texts()]
    assert (steps[0], steps[-1]) == ("0", "1,300")
    assert len(set(steps)) == len(steps)
    marks.last.click()
    changed(caption.inner_text, "step 0")
    assert source(page) == last
    assert marks.last.get_attribute("aria-pressed") == "true"


def test_a_label_is_sampled(visit: Visit) -> None:
    page = visit.open("/run/conditional", "Samples")
    page.locator("img.pixels:visible").first.wait_for()
    every = source(page)
    page.get_by_label("label").click()
    page.get_by_role("option", name="7").click()
    changed(lambda: source(page), every)
    changed(lambda: page.locator("code").inner_text(), "")
    assert "--label 7" in page.locator("code").inner_text()


def test_sliders_move_the_picture_and_the_command_makes_it(visit: Visit, runs: Path) -> None:
    page = visit.open("/run/conditional", "Explorer")
    page.locator("img.pixels:visible").first.wait_for()
    seen = [source(page)]
    for slider in ("direction 1", "direction 2", "truncation"):
        visit.press(slider, "ArrowRight", 8)
        seen.append(changed(lambda: source(page), seen[-1]))
    page.wait_for_timeout(500)
    code = page.locator("code").nth(1).inner_text()
    before = source(page)
    point, truncation = re.search(r'parse\("(.*?)"\)', code)[1], float(re.search(r"truncation=([\d.]+)", code)[1])  # type: ignore[index]
    run = saddlepoint.load(runs / "conditional")
    view = saddlepoint.View((saddlepoint.Point.parse(point),), truncation=truncation)
    expected = grids.single(saddlepoint.Explorer(run).sample(view)[0])
    shown = content(before)
    assert Image.open(io.BytesIO(shown)).tobytes() == expected.tobytes()
    page.get_by_role("button", name="Copy the command").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("saddle explore ")


def test_a_path_through_kept_points_and_a_download(visit: Visit) -> None:
    page = visit.open("/run/conditional", "Explorer")
    page.get_by_role("button", name="Keep this point").click()
    start = source(page)
    visit.press("direction 1", "ArrowRight", 20)
    changed(lambda: source(page), start)
    page.wait_for_timeout(500)
    end = source(page)
    page.get_by_role("button", name="Keep this point").click()
    visit.press("along the points", "ArrowRight")
    changed(lambda: source(page), end)
    visit.press("along the points", "ArrowLeft")
    changed(lambda: source(page) == start, False)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    with Image.open(download.value.path()) as picture:
        assert picture.size == (8, 8)
    with page.expect_download() as download:
        page.get_by_role("button", name="Film").click()
    with Image.open(download.value.path()) as film:
        assert film.n_frames == 24


def test_own_pictures_are_projected(visit: Visit, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "white").save(tmp_path / "me.png")
    (tmp_path / "no.png").write_text("no picture")
    page = visit.open("/run/conditional", "Projection")
    page.locator(".drop").wait_for()
    page.set_input_files("input[type=file]", tmp_path / "no.png")
    page.get_by_text("no.png cannot be read").wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Close").wait_for(state="hidden")
    Image.new("1", (5000, 4000)).save(tmp_path / "large.png")
    page.set_input_files("input[type=file]", tmp_path / "large.png")
    page.get_by_text(re.compile("large.png declares 5,000x4,000 pixels")).wait_for()
    page.get_by_role("button", name="Close").click()
    page.set_input_files("input[type=file]", tmp_path / "me.png")
    page.get_by_text(re.compile(r"Mean squared error .* times as much")).wait_for(timeout=60_000)
    page.get_by_role("img", name="your pictures above the generator's nearest samples").wait_for()


def test_a_picture_held_out_from_training_is_projected_at_a_click(visit: Visit) -> None:
    page = visit.open("/run/conditional", "Projection")
    page.get_by_role("button", name="Try example 3").click()
    page.get_by_text(re.compile(r"Mean squared error .* times as much")).wait_for(timeout=60_000)


def test_directions_show_where_they_lead(visit: Visit, runs: Path) -> None:
    page = visit.open("/run/conditional", "Explorer")
    small = page.get_by_role("img", name="direction 2 at +3")
    small.wait_for()
    url = small.get_attribute("src")
    shown = content(url)
    view = saddlepoint.View((saddlepoint.Point(0, ((2, 3.0),)),))
    expected = grids.single(saddlepoint.Explorer(saddlepoint.load(runs / "conditional")).sample(view)[0])
    assert Image.open(io.BytesIO(shown)).tobytes() == expected.tobytes()


def test_a_run_is_renamed_found_by_its_name_and_deleted(visit: Visit, runs: Path) -> None:
    shutil.copytree(runs / "copy-000", runs / "short lived")
    page = visit.open("/")
    page.get_by_label("Search").fill("short lived")
    page.get_by_role("button", name="What to do with short lived").click()
    page.get_by_text("Rename", exact=True).click()
    field = page.get_by_label("New name of short lived")
    field.fill("../escaped")
    page.get_by_role("button", name="Rename", exact=True).click()
    page.get_by_text(re.compile("'../escaped', but it must")).wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="What to do with short lived").click()
    page.get_by_text("Rename", exact=True).click()
    field.fill("renamed")
    page.get_by_role("button", name="Rename", exact=True).click()
    page.get_by_text("short lived is now renamed").wait_for()
    page.get_by_label("Search").fill("renamed")
    page.get_by_role("link", name="renamed").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("This cannot be undone").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert (runs / "renamed").is_dir()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url(visit.address + "/")
    assert not (runs / "renamed").exists()
    assert not (runs / "short lived").exists()


def test_a_folder_is_brought_looked_into_and_its_family_chosen(visit: Visit, runs: Path, tmp_path: Path) -> None:
    for kind, shade in (("cat", 60), ("dog", 190)):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (32, 32), shade + number).save(tmp_path / "pets" / kind / f"{number}.png")
    page = visit.open("/train")
    page.locator(".drop").wait_for()
    page.set_input_files("input[webkitdirectory]", tmp_path / "pets")
    page.get_by_text(re.compile("to train on, .* held out; 32 x 32 pixels, grey; 2 classes: cat, dog")).wait_for(
        timeout=60_000
    )
    kept = Path(page.get_by_label("data", exact=True).input_value())
    assert kept.is_relative_to(runs / ".uploads")
    assert len(list(kept.glob("*/*.png"))) == 40
    page.get_by_text(re.compile("^saddle train dcgan --data ")).wait_for()
    page.get_by_label("family", exact=True).click()
    offered = page.get_by_role("option").all_inner_texts()
    assert "timegan" not in " ".join(offered)


def test_data_is_chosen_below_the_place_of_the_studio(visit: Visit) -> None:
    page = visit.open("/train")
    page.get_by_role("button", name="Choose a folder or file").click()
    page.get_by_role("button", name="Use this folder").wait_for()
    assert page.get_by_role("button", name="..", exact=True).count() == 0
    page.get_by_role("button", name="Cancel").click()
    page.get_by_label("threads").fill("two")
    page.get_by_text("it must be a whole number such as 2, or auto").wait_for()
    page.get_by_label("threads").fill("2")
    page.get_by_text(re.compile("--threads 2$")).wait_for()


def test_an_address_that_is_not_there_has_the_way_back(visit: Visit) -> None:
    page = visit.open("/nope")
    page.get_by_role("heading", name="There is no such page").wait_for()
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Runs").wait_for()
    assert [text for text in visit.complaints if "404" not in text] == []
    visit.complaints.clear()


def test_the_place_in_the_studio_is_marked(visit: Visit) -> None:
    for path, place in (("/", "Runs"), ("/run/conditional", "Runs"), ("/train", "Train"), ("/lab/dirac", "Lab")):
        page = visit.open(path)
        page.get_by_role("heading", level=1).wait_for()
        marked = page.locator("nav [aria-current=page]").all_inner_texts()
        assert marked == [place]


def test_a_training_is_started_watched_paused_continued_and_stopped(visit: Visit, runs: Path) -> None:
    page = visit.open("/train")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("choose your data first").wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Close").wait_for(state="hidden")
    page.get_by_label("data", exact=True).fill("mnits")
    page.get_by_label("training time").fill("10m")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("there is no data set or path 'mnits'").wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_label("data", exact=True).fill("digits")
    page.get_by_label("family", exact=True).click()
    page.get_by_role("option", name=re.compile("^gan:")).click()
    page.get_by_role("button", name="Options of gan").click()
    page.get_by_label("generator-widths", exact=True).fill("16")
    page.get_by_role("button", name="Train").click()
    page.wait_for_url("**/run/gan-digits-*")
    name = page.url.rsplit("/", 1)[1]
    state = page.get_by_role("status", name="state of the run")
    page.get_by_role("button", name="Pause").click(timeout=60_000)
    changed(lambda: state.inner_text().startswith("paused"), False, 60)
    page.get_by_role("button", name="Go on").click()
    changed(lambda: state.inner_text().startswith("running"), False, 60)
    before = state.inner_text()
    changed(state.inner_text, before, 60)
    page.get_by_role("button", name="Stop").click()
    changed(lambda: state.inner_text().startswith("stopped"), False, 60)
    assert RunFolder(runs / name).trainer() is None
    assert RunFolder(runs / name).read_config()["options"]["generator_widths"] == [16]


def test_data_that_can_be_read_in_two_ways_is_asked_about_and_read_as_chosen(visit: Visit, tmp_path: Path) -> None:
    table = tmp_path / "prices.csv"
    days = [datetime.date(2016, 1, 1) + datetime.timedelta(number) for number in range(200)]
    table.write_text("".join(f"{day},{number * number % 97}\n" for number, day in enumerate(days)))
    page = visit.open("/train")
    page.get_by_label("family", exact=True).click()
    page.get_by_role("option", name=re.compile("^timegan")).first.click()
    page.get_by_label("data", exact=True).fill(str(table))
    page.get_by_role("button", name="Look into the data").click()
    page.get_by_text("The data can be read in several ways").wait_for()
    assert page.get_by_role("button", name="Read it so").count() == 2
    page.get_by_role("button", name="Read it so").first.click()
    page.get_by_text(re.compile("to train on, ")).wait_for(timeout=60_000)
    page.get_by_role("button", name=re.compile("lines of how it is read")).click()
    page.get_by_role("columnheader", name="what is done").wait_for()
    assert page.get_by_text("The data can be read in several ways").count() == 0
    assert "--no-header" in page.get_by_text(re.compile("^saddle train timegan")).inner_text()
    page.get_by_label("data", exact=True).fill("digits")
    page.get_by_text(re.compile("^saddle train timegan --data digits$")).wait_for()
    assert not visit.complaints


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_the_lab_moves_and_obeys(visit: Visit, name: str) -> None:
    page = visit.open(f"/lab/{name}")
    frames = page.locator(".frames")
    frames.get_by_text(re.compile("frame")).wait_for()
    diagram = page.locator("canvas").last
    before = diagram.screenshot()
    changed(lambda: diagram.screenshot() == before, True)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").wait_for()
    still = settled(page, frames.inner_text)
    page.get_by_role("button", name="Go on").click()
    changed(frames.inner_text, still)
    page.get_by_role("button", name="Again").click()
    changed(frames.inner_text, frames.inner_text())


def test_checks_are_carried_out_on_the_page(visit: Visit) -> None:
    page = visit.open("/lab/counter-example")
    page.get_by_role("button", name="Check").click()
    page.get_by_text(re.compile(r"counter-example: 6 of 6 checks hold")).wait_for(timeout=60_000)


def test_the_keyboard_reaches_everything_and_the_shade_is_kept(visit: Visit) -> None:
    page = visit.open("/")
    page.get_by_text(re.compile("1-25 of")).wait_for()
    words = []
    for _ in range(10):
        page.keyboard.press("Tab")
        words.append(
            page.evaluate("document.activeElement.innerText || document.activeElement.ariaLabel || ''").strip()
        )
    assert words[0] == "Skip to main content"
    assert words[2:7] == ["Runs", "Train", "Compare", "Lab", "contrast"]
    dark = "document.body.classList.contains('body--dark')"
    assert not page.evaluate(dark)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(dark)
    visit.open("/lab")
    page.wait_for_timeout(500)
    assert page.evaluate(dark)


def test_an_empty_folder_says_what_to_do(browser: Any, tmp_path: Path) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-m", "saddlepoint", "studio", str(tmp_path / "runs"), "--no-browser", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        address = next(word for word in process.stdout.readline().split() if word.startswith("http"))  # type: ignore[union-attr]
        time.sleep(1)
        here = Visit(browser, address.rstrip("/"), 375)
        here.open("/").get_by_text("There are no runs in").wait_for()
        assert here.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        here.open("/compare").get_by_text("Two runs are needed").wait_for()
        assert here.complaints == []
        process.terminate()
