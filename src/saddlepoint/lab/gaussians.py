"""Two unit Gaussians at distance d: the best discriminator, the value of the game, the gradients that reach G.

Data are N(0, 1), samples N(d, 1), so that D*'s logit is d^2 / 2 - d x. Source: Goodfellow et al. 2014, section 4.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from saddlepoint.lab.checks import Check, Lab, axes
from saddlepoint.lab.networks import Ensemble, adam
from saddlepoint.metrics.divergence import certified_jsd
from saddlepoint.objectives import theory
from saddlepoint.objectives.losses import get_objective

DISTANCES = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
JSD = {0.0: 0.0, 0.5: 0.0303, 1.0: 0.1114, 2.0: 0.3368, 3.0: 0.5268, 4.0: 0.6327, 6.0: 0.6893}
"""In nats, from an independent quadrature; four digits."""

GRADIENTS = {
    1.0: (0.398, 0.602), 2.0: (0.450, 1.55), 4.0: (0.137, 3.86), 6.0: (0.0125, 5.99), 8.0: (3.9e-4, 8.0),
    10.0: (4.5e-6, 10.0),
}  # fmt: skip
"""Derivative in d of G's saturating and non-saturating loss at D*, by an independent quadrature; 2 or 3 digits."""

GRID = np.linspace(-12.0, 22.0, 6801)
_DX = float(GRID[1] - GRID[0])
_STEPS, _BATCH = 400, 1024


def normal(x: np.ndarray, mean: float = 0.0, sigma: float = 1.0) -> np.ndarray:
    """Return the density of N(mean, sigma^2)."""
    density: np.ndarray = np.exp(-(((x - mean) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))
    return density


def mean_gap(a: np.ndarray, b: np.ndarray, mass: np.ndarray, dx: float) -> float:
    """Return the mean |a - b| under a density, by quadrature."""
    return float(np.sum(mass * np.abs(a - b)) * dx)


def best_logit(x: Tensor, d: float | Tensor) -> Tensor:
    """Return the logit of D*."""
    return d * d / 2 - d * x


def trained_discriminators(lab: Lab) -> Ensemble:
    """Train a discriminator for each distance on samples, all at once, by the losses that families use."""
    generator, count = lab.stream("discriminators"), len(DISTANCES)
    critics = Ensemble(count, (1, 32, 32, 1), generator)
    optimizer, schedule = adam(critics, 5e-3, _STEPS)
    loss = get_objective("minimax").discriminator
    shift = torch.tensor(DISTANCES)[:, None, None]
    for _ in range(_STEPS):
        real, fake = (torch.randn(count, _BATCH, 1, generator=generator) for _ in range(2))
        logits = critics(torch.cat([real, fake + shift], 1)).squeeze(2)
        optimizer.zero_grad()
        loss(logits[:, :_BATCH], logits[:, _BATCH:]).mean(1).sum().backward()
        optimizer.step()
        schedule.step()
    return critics


def optimal_discriminator(lab: Lab) -> list[Check]:
    """Train D at each distance and hold it against D*, and the value against -log 4 + 2 JSD."""
    critics = trained_discriminators(lab)
    generator, checks = lab.stream("value"), []
    grid = torch.from_numpy(GRID).float()[None, :, None].expand(len(DISTANCES), -1, 1)
    with torch.no_grad():
        found = torch.sigmoid(critics(grid)).squeeze(2).double().numpy()
        real, fake = (torch.randn(len(DISTANCES), 100_000, 1, generator=generator) for _ in range(2))
        shift = torch.tensor(DISTANCES)[:, None, None]
        real_logits, fake_logits = critics(real).squeeze(2), critics(fake + shift).squeeze(2)
    for number, d in enumerate(DISTANCES):
        p, q = normal(GRID), normal(GRID, d)
        closed = torch.sigmoid(best_logit(torch.from_numpy(GRID), d)).numpy()
        mass = (p + q) / 2
        best = theory.optimal_discriminator(p, q)
        value = float(theory.value(real_logits[number], fake_logits[number]))
        criterion = theory.criterion(p, q, _DX)
        checks += [
            Check(
                f"d = {d:g}: p_data / (p_data + p_g) against its closed form",
                mean_gap(best, closed, mass, _DX),
                high=1e-9,
            ),
            Check.near(f"d = {d:g}: C(G) by quadrature", criterion, -theory.LOG4 + 2 * JSD[d], 2e-4),
            Check(f"d = {d:g}: mean |D - D*| of the trained D", mean_gap(found[number], closed, mass, _DX), high=0.03),
            Check.near(f"d = {d:g}: V(D, G) of the trained D against -log 4 + 2 JSD", value, criterion, 0.02),
        ]
    if lab.out is not None:
        _draw_discriminators(lab, found)
    return checks


def _draw_discriminators(lab: Lab, found: np.ndarray) -> None:
    figure, places = axes(1, 4, 3.2, 2.8)
    for place, d in zip(places[0], (0.5, 1.0, 2.0, 4.0), strict=True):
        p, q = normal(GRID), normal(GRID, d)
        place.plot(GRID, p, "k:", label="p_data")
        place.plot(GRID, q, "g-", label="p_g")
        place.plot(GRID, theory.optimal_discriminator(p, q), color="plum", lw=4, label="D*")
        place.plot(GRID, found[DISTANCES.index(d)], color="purple", lw=1, label="D, trained")
        place.set(xlim=(-4, 4 + d), ylim=(0, 1.03), title=f"d = {d:g}", xlabel="x")
    places[0][0].legend(fontsize=7, loc="center left")
    lab.save("optimal-discriminator", figure)


def generator_gradient(objective: str, d: float) -> float:
    """Return -dL_G/dd for samples d + z judged by D* of that distance, which stays: autograd on a grid of z, float64.

    Positive: G is pulled back towards the data.
    """
    z = torch.linspace(-9.0, 9.0, 1801, dtype=torch.float64)
    weight = torch.from_numpy(normal(z.numpy())) * (z[1] - z[0])
    place = torch.tensor(d, dtype=torch.float64, requires_grad=True)
    game = get_objective(objective)
    fake_logits = best_logit(place + z, torch.tensor(d, dtype=torch.float64))
    if game.paired:
        z, weight, fake_logits = z[::6], weight[::6] * 6, fake_logits[::6]
        real_logits = best_logit(z, d)
        losses = game.generator(real_logits[:, None].expand(-1, len(z)), fake_logits[None].expand(len(z), -1))
        total = (weight[:, None] * weight[None] * losses).sum()
    else:
        total = (weight * game.generator(fake_logits.detach(), fake_logits)).sum()
    (slope,) = torch.autograd.grad(total, place)
    return float(slope)


def closed_form_gradient(objective: str, d: float) -> float:
    """Return the same from D*, without any loss: d E_g D* (minimax), d E_g (1 - D*), d E (1 - sigmoid of the pair)."""
    q = normal(GRID, d)
    best = theory.optimal_discriminator(normal(GRID), q)
    if objective == "minimax":
        return d * float(np.sum(q * best) * _DX)
    if objective == "non-saturating":
        return d * float(np.sum(q * (1 - best)) * _DX)
    # The logits' difference on a pair is d^2 + sqrt(2) d u with u normal.
    u = np.linspace(-9, 9, 4001)
    share = 1 / (1 + np.exp(-(d * d + math.sqrt(2) * d * u)))
    return d * float(np.sum(normal(u) * share) * (u[1] - u[0]))


def vanishing_gradient(lab: Lab) -> list[Check]:
    """Compare the gradients that reach G under three losses with their closed forms."""
    checks = []
    for objective in ("minimax", "non-saturating", "relativistic"):
        for d in GRADIENTS:
            measured, closed = generator_gradient(objective, d), closed_form_gradient(objective, d)
            what = f"{objective}, d = {d:g}: gradient of G"
            checks.append(Check.near(f"{what} against the closed form", measured, closed, 1e-4 * closed))
            if objective != "relativistic":
                known = GRADIENTS[d][objective == "non-saturating"]
                checks.append(Check.near(f"{what} against an independent quadrature", measured, known, 0.02 * known))
    vanished = generator_gradient("minimax", 10.0) / generator_gradient("non-saturating", 10.0)
    checks.append(Check("d = 10: saturating against non-saturating gradient", vanished, high=1e-6))
    if lab.out is not None:
        figure, places = axes(1, 1, 5.0, 3.4)
        distances = np.linspace(0.25, 10, 40)
        for objective, style in (("minimax", "r-"), ("non-saturating", "b-"), ("relativistic", "g--")):
            places[0, 0].semilogy(
                distances, [generator_gradient(objective, d) for d in distances], style, label=objective
            )
        places[0, 0].set(xlabel="distance d", ylabel="gradient that reaches G at D*", ylim=(1e-6, 20))
        places[0, 0].legend()
        lab.save("vanishing-gradient", figure)
    return checks


def counter_example(lab: Lab) -> list[Check]:
    """Show that a D that says 1/2 everywhere gives -log 4 for any G, and that a fresh probe is not fooled."""
    rng, rows = np.random.default_rng(lab.seed), 4000
    real = rng.normal(0, 1, (rows, 1)).astype(np.float32)
    generators = {
        "equal to the data": (rng.normal(0, 1, (rows, 1)), 0.0),
        "far away": (rng.normal(6, 1, (rows, 1)), JSD[6.0]),
        "collapsed to a point": (np.full((rows, 1), 1.0), math.log(2)),
    }
    checks = []
    for name, (samples, truth) in generators.items():
        half = torch.zeros(rows)
        checks.append(Check.near(f"G {name}: V under D = 1/2", float(theory.value(half, half)), -theory.LOG4, 1e-6))
        found = certified_jsd(real, samples.astype(np.float32), seed=lab.seed)
        lab.say(f"G {name}: a fresh probe tells {found.accuracy.value:.1%} of the rows apart")
        # The whole interval is a bound from below, up to its own chance of one in forty.
        checks.append(Check(f"G {name}: JSD that a fresh probe certifies", found.certified, 0.85 * truth, truth + 1e-3))
    return checks
