"""Makes the figures of docs/series.md on what people do with series: go on from rows, fill holes, long series, asking.

    python benchmarks/series_uses.py run [ROW ...]    train and measure what is missing; can be stopped at any moment
    python benchmarks/series_uses.py write            write the tables from the kept figures

A row trains one generator for a fixed number of steps in runs/series-uses, goes on with it where it was stopped, and
keeps its figures in benchmarks/figures/series-uses/ROW.json. Everything is measured on held-out windows, which no one
was trained on, beside simple baselines.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import head_of, keep, kept_rows, line_of, measured_on, run_or_write, train, write_section
from scipy import stats
from series_smoother import smoother_samples

from saddlepoint.data.dataset import Dataset
from saddlepoint.metrics.series_baselines import Autoregression, fit_autoregression
from saddlepoint.run import api
from saddlepoint.run.conditional import long_series, source_of
from saddlepoint.run.continuing import OVERLAP, Source, continued, filled

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "series-uses"
PAGE = HERE.parent / "docs" / "series.md"
RUNS = Path("runs") / "series-uses"
THREADS, SAMPLES, PASTS = 1, 100, 24
LENGTH, SERIES = 1_000, 3
GROUPS, SHARES = ("calm", "rough", "rising"), (0.5, 0.3, 0.2)


@dataclass(frozen=True)
class Row:
    """One generator, and what is measured of it."""

    data: str
    steps: int
    smoother: bool = False

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"smoother-{self.data}" if self.smoother else self.data


ROWS = [
    Row("etth1", 4000),
    Row("stocks", 2500),
    Row("seattle-weather", 1500),
    Row("groups", 1000),
    Row("etth1", 4000, smoother=True),
]


def groups_table() -> Path:
    """Write 900 series of three kinds and of 8 to 24 rows each, and return where: kinds are labels."""
    path = RUNS / "groups.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["series", "kind", "level", "spread"])
            for number in range(900):
                kind = int(rng.choice(3, p=SHARES))
                x, drift = rng.normal(0, 1), (0.0, 0.0, 0.4)[kind]
                for _ in range(int(rng.choice([8, 16, 24]))):
                    x = 0.9 * x + drift + (0.2, 1.0, 0.4)[kind] * rng.normal()
                    out.writerow([f"s{number}", GROUPS[kind], round(x, 4), round(abs(rng.normal()) * (1 + kind), 4)])
    return path


def run(row: Row, named: bool) -> None:
    """Train a generator unless it is finished, measure it, keep its figures."""
    path = FIGURES / f"{row.name}.json"
    if path.exists():
        return
    torch.set_num_threads(THREADS)
    groups = row.data == "groups"
    source = str(groups_table()) if groups else row.data
    asked: dict[str, Any] = {"group_column": "series", "label_column": "kind"} if groups else {}
    plan = api.plan(
        "timegan", source, preset="increments", options={}, steps=row.steps, seed=0, threads=THREADS,
        out=RUNS / row.data, device="cpu", precision="fp32", remedy="off", **asked,
    )  # fmt: skip
    made, outcome = train(plan)
    data = made.dataset()
    found: dict[str, Any] = {"nimg": outcome.progress.nimg, "seconds": round(outcome.seconds, 1)}
    if groups:
        found |= {"asking": asking(made, data)}
    elif row.smoother:
        found |= {"going on": smoother(made, data)}
    else:
        found |= {"going on": conditional(made, data, False), "holes": conditional(made, data, True)}
        found |= {"long": seams(made, data)}
    keep(path, found, THREADS)
    print(f"{row.name}: {found}", flush=True)


def crps(samples: np.ndarray, truth: np.ndarray) -> float:
    """Return E|X - y| - E|X - X'| / 2, the mean over steps and features; of one sample its absolute error.

    Args:
        samples: (n, steps, feature).
        truth: (steps, feature).
    """
    n = len(samples)
    ordered = np.sort(samples, 0)
    weights = (2 * np.arange(1, n + 1) - n - 1)[:, None, None]
    return float((np.abs(samples - truth).mean(0) - (weights * ordered).sum(0) / n**2).mean())


def of_windows(x: np.ndarray, numbers: int) -> Source:
    """Return real windows as a source: nearest training windows, the baseline that copies."""
    return Source(lambda n, first, number: x, x.shape[1], numbers)


def conditional(made: api.Run, data: Dataset, holes: bool) -> dict[str, dict[str, float]]:
    """Return CRPS (in deviations of the training values) and coverage of 90% intervals of every way."""
    known, numbers = made.layout.known, source_of(made, None, None, 0).numbers
    train_x, test = (np.asarray(data.splits[k].x, np.float64) for k in ("train", "test"))
    scale = train_x[..., :numbers].std((0, 1))
    rows = np.linspace(0, len(test) - 1, PASTS).round().astype(int)
    time, found = test.shape[1], dict[str, list[tuple[float, float]]]()
    hidden = np.arange(time // 3, 2 * time // 3) if holes else np.arange(time // 2, time)
    bank: dict[int, np.ndarray] = {}
    own = train_x[..., : train_x.shape[2] - known]
    fitted = fit_autoregression(own)
    for place, row in enumerate(test[rows]):
        values, phases = row[:, : row.shape[1] - known], row[:, row.shape[1] - known :]
        told = (lambda steps, at=phases: at[np.clip(steps, 0, time - 1)]) if known else None
        fresh = source_of(made, None, told, 0)

        def draw(
            n: int, first: int, number: int, fresh: Source = fresh, key: int = place if known else 0
        ) -> np.ndarray:
            # Without a calendar the same windows serve all pasts; the choice is each past's own.
            if key not in bank:
                bank.clear()
                bank[key] = fresh.draw(n if not known else 3_000, 0, number)
            return bank[key]

        ways = ways_of(Source(draw, time, numbers), own, fitted, values, hidden, numbers)
        for name, samples in ways.items():
            truth, part = values[hidden, :numbers] / scale, samples[:, :, :numbers] / scale
            found.setdefault(name, []).append(against_truth(part, truth))
    return {name: summed_up(each) for name, each in found.items()}


def summed_up(each: list[tuple[float, float]]) -> dict[str, float]:
    """Return means of CRPS and coverage over pasts, and the error of the first."""
    scores, inside = np.array(each).T
    error = float(scores.std(ddof=1) / np.sqrt(len(each)))
    return {"CRPS": float(scores.mean()), "error": error, "inside": float(inside.mean())}


def against_truth(samples: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return CRPS, and which share of the truth (steps, feature) lies in the samples' middle 90%."""
    low, high = np.quantile(samples, [0.05, 0.95], axis=0)
    return crps(samples, truth), float(((truth >= low) & (truth <= high)).mean())


def smoother(made: api.Run, data: Dataset) -> dict[str, dict[str, float]]:
    """Return the figures of an ensemble smoother, on the same pasts."""
    train_x, test = (np.asarray(data.splits[k].x, np.float64) for k in ("train", "test"))
    scale, half = train_x.std((0, 1)), test.shape[1] // 2
    rows, found = np.linspace(0, len(test) - 1, PASTS).round().astype(int), []
    for seed, row in enumerate(test[rows]):
        samples = smoother_samples(made, row[:half], test.shape[1] - half, seed)
        found.append(against_truth(samples / scale, row[half:] / scale))
    return {"an ensemble smoother over z": summed_up(found)}


def ways_of(
    source: Source, train_x: np.ndarray, fitted: Autoregression, values: np.ndarray, hidden: np.ndarray, numbers: int
) -> Mapping[str, np.ndarray]:
    """Return samples (n, hidden steps, feature) of every way to say what is hidden of a window."""
    rng, time = np.random.default_rng(0), len(values)
    real = of_windows(train_x, numbers)
    steps = np.diff(train_x, axis=1).reshape(-1, values.shape[1])
    first, count = hidden[0], len(hidden)
    if hidden[-1] < time - 1:
        given = values.copy()
        given[hidden] = np.nan
        ends = values[[first - 1, hidden[-1] + 1]]
        share = (np.arange(1, count + 1) / (count + 1))[:, None]
        line = (1 - share) * ends[0] + share * ends[1]
        walk = np.cumsum(steps[rng.integers(0, len(steps), (SAMPLES, count + 1))], 1)
        bridge = line + walk[:, :-1] - share * walk[:, -1:]
        return {
            "samples (`--fill`)": filled(source, given, SAMPLES, 0)[:, hidden],
            "nearest training windows": filled(real, given, SAMPLES, 0)[:, hidden],
            "a straight line": line[None],
            "a bridge of drawn increments": bridge,
        }
    past = values[:first]
    return {
        "samples (`--given`)": continued(source, past, SAMPLES, count, 0),
        "nearest training windows": continued(real, past, SAMPLES, count, 0),
        "vector autoregression": autoregression(fitted, past, count, rng),
        "the last value": np.repeat(past[None, -1:], count, 1),
        "the last value and drawn increments": past[-1]
        + np.cumsum(steps[rng.integers(0, len(steps), (SAMPLES, count))], 1),
        "any sample": source.draw(10_000, 0, 0)[:SAMPLES, hidden].astype(np.float64),
    }


def autoregression(fitted: Autoregression, past: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return paths of a vector autoregression from a past on."""
    order = len(fitted.coefficients)
    paths = np.repeat(past[None, -order:], SAMPLES, 0)
    for _ in range(count):
        step = fitted.constant + fitted.residuals[rng.integers(0, len(fitted.residuals), SAMPLES)]
        for k, matrix in enumerate(fitted.coefficients, 1):
            step = step + paths[:, -k] @ matrix.T
        paths = np.concatenate([paths, step[:, None]], 1)
    return paths[:, order:]


def seams(made: api.Run, data: Dataset) -> dict[str, Any]:
    """Return how increments at the joints of long series differ from others, beside windows laid end to end."""
    numbers, time = source_of(made, None, None, 0).numbers, int(made.family.data.shape[0])
    x = long_series(made, SERIES, LENGTH)[0][..., :numbers]
    glued = made.sample(SERIES * -(-LENGTH // time), seed=1).numpy()[..., :numbers]
    glued = glued.reshape(SERIES, -1, numbers)[:, :LENGTH].astype(np.float64)
    train_x = np.asarray(data.splits["train"].x[..., :numbers], np.float64)
    # Windows follow one another by a row: their first rows are the series.
    rows, rng = np.concatenate([train_x[:, 0], train_x[-1, 1:]]), np.random.default_rng(0)
    count = min(LENGTH, len(rows) // 2)
    real = np.stack([rows[start : start + count] for start in rng.integers(0, len(rows) - count, SERIES)])
    return {
        "real rows": seam_of(real, time, time - time // OVERLAP, train_x),
        "samples (`--length`)": seam_of(x, time, time - time // OVERLAP, train_x),
        "windows end to end": seam_of(glued, time, time, train_x),
    }


def seam_of(x: np.ndarray, first: int, every: int, train_x: np.ndarray) -> dict[str, float]:
    """Return the Kolmogorov-Smirnov distance of increments at joints from others, with its p-value, and of values."""
    joint = np.zeros(x.shape[1] - 1, bool)
    joint[first - 1 :: every] = True
    distances, p_values, values = [], [], []
    for feature in range(x.shape[2]):
        steps = np.diff(x[..., feature], axis=1)
        found = stats.ks_2samp(steps[:, joint].ravel(), steps[:, ~joint].ravel())
        distances.append(found.statistic)
        p_values.append(found.pvalue)
        real = train_x[..., feature].ravel()
        values.append(stats.wasserstein_distance(x[..., feature].ravel(), real) / (real.std() or 1.0))
    # Bonferroni over the features.
    smallest = min(1.0, len(p_values) * min(p_values))
    return {"KS": float(np.mean(distances)), "p": float(smallest), "values": float(np.mean(values))}


def asking(made: api.Run, data: Dataset) -> dict[str, float]:
    """Return whether classes that are asked for come, in which shares and lengths series come otherwise."""
    train_part, test = data.splits["train"], data.splits["test"]
    judge = classifier(train_part.x, np.asarray(train_part.labels))
    right = [float((judge(made.sample(500, label=k).numpy()) == k).mean()) for k in range(len(data.classes))]
    any_of = judge(made.sample(1500, seed=3).numpy())
    labels = made.labels(1500, seed=3)
    assert labels is not None
    shares = np.bincount(np.asarray(train_part.labels), minlength=3) / len(train_part)
    lengths = [(~np.isnan(x[..., 0])).sum(1) for x in (train_part.x, made.sample(1500, seed=3).numpy())]
    return {
        "asked for, seen": float(np.mean(right)),
        "held-out windows, seen": float((judge(test.x) == np.asarray(test.labels)).mean()),
        "not asked for, as the most frequent": float((any_of == int(shares.argmax())).mean()),
        "shares, total variation": float(np.abs(np.bincount(labels.numpy(), minlength=3) / 1500 - shares).sum() / 2),
        "uniform shares, total variation": float(np.abs(1 / 3 - shares).sum() / 2),
        "lengths, KS": float(stats.ks_2samp(*lengths).statistic),
        "all whole, KS": float((lengths[0] < train_part.x.shape[1]).mean()),
    }


def classifier(x: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a classifier by quadratic discriminant analysis of each window's mean, deviation, slope and roughness."""

    def features(windows: np.ndarray) -> np.ndarray:
        steps = np.diff(windows, axis=1)
        parts = [np.nanmean(windows, 1), np.nanstd(windows, 1), np.nanmean(steps, 1), np.nanstd(steps, 1)]
        return np.concatenate(parts, 1)

    own = features(x)
    normals = []
    for kind in range(int(labels.max()) + 1):
        rows = own[labels == kind]
        normals.append(
            (stats.multivariate_normal(rows.mean(0), np.cov(rows.T) + 1e-9 * np.eye(own.shape[1])), len(rows))
        )
    return lambda windows: np.stack([n.logpdf(features(windows)) + np.log(c) for n, c in normals]).argmax(0)


def score_of(figure: Mapping[str, float] | None) -> str:
    """Return a cell of the tables of CRPS."""
    return "" if figure is None else f"{figure['CRPS']:.3f} ± {figure['error']:.3f} ({figure['inside']:.0%})"


def write() -> None:
    """Write the section of the page between its marks."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS)
    lines: list[str] = []
    for part, text in (
        ("going on", "Half of a held-out window is given, the other half said"),
        ("holes", "The middle third of a held-out window is hidden"),
    ):
        lines += ["", f"{text}: CRPS in deviations ↓ (share of the truth in 90% intervals), {PASTS} windows:", ""]
        kept: dict[str, dict[str, Any]] = {}
        for row, one in found:
            if part in one:
                kept[row.data] = kept.get(row.data, {}) | one[part]
        lines += head_of(["way", *(f"`{name}`" for name in kept)])
        for name in dict.fromkeys(name for one in kept.values() for name in one):
            lines.append(line_of([name, *(score_of(one.get(name)) for one in kept.values())]))
    text = f"{SERIES} series of {LENGTH:,} steps: Kolmogorov-Smirnov distance of increments at joints from all others ↓"
    lines += ["", f"{text} (smallest p-value of a feature, corrected), and of values from the data's ↓:", ""]
    long = {row.data: one["long"] for row, one in found if "long" in one}
    lines += head_of(["way", *(f"`{name}`" for name in long)])
    for name in dict.fromkeys(name for one in long.values() for name in one):
        cells = [f"{o[name]['KS']:.3f} (p {o[name]['p']:.2g}), {o[name]['values']:.2f} sd" for o in long.values()]
        lines.append(line_of([name, *cells]))
    for _, one in (pair for pair in found if "asking" in pair[1]):
        lines += [
            "",
            f"{len(GROUPS)} kinds of series in unequal shares, of 8, 16 or 24 rows, told by a classifier:",
            "",
        ]
        lines += head_of(["figure", "value"])
        lines += [line_of([name, f"{value:.3f}"]) for name, value in one["asking"].items()]
    trained = ", ".join(f"`{row.data}` {row.steps:,} steps" for row, _ in found if not row.smoother)
    lines += ["", f"Trained for: {trained}; {THREADS} thread, one seed. {measured_on(one for _, one in found)}"]
    write_section(PAGE, "uses", lines)


if __name__ == "__main__":
    run_or_write({row.name: row for row in ROWS}, run, write, __doc__)
