"""Theory beside practice: how far from the equilibrium of the game trained GANs are, over time.

    python benchmarks/equilibrium.py run [ROW ...]   train and measure what is missing; can be stopped, and goes on
    python benchmarks/equilibrium.py write           its section of docs/taxonomy.md, and the picture

At the equilibrium of the game (Goodfellow et al. 2014, theorem 1) D says 1/2 of everything, V is -log 4, and the
divergence of samples from the data is 0. The games of `taxonomy.py`, in its sizes and at its paces, are stopped five
times in 180 s of a core. At each stop stand there: V and D's means over the last fifth of what was trained since the
stop before; what a trained probe certifies of the Jensen-Shannon divergence between samples and held-out rows
(protocol `jsd`); and the least that V would be if D were the best one for these samples, -log 4 + 2 JSD (equation 5 and
6 of the paper). Played V below that is a D that does not see what the probe sees.

Samples are those of the average of weights, as in reports; V and D's means are of the game that is played.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ladder_pace import pace_of
from records import (
    cell,
    figures_of,
    game_between,
    head_of,
    keep,
    kept_rows,
    line_of,
    measured_on,
    run_or_write,
    train,
    write_section,
)
from taxonomy import DOCS, THREADS, Row
from taxonomy import FIGURES as PACES

from saddlepoint.figures import plots

FIGURES = Path(__file__).parent / "figures" / "equilibrium"
RUNS = Path("runs") / "equilibrium"
GAMES, DATA = ("gan", "dcgan", "stylegan"), ("mnist", "fashion-mnist")
STOPS = (11.25, 22.5, 45.0, 90.0, 180.0)
"""Seconds of a core."""

VALUE, SURE, BOUND = -math.log(4), 0.5, "Jensen-Shannon divergence, at least"
"""V and D(x) at the equilibrium; the metric."""

ROWS = {row.name: row for data in DATA for row in (Row(game, data, 0) for game in GAMES)}


def run(row: Row, named: bool) -> None:
    """Train a game to its stops, and measure at each."""
    path = FIGURES / f"{row.name}.json"
    if path.exists() and not named:
        return
    torch.set_num_threads(THREADS)
    pace, stops, seen = pace_of(row.paced, PACES), list[dict[str, Any]](), 0
    for seconds in STOPS:
        made, outcome = train(row.plan(RUNS / row.name, kimg=pace.images(seconds) / 1000))
        nimg = outcome.progress.nimg
        found = figures_of(made.evaluate(("jsd",), seed=0))
        game = game_between(made.log, nimg - (nimg - seen) / 5, nimg)  # the last fifth of what was trained
        stops.append({"seconds": seconds, "nimg": nimg, "game": game, "figures": found})
        seen = nimg
        print(f"{row.name}, {seconds} s: {stops[-1]['game']}, {found['model'][BOUND]['value']:.3f}", flush=True)
    keep(path, {"stops": stops}, THREADS)


def write() -> None:
    """Write the table and draw the picture."""
    found = kept_rows((row, FIGURES / f"{row.name}.json") for row in ROWS.values())
    words = ["game", "data", "seconds", "V", "V at the best D, at least", "D(x)", "D(G(z))", BOUND]
    lines = head_of(words)
    for row, kept in found:
        for stop in kept["stops"]:
            game, bound = stop["game"], stop["figures"]["model"][BOUND]
            best = VALUE + 2 * bound["value"]
            lines.append(
                line_of([
                    f"`{row.system}`", row.data, f"{stop['seconds']:.0f}", f"{game['V']:.2f}", f"{best:.2f}",
                    f"{game['D(x)']:.2f}", f"{game['D(G(z))']:.2f}", cell(bound),
                ])
            )  # fmt: skip
    lines.append(line_of(["equilibrium", "", "", f"{VALUE:.2f}", f"{VALUE:.2f}", f"{SURE}", f"{SURE}", "0"]))
    write_section(DOCS / "taxonomy.md", "equilibrium", [*lines, "", measured_on(kept for _, kept in found)])
    draw([(row, kept) for row, kept in found if row.data == "mnist"]).save(DOCS / "images" / "equilibrium-mnist.png")


def draw(found: Sequence[tuple[Row, Mapping[str, Any]]]) -> Any:
    """Return a picture: V, D's means and the certified divergence over seconds, the equilibrium as a line."""
    figure, (value, means, bound) = plots.panels(1, 3, (3.4, 2.6))
    for number, (row, kept) in enumerate(found):
        colour, stops = f"C{number}", kept["stops"]
        seconds = [stop["seconds"] for stop in stops]
        value.plot(seconds, [stop["game"]["V"] for stop in stops], colour, marker="o", label=row.system)
        means.plot(seconds, [stop["game"]["D(x)"] for stop in stops], colour, marker="o")
        means.plot(seconds, [stop["game"]["D(G(z))"] for stop in stops], colour, marker="o", linestyle="--")
        bounds = [stop["figures"]["model"][BOUND] for stop in stops]
        bound.plot(seconds, [one["value"] for one in bounds], colour, marker="o")
        intervals = [one["interval"] or (one["value"], one["value"]) for one in bounds]
        bound.fill_between(seconds, *zip(*intervals, strict=True), color=colour, alpha=0.2)
    titles = ("V", "D(x), D(G(z)) dashed", "JSD, at least (nats)")
    for panel, title, truth in zip((value, means, bound), titles, (VALUE, SURE, 0.0), strict=True):
        panel.axhline(truth, color="black", linewidth=0.8)
        panel.set(xscale="log", title=title, xlabel="seconds of a core")
    value.legend()
    return plots.drawn(figure)


if __name__ == "__main__":
    run_or_write(ROWS, run, write, __doc__)
