"""A private training planned, and what it has spent in words: for plans, reports and cards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.plan import Finding
from saddlepoint.data.poisson import sample_rate
from saddlepoint.engine.privacy.accountant import NAME, epsilon, noise_for
from saddlepoint.engine.privacy.trainer import updates_of
from saddlepoint.engine.settings import Privacy, Settings
from saddlepoint.family import Family, PairLosses, families

UNCOUNTED = (
    "What looks at rows beside training is not part of it: figures and pictures of reports, choices among several "
    "runs. The number of rows and their size are taken to be known."
)
"""What epsilon does not cover."""


@dataclass(frozen=True)
class Spent:
    """What a private run has spent.

    Attributes:
        privacy: as it was asked for, the noise chosen.
        epsilon: at ``delta``, an upper end; infinity without noise.
        updates: of D so far.
        sample_rate: probability with which a row took part in each.
    """

    privacy: Privacy
    epsilon: float
    updates: int
    sample_rate: float

    @property
    def delta(self) -> float:
        """As it was asked for."""
        return self.privacy.delta

    def __str__(self) -> str:
        known = not math.isnan(self.epsilon)
        told = f"{self.epsilon:.4g}" if known else "not known here (pip install 'saddlepoint[privacy]')"
        return (
            f"epsilon {told} at delta {self.delta:g} ({NAME} accountant; one row more or less): noise "
            f"{self.privacy.noise_multiplier:.4g} times the clipping norm {self.privacy.clip:g}, {self.updates:,} "
            f"updates of D, each row in each with probability {self.sample_rate:.4g}"
        )


def privately(settings: Settings, network: Family, say: Callable[[str], None]) -> tuple[Settings, list[Finding]]:
    """Return settings with the noise chosen, and what is said of a private training.

    Args:
        settings: with `Privacy`.
        network: the family, built for the data.
        say: hears that the choice takes a while.

    Raises:
        ConfigError: if the family, its options or delta do not allow it, or Opacus is not installed.
    """
    privacy, rows = settings.privacy, network.data.rows
    assert privacy is not None
    _check(privacy, network)
    rate = _rate(network)
    if privacy.noise_multiplier is None:
        assert privacy.epsilon is not None
        say(f"privacy: looking for the least noise that keeps epsilon within {privacy.epsilon:g}")
        updates = updates_of(network, network.stages(), _steps(settings, network))
        noise = noise_for(privacy.epsilon, privacy.delta, rate, updates)
        privacy = replace(privacy, noise_multiplier=noise, updates=updates)
    else:
        epsilon(privacy.noise_multiplier, rate, 1, privacy.delta)  # says now, not after hours, if Opacus is missing
    limit = "" if privacy.updates is None else f", {privacy.updates:,} updates of D at most"
    says = (
        f"D's gradients are clipped to {privacy.clip:g} for each row, with noise of {privacy.noise_multiplier:.4g} "
        f"times that; each row is in a minibatch with probability {rate:.4g}{limit}"
    )
    why = f"asked for: {f'epsilon {privacy.epsilon:g}' if privacy.epsilon else 'private'}, delta {privacy.delta:g}"
    found = [
        Finding("privacy", says, why, "--epsilon, --delta, --clip, --noise-multiplier"),
        Finding(
            "privacy", f"the doctor is off, and G begins without the mean of the {rows:,} rows", "both look at rows"
        ),
    ]
    return replace(settings, privacy=privacy), found


def _check(privacy: Privacy, network: Family) -> None:
    if not isinstance(network, PairLosses):
        able = ", ".join(name for name, kind in families().items() if issubclass(kind, PairLosses))
        raise ConfigError(
            f"family '{network.name}' cannot be trained with --private: its loss is none of pairs of a row and a "
            f"sample, or G sees rows other than through D; families that can be: {able}"
        )
    if reason := network.mixing():
        raise ConfigError(f"--private cannot bound what one row does here: {reason}")
    if privacy.noise_multiplier == 0:
        raise ConfigError(
            "noise-multiplier is 0, but without noise nothing is hidden; choose 0.5 or more, or --epsilon"
        )
    if privacy.delta >= 1 / network.data.rows:
        raise ConfigError(
            f"delta is {privacy.delta:g}, but with {network.data.rows:,} rows it must be below 1 / rows: who publishes "
            f"one row in so many keeps such a delta, too; choose --delta {0.1 / network.data.rows:.1g}"
        )


def _rate(network: Family) -> float:
    return sample_rate(network.config.batch_size, network.data.rows)


def _steps(settings: Settings, network: Family) -> int:
    """Return how many steps the budget allows."""
    limits = [settings.steps or math.inf]
    if settings.kimg is not None:
        limits.append(math.ceil(settings.kimg * 1000 / network.config.batch_size))
    return int(min(limits))


def spent_by(settings: Settings, network: Family, step: int) -> Spent | None:
    """Return what a run of these settings has spent after so many steps; None if it is not private."""
    if (privacy := settings.privacy) is None:
        return None
    updates, noise = updates_of(network, network.stages(), step), privacy.noise_multiplier or 0.0
    return Spent(privacy, epsilon(noise, _rate(network), updates, privacy.delta), updates, _rate(network))


def privacy_of(config: Mapping[str, Any], status: Mapping[str, Any], network: Family, step: int) -> Spent | None:
    """Return what a run that is there has spent; None if it is not private.

    What ``status.json`` says of this step needs no accountant.
    """
    if not config["settings"].get("privacy"):
        return None
    settings = Settings(**config["settings"])
    if settings.privacy is not None and status.get("step") == step and "epsilon" in status:
        updates = updates_of(network, network.stages(), step)
        return Spent(settings.privacy, float(status["epsilon"]), updates, _rate(network))
    try:
        return spent_by(settings, network, step)
    except ConfigError:  # a run that is looked at where Opacus is missing
        return replace(cast(Spent, spent_by(settings, network, 0)), epsilon=math.nan)
