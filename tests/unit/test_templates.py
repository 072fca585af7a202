"""Templates: a value is never markup, a page and a card have their parts in order, no template opens a way around."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import markdown  # type: ignore[import-untyped]
import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from markupsafe import Markup

import saddlepoint
from saddlepoint.core.templates import render
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.evaluation import Gallery, Metric, Report, Result, Row
from saddlepoint.evaluation.report.page import Training, write_page
from saddlepoint.export.card import card

PACKAGE = Path(saddlepoint.__file__).parent
RUNS = Path(__file__).parents[1] / "golden" / "runs-ada098a"
TEMPLATES = sorted(PACKAGE.rglob("*.jinja"))
FOREIGN = "<b>\"'&\x1b\u202e\n|`*{{ 7 * 7 }}"


def filled(folder: Path, name: str, text: str, **values: Any) -> str:
    (folder / name).write_text(text)
    return render(str(folder / "module.py"), name, **values)


def test_a_value_is_text_in_html(tmp_path: Path) -> None:
    found = filled(tmp_path, "a.html.jinja", '<i title="{{ x }}">{{ x }}</i>', x=FOREIGN)
    text = "&lt;b&gt;&quot;&#x27;&amp;\\x1b\\u202e\\n|`*{{ 7 * 7 }}"
    assert found == f'<i title="{text}">{text}</i>'
    assert filled(tmp_path, "b.html.jinja", "{{ x }}{{ n }}{{ m }}", x=found, n=3, m=Markup("<p>")) == f"{found}3<p>"


def test_a_macro_a_loop_and_a_joined_list_let_no_markup_in(tmp_path: Path) -> None:
    text = "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(x) }}{% for y in [x] %}{{ y }}{% endfor %}{{ [x, x] | join(z) }}"
    found = filled(tmp_path, "a.html.jinja", text, x="<b>\x1b", z="<br>")
    assert found == "&lt;b&gt;\\x1b" * 3 + "&lt;br&gt;" + "&lt;b&gt;\\x1b"


def test_in_markdown_a_value_is_made_harmless_by_where_it_stands(tmp_path: Path) -> None:
    text = "{{ x | md }}\n{{ x | code }} {{ 'a-1' | code }}\n{{ x | yaml }}\n{{ x | python }}\n"
    plain, code, front, literal = filled(tmp_path, "a.md.jinja", text, x=FOREIGN).splitlines()
    assert code == f"{plain} `a-1`"
    assert markdown.markdown(plain) == "<p>&#60;b&#62;\"'&#38;\\x1b\\u202e\\n&#124;`*{{ 7 * 7 }}</p>"
    assert yaml.safe_load(front) == "<b>\"'&\\x1b\\u202e\\n|`*{{ 7 * 7 }}"
    assert literal == repr(FOREIGN)


def test_a_value_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'x' is undefined"):
        filled(tmp_path, "a.html.jinja", "{{ x }}")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_template_opens_a_way_around(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.name.endswith((".html.jinja", ".md.jinja"))
    assert not re.search(r"\|\s*(safe|tojson|xmlattr)\b|autoescape", text)
    assert not re.search(r"https?://|\son\w+=", text)
    assert "<script" not in text or "{{" not in text, "a value beside a script"
    for name in re.findall(r'\{% include "(.*?)" %\}', text):
        assert not re.search(r"\{[{%#]", path.with_name(name).read_text(encoding="utf-8")), f"{name} is no template"
    if path.name.endswith(".html.jinja"):
        # Outside of quotes a blank of the value would begin another attribute.
        outside = re.sub(r'"[^"<>]*"', "", re.sub(r"\{%.*?%\}", "", text, flags=re.DOTALL))
        assert not re.search(r"<[^>]*\{\{[^<]*?>", outside), "a value in a tag, but not in quotes"


OURS = {
    "task", 'task or "other"', "version", "modality", 'family.data.shape | join(" x ")', '"%.2f" % (size / 1e6)',
    '"%.6g" % row.value', "family.summary", "label", "repository",
    '"not known" if config.get("imported") else "{:,}".format(data.rows)', "data.description",
    "data.licence", "config.settings.seed",
    '"{:,} in {:,} steps".format(run.step * family.config.batch_size, run.step)', '"{:,.0f} s".format(run.seconds)',
    '"moving average of the generator" if run.averaged else "last"', "metric.show(row.value)",
    '"average of the generator over a share of %.3g of the training (its length), made afterwards" '
    "% config.average.length",
    "uncounted", "metric.show(row.interval[0])", "metric.show(row.interval[1])",
    'metric.show(real.value) if real else ""',
}  # fmt: skip
"""What the card shows as it is: numbers, and words of saddlepoint's or of whoever exports."""


def test_the_card_makes_every_foreign_name_harmless() -> None:
    text = (PACKAGE / "export" / "card.md.jinja").read_text(encoding="utf-8")
    shown = set(re.findall(r"\{\{ (.*?) \}\}", text))
    assert {found for found in shown if not re.search(r"\| (md|code|yaml|python)$", found)} == OURS


class Outline(HTMLParser):
    """Tags with what tells them apart, and texts, in their order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found.append(".".join([f"<{tag}", *str(given.get("class") or "").split()]))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.found.append(" ".join(data.split()))


def of(result: str, **values: tuple[Row, ...]) -> Result:
    metrics = tuple(Metric(name, "lower", "px" if name == "one" else "") for name in values)
    rows = tuple(row for own in values.values() for row in own)
    return Result(
        result, "a summary", metrics, rows, f"Words of {result} on '/tmp/x/y.csv'.", "/tmp/x/y.csv", "ab" * 9, 0
    )


@pytest.fixture
def report() -> Report:
    """Return a report with every part: a figure without a control, one without a model, pairs, classes, limits."""
    first = of(
        "first4_test",
        one=(Row("one", "g", 1.0, 0.5), Row("one", "held-out", 2.0, None, (1.0, 3.0), "control")),
        absent=(Row("absent", "held-out", 2.0, role="control"),),
        two=(Row("two", "g", 3.0, details={"limitation": "few rows"}),),
    )
    images = np.zeros((2, 2, 1, 8, 8), np.uint8)
    gallery = Gallery(images[0], images, (0.5, 0.7), images, ("a", "b"), True)
    return Report((first,), "g", "A verdict.", {"fd": "too slow"}, ("A limit.",), gallery, "near")


FIGURES = """
<thead|<tr|<th|<th.n|g|<th.n|held-out|<tbody
<tr.first|<th|one|<br|<small|px, lower is better|<td.n.model|1.00|<br|<small|± 0.50|<td.n|2.00|<br|<small|[1.00, 3.00]
<tr.next|<th|two|<br|<small|lower is better|<td.n.model|3.00|<td.n.none|<small|-
"""
"""A row for each figure of the model, a cell for each control."""


def test_the_report_has_its_parts_in_their_order(report: Report, tmp_path: Path) -> None:
    log = [{"nimg": 1000 * n, "V": -1.0} for n in range(3)]
    facts = {"machine": "m"}
    training = Training(log, max(ALARMS), ["it grows"], facts, "gan on y", {"run": "r", "empty": ""}, tmp_path)
    page = write_page(tmp_path / "index.html", report, training).read_text(encoding="utf-8")
    assert "/tmp" not in page
    svg = re.compile("<svg.*?</svg>", re.DOTALL)
    assert len(svg.findall(page)) == 1
    found = Outline(svg.sub("", page)).found
    assert found[4:7] == ["<title", "gan on y", "<style"]
    body = found[found.index("<body") + 1 :]
    assert body[:12] == [
        "<h1", "gan on y", "<dl.about", "<dt", "run", "<dd", "r", "<figure", "<img", "<figcaption",
        "the first samples, not chosen; each pixel is shown 9 wide", "<p.verdict",
    ]  # fmt: skip
    assert body[12:17] == ["<span.tag.good", "near the data", "A verdict.", "<h2", "Figures"]
    assert "|".join(body[17:]).startswith("<div.wide|<table.figures" + FIGURES.rstrip().replace("\n", "|"))
    end = body[body.index("<h2", body.index("<p.verdict") + 5) :]
    assert end == [
        "<h2", "Limits", "<ul", "<li", "A limit.", "<li", "Not measured: fd: too slow.",
        "<h2", "Closest to the training data", "<figure", "<img", "<figcaption",
        "the samples nearest to a training image, relative to its neighbourhood, each with that image in a yellow "
        "frame on its right; distances 0.500 to 0.700",
        "<h2", "By class", "<figure", "<img", "<figcaption",
        "the first samples of each class: the class that was asked for",
        "<details", "<summary", "What each figure says", "<dl", "<dt", "<code", "first4_test", "a summary",
        "<dd", "Words of first4_test on 'y.csv'.", "<br", "<small", "few rows",
        "<h2", "Training", "<div.wide",
        "<p", "The training doctor says of the course of training, not of the samples:", "<span.tag.warn", max(ALARMS),
        "<ul", "<li", "it grows",
        "<details", "<summary", "How it was measured", "<div.wide", "<table.facts", "<tbody",
        "<tr", "<th", "machine", "<td", "m", "<tr", "<th", "data", "<td", "y.csv (abababababab)",
        "<tr", "<th", "seed of samples", "<td", "0", "<tr", "<th", "time", "<td", "0 s for the model's rows",
        "<tr", "<th", "protocols", "<td", "first4_test (0.0 s)",
    ]  # fmt: skip


def test_a_report_of_nothing_has_no_empty_parts(tmp_path: Path) -> None:
    page = write_page(tmp_path / "index.html", Report((), "g", "No words.")).read_text(encoding="utf-8")
    body = Outline(page).found
    body = body[body.index("<body") + 1 :]
    assert body[:5] == ["<h1", "g", "<p.verdict", "No words.", "<h2"]
    assert [text for tag, text in pairwise(body) if tag in ("<h2", "<summary")] == [
        "Figures", "What each figure says", "How it was measured",
    ]  # fmt: skip
    assert not {"<ul", "<li", "<dl.about", "<figure", "<dt", "<td", "None"} & set(body)


@pytest.mark.parametrize("name", ["cgan", "timegan", "stargan"])
def test_the_card_has_its_parts_in_their_order(name: str) -> None:
    text = card(saddlepoint.load(RUNS / name), "me/mine")
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    told = yaml.safe_load(front)
    assert (told["library_name"], told["license"], told["tags"]) == ("saddlepoint", "unknown", ["gan", name])
    tasks = {"timegan": "time-series-forecasting", "stargan": "image-to-image"}
    assert told["pipeline_tag"] == tasks.get(name, "unconditional-image-generation")
    assert re.findall("^#+ .*", re.sub("```.*?```", "", body, flags=re.DOTALL), re.MULTILINE) == [
        "# mine", "## How to use it", "## Data", "## Training", "## Quality", "## Memorisation", "## Privacy",
        "## Limits",
    ]  # fmt: skip
    assert "\n\n\n" not in text
    assert text.endswith(".\n")
    found = Outline(markdown.markdown(body, extensions=["tables", "fenced_code"])).found
    assert found.count("<table") == 2
    assert found.count("<td") == 2 * (found.count("<tr") - 2), "a name and a value in each row but the heads"
    code = found[found.index("<code.language-python") + 1]
    assert 'run = saddlepoint.load("hf:me/mine")' in code
    assert ("run.generate(images, labels)" in code) == (name == "stargan")
    assert ('run.write("samples.csv", 64)' in code) == (name == "timegan")
    assert ("![Samples](samples.png)" in body) == (name != "timegan")
    assert ("from which inputs are drawn" in body) == (name == "stargan")
