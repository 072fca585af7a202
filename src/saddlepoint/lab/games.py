"""The experiments on a line and in the plane of two numbers, live: Figure 1, D*, gradients, the Dirac-GAN, D = 1/2."""

from __future__ import annotations

import math

import numpy as np
import torch

from saddlepoint.lab import dirac, figure1
from saddlepoint.lab.gaussians import best_logit, closed_form_gradient, generator_gradient, mean_gap, normal
from saddlepoint.lab.live import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PLUM,
    PURPLE,
    RED,
    Control,
    Curve,
    Live,
    Panel,
    View,
)  # fmt: skip
from saddlepoint.lab.networks import Network
from saddlepoint.objectives import theory
from saddlepoint.objectives.losses import get_objective

_OBJECTIVES = ("non-saturating", "minimax", "relativistic", "wasserstein", "hinge")
_LOGISTIC = ("non-saturating", "minimax", "relativistic")
_GRID = np.linspace(-6.0, 12.0, 361)
_DX = float(_GRID[1] - _GRID[0])
_EVERY = 4
_STEPS_A_FRAME = 4
_UNCALIBRATED = " Under this objective the sigmoid of D's logit is no probability: D* says nothing of it."


class Figure1(Live):
    """The game of `figure1`, with its controls."""

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (
            Control("objective", "objective", "non-saturating", choices=(*_LOGISTIC, "hinge", "least-squares")),
            Control("k", "steps of D for one of G (k)", 1.0, low=1, high=10, step=1),
            Control("lr", "learning rate", 0.005, low=0.0005, high=0.05, step=0.0005),
            Control("r1_gamma", "weight of R1", 0.0, low=0, high=2, step=0.05),
        )

    def restart(self) -> None:
        """Begin with fresh players."""
        v = self.values
        self.game = figure1.LineGame(
            self.random, v["objective"], k=int(v["k"]), lr=v["lr"], steps=3000, r1_gamma=v["r1_gamma"]
        )
        self.told: list[tuple[int, float, float]] = []

    def advance(self) -> bool:
        """Make some steps of the game."""
        for _ in range(_STEPS_A_FRAME):
            if self.game.made >= 3000:
                return False
            self.game.step()
        return True

    def view(self) -> View:
        """Return p_data, p_g, D, D* and the map from z to x; V and C(G) over the game."""
        shot = self.game.frame()
        self.told.append((shot.step, shot.v, shot.criterion))
        x, p = figure1.GRID[::_EVERY], normal(figure1.GRID, figure1.MEAN, figure1.SIGMA)
        p_g = _smoothed(shot.p_g)
        best = np.where(p + p_g > 5e-3, theory.optimal_discriminator(p, p_g), np.nan)
        arrows_x = np.stack([4 + 2 * shot.z, shot.x, np.full_like(shot.x, np.nan)], 1)[::2].ravel()
        arrows_y = np.tile([0.0, 1.0, np.nan], len(shot.x[::2]))
        steps, values, criteria = zip(*self.told, strict=True)
        return View(
            (
                Panel(
                    f"Step {shot.step:,}",
                    (
                        Curve("p_data", x, p[::_EVERY], GREY, "dotted"),
                        Curve("p_g", x, p_g[::_EVERY], GREEN),
                        Curve("D* = p_data / (p_data + p_g)", x, best[::_EVERY], PLUM, "thick"),
                        Curve("D", x, shot.d[::_EVERY], PURPLE),
                    ),
                    (-2.0, 10.0), (0.0, 1.1), "x",
                ),
                Panel(
                    "The map from z (below) to x (above)", (Curve("G", arrows_x, arrows_y, GREY),),
                    (-2.0, 10.0), (0.0, 1.0),
                ),
                Panel(
                    "Value of the game",
                    (
                        Curve("V(D, G)", steps, values, BLUE),
                        Curve("C(G) = -log 4 + 2 JSD", steps, criteria, ORANGE),
                        Curve("-log 4", (0, max(steps[-1], 1)), (-theory.LOG4, -theory.LOG4), GREY, "dotted"),
                    ),
                    None, (-2.5, 0.1), "step",
                ),
            ),
            (
                f"V(D, G) {shot.v:.3f}; C(G) = -log 4 + 2 JSD = {shot.criterion:.3f}, the value of the best D.",
                f"JSD {shot.jsd:.4f}, KL(p_data, p_g) {shot.kl_data:.3f}, KL(p_g, p_data) {shot.kl_g:.3f} nats.",
                f"Mean |D - D*| {shot.off(shot.best):.3f}; mean |D - 1/2| {shot.off(np.full_like(shot.d, 0.5)):.3f}."
                + ("" if self.game.objective.calibrated and not self.game.objective.paired else _UNCALIBRATED),
            ),
        )  # fmt: skip


def _smoothed(density: np.ndarray) -> np.ndarray:
    """Return a histogram of narrow bins as a line that can be read: means over five bins."""
    return np.convolve(density, np.full(5, 0.2), mode="same")


class BestDiscriminator(Live):
    """A discriminator that learns on two unit Gaussians at a distance."""

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (
            Control("distance", "distance d", 2.0, low=0, high=6, step=0.1, restarts=False),
            Control("lr", "learning rate", 0.005, low=0.0005, high=0.05, step=0.0005, restarts=False),
        )

    def restart(self) -> None:
        """Begin with a fresh D."""
        self.critic, self.made = Network((1, 32, 32, 1), self.random), 0
        self.optimizer = torch.optim.Adam(self.critic.parameters(), self.values["lr"], (0.9, 0.99), fused=True)

    def advance(self) -> bool:
        """Make some steps of D."""
        _learn(self.critic, self.optimizer, self.values["lr"], self.values["distance"], self.random)
        self.made += _STEPS_A_FRAME
        return True

    def view(self) -> View:
        """Return both densities, D and D*."""
        d = self.values["distance"]
        p, q = normal(_GRID), normal(_GRID, d)
        logits = _logits(self.critic)
        found = torch.sigmoid(logits).numpy()
        best = torch.sigmoid(best_logit(torch.from_numpy(_GRID), d)).numpy()
        value, criterion = _value(logits, p, q), theory.criterion(p, q, _DX)
        curves = (
            *_densities(p, q),
            Curve("D*", _GRID[::2], best[::2], PLUM, "thick"),
            Curve("D", _GRID[::2], found[::2], PURPLE),
        )
        return View(
            (Panel(f"Step {self.made:,}", curves, (-4.0, 10.0), (0.0, 1.03), "x"),),
            (
                f"V(D, G) {value:.3f}; the best possible, -log 4 + 2 JSD, is {criterion:.3f}.",
                f"JSD {theory.jsd(p, q, _DX):.4f} nats of log 2 = .6931; mean |D - D*| "
                f"{mean_gap(found, best, (p + q) / 2, _DX):.3f}.",
            ),
        )


def _densities(p: np.ndarray, q: np.ndarray) -> tuple[Curve, Curve]:
    return Curve("p_data", _GRID[::2], p[::2], GREY, "dotted"), Curve("p_g", _GRID[::2], q[::2], GREEN)


def _learn(
    critic: Network, optimizer: torch.optim.Optimizer, lr: float, distance: float, random: torch.Generator
) -> None:
    """Make some steps of a discriminator on N(0, 1) against N(distance, 1)."""
    loss = get_objective("minimax").discriminator
    for group in optimizer.param_groups:
        group["lr"] = lr
    for _ in range(_STEPS_A_FRAME):
        x = torch.randn(1024, 1, generator=random)
        x[512:] += distance
        logits = critic(x).squeeze(1)
        optimizer.zero_grad()
        loss(logits[:512], logits[512:]).mean().backward()
        optimizer.step()


@torch.no_grad()
def _logits(critic: Network) -> torch.Tensor:
    return critic(torch.from_numpy(_GRID).float()[:, None]).squeeze(1).double()


def _value(logits: torch.Tensor, p: np.ndarray, q: np.ndarray) -> float:
    log_d, log_not = (torch.nn.functional.logsigmoid(sign * logits).numpy() for sign in (1, -1))
    return float(np.sum(p * log_d + q * log_not) * _DX)


class Vanishing(Live):
    """Three generators that start at the same distance and follow their gradients under D*."""

    _COLOURS = (("minimax", RED), ("non-saturating", BLUE), ("relativistic", GREEN))

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (
            Control("distance", "distance d at the start", 6.0, low=0.5, high=10, step=0.1),
            Control("lr", "learning rate", 0.02, low=0.005, high=0.2, step=0.005, restarts=False),
        )

    def restart(self) -> None:
        """Put all generators to their start."""
        self.places = {name: [float(self.values["distance"])] for name, _ in self._COLOURS}
        distances = np.linspace(0.25, 10, 30)
        self.gradients = {
            name: (distances, np.array([closed_form_gradient(name, float(d)) for d in distances]))
            for name, _ in self._COLOURS
        }

    def advance(self) -> bool:
        """Let every generator make a step along the gradient of its loss."""
        for name, places in self.places.items():
            place = places[-1]
            gradient = generator_gradient(name, abs(place)) if abs(place) > 1e-3 else 0.0
            places.append(place - self.values["lr"] * math.copysign(gradient, place))
        return len(self.places["minimax"]) < 600

    def view(self) -> View:
        """Return the gradients over the distance, and where the generators are."""
        curves, tracks, sentences = [], [], []
        for name, colour in self._COLOURS:
            distances, slopes = self.gradients[name]
            place = self.places[name][-1]
            gradient = closed_form_gradient(name, max(abs(place), 1e-3))
            curves.append(Curve(name, distances, slopes, colour))
            curves.append(Curve("", (abs(place),), (max(gradient, 1e-6),), colour, "points"))
            tracks.append(Curve(name, range(len(self.places[name])), tuple(self.places[name]), colour))
            sentences.append(f"{name}: at distance {place:.2f}, gradient {gradient:.3g}.")
        return View(
            (
                Panel(
                    "Gradient that reaches G at D*", tuple(curves), (0.0, 10.0), (1e-6, 20.0), "distance d", log=True
                ),
                Panel("Distance of samples from the data", tuple(tracks), None, (0.0, 10.0), "step"),
            ),
            tuple(sentences),
        )


class Dirac(Live):
    """An orbit of the Dirac-GAN beside what the eigenvalues say."""

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (
            Control("objective", "objective", "minimax", choices=_OBJECTIVES),
            Control("gamma", "weight of R1", 0.0, low=0, high=3, step=0.05),
            Control("alternating", "alternating updates", False),
            Control("step", "learning rate", 0.1, low=0.01, high=0.5, step=0.01),
        )

    def restart(self) -> None:
        """Put both players to (1, 1)."""
        v = self.values
        self.game = dirac.Game(v["objective"], v["gamma"], bool(v["alternating"]), v["step"])
        self.orbit = [(1.0, 1.0)]

    def advance(self) -> bool:
        """Make some steps of both players."""
        for _ in range(_STEPS_A_FRAME):
            if len(self.orbit) > 2000 or math.hypot(*self.orbit[-1]) > 50:
                return False
            self.orbit.append(self.game.update(*self.orbit[-1]))
        return True

    def view(self) -> View:
        """Return the orbit and its distance from the equilibrium."""
        theta, psi = zip(*self.orbit, strict=True)
        radius = self.game.expected_radius(dirac.SLOPES[self.game.objective])
        distance = [math.hypot(*place) for place in self.orbit]
        fate = (
            "shrinks: it converges"
            if radius < 1 - 1e-9
            else "grows"
            if radius > 1 + 1e-9
            else "neither grows nor shrinks"
        )
        return View(
            (
                Panel(
                    f"Step {len(self.orbit) - 1:,}",
                    (
                        Curve("orbit", theta, psi, BLUE),
                        Curve("now", theta[-1:], psi[-1:], ORANGE, "points"),
                        Curve("equilibrium", (0.0,), (0.0,), GREY, "crosses"),
                    ),
                    (-3.0, 3.0), (-3.0, 3.0), "theta (G); upwards: psi (D)", square=True,
                ),
                Panel(
                    "Distance from the equilibrium", (Curve("distance", range(len(distance)), distance, BLUE),),
                    x_label="step",
                ),
            ),
            (
                f"The eigenvalues say: a small orbit {fate}, by a factor of {radius:.5f} a step.",
                f"Distance from the equilibrium: {distance[-1]:.4g} after {len(self.orbit) - 1:,} steps.",
            ),
        )  # fmt: skip


class CounterExample(Live):
    """A D that says 1/2 everywhere, and a fresh one that learns."""

    @classmethod
    def controls(cls) -> tuple[Control, ...]:
        """Return what can be set."""
        return (Control("distance", "distance of G from the data", 3.0, low=0, high=6, step=0.1),)

    def restart(self) -> None:
        """Begin with a fresh probe."""
        self.probe, self.told = Network((1, 32, 32, 1), self.random), list[tuple[int, float]]()
        with torch.no_grad():
            self.probe.weights[-1].zero_()
        self.optimizer = torch.optim.Adam(self.probe.parameters(), 0.005, (0.9, 0.99), fused=True)

    def advance(self) -> bool:
        """Let the probe learn."""
        _learn(self.probe, self.optimizer, 0.005, self.values["distance"], self.random)
        return len(self.told) < 600

    def view(self) -> View:
        """Return V under D = 1/2 beside V under the probe."""
        d = self.values["distance"]
        p, q = normal(_GRID), normal(_GRID, d)
        value, criterion = _value(_logits(self.probe), p, q), theory.criterion(p, q, _DX)
        self.told.append((len(self.told) * _STEPS_A_FRAME, value))
        steps, values = zip(*self.told, strict=True)
        ends, half = (0, max(steps[-1], 1)), float(theory.value(torch.zeros(1), torch.zeros(1)))
        return View(
            (
                Panel("Data and samples", _densities(p, q), (-4.0, 10.0), (0.0, 0.5), "x"),
                Panel(
                    "Value of the game",
                    (
                        Curve("a fresh probe", steps, values, PURPLE),
                        Curve("D = 1/2 everywhere", ends, (half, half), RED, "dotted"),
                        Curve("best D: -log 4 + 2 JSD", ends, (criterion, criterion), ORANGE, "dotted"),
                    ),
                    None, (-1.5, 0.1), "step of the probe",
                ),
            ),
            (
                f"D = 1/2 gives V = {half:.4f} = -log 4 for this G, as for any other: it looks like the equilibrium.",
                f"The probe reaches V = {value:.3f}: a JSD of at least {max(0.0, (value + theory.LOG4) / 2):.3f} nats; "
                f"the truth is {theory.jsd(p, q, _DX):.3f}.",
            ),
        )  # fmt: skip
