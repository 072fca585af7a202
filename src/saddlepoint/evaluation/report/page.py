"""One page for one evaluation: the pictures, what they are worth, the figures beside their controls, the training."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.files import write_atomically
from saddlepoint.core.quoting import for_html
from saddlepoint.data import short_name
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.evaluation import DIRECTIONS, Metric, Report, Result, Row, shown
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
    path.parent.mkdir(parents=True, exist_ok=True)
    title = (training.title if training else "") or (
        f"{report.label} on {short_name(report.results[0].data)}" if report.results else report.label
    )
    body = [
        f"<h1>{for_html(title)}</h1>",
        _about(training),
        first_pictures(report.gallery, training.snapshots if training else None),
        _verdict(report),
        _figures(report),
        _limits(report),
        more_pictures(report.gallery),
        _readings(report),
        _training(training),
        _facts(report, training),
    ]
    head = f"<title>{for_html(title)}</title><style>{_STYLE}</style>"
    content = _without_paths("".join(body), report)
    write_atomically(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{head}</head>'
        f"<body>{content}</body></html>\n",
    )
    return path


def _without_paths(content: str, report: Report) -> str:
    """Call data by its short name wherever a sentence names its path."""
    for name in {result.data for result in report.results}:
        if short_name(name) != name:
            content = content.replace(f"&#x27;{for_html(name)}&#x27;", f"&#x27;{for_html(short_name(name))}&#x27;")
    return content


def _about(training: Training | None) -> str:
    rows = (training.about if training else None) or {}
    items = "".join(f"<dt>{for_html(name)}</dt><dd>{for_html(value)}</dd>" for name, value in rows.items() if value)
    return f'<dl class="about">{items}</dl>' if items else ""


def _verdict(report: Report) -> str:
    words, tone = STANDING.get(report.standing, STANDING["unknown"])
    badge = f'<span class="tag {tone}">{for_html(words)}</span> ' if report.results else ""
    return f'<p class="verdict">{badge}{for_html(report.verdict)}</p>'


def _training(training: Training | None) -> str:
    """The curves, then the doctor's word: it speaks of the training, so it is never green."""
    curves = _curves(training)
    if training is None or not (curves or training.verdict):
        return ""
    tone = "warn" if training.verdict in ALARMS else "plain"
    evidence = "".join(f"<li>{for_html(sentence)}</li>" for sentence in training.evidence)
    doctor = (
        f'<p>The training doctor says of the course of training, not of the samples: <span class="tag {tone}">'
        f"{for_html(training.verdict)}</span></p>" + (f"<ul>{evidence}</ul>" if evidence else "")
        if training.verdict
        else ""
    )
    return f"<h2>Training</h2>{curves}{doctor}"


def _limits(report: Report) -> str:
    sentences = [*report.limits, *report.left_out]
    if not sentences:
        return ""
    items = "".join(f"<li>{for_html(sentence)}</li>" for sentence in sentences)
    return f"<h2>Limits</h2><ul>{items}</ul>"


def _figures(report: Report) -> str:
    """One table: a line for each figure, the model first, then the controls."""
    controls = report.controls
    heads = "".join(f'<th class="n">{for_html(name)}</th>' for name in (report.label, *controls))
    body = "".join(
        _figure(result, metric, controls, first=metric is result.metrics[0])
        for result in report.results
        for metric in result.metrics
        if result.find(metric.name)
    )
    return (
        '<h2>Figures</h2><div class="wide"><table class="figures">'
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        "<p><small>Brackets are 95% intervals over samples, &plusmn; one standard error; a figure without "
        "either has no interval that was found to hold. Columns after the first need no model: they say what a figure "
        "can tell.</small></p>"
    )


def _figure(result: Result, metric: Metric, controls: Sequence[str], first: bool) -> str:
    model = result.find(metric.name)
    label = "" if model is None else model.row
    notes = [note for note in (metric.unit, DIRECTIONS[metric.better]) if note]
    name = f"{for_html(metric.name)}<br><small>{for_html(', '.join(notes))}</small>"
    cells = f'<td class="n model" data-of="{for_html(label)}">{_cell(model, metric)}</td>'
    for control in controls:
        row = result.find(metric.name, control)
        cells += f'<td class="{"n" if row else "n none"}" data-of="{for_html(control)}">{_cell(row, metric)}</td>'
    return f'<tr class="{"first" if first else "next"}"><th scope="row">{name}</th>{cells}</tr>'


def _cell(row: Row | None, metric: Metric) -> str:
    if row is None:
        return "<small>-</small>"
    text = shown(row, metric)
    value, _, error = text.partition(" ")
    return for_html(value) + (f"<br><small>{for_html(error)}</small>" if error else "")


def _readings(report: Report) -> str:
    """Each protocol's verdict, with the name that fixes it."""
    parts = []
    for result in report.results:
        limitations = dict.fromkeys(
            str(row.details["limitation"])
            for row in result.rows
            if row.role == "model" and row.details.get("limitation")
        )
        notes = "".join(f"<br><small>{for_html(note)}</small>" for note in limitations)
        parts.append(
            f"<dt><code>{for_html(result.protocol)}</code> {for_html(result.summary)}</dt>"
            f"<dd>{for_html(result.verdict)}{notes}</dd>"
        )
    return f"<details><summary>What each figure says</summary><dl>{''.join(parts)}</dl></details>"


_CURVES = (
    (("V",), "V(D, G), nats", -np.log(4.0), "-log 4"),
    (("D(x)", "D(G(z))"), "D(x) and D(G(z))", 0.5, "1/2"),
)


def _curves(training: Training | None) -> str:
    """V, D(x) and D(G(z)) over training with the values at equilibrium."""
    lines = [] if training is None else [line for line in training.log if "nimg" in line and "V" in line]
    if len(lines) < 3:
        return ""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    kimg = [line["nimg"] / 1000 for line in lines]
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    figure.patch.set_alpha(0)
    for axes, (names, title, level, word) in zip(figure.subplots(1, len(_CURVES)), _CURVES, strict=True):
        axes.patch.set_alpha(0)
        for name, colour in zip(names, ("#3b7dd8", "#d8743b"), strict=False):
            axes.plot(kimg, [line.get(name, float("nan")) for line in lines], color=colour, label=name, linewidth=1.4)
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
    return f'<div class="wide">{svg[svg.index("<svg") :]}</div>'


def _facts(report: Report, training: Training | None) -> str:
    facts = dict((training.facts if training else None) or {})
    if report.results:
        first = report.results[0]
        facts |= {"data": f"{short_name(first.data)} ({first.fingerprint[:12]})", "seed of samples": str(first.seed)}
        facts["time"] = f"{sum(result.seconds for result in report.results):.0f} s for the model's rows"
        counts = {kind_of(r.protocol): f"{r.protocol} ({r.seconds:.1f} s)" for r in report.results}
        facts["protocols"] = ", ".join(counts.values())
    items = "".join(
        f"<tr><th scope='row'>{for_html(key)}</th><td>{for_html(value)}</td></tr>" for key, value in facts.items()
    )
    table = f'<div class="wide"><table class="facts"><tbody>{items}</tbody></table></div>'
    return f"<details><summary>How it was measured</summary>{table}</details>"


_STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#8883;--good:#217346;--bad:#b83224;--warn:#9a6700}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
p.verdict{font-size:1.15rem;max-width:60rem}
table{border-collapse:collapse;min-width:60%}
th,td{padding:.3rem .5rem;text-align:left;vertical-align:top;font-weight:400}
thead th{border-bottom:2px solid var(--line);vertical-align:bottom}tr.first>*{border-top:1px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}thead .n{white-space:normal}
.wide{background:linear-gradient(to left,Canvas 60%,#0000) right/5rem 100% no-repeat local,
linear-gradient(to left,#8888,#0000) right/1.2rem 100% no-repeat scroll}
.figures th[scope]{position:sticky;left:0;background:Canvas;max-width:11rem}td.n small{font-size:.76rem}
.plots{display:grid;gap:.5rem}.plots.large{grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr))}
.plots.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr))}
.plots img{width:100%;image-rendering:auto}
td.model{font-weight:600;background:var(--soft)}td.model small{font-weight:400}
small{opacity:.75}.wide{overflow-x:auto}figure{margin:1rem 0}img{max-width:100%;height:auto;image-rendering:pixelated}
figcaption{font-size:.85rem;opacity:.75}svg{max-width:100%;height:auto}
dt{margin-top:.8rem}dd{margin-left:1.2rem}code{font-size:.9em}table.facts td,table.facts th{font-size:.85rem}
.tag{padding:.15rem .7rem;border-radius:1rem;color:#fff;font-size:1rem;white-space:nowrap}
.good{background:var(--good)}.bad{background:var(--bad)}.warn{background:var(--warn)}.plain{background:#6b7280}
dl.about{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;font-size:.9rem;margin:.5rem 0 1rem}
dl.about dt{margin:0;opacity:.75}dl.about dd{margin:0}
details{margin-top:1.5rem}summary{font-size:1.15rem;cursor:pointer}
@media(max-width:40rem){dl.about{grid-template-columns:1fr}dl.about dd{margin-bottom:.4rem}}
@media(max-width:40rem){th,td{padding:.3rem .4rem}.figures{min-width:100%}.figures thead{display:none}
.figures tr,.figures th[scope]{display:block;max-width:none}.figures tr{border-top:1px solid var(--line);
padding:.3rem 0}tr.first>*{border-top:0}.figures br{display:none}.figures th small::before{content:" "}
.figures td{display:flex;justify-content:flex-end;align-items:baseline;gap:.5rem;padding:.1rem .4rem}
.figures td::before{content:attr(data-of);margin-right:auto;font-weight:400;font-size:.85rem;white-space:normal;
text-align:left}.figures td.none{display:none}}
""".strip().replace("\n", "")
