"""The training loop, from the first step to the last. Read it from the top."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from saddlepoint._errors import CheckpointError
from saddlepoint.data.feed import Feed
from saddlepoint.engine.care import UNATTENDED, Unattended
from saddlepoint.engine.folder import RunFolder
from saddlepoint.engine.logbook import Logbook
from saddlepoint.engine.plan import Position, check_stages, locate
from saddlepoint.engine.runtime import stream
from saddlepoint.engine.settings import SILENT, Observer, Outcome, Reason, Settings, interruptible, is_milestone
from saddlepoint.engine.state import write_checkpoint
from saddlepoint.engine.training import TrainingState
from saddlepoint.family import Batch, Context, DataStats, Family, Phase

Gradients = tuple[Tensor | None, ...]


class Trainer:
    """One run.

    Args:
        family: freshly built; trained in place, on the feed's device.
        feed: minibatches of the training split.
        settings: seed, budget, cadence.
        folder: where checkpoints and the log go.
        observer: who hears of progress.
        care: the doctor's part.
    """

    def __init__(
        self,
        family: Family,
        feed: Feed,
        settings: Settings,
        folder: RunFolder,
        observer: Observer = SILENT,
        care: Unattended = UNATTENDED,
    ) -> None:
        self.feed, self.settings, self.folder, self.observer, self.care = feed, settings, folder, observer, care
        self.stages = family.stages()
        check_stages(self.stages, list(family.optimizers()))
        self.state = TrainingState(family, settings.seed, feed.rows, feed.device, feed.world_size)
        self.report_every = max(1, round(settings.report_kimg * 1000 / feed.batch_size))
        self.saved_step, self.log = -1, Logbook(folder, observer.warn)

    def train(self, stats: Callable[[], DataStats]) -> Outcome:
        """Resume from the newest whole checkpoint, or begin; train until the budget is spent or a signal comes.

        Raises:
            TrainingError: if a loss or a weight stops being finite; the last checkpoint stays.
            CheckpointError: if the final state cannot be written, or the folder holds damaged checkpoints only.
        """
        state = self.state
        if not self.restore():
            state.family.prepare(stats().to(self.feed.device))
            state.averages.copy()
            self.care.begin(state)
        before, started, saved_at = state.seconds, time.monotonic(), time.monotonic()
        with interruptible() as stop:
            while True:
                if is_milestone(state.step):
                    self.snapshot()
                state.seconds = before + time.monotonic() - started
                position = locate(self.stages, state.step)
                reason = self.ending(position, stop.is_set())
                if reason is not None or position is None:
                    break
                self.cycle(position)
                state.step += 1
                state.averages.update(state.family.config.ema_beta(state.progress.nimg))
                self.observer.tick(state.progress, state.seconds, state.statistics.means)
                if self.is_due(state.step):
                    self.report(position)
                if time.monotonic() - saved_at > self.settings.checkpoint_seconds:
                    self.save(final=False)
                    saved_at = time.monotonic()
            self.save(final=True)
        if not is_milestone(state.step):
            self.snapshot()
        return Outcome(reason or "stages", state.progress, state.seconds)

    def ending(self, position: Position | None, interrupted: bool) -> Reason | None:
        """Return why training must end now, or None."""
        if self.settings.spent(self.state.progress, self.state.seconds):
            return "budget"
        return "stages" if position is None else "interrupted" if interrupted else self.care.reason()

    def is_due(self, step: int) -> bool:
        """Whether a report follows ``step``."""
        return step % self.report_every == 0 or is_milestone(step)

    def cycle(self, position: Position) -> None:
        """Run the due phases of one pass: all gradients first if the stage is simultaneous, else phase by phase."""
        stage, step, seed = position.stage, self.state.step, (self.settings.seed, self.feed.rank)
        due = [(order, phase) for order, phase in enumerate(stage.cycle) if phase.due(position.cycle)]
        draw, batch, cache = position.draw, None, dict[str, Any]()
        pending: list[tuple[Phase, Gradients]] = []
        if stage.simultaneous:
            self.state.unfreeze([phase.name for _, phase in due])
        for order, phase in due:
            fresh = phase.fresh_batch and order > 0
            if batch is None or fresh:
                draw += fresh
                batch = self.feed.batch(draw)
            if not stage.simultaneous:
                cache = {}
                self.state.unfreeze([phase.name])
            noise = stream(self.feed.device, "noise", *seed, step, 0 if stage.simultaneous else order)
            ctx = Context(noise, stream(self.feed.device, "batch", *seed, draw), self.state.progress, cache)
            gradients = self.gradients(phase, batch, ctx, keep_graph=stage.simultaneous)
            if gradients is not None:
                pending.append((phase, gradients))
            if not stage.simultaneous:
                self.update(pending)
        self.update(pending)

    def gradients(self, phase: Phase, batch: Batch, ctx: Context, keep_graph: bool) -> Gradients | None:
        """Return the gradient of the phase's mean loss for each parameter it trains; None if it skips its turn."""
        terms = self.state.family.loss(phase, batch, ctx)
        if terms is None:
            return None
        loss = terms.loss.mean()
        self.state.statistics.add(f"loss/{phase.name}", loss.detach())
        for name, values in terms.logs.items():
            self.state.statistics.add(name, values)
        # Reading a number is free on the CPU; an accelerator would wait, so there the means are checked.
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            self.stop_non_finite(f"the loss of phase '{phase.name}'")
        parameters = tuple(self.state.parameters[phase.name].values())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=keep_graph, allow_unused=True)
        if self.is_due(self.state.step + 1):
            self.care.feel(self.state, phase, gradients)
        return gradients

    def update(self, pending: list[tuple[Phase, Gradients]]) -> None:
        """Step every waiting phase and empty the list."""
        for phase, gradients in pending:
            parameters = list(self.state.parameters[phase.name].values())
            self.state.optimizers[phase.optimizer].step(parameters, gradients, self.state.progress)
            self.state.family.constrain(phase)
        pending.clear()

    def report(self, position: Position) -> None:
        """Write the means since the last report as one line of the log, and start new ones."""
        state = self.state
        if (name := state.statistics.first_non_finite()) is not None:
            self.stop_non_finite(f"the mean of '{name}'")
        line: dict[str, Any] = {"step": state.step, "nimg": state.progress.nimg, "stage": position.stage.name}
        line |= state.statistics.means()
        state.statistics.reset()
        lines = self.care.attend(line, state, self.report_every)
        line["timing"] = {"seconds": round(state.seconds, 3)}
        self.log.add(*lines)

    def snapshot(self) -> None:
        """Hand the observer samples of the averaged generator, from the same inputs every time."""
        samples = self.state.snapshot(self.settings.snapshot_samples, self.settings.seed)
        if not bool(samples.isfinite().all()):
            self.stop_non_finite("the samples")
        self.observer.snapshot(self.state.step, samples)

    def save(self, final: bool) -> None:
        """Write a checkpoint; a failure ends the run only if it was the last chance, older ones stay either way."""
        self.log.flush()
        if self.state.step == self.saved_step:
            return
        if (name := self.state.first_non_finite()) is not None:
            self.stop_non_finite(f"'{name}'")
        try:
            write_checkpoint(self.folder.checkpoints, self.state.checkpoint(), self.settings.keep)
            self.saved_step = self.state.step
        except CheckpointError as error:
            if final:
                raise
            self.observer.warn(f"{error}; training goes on and tries again")

    def restore(self) -> bool:
        """Load the newest whole checkpoint of the folder, if there is one."""
        checkpoint = self.folder.recover(self.observer.warn)
        self.care.recall(self.folder.read_log)
        if checkpoint is not None:
            self.state.load(checkpoint)
            self.saved_step = checkpoint.step
        return checkpoint is not None

    def stop_non_finite(self, what: str) -> NoReturn:
        """Raise, naming step, phase and tensor."""
        self.log.add(*self.care.note_divergence(what, self.state))
        raise self.state.non_finite(what, locate(self.stages, self.state.step))
