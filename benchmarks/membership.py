"""Which attack of a stranger finds planted copies: scores of membership inference held against each other.

    python benchmarks/membership.py run [CASE ...]   attack what is missing; seconds each
    python benchmarks/membership.py write            write the table of docs/privacy.md

A planted generator gives training rows back, with noise or without, as a share of its samples; the rest are fresh rows
of the same source. Three seeds draw rows and noise. Figures are kept in benchmarks/figures/membership/CASE.json.

Scores, larger for "was trained on", with S the samples, R held-out rows that the attacker knows (each of them without
itself) and d the distance:

- neighbourhood: minus the distance to the nearest sample over the mean distance to the 10 nearest ones; what
  `saddle evaluate` takes.
- nearest: -min d(x, S), the full black box of Hayes et al. 2019 and of Chen et al. 2020 without calibration.
- Monte Carlo: mean of -log d over samples nearer than the median of the smallest distances (Hilprecht et al. 2019).
- calibrated: log min d(x, R) - log min d(x, S), after Chen et al. 2020 (GAN-Leaks), as a quotient.
- density: log p_S - log p_R of Gaussian kernels (van Breugel et al. 2023, DOMIAS), of the median smallest distance.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from records import head_of, keep, kept_rows, line_of, measured_on, run_or_write, write_section

from saddlepoint.data import load_dataset
from saddlepoint.metrics.membership import power_at_low_error
from saddlepoint.metrics.memorisation import NEIGHBOURS
from saddlepoint.metrics.series import shapes

HERE = Path(__file__).parent
FIGURES, PAGE = HERE / "figures" / "membership", HERE.parent / "docs" / "privacy.md"
MEMBERS, OTHERS, SEEDS = 4_000, 2_000, 3
PLANTED = ((1.0, 0.0), (1.0, 1.0), (1.0, 2.5), (0.2, 1.0), (0.02, 0.0), (0.0, 0.0))
"""Share of copies among the samples, and their noise, in units of the source's (`NOISE`)."""

NOISE = {"vectors": 0.3, "mnist": 20.0, "sines": 0.01}
"""Standard deviations: of vectors about clusters of deviation 1 and more, of grey levels, of windows in [0, 1]."""


@dataclass(frozen=True)
class Case:
    """A source of rows, and what is planted."""

    source: str
    share: float
    noise: float

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.source}-{self.share:g}-{self.noise:g}"

    @property
    def path(self) -> Path:
        """Where its figures are kept."""
        return FIGURES / f"{self.name}.json"


CASES = {case.name: case for case in (Case(source, *planted) for source in NOISE for planted in PLANTED)}


def drawn(source: str, rng: np.random.Generator) -> np.ndarray:
    """Return rows to be dealt out as members, non-members and fresh ones."""
    n = 2 * MEMBERS + OTHERS
    if source == "vectors":
        centres = rng.normal(size=(8, 10)) * 2
        return np.asarray(
            centres[rng.integers(0, 8, n)] + rng.normal(size=(n, 10)) * np.exp(rng.normal(size=(n, 1)) / 2)
        )
    dataset = load_dataset(source)
    x = dataset.splits["train"].x
    return np.asarray(x[np.sort(rng.permutation(len(x))[:n])], np.float64)[rng.permutation(n)]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Euclidean distances between rows, float64 (n, m)."""
    one, two = (torch.from_numpy(x.reshape(len(x), -1)) for x in (a, b))
    return torch.cdist(one, two).numpy()


def scores_of(to_samples: np.ndarray, to_known: np.ndarray, median: float) -> Mapping[str, np.ndarray]:
    """Return each score of rows by their distances; ``median`` is that of the smallest distances of all rows."""
    nearest, known, tiny = to_samples.min(1), to_known.min(1), 1e-9
    around = np.partition(to_samples, NEIGHBOURS - 1, 1)[:, :NEIGHBOURS].mean(1)
    inside = np.where(to_samples <= median, np.log(to_samples + tiny) - np.log(median + tiny), 0.0)
    kernel = np.median(known)

    def density(table: np.ndarray) -> np.ndarray:
        return torch.logsumexp(torch.from_numpy(-((table / kernel) ** 2) / 2), 1).numpy()

    return {
        "neighbourhood": -nearest / (around + tiny),
        "nearest": -nearest,
        "Monte Carlo": -inside.mean(1),
        "calibrated": np.log(known + tiny) - np.log(nearest + tiny),
        "density": density(to_samples) - density(to_known),
    }


def attacked(case: Case, seed: int) -> dict[str, float]:
    """Return the true positive rate at 1% false positives of each score."""
    rng = np.random.default_rng(seed)
    x = drawn(case.source, rng)
    train, others, fresh = x[:MEMBERS], x[MEMBERS : MEMBERS + OTHERS], x[MEMBERS + OTHERS :]
    copies = round(case.share * MEMBERS)
    made = train[rng.permutation(MEMBERS)[:copies]]
    made = made + case.noise * NOISE[case.source] * rng.normal(size=made.shape)
    samples, members = np.concatenate([made, fresh[: MEMBERS - copies]]), train[:OTHERS]
    if case.source == "mnist":
        samples = samples.clip(0, 255).round()
    if case.source == "sines":
        samples, members, others = (shapes(rows) for rows in (samples, members, others))
    tables = distances(members, samples), distances(others, samples)
    # A non-member that the attacker knows would be at distance 0 from itself; members are told of as many.
    known = [distances(rows, others) for rows in (members, others)]
    np.fill_diagonal(known[0], np.inf)
    np.fill_diagonal(known[1], np.inf)
    median = float(np.median(np.concatenate([table.min(1) for table in tables])))
    own, rest = (scores_of(table, to_known, median) for table, to_known in zip(tables, known, strict=True))
    return {name: power_at_low_error(own[name], rest[name]).value for name in own}


def run(case: Case, named: bool) -> None:
    """Attack one case with all seeds."""
    if case.path.exists() and not named:
        return
    found = [attacked(case, seed) for seed in range(SEEDS)]
    print(case.name, found[0], flush=True)
    keep(case.path, {"rates": found}, torch.get_num_threads())


def write() -> None:
    """Write the table."""
    kept = kept_rows((case, case.path) for case in CASES.values())
    names = list(kept[0][1]["rates"][0])
    lines = head_of(["data", "copies among the samples", "noise", *names])
    for case, found in kept:
        rates = {name: statistics.fmean(one[name] for one in found["rates"]) for name in names}
        best = max(rates.values())
        cells = [f"**{rate:.3f}**" if case.share and rate >= best - 0.005 else f"{rate:.3f}" for rate in rates.values()]
        lines.append(line_of([case.source, f"{case.share:.0%}", f"{case.noise:g}", *cells]))
    write_section(PAGE, "attacks", [*lines, "", measured_on(found for _, found in kept)])


if __name__ == "__main__":
    run_or_write(CASES, run, write, __doc__)
