"""The model card of a run: what it is, how good, by which measurement, with which limits, how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saddlepoint.core.quoting import for_markdown, for_python, for_terminal, shortened
from saddlepoint.core.version import __version__
from saddlepoint.data import KNOWN
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import ARROWS, Result, kept_report
from saddlepoint.evaluation.rows import Row, kind_of
from saddlepoint.export.describe import data_facts, figures
from saddlepoint.family import get_family
from saddlepoint.run.run import Run

REPOSITORY = "OWNER/NAME"
"""What stands for the repository until its name is known."""


def card(run: Run, repository: str = REPOSITORY) -> str:
    """Return the card as Markdown with the hub's front matter.

    Args:
        run: whose generator is described; figures come from ``report/metrics.jsonl``.
        repository: where it will be found.
    """
    results = figures(run)
    parts = [
        _front(run, results),
        f"# {for_markdown(repository.split('/')[-1] if repository != REPOSITORY else run.path.name)}",
        _summary(run),
        "![Samples](samples.png)" if run.config["data"]["modality"] != "sequence" else "",
        _use(run, repository),
        _data(run),
        _training(run),
        _quality(run, results),
        _memorisation(results),
        _limits(run, results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(run: Run, results: list[Result]) -> str:
    """Return what the hub reads; the licence of a generator is not saddlepoint's to choose, so it is called unknown."""
    lines = ["library_name: saddlepoint", "license: unknown", "tags:", "- gan", f"- {_yaml(run.config['family'])}"]
    if repository := _repository(run):
        lines += ["datasets:", f"- {_yaml(repository)}"]
    if task := _task(run):
        lines.append(f"pipeline_tag: {task}")
    return "\n".join(["---", *lines, *_index(run, results), "---"])


def _task(run: Run) -> str:
    tasks = {"image": "unconditional-image-generation", "sequence": "time-series-forecasting"}
    image_to_image = run.family.tags.input == "image"
    return "image-to-image" if image_to_image else tasks.get(run.config["data"]["modality"], "")


def _repository(run: Run) -> str:
    """Return the id of the data on the hub; "" if it is not known to be there."""
    source = str(run.config["data"]["source"])
    known = KNOWN.get(source)
    return source.removeprefix("hf:") if source.startswith("hf:") else (known.repository or "") if known else ""


def _index(run: Run, results: list[Result]) -> list[str]:
    """Return the figures as the hub's ``model-index``, which its pages show."""
    figures = [
        (result, metric, row)
        for result in results
        for metric in result.metrics
        if (row := result.find(metric.name)) is not None
    ]
    if not figures:
        return []
    name = data_facts(run)["name"]
    lines = ["model-index:", f"- name: {_yaml(run.path.resolve().name)}", "  results:", "  - task:"]
    lines += [
        f"      type: {_task(run) or 'other'}",
        "    dataset:",
        f"      type: {_yaml(_repository(run) or name)}",
    ]
    lines += [f"      name: {_yaml(name)}", "    metrics:"]
    for result, metric, row in figures:
        lines += [f"    - type: {_yaml(kind_of(result.protocol))}", f"      value: {row.value:.6g}"]
        lines.append(f"      name: {_yaml(f'{metric.name} ({result.protocol})')}")
    return lines


def _summary(run: Run) -> str:
    config, facts = run.config, data_facts(run)
    generator = sum(p.numel() for p in run.family.get_submodule("generator").parameters())
    name, preset = for_markdown(facts["name"]), _code(config["preset"])
    shape = " x ".join(str(size) for size in run.family.data.shape)
    return (
        f"A generator of {config['data']['modality']}s ({shape}), {generator / 1e6:.2f} million parameters: "
        f"{get_family(config['family']).summary}, preset {preset}, trained on {name} with saddlepoint {__version__}."
    )


def _use(run: Run, repository: str) -> str:
    label = f", label={for_python(run.family.data.classes[0])}" if run.family.classes else ""
    given = 'run.read_pictures([("me.png", open("me.png", "rb").read())])'
    if run.family.tags.input == "image":
        body = f"images = {given}\nlabels = run.labels(1{label})\nsamples = run.generate(images, labels)"
    else:
        body = f"samples = run.sample(64, seed=0{label})"
    looks = {
        "image": 'from saddlepoint import explore\n\nexplore.grid(samples).save("samples.png")  # look at them',
        "sequence": 'run.write("samples.csv", 64)  # in the units of the data',
    }
    look = looks.get(run.config["data"]["modality"], "print(samples[:3])")
    return (
        "## How to use it\n\n```python\nimport saddlepoint\n\n"
        f'run = saddlepoint.load("hf:{repository}")\n{body}\n{look}\n```\n\n'
        "Nothing in the files is executed: they are a JSON configuration and safetensors. The same seed gives the same "
        "samples."
    )


def _data(run: Run) -> str:
    facts = data_facts(run)
    rows = [
        ("name", for_markdown(facts["name"]) + (f": {facts['description']}" if facts["description"] else "")),
        ("training rows", f"{facts['rows']:,}"),
        ("licence of the data", facts["licence"]),
        ("fingerprint", _code(facts["fingerprint"][:16])),
    ]
    if run.family.data.classes:
        rows.append(("classes", for_markdown(shortened(run.family.data.classes, 20))))
    return "## Data\n\n" + _table(("", ""), rows)


def _training(run: Run) -> str:
    config = run.config
    rows = [
        ("family, preset", for_markdown(f"{config['family']}, {config['preset']}")),
        ("seed", str(config["settings"]["seed"])),
        ("samples seen", f"{run.step * run.family.config.batch_size:,} in {run.step:,} steps"),
        *([] if run.seconds is None else [("training time", f"{run.seconds:,.0f} s")]),
        ("weights", "moving average of the generator" if run.averaged else "last"),
        ("the training doctor, of the course of training, not of the samples", for_markdown(run.diagnosis.verdict)),
    ]
    return "## Training\n\n" + _table(("", ""), rows)


def _quality(run: Run, results: list[Result]) -> str:
    if not results:
        return "## Quality\n\nNot measured. Whoever has the data can: `saddle evaluate`."
    rows = []
    for result in results:
        for metric in result.metrics:
            row = result.find(metric.name)
            if row is not None:
                arrow = f" {ARROWS[metric.better]}".rstrip()
                unit = f" ({metric.unit})" if metric.unit else ""
                real = result.find(metric.name, _real(result))
                other = "" if real is None else metric.show(real.value)
                rows.append(
                    (_code(result.protocol), for_markdown(metric.name + arrow + unit), _shown(metric, row), other)
                )
    head = ("protocol", "figure", "this generator [95% interval]", "held-out data")
    return (
        "## Quality\n\n"
        + f"{for_markdown(kept_report(RunFolder(run.path).report).verdict)}\n\n"
        + _table(head, rows)
        + "\n\nA protocol's name fixes counts, feature extractor and split. Features other than Inception's give "
        "figures that are no published FID's equals. The last column is what held-out rows of the same data get."
    )


def _real(result: Result) -> str:
    names = [row.row for row in result.rows if row.role == "control"]
    return next((name for name in names if name.startswith("held-out")), "")


def _shown(metric: Any, row: Row) -> str:
    value = metric.show(row.value)
    if row.interval is None:
        return value
    return f"{value} [{metric.show(row.interval[0])}, {metric.show(row.interval[1])}]"


def _memorisation(results: list[Result]) -> str:
    found = next((result for result in results if result.protocol.startswith("memorisation")), None)
    if found is None:
        return "## Memorisation\n\nNot measured: nobody has looked whether samples copy training rows."
    return f"## Memorisation\n\n{for_markdown(found.verdict)} Protocol {_code(found.protocol)}."


def _limits(run: Run, results: list[Result]) -> str:
    lines = [
        "It makes what looks like its training data and nothing else; it inherits the gaps and biases of that data.",
        "Figures count samples of one training run, not of several seeds.",
    ]
    if run.family.tags.input == "image" or any(name.endswith("examples") for name, _ in run.family.named_buffers()):
        lines.append("The weights hold up to 512 (parts of) training images, from which inputs are drawn.")
    if not results:
        lines.append("Its quality has not been measured.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def _code(text: str) -> str:
    """Return a word as code; what could end the code, as plain text."""
    return f"`{text}`" if re.fullmatch(r"[\w.+-]+", text) else for_markdown(text)


def _yaml(text: str) -> str:
    """Return a text as YAML: quoted as JSON quotes it, on one line. YAML knows no pair of surrogates."""
    return json.dumps(for_terminal(text), ensure_ascii=False)


def write_card(run: Run, folder: Path, repository: str = REPOSITORY) -> None:
    """Write ``README.md`` and, unless the run is of series, ``samples.png`` into a folder."""
    from saddlepoint.figures import grids

    (folder / "README.md").write_text(card(run, repository), encoding="utf-8")
    if run.config["data"]["modality"] == "image":
        grids.grid(run.sample(64, seed=0)).save(folder / "samples.png")
    elif run.config["data"]["modality"] == "vector":
        grids.scatter(run.sample(2000, seed=0)).save(folder / "samples.png")
