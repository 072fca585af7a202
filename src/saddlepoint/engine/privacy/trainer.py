"""The training loop with differential privacy: D's updates see rows through clipped gradients and noise, G by D alone.

What else could carry rows into weights or log is left out: statistics of the data (`Family.prepare` is shown zeros),
losses and logits on rows in the log, the doctor. `docs/privacy.md` lists it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from saddlepoint.data.poisson import PoissonFeed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.plan import Position, Update
from saddlepoint.engine.privacy.accountant import NAME, epsilon
from saddlepoint.engine.privacy.gradients import clipped_sums
from saddlepoint.engine.settings import Reason
from saddlepoint.engine.updates import Buffers, Gradient
from saddlepoint.family import Batch, DataStats, Family, Phase, Stage


class PrivateTrainer(Trainer):
    """A `Trainer` whose updates of D are those of DP-SGD.

    Args:
        family: a `PairLosses` whose options mix no rows.
        feed: minibatches by Poisson sampling.
        secret: of noise; see `secret_of`.
        more: as of `Trainer`; the settings have `Privacy`, its noise chosen.
    """

    def __init__(self, family: Family, feed: PoissonFeed, *more: Any, secret: str, **named: Any) -> None:
        super().__init__(family, feed, *more, **named)
        assert self.settings.privacy is not None
        self.privacy, self.secret, self.sample_rate = self.settings.privacy, secret, feed.sample_rate
        shape = (family.config.batch_size, *family.data.shape)
        # What phases other than D's are given for rows: they could not read a row if they tried.
        self.blank = Batch(torch.zeros(shape, device=feed.device))

    def prepare(self, stats: Callable[[], DataStats]) -> None:
        """Show the family what everybody may know: zeros in place of the statistics of the data."""
        nothing = torch.zeros(self.state.family.data.shape)
        super().prepare(lambda: DataStats(nothing, torch.ones_like(nothing), nothing[None]))

    def gradients(self, update: Update, minibatch: Callable[[int, int], Batch]) -> tuple[list[Gradient], Buffers]:
        """Return D's gradients by DP-SGD, and those of other phases without a look at rows."""
        private = [phase for phase in update.phases if is_private(self.state.family, phase)]
        others = tuple(phase for phase in update.phases if phase not in private)
        found = {phase.name: self.private_gradient(phase, update, minibatch(update.draw, 0)) for phase in private}
        buffers = Buffers(self.state.family, 1)
        if others:
            gradients, buffers = super().gradients(replace(update, phases=others), lambda draw, share: self.blank)
            found |= {gradient.phase.name: gradient for gradient in gradients}
        return [found[phase.name] for phase in update.phases], buffers

    @torch.no_grad()
    def private_gradient(self, phase: Phase, update: Update, batch: Batch) -> Gradient:
        """Return (sum of clipped gradients + noise) / mean batch size."""
        parameters, family = self.state.parameters[phase.name], self.state.family
        pairs = family.pairs(phase, batch, self.context(update, 0))  # type: ignore[operator]
        sums = clipped_sums(family, phase, parameters, pairs, self.privacy.clip)
        noise = self.stream("privacy", self.secret, self.state.step, update.draw, phase.name)
        scale = self.privacy.deviation
        # The divisor is a constant: how many rows were drawn is nobody's business.
        means = tuple(self._noisy(total, noise, scale) / family.config.batch_size for total in sums)
        gradient = Gradient(phase)
        gradient.add(torch.zeros(()), means)  # the loss itself would tell of rows
        return gradient

    def _noisy(self, total: Tensor, generator: torch.Generator, scale: float) -> Tensor:
        if scale == 0:
            return total
        return total + scale * torch.randn(total.shape, generator=generator, device=total.device)

    @property
    def updates(self) -> int:
        """Updates of D so far: what the accountant counts."""
        return updates_of(self.state.family, self.stages, self.state.step)

    @functools.cached_property
    def spent_at(self) -> Callable[[int], float]:
        """Return epsilon after so many updates."""
        noise = self.privacy.noise_multiplier or 0.0
        return lambda updates: epsilon(noise, self.sample_rate, updates, self.privacy.delta)

    def ending(self, position: Position | None, interrupted: bool) -> Reason | None:
        """End before the step that would spend more than the epsilon that was asked for."""
        allowed = self.privacy.updates
        if allowed is not None and updates_of(self.state.family, self.stages, self.state.step + 1) > allowed:
            return "budget"
        return super().ending(position, interrupted)

    def report(self, position: Position) -> None:
        """Report, and say what is spent at the first, second, fourth, eighth ... report."""
        number, rest = divmod(self.state.step, self.report_every)
        if not rest and number & (number - 1) == 0:  # the accountant takes a second, so not every time
            self.observer.say(self.told())
            line = {"step": self.state.step, "nimg": self.state.progress.nimg, "event": "privacy"}
            self.writer.add({**line, "epsilon": self.spent_at(self.updates), "delta": self.privacy.delta})
        super().report(position)

    def told(self) -> str:
        """Say what is spent."""
        spent = self.spent_at(self.updates)
        return f"privacy: epsilon {spent:.4g} at delta {self.privacy.delta:g} ({NAME} accountant) is spent"


def is_private(family: Family, phase: Phase) -> bool:
    """Whether a phase trains what sees rows: every network but those that samples are made with."""
    return not set(phase.trains) & set(family.averaged)


def updates_of(family: Family, stages: Sequence[Stage], step: int) -> int:
    """Return how many updates with rows the first ``step`` steps make."""
    total = 0
    for stage in stages:
        here = step if stage.iterations is None else min(step, stage.iterations)
        total += sum(phase.times_due(here) for phase in stage.cycle if is_private(family, phase))
        step -= here
    return total
