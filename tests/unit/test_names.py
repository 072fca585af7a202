"""Foreign names on their way through the library: no file elsewhere, nothing that acts on a terminal, a page, a card.

The data has classes with names as nobody should give them; a run is trained on it, and everything that shows a class
or makes a path of one is asked to, and read by the program that would read it.
"""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import markdown  # type: ignore[import-untyped]
import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from PIL import Image

import saddlepoint
from saddlepoint.cli import tables
from saddlepoint.cli.display import Display, Measuring
from saddlepoint.core.console import LiteralConsole, strong
from saddlepoint.core.errors import ConfigError, DataError, SaddlepointError, suggest
from saddlepoint.core.waiting import StatusLine
from saddlepoint.data import OpenQuestion, Reading
from saddlepoint.engine.settings import Settings
from saddlepoint.evaluation import Report
from saddlepoint.evaluation.report.page import write_page
from saddlepoint.evaluation.report.pictures import image
from saddlepoint.export import export_run
from saddlepoint.export.card import card
from saddlepoint.family import DataSpec, Progress
from saddlepoint.family.translation import target_of
from saddlepoint.figures import grids, plots, series
from saddlepoint.run import show
from saddlepoint.run.progress import Line
from saddlepoint.run.run import Run
from saddlepoint.run.samples import memorised, pictures, views
from saddlepoint.run.samples.latent import Explorer, View, command, read_points
from saddlepoint.run.samples.translate import translate_folder
from tests.cli.test_cli import Command, saddle  # noqa: F401
from tests.unit.data_helpers import pictures as drawn_pictures
from tests.unit.data_helpers import png, write_parquet

CLASSES = [
    "../../escaped",
    "$(touch escaped)",
    "<img src=x onerror=escaped()>",
    "\x1b[31mred\x1b]0;title\x07",
    "two\nerror: lines",
    "$\\frac$",
    "[/bold]",
    "long " * 60 + "name",
]
GAN = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
STARGAN = {"width": 4, "blocks": 1, "discriminator_width": 4, "layers": 2, "batch_size": 4}
ROOT = Path(saddlepoint.__file__).parent


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    each = 12
    labels = [index for index in range(len(CLASSES)) for _ in range(each)]
    path = tmp_path_factory.mktemp("data") / "odd.parquet"
    return write_parquet(path, list(drawn_pictures(len(labels))), labels, CLASSES)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder around the runs, into which nothing else may be written."""
    return tmp_path_factory.mktemp("around")


@pytest.fixture(scope="module")
def run(data: Path, place: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(data.parent / "cache"))
        found = saddlepoint.train("cgan", data=str(data), steps=3, options=GAN, threads=1, out=place / "runs" / "odd")
        found.dataset()
    assert sorted(found.family.data.classes) == sorted(CLASSES)
    return found


@pytest.fixture(scope="module")
def translator(data: Path, place: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(data.parent / "cache"))
        out = place / "runs" / "turned"
        return saddlepoint.train("stargan", data=str(data), steps=1, options=STARGAN, threads=1, size=16, out=out)


@pytest.fixture
def nothing_elsewhere(place: Path, run: Run) -> Iterator[None]:
    before = {path for path in place.rglob("*") if not path.is_relative_to(run.path)}
    yield
    assert {path for path in place.rglob("*") if not path.is_relative_to(run.path)} == before
    assert not Path("escaped").exists()


def harmless(text: str) -> None:
    """Demand that nothing in a text acts on a terminal, but for line breaks; and that no line is a name's own."""
    acting = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") and c not in "\n\t"}
    assert not acting, sorted(map(ascii, acting))
    assert not any(line.startswith("error: lines") for line in text.splitlines())


# A name becomes a path.


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.usefixtures("nothing_elsewhere")
def test_pictures_of_a_class_stay_in_the_run(run: Run, label: str) -> None:
    made = [pictures.draw(run, "grid", 4, label=label), pictures.draw(run, "grid", 4, label=label, kind="png")]
    for path in made:
        assert path.resolve().parent == run.path.resolve() / "pictures"
    rows = [json.loads(line) for line in (made[1] / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["label"] for row in rows} == {label}


@pytest.mark.usefixtures("nothing_elsewhere")
def test_a_picture_that_is_projected_names_a_file_of_the_run(run: Run) -> None:
    explorer = Explorer(run)
    content = png(drawn_pictures(1)[0])
    path, _ = views.draw_projection(_quick(explorer), [("$(x)\n" + "y" * 300 + ".png", content)], label=CLASSES[0])
    assert path.resolve().parent == run.path.resolve() / "pictures"
    assert len(path.name) < 200


def _quick(explorer: Explorer) -> Explorer:
    search = explorer.project

    def project(images: Any, label: Any = None, *, seed: int = 0, steps: int = 2, **more: Any) -> Any:
        return search(images, label, seed=seed, steps=2, **more)

    explorer.project = project  # type: ignore[method-assign]
    return explorer


def test_translations_stay_in_their_folder(translator: Run, tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "a" / "b" / "out"
    source.mkdir()
    Image.fromarray(drawn_pictures(1)[0]).save(source / "one.png")
    found = translate_folder(translator, source, CLASSES, out)
    assert found.refused == ()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != source]
    assert sorted(files) == sorted(found.written)
    assert {path.parent.parent for path in files} == {out}
    assert len({path.parent for path in files}) == len(CLASSES)


def test_a_class_is_found_by_its_whole_name() -> None:
    spec = DataSpec("image", (1, 8, 8), ("a", "a ", "b"))
    assert [target_of(words, spec).item() for words in ("a", "a ", " b ")] == [0, 1, 2]


def test_a_class_that_is_called_like_another_gets_a_folder_of_its_own(translator: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(drawn_pictures(1)[0]).save(tmp_path / "photos" / "one.png")
    twins = ["[/bold]", "6"]  # the same class: by its name, and by its index
    found = translate_folder(translator, tmp_path / "photos", twins, tmp_path / "out")
    assert {path.parent.name for path in found.written} == {"bold", "6"}


def test_a_long_name_of_data_makes_a_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saddlepoint.run import jobs
    from saddlepoint.serve.studio.state import Studio

    monkeypatch.setattr(jobs, "start", lambda words, folder: folder.mkdir(parents=True))
    name = Studio(tmp_path / "runs").train("gan", f"/data/{'n' * 250}.csv", [])
    assert (tmp_path / "runs" / name).is_dir()


# A name in a shell line, and in Python.


def read_by_bash(line: str) -> list[str]:
    """Return the words that bash reads in a line that begins with `saddle`."""
    script = f"saddle() {{ printf '%s\\0' \"$@\"; }}\n{line}"
    said = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    return said.decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.usefixtures("nothing_elsewhere")
def test_the_line_of_a_view_is_read_as_it_was_meant(run: Run, label: str, place: Path) -> None:
    run = _called(run, place / "runs" / label.replace("/", "-")[:100])
    line, python = command(run, View(read_points([]), label=label))
    harmless(line + python)
    assert "\n" not in line + python
    words = read_by_bash(line)
    assert words[:2] == ["explore", str(run.path)]
    assert words[words.index("--label") + 1] == label
    texts = [node.value for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Constant)]
    assert label in texts
    assert str(run.path) in texts


def _called(run: Run, path: Path) -> Run:
    return Run(path, run.config, run.family, run.step, run.averaged)


@pytest.mark.parametrize("name", CLASSES)
def test_the_line_that_chooses_a_reading_is_read_as_it_was_meant(name: str) -> None:
    question = OpenQuestion(f"'{name}' is one or the other", [Reading(name, {"time_column": name}, [name])])
    text = question.text(["saddle", "train", "gan", "--data", f"{name}.csv"])
    harmless(text)
    assert text == str(OpenQuestion("", [])) + text
    *_, line = text.split("\n")
    assert read_by_bash(line) == ["train", "gan", "--data", f"{name}.csv", "--time-column", name]


def test_a_run_that_was_not_measured_is_told_the_command(run: Run, tmp_path: Path) -> None:
    odd = _called(run, tmp_path / "$(touch escaped)")
    (odd.path / "report").mkdir(parents=True)
    (odd.path / "report" / "metrics.jsonl").touch()
    with pytest.raises(DataError) as told:
        memorised.copies(odd)
    assert read_by_bash(str(told.value).split("; run ")[1]) == ["evaluate", str(odd.path)]


# A name on a terminal.


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_is_one_line_whatever_it_names(name: str) -> None:
    for error in (SaddlepointError(f"there is no '{name}'"), ConfigError(f"x{name}")):
        harmless(str(error))
        assert "\n" not in str(error)
    assert str(ConfigError("groß, हिन्दी, 猫")) == "groß, हिन्दी, 猫"


def test_few_of_many_classes_are_named() -> None:
    said = suggest("zzz", [f"class {number:05}" for number in range(10_000)])
    assert said.startswith("choose from: class 00000, ")
    assert said.endswith(" and 9,960 more")


def test_the_command_says_nothing_that_acts(
    run: Run,
    data: Path,
    translator: Run,
    saddle: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    photo = tmp_path / "\x1b[31mphoto\nerror: lines.png"
    photo.write_bytes(png(drawn_pictures(1)[0]))
    others = tmp_path / "runs"
    shutil.copytree(run.path, others / "red\x1b[31m[b]\nerror: lines", ignore=shutil.ignore_patterns("pictures"))
    for words, wanted in (
        (("data", "inspect", str(data)), 0),
        (("train", "cgan", "--data", str(data), "--dry-run"), 0),
        (("sample", str(run.path), "--label", "no\nerror: lines\x1b[2J"), 2),
        (("sample", str(run.path), "--label", CLASSES[3], "-n", "2"), 0),
        (("sample", str(tmp_path / "\x1b[31m")), 2),
        (("translate", str(translator.path), str(photo), "--to", CLASSES[4], "--out", str(tmp_path / "\x07out")), 0),
        (("translate", str(translator.path), str(photo), "--to", "no", "--out", str(tmp_path / "\x07out")), 2),
        (("export", str(run.path), "--format", "hub", "--out", str(tmp_path / "\x1b[1mhub")), 0),
        (("runs", "tag", "red", "[/bold]", "--runs", str(others)), 0),
        (("runs", "tag", "red", "\x1b[31m", "--runs", str(others)), 2),
        (("runs", "--runs", str(others)), 0),
        (("runs", "--json", "--runs", str(others)), 0),
        (("no\x1b[31m",), 2),
    ):
        code, out, err = saddle(*words)
        assert code == wanted, (words, err)
        harmless(out + err)
        assert code == 0 or err.count("error: ") == 1 + err.count("\\nerror: "), err
    _, out, _ = saddle("runs", "--runs", str(others))
    assert "red\\x1b[31m[b]\\nerror: lines " in out
    assert "[/bold]" in out


def test_a_measured_run_is_shown_as_text(run: Run, saddle: Command, tmp_path: Path, place: Path) -> None:  # noqa: F811
    code, out, err = saddle("evaluate", str(run.path), "--protocol", "pr", "--features", "pixels", "--threads", "1")
    assert code == 0, err
    harmless(out + err)
    report, *_ = _reports(run)
    for title in ("[/bold]", "\x1b[31m", "two\nlines"):
        tables.print_report(Report(report.results, title, f"{title}: {title}", {title: title}, (title,)))


def _reports(run: Run) -> list[Report]:
    from saddlepoint.evaluation import report_of
    from saddlepoint.evaluation.rows import kept_results

    return [report_of(kept_results(run.path / "report"))]


def test_the_console_takes_no_text_for_markup() -> None:
    file = io.StringIO()
    console = LiteralConsole(file=file, force_terminal=True, width=400, color_system="truecolor")
    from rich.table import Table

    table = Table("\x1b[31mhead", *CLASSES[:2], box=None)
    for name in (*CLASSES, ":skull:", "[red]x[/red]"):
        table.add_row(strong(name), name, name)
        console.print(name)
    console.print(table)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())  # what the console itself says in escapes
    harmless(shown)
    for text in ("[/bold]", ":skull:", "[red]x[/red]", "\\x1b[31mred\\x1b]0;title\\x07", "two\\nerror: lines"):
        assert shown.count(text) >= 3, text


def test_live_lines_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes in place on a terminal: progress of a training, of a measurement, of reading files."""
    odd = "".join(CLASSES)
    for make in (_training_line, _measuring_line, _patience_line, _python_line):
        file = _Terminal()
        monkeypatch.setattr(sys, "stderr", file)
        make(odd)
        text = file.getvalue()
        assert "title" in text
        assert "\x07" not in text
        assert "\x1b[31m" not in text
        assert "\x1b]0;" not in text
        assert "\nerror: lines" not in text.replace("\r\n", "\n")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _training_line(odd: str) -> None:
    with Display(Settings(seed=0, steps=1)) as shown:
        shown.say(odd)
        shown.warn(odd)
        shown._bar.start()
        shown.pace.verdict = odd
        shown.tick(Progress(1, 16), 1.0, dict)


def _measuring_line(odd: str) -> None:
    with Measuring() as shown:
        shown.say(odd)
        shown.detail(odd)


def _patience_line(odd: str) -> None:
    with StatusLine(stream=sys.stderr) as patient:
        patient.heard(odd, 0, 2)
        patient._next = 0.0
        patient.heard(odd, 1, 2)


def _python_line(odd: str) -> None:
    line = Line(Settings(seed=0, steps=1))
    line.say(odd)
    line.warn(odd)
    line.pace.verdict = odd
    line.tick(Progress(1, 16), 1.0, dict)


def test_a_run_prints_as_lines_of_its_own(run: Run, place: Path) -> None:
    odd = _called(run, place / "runs" / "\x1b[31mrun\nerror: lines")
    for text in (str(odd), repr(odd), show.text(odd)):
        harmless(text)


# A name on a page, in a card, in a diagram, on a picture.


class Tags(HTMLParser):
    """The tags of a page, with the names of their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.said: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def no_foreign_tag(page: str) -> None:
    found = Tags(page)
    assert not [tag for tag in found.tags if "onerror" in tag[1] or tag[0] == "script"]
    harmless(page)


def test_a_report_shows_names_as_text(run: Run, tmp_path: Path, saddle: Command) -> None:  # noqa: F811
    code, _, err = saddle("evaluate", str(run.path), "--protocol", "pr", "--features", "pixels", "--threads", "1")
    assert code == 0, err
    (report,) = _reports(run)
    for name in CLASSES:
        odd = Report(report.results, name, f"{name} is far", {name: name}, (name,), report.gallery)
        page = write_page(tmp_path / "index.html", odd).read_text(encoding="utf-8")
        no_foreign_tag(page)
        no_foreign_tag(image(Image.new("L", (8, 8)), name))
    no_foreign_tag(show.page(_called(run, run.path)))


def test_the_card_is_read_as_it_was_meant(run: Run, place: Path) -> None:
    for name in CLASSES:
        text = card(_called(_with_first(run, name), place / name.replace("/", "-")[:100]))
        harmless(text)
        front, body = text.removeprefix("---\n").split("\n---\n", 1)
        assert set(yaml.safe_load(front)) <= {
            "library_name", "license", "tags", "datasets", "pipeline_tag", "model-index",
        }  # fmt: skip
        page = markdown.markdown(body, extensions=["tables", "fenced_code"])
        no_foreign_tag(page)
        assert [tag for tag, _ in Tags(page).tags].count("h1") == 1
        (code,) = re.findall(r"```python\n(.*?)\n```", body, re.DOTALL)
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.keyword) and node.arg == "label"]
        assert [ast.literal_eval(call.value) for call in calls] == [name]


def _with_first(run: Run, name: str) -> Run:
    """Return the run with another class in the first place."""
    import copy
    import dataclasses

    family = copy.copy(run.family)
    classes = (name, *(other for other in run.family.data.classes if other != name))
    family.data = dataclasses.replace(run.family.data, classes=classes)
    return Run(run.path, run.config, family, run.step, run.averaged)


def test_a_program_of_an_export_says_nothing_that_acts(run: Run, tmp_path: Path) -> None:
    folder = export_run(run, "onnx", tmp_path / "onnx", measure=False)
    words = [sys.executable, str(folder / "sample.py"), "--label", "no\x1b[31m", "--out", str(tmp_path / "x.npz")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no class" in done.stderr
    harmless(done.stderr)
    label = CLASSES[3]
    words[2:] = ["--label", label, "-n", "2", "--out", str(tmp_path / "\x07x.npz")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    harmless(done.stdout + done.stderr)
    assert set(np.load(tmp_path / "\x07x.npz")["labels"]) == {run.family.data.classes.index(label)}


@pytest.mark.parametrize("name", [*CLASSES, "$\\frac$", "$x$", "a $ b $ c", "\\$", "_hidden"])
def test_a_diagram_shows_a_name_as_it_is(name: str) -> None:
    windows = np.random.default_rng(0).random((6, 8, 1)).astype(np.float32)
    real = windows[::-1]
    plots.paths(windows, real, [name])
    plots.rows(np.stack([windows, real], 1), [name], ("a", "b"))
    plots.scatter(windows[:, :2, 0], real[:, :2, 0], (name, "samples"))
    series.paths(real, windows, [name])
    series.autocorrelation_plot(real, windows, [name])


@pytest.mark.parametrize("name", ["$\\frac$", "$x$", "a $ b $ c", "\\$", "50% $", "plain", "\\$a$b\\$"])
def test_a_diagram_draws_the_pixels_of_the_name(name: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from saddlepoint.core.quoting import for_plot

    def drawn(text: str, **settings: Any) -> bytes:
        figure = Figure(figsize=(3, 1))
        figure.text(0.1, 0.5, text, **settings)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return bytes(canvas.buffer_rgba())

    assert drawn(for_plot(name)) == drawn(name, parse_math=False)


@pytest.mark.parametrize("name", CLASSES)
def test_a_picture_has_room_for_the_names_of_its_rows_and_columns(name: str) -> None:
    images = np.zeros((4, 1, 16, 16), np.uint8)
    plain = grids.tile(images, 2, headings=["a", "b"], captions=["a", "b"], titles=["a"] * 4)
    made = grids.tile(images, 2, headings=[name, "b"], captions=[name, "b"], titles=[name] * 4)
    assert made.width <= plain.width + 180
    assert made.height <= plain.height + 180


def test_a_name_of_a_million_letters_is_cut_before_it_is_measured() -> None:
    images = np.zeros((1, 1, 16, 16), np.uint8)
    assert grids.tile(images, 1, headings=["x" * 1_000_000], titles=["y" * 1_000_000]).width < 400


def test_the_studio_can_send_every_run_to_a_page(run: Run, tmp_path: Path) -> None:
    """Pages are JSON in UTF-8, which holds no half of a pair; what is hidden in a name is shown as its escape."""
    import orjson

    from saddlepoint.serve.studio.bringing import listing
    from saddlepoint.serve.studio.runs import _row
    from saddlepoint.serve.studio.state import Studio

    odd = "red\x1b[31m\u202e"
    shutil.copytree(run.path, tmp_path / odd, ignore=shutil.ignore_patterns("pictures"))
    config = json.loads((tmp_path / odd / "config.json").read_text(encoding="utf-8"))
    config["data"]["name"] = "half \ud800 \x07"
    (tmp_path / odd / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "half \udcff").mkdir()
    (tmp_path / "half \udcff.csv").touch()
    rows = [_row(entry, []) for entry in Studio(tmp_path).entries()]
    assert [(row["name"], row["called"]) for row in rows] == [(odd, "red\\x1b[31m\\u202e")]
    orjson.dumps([rows, listing(tmp_path)])
    assert rows[0]["source"] == "half \\ud800 \\x07"


@pytest.mark.parametrize("name", CLASSES)
def test_a_sentence_with_formulas_holds_no_tag_of_a_name(name: str) -> None:
    from saddlepoint.serve.studio.parts import formula

    no_foreign_tag(formula(name))
    assert {tag for tag, _ in Tags(formula(name)).tags} <= {"i", "sub", "sup"}


# No other way.

SHOWN_BY = {
    "shlex": {
        "core/quoting.py": "the one place that quotes for a shell",
        "nn/native/build.py": "the compiler's command, which the environment may give arguments; no shell sees it",
    },
    "html": {"core/quoting.py": "the one place that escapes for HTML"},
    "jinja2": {
        "core/templates.py": "the one place that fills templates, by core/quoting.py",
        "serve/studio/framework.py": "the page of the framework",
    },
    "markupsafe": {
        "core/templates.py": "what a template of HTML made, for another one",
        "evaluation/report/page.py": "a diagram as SVG, by matplotlib",
    },
    "rich.console": {"core/console.py": "the one console"},
    "rich.markup": {},
}
"""What makes text harmless, or shows it, in a way of its own; and where it may."""

CALLS = {
    "typer.echo": {"cli/options.py": "tell, say_aside and complain, which look at every line"},
    "print": {"cli/tables.py": "folded lines, looked at"},
    "ui.markdown": {},
    "ui.run_javascript": {},
    "ui.restructured_text": {},
    "ui.html": {
        "serve/studio/parts.py": "an own drawing and an own word",
        "serve/studio/dropzone.py": "an empty place that an own script fills",
        "serve/studio/edit.py": "marks on a picture, drawn of numbers",
    },
    "ui.code": {"serve/studio/run.py": "what a process said"},
    "studio.index.entries": {},
    "studio.index.entry": {},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("lab/"):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_text_is_made_harmless_in_one_place() -> None:
    for name, tree in modules():
        for node in ast.walk(tree):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            found += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for module in found:
                assert name in SHOWN_BY.get(module, {name: ""}), (
                    f"{name} imports {module}; see saddlepoint.core.quoting"
                )


def test_text_is_shown_in_few_places() -> None:
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert name in CALLS.get(called, {name: ""}), f"{name}:{node.lineno} calls {called}"


def test_no_line_for_a_shell_holds_a_name_as_it_is() -> None:
    """A text with a command of ours in it has no field after the command; `for_shell` writes such lines."""
    ours = re.compile(r"\bsaddle (train|sample|evaluate|explore|translate|export|serve|compare|runs|data)\b.*\{\}")
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                assert not ours.search(text) or name in SUBCOMMANDS, f"{name}:{node.lineno}: {text}"


SUBCOMMANDS = {"cli/runs.py": "the name of a command, which is ours"}
