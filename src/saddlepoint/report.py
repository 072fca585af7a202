"""One page for one evaluation: what it says, the figures beside their controls, the pictures, the training."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saddlepoint import explore, explore_series
from saddlepoint._files import write_atomically
from saddlepoint.evaluate import Gallery, Metric, Report, Result, Row, shown
from saddlepoint.evaluate.rows import kind_of

_ARROWS = {"lower": "lower is better", "higher": "higher is better", "neither": ""}


@dataclass(frozen=True)
class Training:
    """What a page says of the training.

    Attributes:
        log: lines of ``log.jsonl``.
        verdict: the doctor's verdict, or "".
        evidence: sentences it rests on.
        facts: name and value: family, preset, samples seen, time, machine.
    """

    log: Sequence[Mapping[str, Any]]
    verdict: str = ""
    evidence: Sequence[str] = ()
    facts: Mapping[str, str] | None = None


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

    Args:
        path: of the page.
        report: what was measured.
        training: log, verdict and facts of the run; None for samples without one.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"{report.label} on {report.results[0].data}" if report.results else report.label
    body = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="verdict">{_text(report.verdict)}</p>',
        _doctor(training),
        _limits(report),
        _figures(report),
        _pictures(report.gallery),
        _readings(report),
        _curves(training),
        _facts(report, training),
    ]
    head = f"<title>{_text(title)}</title><style>{_STYLE}</style>"
    write_atomically(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{head}</head>'
        f"<body>{''.join(body)}</body></html>\n",
    )
    return path


def _text(text: str) -> str:
    return html.escape(text)


def _doctor(training: Training | None) -> str:
    if training is None or not training.verdict:
        return ""
    tone = "good" if training.verdict in ("healthy", "finished") else "bad"
    evidence = "".join(f"<li>{_text(sentence)}</li>" for sentence in training.evidence)
    return (
        f'<p>Training: <span class="tag {tone}">{_text(training.verdict)}</span></p>'
        + (f"<ul>{evidence}</ul>" if evidence else "")
    )  # fmt: skip


def _limits(report: Report) -> str:
    sentences = [*report.limits, *(f"Not measured: {kind}. {reason}" for kind, reason in report.omitted.items())]
    if not sentences:
        return ""
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f"<h2>Limits</h2><ul>{items}</ul>"


def _figures(report: Report) -> str:
    """One table: a line for each figure, the model first, then the controls."""
    controls = report.controls
    heads = "".join(f'<th class="n">{_text(name)}</th>' for name in (report.label, *controls))
    body = "".join(
        _figure(result, metric, controls, first=metric is result.metrics[0])
        for result in report.results
        for metric in result.metrics
        if result.find(metric.name)
    )
    return (
        '<h2>Figures</h2><div class="wide"><table>'
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        "<p><small>Brackets are 95% intervals over samples, &plusmn; one standard error; a figure without "
        "either has no interval that was found to hold. Columns after the first need no model: they say what a figure "
        "can tell.</small></p>"
    )


def _figure(result: Result, metric: Metric, controls: Sequence[str], first: bool) -> str:
    model = result.find(metric.name)
    notes = [note for note in (metric.unit, _ARROWS[metric.better]) if note]
    name = f"{_text(metric.name)}<br><small>{_text(', '.join(notes))}</small>"
    cells = f'<td class="n model">{_cell(model, metric)}</td>'
    cells += "".join(f'<td class="n">{_cell(result.find(metric.name, control), metric)}</td>' for control in controls)
    return f'<tr class="{"first" if first else "next"}"><th scope="row">{name}</th>{cells}</tr>'


def _cell(row: Row | None, metric: Metric) -> str:
    if row is None:
        return "<small>-</small>"
    text = shown(row, metric)
    value, _, error = text.partition(" ")
    return _text(value) + (f"<br><small>{_text(error)}</small>" if error else "")


def _readings(report: Report) -> str:
    """Each protocol's verdict, with the name that fixes it."""
    parts = []
    for result in report.results:
        limitations = dict.fromkeys(
            str(row.details["limitation"])
            for row in result.rows
            if row.role == "model" and row.details.get("limitation")
        )
        notes = "".join(f"<br><small>{_text(note)}</small>" for note in limitations)
        parts.append(
            f"<dt><code>{_text(result.protocol)}</code> {_text(result.summary)}</dt>"
            f"<dd>{_text(result.verdict)}{notes}</dd>"
        )
    return f"<h2>What each figure says</h2><dl>{''.join(parts)}</dl>"


def _pictures(gallery: Gallery | None) -> str:
    if gallery is None:
        return ""
    if gallery.samples.ndim == 3:
        return _series(gallery)
    if gallery.samples.ndim != 4:
        picture = explore.scatter(gallery.samples, gallery.real)
        return f"<h2>Samples</h2>{_image(picture, 'samples over data')}"
    parts = [
        "<h2>Samples</h2>",
        _image(explore.tile(gallery.samples, 16, scale=_scale(gallery.samples, 40)), "the first samples, not chosen"),
    ]
    if gallery.pairs is not None and len(gallery.pairs):
        images = gallery.pairs.reshape(-1, *gallery.pairs.shape[2:])
        frames = set(range(1, len(images), 2))
        parts.append("<h2>Closest to the training data</h2>")
        parts.append(
            _image(
                explore.tile(images, 12, scale=_scale(images, 48), frames=frames),
                "the samples nearest to a training image, relative to its neighbourhood, each with that image in a "
                f"yellow frame on its right; distances {gallery.distances[0]:.3g} to {gallery.distances[-1]:.3g}",
            )
        )
    if gallery.by_class is not None:
        images = gallery.by_class.reshape(-1, *gallery.by_class.shape[2:])
        origin = "the class that was asked for" if gallery.asked else "the class the classifier sees in them"
        picture = explore.tile(
            images, gallery.by_class.shape[1], scale=_scale(images, 36), captions=list(gallery.classes)
        )
        parts += ["<h2>By class</h2>", _image(picture, f"the first samples of each class: {origin}")]
    return "".join(parts)


def _series(gallery: Gallery) -> str:
    """Paths, autocorrelation and maps of sequences beside real ones."""
    assert gallery.real is not None
    real, fake, names = gallery.real, gallery.samples, gallery.columns
    parts = [
        "<h2>Samples</h2>",
        _image(explore_series.paths(real, fake, names), "training windows and the first samples, not chosen"),
    ]
    plot = explore_series.autocorrelation_plot(real, fake, names)
    parts += ["<h2>Autocorrelation</h2>", _image(plot, "mean autocorrelation about each window's own mean")]
    if min(len(real), len(fake)) >= 5:
        parts.append("<h2>Windows in the plane</h2>")
        parts.append(
            _image(explore_series.maps(real, fake), "principal components of the training windows, and t-SNE of both")
        )
    return "".join(parts)


def _scale(images: np.ndarray, side: int) -> int:
    return max(1, round(side / max(images.shape[2:])))


def _image(picture: Image.Image, caption: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{_text(caption)}" width="{picture.width}" height="{picture.height}" '
        f'src="data:image/png;base64,{data}"><figcaption>{_text(caption)}</figcaption></figure>'
    )


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
    return f'<h2>Training</h2><div class="wide">{svg[svg.index("<svg") :]}</div>'


def _facts(report: Report, training: Training | None) -> str:
    facts = dict((training.facts if training else None) or {})
    if report.results:
        first = report.results[0]
        facts |= {"data": f"{first.data} ({first.fingerprint[:12]})", "seed of samples": str(first.seed)}
        facts["time"] = f"{sum(result.seconds for result in report.results):.0f} s for the model's rows"
        counts = {kind_of(r.protocol): f"{r.protocol} ({r.seconds:.1f} s)" for r in report.results}
        facts["protocols"] = ", ".join(counts.values())
    items = "".join(
        f"<tr><th scope='row'>{_text(key)}</th><td>{_text(value)}</td></tr>" for key, value in facts.items()
    )
    return f'<h2>How it was measured</h2><div class="wide"><table class="facts"><tbody>{items}</tbody></table></div>'


_STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#8883;--good:#2e8b57;--bad:#c0392b}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
p.verdict{font-size:1.15rem;max-width:60rem}
table{border-collapse:collapse;min-width:60%}
th,td{padding:.3rem .7rem;text-align:left;vertical-align:top;font-weight:400}
thead th{border-bottom:2px solid var(--line);vertical-align:bottom}tr.first>*{border-top:1px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}thead .n{white-space:normal}
td.model{font-weight:600;background:var(--soft)}td.model small{font-weight:400}
small{opacity:.75}.wide{overflow-x:auto}figure{margin:1rem 0}img{max-width:100%;height:auto;image-rendering:pixelated}
figcaption{font-size:.85rem;opacity:.75}svg{max-width:100%;height:auto}
dt{margin-top:.8rem}dd{margin-left:1.2rem}code{font-size:.9em}table.facts td,table.facts th{font-size:.85rem}
.tag{padding:.1rem .6rem;border-radius:1rem;color:#fff}.good{background:var(--good)}.bad{background:var(--bad)}
""".strip().replace("\n", "")
