"""From samples and a data set to figures that can be compared: named protocols, control rows, reports.

A protocol's name fixes everything that moves its figure (counts, widths, splits), so that equal names mean
equal measurements. Rows of the model stand beside control rows that need no model: they say what the figure
can tell.
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from saddlepoint._errors import ConfigError, DataError, suggest
from saddlepoint._types import Modality
from saddlepoint.data.dataset import Dataset
from saddlepoint.metrics import ParzenResult, kmeans_centroids, parzen10k

Sampler = Callable[[int, int], Tensor]
"""(n, seed) -> n samples of shape (n, *sample) in the inside range ([-1, 1] for images)."""

Say = Callable[[str], None]
Role = Literal["model", "control"]


@dataclass(frozen=True)
class Row:
    """One figure with what it rests on.

    Attributes:
        protocol: name of the protocol.
        row: whose figure it is: "generator (EMA)", "training images", ...
        value: the figure.
        unit: of the value and its error; "" for none.
        standard_error: of the value, or None.
        interval: 95% interval, or None: then value +- 1.96 standard errors where there is one.
        role: model, or control for a row that does not depend on the model.
        details: JSON values: counts really used, seconds, data name and fingerprint, seed, ...
    """

    protocol: str
    row: str
    value: float
    unit: str
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    role: Role = "model"
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """Build a row from the object that `dataclasses.asdict` gives, after a passage through JSON."""
        interval = values.get("interval")
        return cls(**{**values, "interval": None if interval is None else (interval[0], interval[1])})


@dataclass(frozen=True)
class Task:
    """What a protocol is given besides samples.

    Attributes:
        dataset: the data the model was trained on.
        seed: of everything random in the measurement.
        say: receives one line for each part of the work.
    """

    dataset: Dataset
    seed: int
    say: Say


@dataclass(frozen=True)
class Protocol:
    """A measurement with a name.

    Attributes:
        name: fixes counts, extractor, widths and splits.
        aliases: short words for it on the command line.
        modalities: kinds of data it can measure.
        summary: one line for listings.
        run: measures a model: (sampler, label of the row, task) -> its rows.
        controls: the rows that need no model; `evaluate` caches them by protocol, data and seed.
        verdict: one or two sentences about all rows of the protocol.
        version: raised when the same input gives other figures, so that kept control rows are measured again.
    """

    name: str
    aliases: tuple[str, ...]
    modalities: tuple[Modality, ...]
    summary: str
    run: Callable[[Sampler, str, Task], list[Row]]
    controls: Callable[[Task], list[Row]]
    verdict: Callable[[Sequence[Row]], str]
    version: int = 1


@dataclass(frozen=True)
class Report:
    """Rows of one evaluation, in the order of their protocols, the model first.

    Attributes:
        rows: all rows.
        verdicts: sentences by name of protocol.
        title: for the page.
    """

    rows: tuple[Row, ...]
    verdicts: dict[str, str]
    title: str = "Evaluation"

    @property
    def verdict(self) -> str:
        """The verdicts of all protocols, one a line."""
        return "\n".join(self.verdicts.values())

    def to_jsonl(self, path: str | Path) -> None:
        """Append one JSON line for each row; the file is replaced as a whole, so it is never half written."""
        path = Path(path)
        earlier = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [json.dumps(dataclasses.asdict(row), sort_keys=True) for row in self.rows]
        _write(path, earlier + "".join(line + "\n" for line in lines))

    def to_html(self, path: str | Path) -> None:
        """Write one self-contained page (no scripts, nothing loaded), readable in light and dark."""
        parts = [_section(name, self) for name in dict.fromkeys(row.protocol for row in self.rows)]
        head = f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style>"
        _write(
            Path(path),
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width">{head}</head>'
            f"<body><h1>{html.escape(self.title)}</h1>{''.join(parts)}</body></html>\n",
        )


_REGISTRY: dict[str, Protocol] = {}


def register(protocol: Protocol) -> Protocol:
    """Make a protocol known by its name and aliases."""
    _REGISTRY[protocol.name] = protocol
    return protocol


def protocols() -> dict[str, Protocol]:
    """Return the registered protocols by name."""
    return dict(_REGISTRY)


def get_protocol(name: str) -> Protocol:
    """Return the protocol called ``name``, or of which it is an alias.

    Raises:
        ConfigError: if there is none, with the nearest name.

    >>> get_protocol("parzen").name
    'parzen10k_cv10'
    """
    for protocol in _REGISTRY.values():
        if name in (protocol.name, *protocol.aliases):
            return protocol
    words = [word for protocol in _REGISTRY.values() for word in (protocol.name, *protocol.aliases)]
    raise ConfigError(f"unknown protocol '{name}'; {suggest(name, words)}")


def evaluate(
    sample: Sampler,
    dataset: Dataset,
    protocols: Iterable[str] = ("parzen10k_cv10",),
    *,
    seed: int = 0,
    label: str = "generator",
    cache_dir: str | Path | None = None,
    progress: Say | None = None,
) -> Report:
    """Measure samples by named protocols and set control rows beside them.

    Args:
        sample: draws ``n`` samples for a seed, in [-1, 1] for images; called once for each protocol.
        dataset: the data the model was trained on.
        protocols: names or aliases.
        seed: of the samples and the control rows.
        label: name of the model's row, such as "generator (EMA)".
        cache_dir: folder for control rows, kept as JSON by protocol, data fingerprint and seed; or None.
        progress: receives one line for each part of the work.

    Raises:
        ConfigError: on an unknown protocol, or one that cannot measure this kind of data.
        DataError: if the data has too few rows, or samples are not finite, of the wrong shape or range.
    """
    chosen = list({p.name: p for p in (get_protocol(name) for name in protocols)}.values())
    for protocol in chosen:
        if dataset.modality not in protocol.modalities:
            raise ConfigError(
                f"protocol '{protocol.name}' measures {' or '.join(protocol.modalities)} data, "
                f"but '{dataset.name}' holds {dataset.modality}s"
            )
    task = Task(dataset, seed, progress or (lambda line: None))
    rows: list[Row] = []
    verdicts: dict[str, str] = {}
    for protocol in chosen:
        found = protocol.run(sample, label, task) + _controls(protocol, task, cache_dir)
        rows += found
        verdicts[protocol.name] = protocol.verdict(found)
    return Report(tuple(rows), verdicts, f"{label} on {dataset.name}")


def _controls(protocol: Protocol, task: Task, cache_dir: str | Path | None) -> list[Row]:
    """Read the control rows from the cache, or measure and keep them."""
    if cache_dir is None:
        return protocol.controls(task)
    path = Path(cache_dir) / f"{protocol.name}-v{protocol.version}-{task.dataset.fingerprint}-{task.seed}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [Row.from_json(values) for values in kept]
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError):
        task.say(f"the kept control rows in {path} cannot be read: measuring them again")
    rows = protocol.controls(task)
    try:
        _write(path, json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    except OSError as error:
        task.say(f"the control rows could not be kept in {path.parent} ({error.strerror}); the figures stand")
    return rows


_CENTRES, _VALID, _TEST, _FEWEST = 10_000, 1_000, 10_000, 10
_IMAGES_PER_CENTROID = 5
_PARZEN = "parzen10k_cv10"
_PARZEN_CONTROLS = ("training images", "k-means centroids", "uniform noise")


def _parzen_counts(dataset: Dataset) -> tuple[int, int, int]:
    """Centres, validation and test rows: the released counts, or what the data has."""
    counts = []
    for split, wanted in (("train", _CENTRES), ("valid", _VALID), ("test", _TEST)):
        count = len(dataset.splits[split]) if split in dataset.splits else 0
        if count < _FEWEST:
            raise DataError(
                f"'{dataset.name}' has {count} {split} rows, but a Parzen figure needs at least {_FEWEST}: "
                "use more data, or judge the samples by their pictures"
            )
        counts.append(min(wanted, count))
    return counts[0], counts[1], counts[2]


def _unit(images: np.ndarray) -> np.ndarray:
    """uint8 images to float32 in [0, 1]."""
    return np.asarray(images, dtype=np.float32) / 255


def _parzen_row(centres: np.ndarray | Tensor, label: str, role: Role, task: Task) -> Row:
    """Measure one set of centres in [0, 1]."""
    wanted, n_valid, n_test = _parzen_counts(task.dataset)
    task.say(f"Parzen: {label}, {len(centres):,} centres")
    start = time.perf_counter()
    splits = task.dataset.splits
    result = parzen10k(centres, _unit(splits["valid"].x[:n_valid]), _unit(splits["test"].x[:n_test]))
    return Row(
        _PARZEN, label, result.value, "nats", result.standard_error, None, role,
        _parzen_details(result, task, round(time.perf_counter() - start, 3), wanted),
    )  # fmt: skip


def _parzen_details(result: ParzenResult, task: Task, seconds: float, wanted: int) -> dict[str, Any]:
    return {
        "sigma": round(result.sigma, 4),
        "n_centres": result.n_centres,
        "n_valid": result.n_valid,
        "n_test": result.n_test,
        "as_released": (wanted, result.n_valid, result.n_test) == (_CENTRES, _VALID, _TEST),
        "seconds": seconds,
        "data": task.dataset.name,
        "fingerprint": task.dataset.fingerprint,
        "seed": task.seed,
    }


def _parzen_run(sample: Sampler, label: str, task: Task) -> list[Row]:
    count, _, _ = _parzen_counts(task.dataset)
    samples = _checked(sample(count, task.seed), (count, *task.dataset.splits["train"].x.shape[1:]))
    return [_parzen_row((samples.double() + 1) / 2, label, "model", task)]


def _checked(samples: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return image samples on the CPU.

    Raises:
        DataError: on another shape than ``shape``, on values that are not finite or outside [-1, 1].
    """
    samples = samples.detach().cpu()
    if tuple(samples.shape) != shape:
        raise DataError(f"samples have shape {tuple(samples.shape)}, but the data asks for {shape}")
    broken = int((~torch.isfinite(samples)).flatten(1).any(1).sum())
    if broken:
        raise DataError(
            f"{broken:,} of {len(samples):,} samples hold values that are not finite: "
            "the generator has diverged; evaluate an earlier checkpoint"
        )
    low, high = float(samples.min()), float(samples.max())
    if low < -1.001 or high > 1.001:
        raise DataError(f"samples reach from {low:.4g} to {high:.4g}, but must be in [-1, 1]: rescale them")
    return samples


def _parzen_controls(task: Task) -> list[Row]:
    """Training images as "samples", k-means centroids and uniform noise, all drawn from the seed."""
    count, _, _ = _parzen_counts(task.dataset)
    train = task.dataset.splits["train"].x
    rng = np.random.default_rng(task.seed)
    # Sorted, because the rows may be a memory map; the order of the centres does not matter.
    images = _unit(train[np.sort(rng.permutation(len(train))[:count])])
    images_row, centroids_row, noise_row = _PARZEN_CONTROLS
    rows = [_parzen_row(images, images_row, "control", task)]
    clusters = max(1, min(count, len(train) // _IMAGES_PER_CENTROID))
    task.say(f"k-means: {clusters:,} centroids of {len(train):,} training images, one iteration")
    centroids = kmeans_centroids(train, clusters, task.seed) / 255
    rows.append(_parzen_row(centroids, centroids_row, "control", task))
    noise = rng.random((count, *train.shape[1:]), dtype=np.float32)
    return [*rows, _parzen_row(noise, noise_row, "control", task)]


def _chance(a: Row, b: Row) -> float:
    """Two standard errors of the difference of two figures, as if they were independent."""
    return 2 * math.hypot(a.standard_error or 0, b.standard_error or 0)


def _parzen_verdict(rows: Sequence[Row]) -> str:
    """Say where the model stands among the control rows."""
    control = {row.row: row for row in rows if row.role == "control"}
    truth, means, noise = (control[name] for name in _PARZEN_CONTROLS)
    sentences = []
    for row in (row for row in rows if row.role == "model"):
        gap = row.value - truth.value
        level = f"real training images ({truth.value:.1f})"
        if row.value < noise.value - _chance(row, noise):
            place = f"below uniform noise ({noise.value:.1f}): untrained or collapsed"
        elif gap > _chance(row, truth):
            place = f"above the level of {level}: such a figure is not better than the truth"
        elif gap < -_chance(row, truth):
            place = f"{-gap:.1f} nats below the level of {level}"
        else:
            place = f"at the level of {level}"
        sentences.append(f"{_sentence(row.row)} reaches {_shown(row)} nats, {place}.")
    if means.value > truth.value:
        sentences.append(
            f"Smoothness alone scores high here (k-means centroids reach {means.value:.1f}): look at the samples."
        )
    if not all(row.details["as_released"] for row in rows):
        sentences.append("This data is too small for the released counts: do not compare with published figures.")
    return " ".join(sentences)


register(
    Protocol(
        _PARZEN,
        ("parzen",),
        ("image",),
        "Parzen window log-likelihood, released protocol: 10,000 samples, sigma from 1,000 validation images",
        _parzen_run,
        _parzen_controls,
        _parzen_verdict,
    )
)


_STYLE = """
:root{color-scheme:light dark;--line:#8885;--bar:#3b7dd8;--soft:#8888}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;font-family:ui-monospace,monospace;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{padding:.35rem .6rem;text-align:left;border-bottom:1px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}tr.model td{font-weight:600}
td.bar{width:30%}td.bar span{display:block;height:.7rem;border-radius:2px;background:var(--soft)}
tr.model td.bar span{background:var(--bar)}small{opacity:.75}.wide{overflow-x:auto}
""".strip().replace("\n", "")


def _section(name: str, report: Report) -> str:
    """Heading, verdict and table of one protocol."""
    rows = [row for row in report.rows if row.protocol == name]
    top = max((row.value for row in rows), default=0.0)
    body = "".join(_table_row(row, top) for row in rows)
    summary = _REGISTRY[name].summary if name in _REGISTRY else ""
    data, fingerprint, seed = (str(rows[0].details.get(key, "?")) for key in ("data", "fingerprint", "seed"))
    source = f"{summary}; data {data} ({fingerprint[:12]}), seed {seed}. "
    return (
        f"<h2>{html.escape(name)}</h2><p><strong>{html.escape(report.verdicts.get(name, ''))}</strong></p>"
        f'<div class="wide"><table><thead><tr><th>samples</th><th class="n">{html.escape(rows[0].unit)}</th>'
        f"<th></th><th>measured with</th></tr></thead><tbody>{body}</tbody></table></div>"
        f"<p><small>{html.escape(source)}&plusmn; is one standard error over test rows. "
        "Rows with a grey bar need no model.</small></p>"
    )


def _table_row(row: Row, top: float) -> str:
    width = max(0.0, 100 * row.value / top) if top > 0 else 0.0
    skip = ("data", "fingerprint", "seed", "as_released")
    shown = [(key.removeprefix("n_"), value) for key, value in row.details.items() if key not in skip]
    details = ", ".join(f"{key} {_plain(value)}" for key, value in shown)
    return (
        f'<tr class="{row.role}"><td>{html.escape(row.row)}</td><td class="n">{_shown(row)}</td>'
        f'<td class="bar"><span style="width:{width:.1f}%"></span></td>'
        f"<td><small>{html.escape(details)}</small></td></tr>"
    )


def _shown(row: Row) -> str:
    if row.interval is not None:
        return f"{row.value:.1f} [{row.interval[0]:.1f}, {row.interval[1]:.1f}]"
    return f"{row.value:.1f}" + ("" if row.standard_error is None else f" ± {row.standard_error:.1f}")


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _sentence(label: str) -> str:
    return f"{label[:1].upper()}{label[1:]}"


def _write(path: Path, text: str) -> None:
    """Write a text file atomically: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
