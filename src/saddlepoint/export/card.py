"""The model card of a run: what it is, how good, by which measurement, with which limits, how to use it."""

from __future__ import annotations

from pathlib import Path

from saddlepoint.core.quoting import shortened
from saddlepoint.core.templates import render
from saddlepoint.core.version import __version__
from saddlepoint.data import KNOWN
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import ARROWS, Metric, Result, Row, kept_report
from saddlepoint.evaluation.rows import kind_of
from saddlepoint.export.describe import data_facts, figures
from saddlepoint.family import DiscriminatorLogits, Family
from saddlepoint.run.privacy import UNCOUNTED
from saddlepoint.run.run import Run

REPOSITORY = "OWNER/NAME"
"""What stands for the repository until its name is known."""


def card(run: Run, repository: str = REPOSITORY) -> str:
    """Return the card as Markdown with the hub's front matter.

    The licence of a generator is not saddlepoint's to choose, so the card calls it unknown.

    Args:
        run: whose generator is described; figures come from ``report/metrics.jsonl``.
        repository: where it will be found.
    """
    results, family = figures(run), run.family
    return render(
        __file__, "card.md.jinja", run=run, config=run.config, family=family, data=data_facts(run), version=__version__,
        repository=repository, title=run.path.name if repository == REPOSITORY else repository.split("/")[-1],
        source=_repository(run), task=_task(run), translates=family.tags.input == "image",
        size=_size(family), adversarial=isinstance(family, DiscriminatorLogits),
        holds_examples=any(name.endswith("examples") for name, _ in family.named_buffers()),
        classes=shortened(family.data.classes, 20), rows=_rows(results), arrows=ARROWS, kind_of=kind_of,
        verdict=kept_report(RunFolder(run.path).report).verdict if results else None,
        origin=run.config.get("imported") or (run.config.get("start_from") or {}).get("imported"),
        privacy=run.privacy, uncounted=UNCOUNTED, attacked=_attacked(results),
        memorisation=next((result for result in results if result.protocol.startswith("memorisation")), None),
    )  # fmt: skip


def _size(family: Family) -> int:
    """Return how many parameters samples take: those of the generator, or of all networks that are averaged."""
    names = ("generator",) if "generator" in family.averaged else family.averaged
    return sum(p.numel() for name in names for p in family.get_submodule(name).parameters())


def _task(run: Run) -> str:
    tasks = {"image": "unconditional-image-generation", "sequence": "time-series-forecasting"}
    image_to_image = run.family.tags.input == "image"
    return "image-to-image" if image_to_image else tasks.get(run.config["data"]["modality"], "")


def _repository(run: Run) -> str:
    """Return the id of the data on the hub; "" if it is not known to be there."""
    source = str(run.config["data"]["source"])
    known = KNOWN.get(source)
    return source.removeprefix("hf:") if source.startswith("hf:") else (known.repository or "") if known else ""


def _rows(results: list[Result]) -> list[tuple[Result, Metric, Row, Row | None]]:
    """Return each figure of the model with that of held-out rows, if it has one."""
    return [
        (result, metric, row, result.find(metric.name, _held_out(result)))
        for result in results
        for metric in result.metrics
        if (row := result.find(metric.name)) is not None
    ]


def _attacked(results: list[Result]) -> Result | None:
    """Return what attackers made of it, where that was measured."""
    return next((result for result in results if kind_of(result.protocol) == "membership-inference"), None)


def _held_out(result: Result) -> str:
    return next((row.row for row in result.rows if row.role == "control" and row.row.startswith("held-out")), "")


def write_card(run: Run, folder: Path, repository: str = REPOSITORY) -> None:
    """Write ``README.md`` and, unless the run is of series, ``samples.png`` into a folder."""
    from saddlepoint.figures import grids

    (folder / "README.md").write_text(card(run, repository), encoding="utf-8")
    if run.config["data"]["modality"] == "image":
        grids.grid(run.sample(64, seed=0)).save(folder / "samples.png")
    elif run.config["data"]["modality"] == "vector":
        grids.scatter(run.sample(2000, seed=0)).save(folder / "samples.png")
