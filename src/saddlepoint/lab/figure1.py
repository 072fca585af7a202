"""Figure 1 of the paper, live: p_data, p_g, D and the map from z to x at four stages of a one-dimensional game.

(a) D is a partial classifier; (b) D has converged to D*; (c) G has followed D's gradient; (d) p_g = p_data, D = 1/2.
Source: Goodfellow et al. 2014, figure 1. There z is uniform; here it is N(0, 1), whose samples have no sharp edges, so
that p_g can equal a Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.lab.checks import Check, Lab, axes, frame
from saddlepoint.lab.gaussians import mean_gap, normal
from saddlepoint.lab.networks import Monotone, Network, adam
from saddlepoint.objectives import theory
from saddlepoint.objectives.losses import get_objective
from saddlepoint.objectives.penalties import r1

MEAN, SIGMA = 4.0, 1.25
"""Of the data."""

GRID = np.linspace(-4.0, 12.0, 801)
_DX = float(GRID[1] - GRID[0])
_BATCH = 512
_GAME = 1000
"""Steps of the game after stage (c)."""

_FILMED = 20
_POINTS = 40_000


@dataclass(frozen=True)
class Frame:
    """The game at one moment.

    Attributes:
        step: of the game.
        z, x: points of G's map, (n,).
        p_g: density of samples on `GRID`, by counting 40,000 quantiles of z.
        d: D on `GRID`.
        v: V(D, G) by quadrature.
        criterion: C(G) = -log 4 + 2 JSD.
        jsd, kl_data, kl_g: JSD, KL(p_data || p_g), KL(p_g || p_data).
    """

    step: int
    z: np.ndarray
    x: np.ndarray
    p_g: np.ndarray
    d: np.ndarray
    v: float
    criterion: float
    jsd: float
    kl_data: float
    kl_g: float

    @property
    def best(self) -> np.ndarray:
        """D* on `GRID`."""
        return theory.optimal_discriminator(normal(GRID, MEAN, SIGMA), self.p_g)

    def off(self, other: np.ndarray) -> float:
        """Return the mean |D - other| where data or samples lie."""
        return mean_gap(self.d, other, (normal(GRID, MEAN, SIGMA) + self.p_g) / 2, _DX)


class LineGame:
    """A one-dimensional game that can be watched step by step.

    Args:
        generator: of weights, data and noise.
        objective: name of the losses.
        k: steps of D for one of G.
        lr: learning rate of both, falling to 0 along a cosine over ``steps`` steps.
        steps: of the game.
        r1_gamma: weight of R1; 0: off.
    """

    def __init__(
        self, generator: torch.Generator, objective: str = "non-saturating", k: int = 1, lr: float = 5e-3,
        steps: int = _GAME, r1_gamma: float = 0.0,
    ) -> None:  # fmt: skip
        self.random, self.objective, self.k, self.r1_gamma = generator, get_objective(objective), k, r1_gamma
        self.g, self.d = Monotone(16, generator), Network((1, 32, 32, 1), generator)
        self.g_optimizer, self.g_schedule = adam(self.g, lr, steps, (0.5, 0.99))
        self.d_optimizer, self.d_schedule = adam(self.d, 2 * lr, steps, (0.5, 0.99))
        self.made = 0

    def generate(self, z: Tensor) -> Tensor:
        """Return samples (n, 1) of z (n, 1): at first a bump at 0, to the left of the data."""
        result: Tensor = self.g(z)
        return result

    def logits(self, x: Tensor) -> Tensor:
        """Return D's logits (n,)."""
        return self.d((x - 4) / 2).squeeze(1)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return a batch of data and of z."""
        real = MEAN + SIGMA * torch.randn(_BATCH, 1, generator=self.random)
        return real, torch.randn(_BATCH, 1, generator=self.random)

    def learn_discriminator(self) -> None:
        """Make one step of D."""
        real, z = self.draw()
        with torch.no_grad():
            fake = self.generate(z)
        loss = self.objective.discriminator(self.logits(real), self.logits(fake)).mean()
        if self.r1_gamma:
            loss = loss + self.r1_gamma * r1(self.logits, real).mean()
        self.d_optimizer.zero_grad()
        loss.backward()
        self.d_optimizer.step()

    def learn_generator(self) -> None:
        """Make one step of G."""
        real, z = self.draw()
        real_logits = self.logits(real).detach()
        self.g_optimizer.zero_grad()
        self.objective.generator(real_logits, self.logits(self.generate(z))).mean().backward()
        self.g_optimizer.step()

    def step(self) -> None:
        """Make k steps of D and one of G."""
        for _ in range(self.k):
            self.learn_discriminator()
        self.learn_generator()
        self.d_schedule.step()
        self.g_schedule.step()
        self.made += 1

    @torch.no_grad()
    def frame(self) -> Frame:
        """Return what there is to see now."""
        z = torch.special.ndtri((torch.arange(_POINTS).double() + 0.5) / _POINTS).float()[:, None]
        x = self.generate(z).squeeze(1).double().numpy()
        edges = np.append(GRID - _DX / 2, GRID[-1] + _DX / 2)
        p_g = np.histogram(np.clip(x, GRID[0], GRID[-1]), edges)[0] / (len(x) * _DX)
        logits = self.logits(torch.from_numpy(GRID).float()[:, None]).double()
        p = normal(GRID, MEAN, SIGMA)
        log_d, log_not = (torch.nn.functional.logsigmoid(sign * logits).numpy() for sign in (1, -1))
        return Frame(
            self.made, z.squeeze(1).numpy()[500::1000], x[500::1000], p_g, torch.sigmoid(logits).numpy(),
            float(np.sum(p * log_d + p_g * log_not) * _DX), theory.criterion(p, p_g, _DX), theory.jsd(p, p_g, _DX),
            theory.kl(p, p_g, _DX), theory.kl(p_g, p, _DX),
        )  # fmt: skip


def experiment(lab: Lab) -> list[Check]:
    """Play the game to the four stages of the figure."""
    game = LineGame(lab.stream("figure1"))
    for _ in range(25):
        game.learn_discriminator()
    stages = {"(a) D partly trained": game.frame()}
    for _ in range(800):
        game.learn_discriminator()
    stages["(b) D has converged"] = converged = game.frame()
    for _ in range(20):
        game.learn_generator()
    stages["(c) G has followed D"] = followed = game.frame()
    film = []
    for step in range(_GAME):
        game.step()
        if lab.out is not None and step % _FILMED == 0:
            film.append(game.frame())
    stages["(d) the end"] = end = game.frame()
    if lab.out is not None:
        _draw(lab, stages)
        lab.save("figure1", [_picture({f"step {shot.step:,}": shot}) for shot in film])
    first = stages["(a) D partly trained"]
    return [
        Check("(a) V(D, G) below C(G), which no D can pass", first.criterion - first.v, low=0.0),
        Check("(b) mean |D - D*|", converged.off(converged.best), high=0.03),
        Check.near("(b) V(D, G) against -log 4 + 2 JSD", converged.v, converged.criterion, 0.02),
        Check("(c) fall of JSD(p_data, p_g) after G's steps", converged.jsd - followed.jsd, low=0.005),
        Check("(d) JSD(p_data, p_g)", end.jsd, high=0.01),
        Check("(d) mean |D - 1/2|", end.off(np.full_like(GRID, 0.5)), high=0.05),
        Check.near("(d) V(D, G) against -log 4", end.v, -theory.LOG4, 0.02),
    ]


def _draw(lab: Lab, stages: dict[str, Frame]) -> None:
    figure, places = axes(2, len(stages), 3.4, 2.4)
    for column, (name, shot) in enumerate(stages.items()):
        _paint(places[:, column], name, shot)
    places[0][0].legend(fontsize=7, loc="upper left")
    lab.save("figure1", figure)


def _picture(stages: dict[str, Frame]) -> Any:
    figure, places = axes(2, 1, 4.2, 2.4)
    for name, shot in stages.items():
        _paint(places[:, 0], name, shot)
    return frame(figure)


def _paint(places: Any, name: str, shot: Frame) -> None:
    above, below = places
    above.plot(GRID, normal(GRID, MEAN, SIGMA), "k:", label="p_data")
    above.plot(GRID, shot.p_g, "g-", lw=1, label="p_g")
    # Where neither data nor samples lie, D* means nothing.
    seen = normal(GRID, MEAN, SIGMA) + shot.p_g > 1e-3
    above.plot(GRID, np.where(seen, shot.best, np.nan), color="plum", lw=4, alpha=0.6, label="D*")
    above.plot(GRID, shot.d, color="purple", lw=1, label="D")
    above.set(xlim=(GRID[0], GRID[-1]), ylim=(0, 1.1), title=f"{name}\nJSD {shot.jsd:.3f}, V {shot.v:.3f}")
    for z, x in zip(shot.z, shot.x, strict=True):
        below.annotate("", (x, 1), (4 + 2 * z, 0), arrowprops={"arrowstyle": "->", "lw": 0.5})
    below.set(xlim=(GRID[0], GRID[-1]), ylim=(-0.05, 1.05), yticks=[0, 1], yticklabels=["z", "x"])
