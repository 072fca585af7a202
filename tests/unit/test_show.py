"""What a run says of itself, what a notebook shows, samples as PIL pictures."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saddlepoint
from saddlepoint.core.errors import DataError
from saddlepoint.evaluation import Metric, Result, Row
from saddlepoint.figures import grids
from saddlepoint.run.samples import pictures

SMALL = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> saddlepoint.Run:
    folder = tmp_path_factory.mktemp("show") / "<b>run"
    return saddlepoint.train("gan", "digits", steps=20, options=SMALL, threads=1, out=folder)


def test_samples_become_pil_pictures() -> None:
    grey = torch.tensor([-1.0, 0.0, 1.0, 0.5]).view(1, 1, 2, 2)
    (picture,) = saddlepoint.to_pil(grey)
    assert (picture.mode, picture.size) == ("L", (2, 2))
    assert np.asarray(picture).tolist() == [[0, 128], [255, 191]]
    colour = torch.stack([torch.full((2, 3), value) for value in (-1.0, 0.0, 1.0)])
    (picture,) = saddlepoint.to_pil(colour)
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (3, 2), (0, 128, 255))
    assert [one.mode for one in saddlepoint.to_pil(np.zeros((5, 4, 8, 8)))] == ["RGBA"] * 5
    with pytest.raises(DataError, match=r"samples of shape \(5, 24\) are no images"):
        saddlepoint.to_pil(torch.zeros(5, 24))


def test_print_says_what_a_run_is(run: saddlepoint.Run) -> None:
    assert repr(run) == f"<Run '{run.path}': gan on digits, step 20>"
    lines = dict(line.split(":", 1) for line in str(run).splitlines())
    assert lines["run"].strip() == str(run.path)
    assert lines["family"].strip().startswith("gan, preset mnist; generator ")
    assert re.fullmatch(r" +digits, [\d,]+ images of 1x8x8", lines["data"])
    assert lines["trained"].strip().startswith("0.3 kimg, step 20, ")
    assert lines["measured"].strip() == "not yet; run.evaluate() does"
    assert lines["doctor"].strip() == run.diagnosis.verdict


def measured(run: saddlepoint.Run, value: float) -> None:
    rows = (
        Row("Fréchet distance", "generator (EMA)", value, None, (value - 1, value + 1)),
        Row("Fréchet distance", "held-out images", 0.5, role="control"),
    )
    metric = Metric("Fréchet distance", "lower")
    result = Result("fd339_pixels_test", "a distance", (metric,), rows, "They are <far>.", "digits", "f", 0)
    (run.path / "report").mkdir(exist_ok=True)
    (run.path / "report" / "metrics.jsonl").write_text(json.dumps(dataclasses.asdict(result)) + "\n")


def test_a_notebook_shows_samples_facts_and_figures(run: saddlepoint.Run) -> None:
    page = run._repr_html_()
    assert "Not measured yet" in page
    content = re.search(r"base64,([^\"]+)", page)
    assert content is not None
    shown = Image.open(io.BytesIO(base64.b64decode(content[1])))
    assert shown.tobytes() == run.grid(32).tobytes()
    measured(run, 37.25)
    page = run._repr_html_()
    assert "Fréchet distance ↓" in page
    assert "37.2 [36.2, 38.2]" in page
    assert "held-out images 0.50" in page
    assert "They are &lt;far&gt;." in page
    assert "&lt;b&gt;run" in page
    assert "<b>run" not in page.removeprefix("<div><b>")
    assert not re.search(r"https?://", page)
    assert "by fd339_pixels_test" in str(run)
    (run.path / "report" / "metrics.jsonl").write_text("{damaged")
    assert "not yet" in str(run)


def test_a_grid_has_the_samples_of_its_seed(run: saddlepoint.Run) -> None:
    assert run.grid(12, seed=4).tobytes() == grids.grid(run.sample(12, seed=4)).tobytes()


def test_an_export_says_that_it_is_one(run: saddlepoint.Run, tmp_path: Path) -> None:
    export = saddlepoint.load(saddlepoint.export_run(run, "safetensors", tmp_path / "export"))
    assert "of the run '<b>run': for sampling" in str(export)
    assert "measured" not in str(export)
    assert "Not measured" in export._repr_html_()


HELP = """
import io, pydoc, saddlepoint, sys
out = io.StringIO()
pydoc.Helper(output=out).help(saddlepoint)
text = out.getvalue()
tour, contents = text.index("A tour"), text.index("PACKAGE CONTENTS")
assert tour < contents, "the tour comes first"
for name in ("train(family", "class Run(", "class Callback(", "to_pil("):
    assert name in text, name
assert "Callback" in dir(saddlepoint)
"""


def test_help_begins_with_a_tour_and_lists_the_public_names() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_name_that_a_docstring_of_a_public_function_gives_is_public_or_of_its_class() -> None:
    for function in (saddlepoint.train, saddlepoint.resume, saddlepoint.plan):
        for name in re.findall(r"(?<!`)`([A-Za-z_.]+)`(?!`)", function.__doc__ or ""):
            if "." not in name or name.startswith("saddlepoint."):
                assert hasattr(saddlepoint, name.removeprefix("saddlepoint.")) or name == "datasets", name


def test_pictures_are_named_by_what_they_show(run: saddlepoint.Run) -> None:
    assert pictures.draw(run, "grid", 4, seed=3).name == "grid-seed3.png"
    assert pictures._which("3/4") == "-3-4"
    assert pictures._which(0) == "-0"
    assert pictures._which(None) == ""


def test_the_grid_in_python_is_the_picture_of_the_command(run: saddlepoint.Run, tmp_path: Path) -> None:
    saddlepoint.train("cgan", "digits", steps=2, options={"batch_size": 16}, threads=1, out=tmp_path / "classes")
    for one in (run, saddlepoint.load(tmp_path / "classes")):
        drawn = pictures.draw(one, "grid", 30, seed=4, out=tmp_path / f"{one.config['family']}.png")
        with Image.open(drawn) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(one.grid(30, seed=4)))
    plain = grids.tile(grids.to_uint8(one.generate(one.inputs(30, seed=4), torch.arange(30) % 10, seed=4)), 10)
    sheet = one.grid(30, seed=4)
    below = sheet.crop((0, sheet.height - plain.height, *sheet.size))
    assert sheet.height > plain.height, "headings name the columns"
    assert np.array_equal(np.asarray(below.convert("L")), np.asarray(plain.convert("L")))


def test_vectors_are_shown_as_points(tmp_path: Path) -> None:
    small = {"generator_widths": "8", "discriminator_widths": "8", "batch_size": 16}
    run = saddlepoint.train("gan", "ring8", steps=1, options=small, threads=1, out=tmp_path / "points")
    drawn = run.grid(50, seed=4)
    assert np.array_equal(np.asarray(drawn), np.asarray(grids.scatter(run.sample(50, seed=4))))
