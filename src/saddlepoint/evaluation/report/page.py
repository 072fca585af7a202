"""One page for one evaluation: the pictures, what they are worth, the figures beside their controls, the training."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from saddlepoint.core.durable import make_folder
from saddlepoint.core.files import write_atomically
from saddlepoint.core.quoting import for_html
from saddlepoint.core.templates import render
from saddlepoint.data import short_name
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.evaluation import DIRECTIONS, Report, Result, shown
from saddlepoint.evaluation.report.pictures import first_pictures, more_pictures
from saddlepoint.evaluation.rows import kind_of

STANDING = {
    "near": ("near the data", "good"),
    "different": ("different from the data", "warn"),
    "far": ("far from the data", "bad"),
    "narrow": ("a part of the data's variety", "warn"),
    "copies": ("holds copies of training data", "bad"),
    "unknown": ("not judged", "plain"),
}
"""By the report's standing: words, and a tone: green only where figures say that samples are near the data."""


@dataclass(frozen=True)
class Training:
    """What a page says of the training.

    Attributes:
        log: lines of ``log.jsonl``.
        verdict: the doctor's verdict, or "".
        evidence: sentences it rests on.
        facts: name and value: family, preset, samples seen, time, machine.
        title: what was trained on what, such as "dcgan on horses"; "": the samples' label stands there.
        about: name and value of what a reader wants to know first: options that differ, what was chosen automatically.
        snapshots: folder of pictures of the steps; None: none.
    """

    log: Sequence[Mapping[str, Any]]
    verdict: str = ""
    evidence: Sequence[str] = ()
    facts: Mapping[str, str] | None = None
    title: str = ""
    about: Mapping[str, str] | None = None
    snapshots: Path | None = None


def save_report(folder: str | Path, report: Report, training: Training | None = None) -> Path:
    """Add a report's figures to ``metrics.jsonl`` in ``folder``, write ``index.html``, return the path of the page.

    ``summary.json`` beside them keeps verdict, limits and what was not measured, for pages that show the figures.
    """
    folder = Path(folder)
    report.to_jsonl(folder / "metrics.jsonl")
    summary = {"verdict": report.verdict, "limits": report.limits, "omitted": dict(report.omitted)}
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return write_page(folder / "index.html", report, training)


def write_page(path: str | Path, report: Report, training: Training | None = None) -> Path:
    """Write one self-contained page (no scripts, nothing loaded), readable in light and dark, on a phone or wide.

    Data given by a path is called by its last part: no path of this machine is on the page.

    Args:
        path: of the page.
        report: what was measured.
        training: log, verdict and facts of the run; None for samples without one.

    Returns:
        The path.
    """
    path = Path(path)
    make_folder(path.parent)
    named = f"{report.label} on {short_name(report.results[0].data)}" if report.results else report.label
    training = training or Training(())
    content = render(
        __file__, "page.html.jinja", title=training.title or named, report=report, training=training,
        about={name: value for name, value in (training.about or {}).items() if value},
        standing=STANDING.get(report.standing, STANDING["unknown"]), directions=DIRECTIONS, alarms=ALARMS, shown=shown,
        first=first_pictures(report.gallery, training.snapshots), more=more_pictures(report.gallery),
        limits=[*report.limits, *report.left_out], limitations=_limitations,
        curves=_training_plots(training.log), facts=_facts(report, training),
    )  # fmt: skip
    write_atomically(path, _without_paths(content, report))
    return path


def _without_paths(content: str, report: Report) -> str:
    """Call data by its short name wherever a sentence names its path."""
    content = str(content)  # what is put into Markup would be escaped again
    for name in {result.data for result in report.results}:
        if short_name(name) != name:
            content = content.replace(f"&#x27;{for_html(name)}&#x27;", f"&#x27;{for_html(short_name(name))}&#x27;")
    return content


def _limitations(result: Result) -> list[str]:
    """Return why figures of the model have no interval, or what else limits them."""
    found = (row.details.get("limitation") for row in result.rows if row.role == "model")
    return list(dict.fromkeys(str(words) for words in found if words))


_PLOTTED: tuple[tuple[tuple[str, ...], str, float | None, str], ...] = (
    (("V",), "V(D, G), nats", -np.log(4.0), "-log 4"),
    (("D(x)", "D(G(z))"), "D(x) and D(G(z))", 0.5, "1/2"),
)


def _training_plots(log: Sequence[Mapping[str, Any]]) -> Markup:
    """V, D(x) and D(G(z)) over training with the values at equilibrium, or losses where no game is played, as SVG."""
    lines = [line for line in log if "nimg" in line and "V" in line]
    plotted = _PLOTTED
    if len(lines) < 3:
        lines = [line for line in log if "nimg" in line and any(name.startswith("loss/") for name in line)]
        names = tuple(dict.fromkeys(name for line in lines for name in line if name.startswith("loss/")))
        plotted = ((names, "losses", None, ""),)
    if len(lines) < 3:
        return Markup("")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    kimg = [line["nimg"] / 1000 for line in lines]
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    figure.patch.set_alpha(0)
    places = np.atleast_1d(figure.subplots(1, len(plotted)))
    for axes, (names, title, level, word) in zip(places, plotted, strict=True):
        axes.patch.set_alpha(0)
        for name, colour in zip(names, ("#3b7dd8", "#d8743b", "#2e9e5b", "#7b3fb5"), strict=False):
            values = [line.get(name, float("nan")) for line in lines]
            axes.plot(kimg, values, color=colour, label=name.removeprefix("loss/"), linewidth=1.4)
        if level is not None:
            axes.axhline(level, color="#888888", linewidth=0.8, linestyle="--", label=word)
        axes.set_title(title, color="#888888", fontsize=9)
        axes.set_xlabel("thousands of samples seen", color="#888888", fontsize=8)
        axes.tick_params(colors="#888888", labelsize=8)
        for spine in axes.spines.values():
            spine.set_color("#888888")
        axes.legend(frameon=False, fontsize=8, labelcolor="#888888")
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    svg = buffer.getvalue()
    return Markup(svg[svg.index("<svg") :])


def _facts(report: Report, training: Training) -> dict[str, str]:
    """Return how it was measured, by what is said."""
    facts = dict(training.facts or {})
    if report.results:
        first = report.results[0]
        facts |= {"data": f"{short_name(first.data)} ({first.fingerprint[:12]})", "seed of samples": str(first.seed)}
        facts["time"] = f"{sum(result.seconds for result in report.results):.0f} s for the model's rows"
        counts = {kind_of(r.protocol): f"{r.protocol} ({r.seconds:.1f} s)" for r in report.results}
        facts["protocols"] = ", ".join(counts.values())
    return facts
