"""An exported page in a real browser: opened from a disk, it samples, and asks no other host for anything."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import to_bytes
from saddlepoint.data import read_picture
from saddlepoint.data.images.decode import Look
from saddlepoint.export import export_run
from tests.browser.legible import illegible
from tests.unit.data_helpers import pictures, png, write_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what exports a run as a page, or skips where its runtime cannot be fetched."""
    kept: dict[Path, Path] = {}

    def exported(run: Path) -> Path:
        if run not in kept:
            if shutil.which("npm") is None:
                pytest.skip("there is no npm to fetch the page's runtime")
            try:
                kept[run] = export_run(run, "web", tmp_path_factory.mktemp("pages") / run.name, measure=False)
            except ConfigError as error:
                pytest.skip(f"the page's runtime cannot be had: {error}")
        return kept[run]

    return exported


@pytest.fixture(scope="session")
def page_of(runs: Path, exporting: Any) -> Any:
    """Return what exports one of the runs of the studio as a page."""
    return lambda name: exporting(runs / name)


@pytest.fixture(scope="session")
def translating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose generator translates pictures."""
    folder = tmp_path_factory.mktemp("translating")
    data = write_folder(folder / "data", pictures(20, 32, 3), ["a", "b"] * 10)
    options = {"width": 4, "discriminator_width": 4, "blocks": 1, "layers": 3, "batch_size": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(folder / "cache"))
        run = saddlepoint.train(
            "stargan", data=str(data), size=32, steps=2, options=options, threads=1, out=folder / "run"
        )
    return run.path


def opened(browser: Any, folder: Path, complaints: list[str], samples: bool = True) -> Any:
    """Open the page of a folder from the disk and wait for its first samples, if it makes some by itself."""
    page = browser.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    allowed = (folder.as_uri(), "blob:", "data:")
    page.on("request", lambda r: None if r.url.startswith(allowed) else complaints.append(f"request to {r.url}"))
    page.goto((folder / "index.html").as_uri())
    ready = "document.body.dataset.drawn === '1'" if samples else "!document.getElementById('given').hidden"
    page.wait_for_function(ready, timeout=60_000)
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


def test_many_samples_in_parts_are_those_of_one_call(browser: Any, page_of: Any) -> None:
    complaints: list[str] = []
    page = opened(browser, page_of("conditional"), complaints)
    page.evaluate(
        """() => {
             window.heard = [];
             new MutationObserver(() => heard.push(element("status").textContent))
               .observe(element("status"), { childList: true });
           }"""
    )
    n, gap = page.evaluate(
        """async () => {
             const n = 2 * part + 1, sliced = await generate(n, 5), uniform = random(5);
             const whole = async (name, given) => {
               const feeds = Object.fromEntries(sessions[name].inputNames.map((input) => [input, given[input]]));
               return (await sessions[name].run(feeds))[sessions[name].outputNames[0]];
             };
             const inputs = await whole("inputs", draws("inputs", n, uniform)), labels = chosenLabels(n, uniform);
             const made = await whole("model", { inputs, ...labels, ...draws("model", n, uniform) });
             if (made.dims.join() !== sliced.dims.join()) throw new Error(sliced.dims.join());
             return [n, made.data.reduce((most, value, i) => Math.max(most, Math.abs(value - sliced.data[i])), 0)];
           }"""
    )
    assert gap < 1e-5
    assert f"{n - 1} of {n} samples." in page.evaluate("heard")
    assert complaints == []
    page.close()


def test_one_picture_is_seen_large_and_all_again(browser: Any, page_of: Any) -> None:
    complaints: list[str] = []
    page = opened(browser, page_of("conditional"), complaints)
    status, canvas = page.locator("#status"), page.get_by_role("img", name="Samples of the generator")
    every = drawn(page)
    wide = page.evaluate("canvas.width")
    assert "click on one to see it alone" in status.inner_text()
    box = canvas.bounding_box()
    # The second of the third row of four: number 10.
    canvas.click(position={"x": box["width"] * 0.375, "y": box["height"] * 0.625})
    assert "picture 10 of 16, click on it to see all" in status.inner_text()
    tenth = page.evaluate("[...one(shown, 9).data].map(value => Math.round(127.5 * (value + 1)))")
    seen = page.evaluate(
        """() => {
             const { width, height } = canvas, [, high, wide] = spec.shape, side = width / wide;
             const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
             return Array.from({ length: high * wide }, (_, i) =>
               data[4 * (width * Math.floor((Math.floor(i / wide) + .5) * side) + Math.floor((i % wide + .5) * side))]);
           }"""
    )
    assert seen == [min(255, max(0, value)) for value in tenth]
    assert page.evaluate("canvas.width / spec.shape[2]") > wide / (4 * page.evaluate("spec.shape[2]")), "larger"
    page.get_by_role("button", name="All pictures").click()
    assert drawn(page) == every
    page.get_by_role("button", name="One picture").click()
    assert "picture 1 of 16" in status.inner_text()
    canvas.click()
    assert drawn(page) == every
    assert complaints == []
    page.close()


def test_a_walk_goes_from_a_seed_to_the_next_and_every_place_is_reached(browser: Any, page_of: Any) -> None:
    complaints: list[str] = []
    page = opened(browser, page_of("conditional"), complaints)
    page.get_by_label("Class").select_option("3")
    page.wait_for_function("document.body.dataset.drawn === '2'")
    page.get_by_role("button", name="One picture").click()
    first = drawn(page)
    page.get_by_role("button", name="Walk").click()
    page.wait_for_function("document.body.dataset.drawn === '3'")
    status, place = page.locator("#status"), page.get_by_role("slider", name="Place")
    assert status.inner_text() == "From seed 0 to seed 1: drag the place; place 25 of 25, click on it to see all"
    last = drawn(page)
    assert last != first
    place.fill("0")
    assert drawn(page) == first, "it begins at the picture of the seed"
    page.get_by_role("button", name="All pictures").click()
    assert drawn(page) not in (first, last)
    assert "click on one to see it alone" in status.inner_text()
    page.get_by_role("button", name="One picture").click()
    assert drawn(page) == first, "the place that was looked at"
    place.fill("24")
    assert drawn(page) == last
    page.get_by_role("button", name="Draw").click()
    page.wait_for_function("document.body.dataset.drawn === '4'")
    assert not place.is_visible()
    assert complaints == []
    page.close()


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("count", "0", "the number of samples must be a whole number from 1 to 256"),
        ("count", "257", "the number of samples must be a whole number from 1 to 256"),
        ("count", "", "the number of samples must be a whole number from 1 to 256"),
        ("seed", "-1", "the seed must be a whole number from 0 to 4294967295"),
        ("seed", "4294967296", "the seed must be a whole number from 0 to 4294967295"),
        ("seed", "1.5", "the seed must be a whole number from 0 to 4294967295"),
    ],
)
def test_a_number_out_of_range_is_said_and_draws_nothing(
    browser: Any, page_of: Any, field: str, value: str, rule: str
) -> None:
    complaints: list[str] = []
    page = opened(browser, page_of("conditional"), complaints)
    before, usual = drawn(page), page.locator(f"#{field}").input_value()
    page.locator(f"#{field}").fill(value)
    page.get_by_role("button", name="Draw").click()
    page.get_by_text(f'{rule}, not "{value}"').wait_for()
    assert page.locator("#status.wrong").count() == 1
    assert page.evaluate("document.activeElement.id") == field
    assert drawn(page) == before
    assert illegible(page) == []
    page.locator(f"#{field}").fill(usual)
    page.get_by_role("button", name="Draw").click()
    page.wait_for_function("document.body.dataset.drawn === '2'")
    assert page.locator("#status.wrong").count() == 0
    assert complaints == []
    page.close()


def test_a_page_makes_what_pytorch_makes(browser: Any, page_of: Any, runs: Path) -> None:
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
    assert "256 samples" in page.inner_text("#status")
    assert complaints == []
    page.close()


def test_a_page_translates_a_picture_of_the_visitor(
    browser: Any, exporting: Any, translating: Path, tmp_path: Path
) -> None:
    run, complaints = saddlepoint.load(translating), list[str]()
    page = opened(browser, exporting(translating), complaints, samples=False)
    page.get_by_text("Choose a picture of your own").wait_for()
    assert page.locator("canvas:visible").count() == 0, "nothing is drawn yet"
    assert page.get_by_label("Class").locator("option").all_inner_texts() == ["a", "b"]
    assert not page.get_by_role("button", name="One picture").is_visible()
    data = png(pictures(1, 32, 3, seed=5)[0])
    (tmp_path / "mine.png").write_bytes(data)
    (tmp_path / "notes.png").write_bytes(b"no picture")
    page.get_by_label("Class").select_option("1")
    page.get_by_label("Your picture").set_input_files(tmp_path / "mine.png")
    page.wait_for_function("document.body.dataset.drawn === '1'")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    with Image.open(download.value.path()) as sheet:
        found = np.asarray(sheet.convert("RGB").resize((32, 32), Image.Resampling.BOX)).astype(float)
    made = run.generate(run.read_pictures([("mine.png", data)]), run.target("b"))
    wanted = to_bytes(made)[0].permute(1, 2, 0).numpy().astype(float)
    assert np.abs(found - wanted).mean() < 3, "the page makes another picture than the run"
    first = drawn(page)
    page.get_by_label("Class").select_option("0")
    page.wait_for_function("document.body.dataset.drawn === '2'")
    assert drawn(page) != first
    # Transparent ink is white, as in training, and fine stripes of a photograph become grey.
    (tmp_path / "clear.png").write_bytes(png(np.zeros((32, 32, 4), np.uint8)))
    stripes = np.zeros((999, 1500, 3), np.uint8)
    stripes[:, ::2] = 255
    (tmp_path / "stripes.png").write_bytes(png(stripes))
    for name, least, most in (("clear.png", 1.0, 1.0), ("stripes.png", -0.1, 0.1)):
        data = page.evaluate(
            """async ([name, bytes]) => Array.from(await read(new File([new Uint8Array(bytes)], name)))""",
            [name, list((tmp_path / name).read_bytes())],
        )
        assert least <= min(data) <= max(data) <= most, name
    # Oblong shapes, opacity and a ground, as `read_picture` prepares them.
    given = np.zeros((24, 40, 4), np.uint8)
    given[..., 0], given[4:20, 8:36, 3] = 200, 255
    for shape, fit in (((4, 32, 24), "pad"), ((4, 12, 8), "crop"), ((3, 12, 20), "crop"), ((1, 24, 24), "pad")):
        look = Look((0, 0, 255), alpha=shape[0] == 4)
        expected = read_picture(png(given), "given.png", shape, fit, look).astype(float) / 127.5 - 1
        data = page.evaluate(
            """async ([shape, fit, bytes]) => {
                 Object.assign(spec, { shape, fit, ground: [0, 0, 255] });
                 return Array.from(await read(new File([new Uint8Array(bytes)], "given.png")));
               }""",
            [list(shape), fit, list(png(given))],
        )
        apart = np.abs(_as_seen(np.reshape(data, shape)) - _as_seen(expected)).mean()
        assert apart < 0.06, (shape, fit)
    page.get_by_label("Your picture").set_input_files(tmp_path / "notes.png")
    page.get_by_text("notes.png is no picture").wait_for()
    assert complaints == []
    page.close()


def _as_seen(x: np.ndarray) -> np.ndarray:
    """Weigh colours by opacity: where little is seen, kinds of resizing differ much in what hardly shows."""
    return x if len(x) < 4 else np.concatenate([(x[:3] + 1) * (x[3:] + 1) / 2 - 1, x[3:]])


def test_a_page_of_series_saves_a_table_with_its_classes(browser: Any, exporting: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 60)).round(3)
    with (tmp_path / "shops.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(value, shop) for shop, line in zip(("north", "south, east"), values, strict=True) for value in line]
        csv.writer(file).writerows([("value", "shop"), *rows])
    run = saddlepoint.train(
        "timegan", data=str(tmp_path / "shops.csv"), label_column="shop", window=8, steps=2,
        options={"batch_size": 4}, threads=1, out=tmp_path / "run",
    )  # fmt: skip
    complaints: list[str] = []
    page = opened(browser, exporting(run.path), complaints)
    page.get_by_label("Class").select_option("1")
    page.wait_for_function("document.body.dataset.drawn === '2'")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["window", "value", "shop"]
    assert {row["shop"] for row in table} == {run.family.data.classes[1]}
    assert complaints == []
    page.close()
