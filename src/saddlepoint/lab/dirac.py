"""The Dirac-GAN: data at 0, one generated point at theta, D(x) = psi x; every orbit against its eigenvalues.

Source: Mescheder et al. 2018 (Which training methods for GANs do actually converge?), sections 2 and 3.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saddlepoint.lab.checks import Check, Lab, axes
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import r1

STEP = 0.1
"""Learning rate of both players."""

STEPS = 2000
NUDGE = 1e-5
"""Distance from the equilibrium at which the update is linear to a part in a million."""


@dataclass(frozen=True)
class Game:
    """A Dirac-GAN.

    Attributes:
        objective: name of the losses.
        gamma: weight of R1; 0: off.
        alternating: whether G answers D's new psi; otherwise both move at once.
        step: learning rate.
    """

    objective: str
    gamma: float = 0.0
    alternating: bool = False
    step: float = STEP

    @property
    def label(self) -> str:
        """In words."""
        return self.objective + (f" + R1 {self.gamma:g}" if self.gamma else "")

    def forces(self, theta: float, psi: float) -> tuple[float, float]:
        """Return where descent pulls (theta, psi): minus the gradients of the two losses, by autograd."""
        objective, x = get_objective(self.objective), torch.zeros(1, dtype=torch.float64)
        t, p = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (theta, psi))
        loss = objective.discriminator(p * x, p * t).mean()
        if self.gamma:

            def critic(samples: Tensor) -> Tensor:
                return p * samples.squeeze(1)

            loss = loss + self.gamma * r1(critic, x[:, None]).mean()
        (along_psi,) = torch.autograd.grad(loss, p)
        (along_theta,) = torch.autograd.grad(objective.generator(p * x, p * t).mean(), t)
        return -float(along_theta), -float(along_psi)

    def update(self, theta: float, psi: float) -> tuple[float, float]:
        """Return (theta, psi) after one step."""
        along_theta, along_psi = self.forces(theta, psi)
        moved = psi + self.step * along_psi
        if self.alternating:
            along_theta, _ = self.forces(theta, moved)
        return theta + self.step * along_theta, moved

    def orbit(self, steps: int = STEPS, start: tuple[float, float] = (1.0, 1.0)) -> Iterator[tuple[float, float]]:
        """Yield (theta, psi) from the start on."""
        place = start
        yield place
        for _ in range(steps):
            place = self.update(*place)
            yield place

    def measured_radius(self) -> float:
        """Return the spectral radius of the update at the equilibrium, from two small steps away from it."""
        columns = [self.update(NUDGE, 0.0), self.update(0.0, NUDGE)]
        return float(max(abs(np.linalg.eigvals(np.array(columns).T / NUDGE))))

    def expected_radius(self, slope: float) -> float:
        """Return it from the eigenvalues of the game, known in closed form.

        Args:
            slope: derivative of both players' losses at 0: 1/2 for the logistic ones, 1 for linear ones.
        """
        h, s, g = self.step, slope, self.gamma
        if not self.alternating:
            # Eigenvalues of the vector field: -gamma/2 +- sqrt(gamma^2/4 - s^2).
            root = cmath.sqrt(g * g / 4 - s * s)
            return max(abs(1 + h * (-g / 2 + sign * root)) for sign in (1, -1))
        # psi' = (1 - h g) psi - h s theta; theta' = theta + h s psi'. Trace and determinant give the eigenvalues.
        trace, determinant = 2 - h * g - (h * s) ** 2, 1 - h * g
        root = cmath.sqrt(trace * trace / 4 - determinant)
        return max(abs(trace / 2 + sign * root) for sign in (1, -1))


SLOPES = {"minimax": 0.5, "non-saturating": 0.5, "relativistic": 0.5, "wasserstein": 1.0, "hinge": 1.0}
"""Least squares is not among them: its D does not push back at first order, so its eigenvalues are 0."""

GAMMAS = (0.0, 0.3, 1.0, 3.0)

NORMS = {
    ("minimax", 0.0, False): 3.23, ("minimax", 0.0, True): 1.38, ("non-saturating", 0.0, False): 0.451,
    ("non-saturating", 0.0, True): 0.200, ("wasserstein", 0.0, False): 2.96e4, ("wasserstein", 0.0, True): 1.37,
}  # fmt: skip
"""||(theta, psi)|| after 2,000 steps from (1, 1), reached by an independent program; three digits."""


def experiment(lab: Lab) -> list[Check]:
    """Compare every orbit's beginning with its eigenvalues, and long orbits with known ends."""
    checks = []
    for objective, slope in SLOPES.items():
        for gamma in GAMMAS:
            for alternating in (False, True):
                game = Game(objective, gamma, alternating)
                order = "alternating" if alternating else "simultaneous"
                what = f"{game.label}, {order}: growth of a small orbit in one step"
                checks.append(Check.near(what, game.measured_radius(), game.expected_radius(slope), 1e-6))
    ends = {}
    for (objective, gamma, alternating), expected in NORMS.items():
        game = Game(objective, gamma, alternating)
        orbit = np.array(list(game.orbit()))
        ends[game] = orbit
        order = "alternating" if alternating else "simultaneous"
        norm = float(np.hypot(*orbit[-1]))
        checks.append(
            Check.near(f"{game.label}, {order}: distance after {STEPS:,} steps", norm, expected, expected / 99)
        )
    still = Game("minimax", 0.3)
    norm = math.hypot(*list(still.orbit())[-1])
    checks.append(Check(f"{still.label}: distance after {STEPS:,} steps", norm, high=1e-9))
    if lab.out is not None:
        _draw(lab, ends | {still: np.array(list(still.orbit(400)))})
    return checks


def _draw(lab: Lab, orbits: dict[Game, np.ndarray]) -> None:
    figure, places = axes(2, 4, 3.0, 3.0)
    for place in places.flat:
        place.set_visible(False)
    for place, (game, orbit) in zip(places.flat, orbits.items(), strict=False):
        place.set_visible(True)
        shown = orbit[np.hypot(*orbit.T) < 4]
        place.plot(*shown.T, lw=0.6)
        place.plot(0, 0, "k+", ms=9)
        place.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), xlabel="theta (G)", ylabel="psi (D)", aspect="equal")
        place.set_title(f"{game.label},\n{'alternating' if game.alternating else 'simultaneous'}", fontsize=9)
    lab.save("dirac", figure)
