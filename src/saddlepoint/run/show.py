"""A run in words and pictures: what `print` says of it, what a notebook shows, samples as PIL images."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.errors import DataError, SaddlepointError
from saddlepoint.core.quoting import for_terminal
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.figures import grids, plots

if TYPE_CHECKING:
    from saddlepoint.evaluation import Result
    from saddlepoint.family import Family
    from saddlepoint.run.run import Run

_IN_NOTEBOOK = 32


def to_pil(samples: Tensor | np.ndarray) -> list[Image.Image]:
    """Return images as PIL pictures of their own size.

    Args:
        samples: images in [-1, 1], as `Run.sample` returns them: (n, channel, height, width), or one of them. 1 channel
            is grey, 3 are colour, 4 colour and opacity.

    Raises:
        DataError: if they are no images, or not finite.
    """
    images = samples if isinstance(samples, Tensor) else torch.from_numpy(np.asarray(samples))
    images = images[None] if images.dim() == 3 else images
    if images.dim() != 4:
        raise DataError(
            f"samples of shape {tuple(samples.shape)} are no images, which are (n, channel, height, width); of series "
            "and points Run.show draws a plot"
        )
    return [grids.single(image) for image in images]


def sheet(run: Run, n: int, *, seed: int, label: int | str | None, truncation: float | None) -> Image.Image:
    """Return samples of a run as one picture: images in a grid, series as paths, points as a scatter plot.

    Where there are few classes each has a column, which a heading names, unless one of them is asked for.
    """
    columns = grids.class_columns(run.family.classes) if label is None else None
    if columns:
        labels, inputs = torch.arange(n) % columns, run.inputs(n, seed=seed)
        if run.family.tags.input == "image":
            inputs = inputs[torch.arange(n) // columns]
        samples = run.generate(inputs, labels, seed=seed, truncation=truncation)
    else:
        samples = run.sample(n, seed=seed, label=label, truncation=truncation)
    if run.family.data.modality == "image":
        headings = run.family.data.classes[:columns] if columns else None
        return grids.grid(samples, columns, headings=headings, see_through=True)
    if run.family.data.modality == "vector":
        return grids.scatter(samples)
    layout = run.layout
    x = layout.restore(samples.numpy())
    return plots.paths(x, x[:0], [column.name for column in layout.columns])


def display(picture: Image.Image) -> None:
    """Show a picture: in a notebook below the cell, else in the viewer of the system."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import display as shown

        shown(picture)
    else:
        picture.show()


def facts(run: Run) -> dict[str, str]:
    """Return what a run is, in words: family, data, training, the doctor's word, figures."""
    config, folder = run.config, RunFolder(run.path)
    data = config["data"]
    shape = "x".join(map(str, data["shape"]))
    found = {
        "family": f"{config['family']}, preset {config['preset']}; {sizes(run.family)}",
        "data": f"{data.get('name', data['source'])}, {data['rows']:,} {data['modality']}s of {shape}",
        "trained": f"{run.step * run.family.config.batch_size / 1000:,.1f} kimg, step {run.step:,}",
    }
    if data.get("classes") and run.family.classes:
        found["classes"] = ", ".join(map(str, data["classes"][:10])) + (" ..." if len(data["classes"]) > 10 else "")
    if "imported" in config:
        return {
            **found,
            "trained": "elsewhere",
            "imported": f"{config['imported']['file']}, {config['imported']['form']}",
        }
    if "export" in config:
        found["export"] = f"of the run '{config['export'].get('run', '?')}': for sampling; its log stayed there"
        return found
    log, status, seconds = run.log, folder.read_status(), run.seconds
    found["trained"] += (f", {seconds:,.0f} s" if seconds is not None else "") + _state(status)
    if log:
        diagnosis = run.diagnosis
        found["doctor"] = f"{diagnosis.verdict}" + (
            f" ({'; '.join(diagnosis.evidence)})" if diagnosis.verdict in ALARMS and diagnosis.evidence else ""
        )
    results = measured(run)
    names = ", ".join(result.protocol for result in results)
    found["measured"] = f"by {names}" if results else "not yet; run.evaluate() does"
    return found


def _state(status: dict[str, object]) -> str:
    state = str(status.get("state", ""))
    return {"finished": "", "": ""}.get(state, f"; {'it can go on' if state == 'interrupted' else state}")


def sizes(family: Family) -> str:
    """Return how many parameters each network of a family has, in words."""
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in family.named_children()}
    return ", ".join(f"{name} {size / 1e6:.2f} M" for name, size in found.items() if size) + " parameters"


def measured(run: Run) -> list[Result]:
    """Return what an evaluation kept of a run; nothing before there was one, or if that is damaged."""
    from saddlepoint.evaluation import kept_results

    return kept_results(RunFolder(run.path).report)


def text(run: Run) -> str:
    """Return what `print` shows of a run."""
    rows = {"run": str(run.path), **facts(run)}
    wide = max(map(len, rows)) + 2
    return "\n".join(f"{name + ':':<{wide}}{for_terminal(value)}" for name, value in rows.items())


def page(run: Run) -> str:
    """Return what a notebook shows of a run: its samples, what it is, its figures; it loads nothing from elsewhere."""
    from saddlepoint.core.templates import render
    from saddlepoint.evaluation import ARROWS, shown

    picture, problem = "", ""
    try:
        samples = sheet(run, _IN_NOTEBOOK, seed=0, label=None, truncation=None)
        picture = base64.b64encode(grids.encoded(samples)).decode()
    except SaddlepointError as error:
        problem = str(error)
    said = {name: value for name, value in facts(run).items() if name != "measured"}
    return render(
        __file__, "page.html.jinja", name=run.path.name, picture=picture, problem=problem, facts=said,
        results=measured(run), arrows=ARROWS, shown=shown,
    )  # fmt: skip
