"""The lab: the theory of the game beside its measurement, in experiments whose checks can fail; and the bench."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from saddlepoint.core.progress import Say
from saddlepoint.engine.machine.runtime import use_threads
from saddlepoint.lab import collapse, dirac, figure1, games, gaussians, taxonomy, trainings
from saddlepoint.lab.checks import Check, Experiment, Findings, Lab, chosen
from saddlepoint.lab.live import Control, Curve, Live, Panel, View

__all__ = [
    "EXPERIMENTS", "Check", "Control", "Curve", "Experiment", "Findings", "Lab", "Live", "Panel", "View", "perform",
]  # fmt: skip

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "figure1", "Figure 1: the game on a line",
            "D follows D* = p_data / (p_data + p_g), G follows D, and at the end p_g = p_data, D = 1/2, V = -log 4",
            figure1.experiment, games.Figure1,
        ),
        Experiment(
            "optimal-discriminator", "The best discriminator",
            "a trained D is D*, and its value is -log 4 + 2 JSD(p_data, p_g)", gaussians.optimal_discriminator,
            games.BestDiscriminator,
        ),
        Experiment(
            "vanishing-gradient", "Why G does not minimise log(1 - D(G(z)))",
            "a sure D leaves the minimax loss no gradient, the non-saturating and the relativistic one all of it",
            gaussians.vanishing_gradient, games.Vanishing,
        ),
        Experiment(
            "dirac", "The Dirac-GAN",
            "plain games circle or run away as the eigenvalues say; R1 makes them converge",
            dirac.experiment, games.Dirac,
        ),
        Experiment(
            "counter-example", "V = -log 4 proves nothing",
            "a D that says 1/2 everywhere gives -log 4 for any G; a fresh probe tells them apart",
            gaussians.counter_example, games.CounterExample,
        ),
        Experiment(
            "collapse", "Mode collapse (the Helvetica scenario)",
            "the plain game misses modes and quality that pairing, R1, R2 and an average bring back",
            collapse.experiment, trainings.Collapse,
        ),
        Experiment(
            "taxonomy", "The tree: flow, VAE, diffusion, drifting, GAN",
            "no likelihood exceeds that of the true density; a GAN has none, and is sampled in one pass",
            taxonomy.experiment, trainings.Taxonomy,
        ),
    )
}  # fmt: skip
"""By name, in the order of their showing."""


def perform(
    names: Sequence[str] = (),
    *,
    out: Path | None = None,
    seed: int = 0,
    say: Say = lambda line: None,
    processes: int = 1,
) -> Iterator[Findings]:
    """Carry out experiments one by one.

    Args:
        names: of experiments; none: all.
        out: folder of pictures; None: none are drawn.
        seed: of everything random.
        say: hears of progress.
        processes: with more than one, several experiments are carried out side by side, on one thread each.

    Yields:
        The findings of each; checks that do not hold are in `Findings.broken`.

    Raises:
        ConfigError: on an unknown name.
    """
    experiments = chosen(list(names), EXPERIMENTS)
    if processes == 1 or len(experiments) == 1:
        for experiment in experiments:
            say(f"{experiment.title} ...")
            yield _carried_out(experiment.name, out, seed, say)
        return
    say(f"{len(experiments)} experiments, {processes} at a time ...")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=use_threads, initargs=(1,)) as pool:
        # The long ones stand last in the list, and begin first.
        found = {e.name: pool.submit(_carried_out_quietly, e.name, out, seed) for e in reversed(experiments)}
        for experiment in experiments:
            findings, lines = found[experiment.name].result()
            for line in lines:
                say(line)
            yield findings


def _carried_out(name: str, out: Path | None, seed: int, say: Say) -> Findings:
    experiment, lab, started = EXPERIMENTS[name], Lab(seed, out, say), time.perf_counter()
    checks = experiment.run(lab)
    return Findings(experiment, tuple(checks), tuple(lab.files), time.perf_counter() - started)


def _carried_out_quietly(name: str, out: Path | None, seed: int) -> tuple[Findings, list[str]]:
    lines: list[str] = []
    return _carried_out(name, out, seed, lines.append), lines
