"""The training loop, from the first step to the last. Read it from the top."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

import torch

from saddlepoint.core.machine_load import working
from saddlepoint.data.feed import Feed
from saddlepoint.engine.compiled import Compiled
from saddlepoint.engine.doctor.monitor import NULL_MONITOR, NullMonitor
from saddlepoint.engine.machine.distributed import SINGLE_PROCESS, ProcessGroup
from saddlepoint.engine.machine.precision import FP32, Precision
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.machine.threads import AS_THEY_ARE, Threads
from saddlepoint.engine.plan import Position, Update, check_networks, check_shape, check_stages, due_updates, locate
from saddlepoint.engine.run_writer import RunWriter
from saddlepoint.engine.settings import SILENT, Observer, Outcome, Reason, Settings, interruptible, is_milestone
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.training import TrainingState, all_finite
from saddlepoint.engine.updates import Buffers, Gradient
from saddlepoint.engine.warm_start import buffers_set_by
from saddlepoint.family import Batch, Constrained, Context, DataStats, Family, Phase, Prepared, Simultaneous, Terms


class Trainer:
    """One run, or this process's part of it.

    Args:
        family: freshly built; trained in place, on the feed's device.
        feed: minibatches of the training split, in as many shares as `Settings.shares` says.
        settings: seed, budget, cadence.
        folder: where checkpoints and the log go.
        observer: who hears of progress.
        monitor: the doctor's part.
        group: the processes that train together.
        precision: of matrix products.
        threads: of the CPU; who chooses how many.
        warm_start: puts other weights in the place of the first ones; it is told which buffers are those of the data.
    """

    def __init__(
        self, family: Family, feed: Feed, settings: Settings, folder: RunFolder, observer: Observer = SILENT,
        monitor: NullMonitor = NULL_MONITOR, group: ProcessGroup = SINGLE_PROCESS, precision: Precision = FP32,
        threads: Threads = AS_THEY_ARE, warm_start: Callable[[Family, Collection[str]], None] | None = None,
    ) -> None:  # fmt: skip
        self.feed, self.settings, self.folder, self.observer, self.monitor = feed, settings, folder, observer, monitor
        self.stages = family.stages()
        check_stages(self.stages, list(family.optimizers()))
        check_networks(self.stages, family.averaged, [name for name, _ in family.named_children()])
        self.state = TrainingState(
            family, settings.seed, feed.rows, feed.device, settings.averages, settings.freeze_discriminator
        )
        self.warm_start = warm_start
        self.report_every = max(1, round(settings.report_kimg * 1000 / feed.batch_size))
        self.writer = RunWriter(folder, settings.keep, group, observer)
        self.group, self.precision, self.threads, mine = group, precision, threads, feed.shares // group.size
        self.shares = range(group.rank * mine, (group.rank + 1) * mine)
        self.compiled, self.stream = Compiled(family), functools.partial(stream, feed.device)

    def train(self, stats: Callable[[], DataStats]) -> Outcome:
        """Resume from the newest whole checkpoint, or begin; train until the budget is spent or a signal comes.

        Raises:
            TrainingError: if a loss or a weight stops being finite; the last checkpoint stays.
            CheckpointError: if the final state cannot be written, or the folder holds damaged checkpoints only.
        """
        state = self.state
        self.begin(stats)
        before, started, saved_at = state.seconds, time.monotonic(), time.monotonic()
        with interruptible() as stop:
            while True:
                if is_milestone(state.step):
                    self.snapshot()
                state.seconds = before + time.monotonic() - started
                position = locate(self.stages, state.step)
                due = time.monotonic() - saved_at > self.settings.checkpoint_seconds
                reason, due = self.group.agree(self.ending(position, stop.is_set()), due)
                if due:
                    self.save(final=False)
                    saved_at = time.monotonic()
                if reason is not None or position is None:
                    break
                self.attend_to_threads(position)
                with self.threads.timed():
                    self.step(position)
                self.writer.keep_averages(state)
                if self.feed.device.type == "cpu":
                    working()  # the report's forecast goes by it
                self.observer.tick(state.progress, state.seconds, state.statistics.means)
                if self.is_due(state.step):
                    self.report(position)
            self.save(final=True)
        if not is_milestone(state.step):
            self.snapshot()
        return Outcome(reason or "stages", state.progress, state.seconds)

    def begin(self, stats: Callable[[], DataStats]) -> None:
        """Load the newest whole checkpoint of the folder, or prepare the family for its first step."""
        state = self.state
        resumed = self.writer.restore(state)
        self.monitor.restore(self.folder.read_log)
        self.threads.restore(self.folder.read_log)
        if not resumed:
            self.prepare(stats)
            self.group.copy_(list(state.family.state_dict().values()))
            state.averages.copy()
            self.monitor.begin(state)
        if state.why_no_profiles:
            self.observer.say(state.why_no_profiles)
        if self.settings.compile:
            state.seconds += self.compiled.compile(state, self.rehearse, self.precision.name, self.observer.say)

    def prepare(self, stats: Callable[[], DataStats]) -> None:
        """Let the family see its data, and take over the weights of another run, where there is one."""
        family = self.state.family

        def see() -> None:
            if isinstance(family, Prepared):  # statistics are two passes over the data
                family.prepare(stats().to(self.feed.device))

        if self.warm_start is None:
            see()
        else:
            self.warm_start(family, buffers_set_by(see, family))

    def step(self, position: Position) -> None:
        """Make one pass through the stage's cycle, and let the averages follow."""
        state = self.state
        minibatch = functools.cache(self.feed.batch)  # phases that see the same one read it once
        for update in due_updates(position):
            gradients, buffers = self.gradients(update, minibatch)
            self.average(gradients, buffers)
            self.apply(gradients)
        state.step += 1
        state.averages.update(state.family.config.ema_beta(state.progress.nimg))
        if state.profiles is not None:
            state.profiles.update(state.step)

    def gradients(self, update: Update, minibatch: Callable[[int, int], Batch]) -> tuple[list[Gradient], Buffers]:
        """Return each phase's gradient of its mean loss, added up over this process's shares of the minibatch."""
        state = self.state
        state.unfreeze([phase.name for phase in update.phases])
        gradients, buffers = [Gradient(phase) for phase in update.phases], Buffers(state.family, self.feed.shares)
        for share in buffers.each(self.shares):
            batch = minibatch(update.draw, share)
            terms = self.losses(update.phases, batch, functools.partial(self.context, update, share))
            for gradient in gradients:
                # Losses of phases that step together share a graph; it must outlive the first of them.
                found = terms[gradient.phase.name]
                check_shape(gradient.phase, found, len(batch))
                self.accumulate(gradient, found, keep_graph=len(gradients) > 1)
        return gradients, buffers

    def context(self, update: Update, share: int) -> Context:
        """Return the random numbers of a share: they depend on seed, share and step alone."""
        noise = self.stream("noise", self.settings.seed, share, self.state.step, update.stream)
        return Context(noise, self.stream("batch", self.settings.seed, share, update.draw), self.state.progress)

    def losses(
        self, phases: Sequence[Phase], batch: Batch, context: Callable[[], Context]
    ) -> Mapping[str, Terms | None]:
        """Return the losses of phases that are due: one pass for all where the family plays at once, else one each."""
        family, together = self.state.family, dict[str, Terms | None]()
        with self.compiled.applied(), self.precision(self.feed.device):
            if len(phases) > 1 and isinstance(family, Simultaneous):
                together |= family.losses(phases, batch, context())
            alone = [phase for phase in phases if phase.name not in together]
            return together | {phase.name: family.loss(phase, batch, context()) for phase in alone}

    def accumulate(self, gradient: Gradient, terms: Terms | None, keep_graph: bool) -> None:
        """Add the gradient of a phase's mean loss on one share; nothing if the phase skips its turn."""
        phase, state = gradient.phase, self.state
        if terms is None:
            gradient.skipped = True
            return
        loss, parameters = terms.loss.mean(), tuple(state.parameters[phase.name].values())
        for name, values in {f"loss/{phase.name}": loss.detach(), **terms.logs}.items():
            state.statistics.add(name, values)
        # Not loss.backward(): that would also add to the gradients of the other player's parameters.
        found = torch.autograd.grad(loss, parameters, retain_graph=keep_graph, allow_unused=True)
        gradient.add(loss.detach(), found)

    def average(self, gradients: Sequence[Gradient], buffers: Buffers) -> None:
        """Average over the shares of the minibatch, those of other processes included, and look at what came out."""
        buffers.average(self.group)
        for gradient in gradients:
            gradient.average(self.group, self.feed.shares, skips=gradient.phase.may_skip)
            # Reading a number is free on the CPU; an accelerator would wait, so there the means are checked.
            loss = gradient.loss
            if loss is not None and loss.device.type == "cpu" and not math.isfinite(loss.item()):
                self.stop_non_finite(f"the loss of phase '{gradient.phase.name}'")
            if gradient.of_parameters and self.is_due(self.state.step + 1):
                self.monitor.record_gradients(self.state, gradient.phase, gradient.of_parameters)

    def apply(self, gradients: Sequence[Gradient]) -> None:
        """Let the optimizers step, and put parameters back into the sets they may be in."""
        for gradient in gradients:
            if gradient.of_parameters:
                phase, state = gradient.phase, self.state
                parameters = list(state.parameters[phase.name].values())
                state.optimizers[phase.optimizer].step(parameters, gradient.of_parameters, state.progress)
                if isinstance(state.family, Constrained):
                    state.family.constrain(phase)

    def report(self, position: Position) -> None:
        """Write the means since the last report as one line of the log, and start new ones."""
        state = self.state
        self.group.total_(state.statistics.sums())
        if (name := state.statistics.first_non_finite()) is not None:
            self.stop_non_finite(f"the mean of '{name}'")
        line: dict[str, Any] = {"step": state.step, "nimg": state.progress.nimg, "stage": position.stage.name}
        line |= state.statistics.means()
        state.statistics.reset()
        lines = self.monitor.on_report(line, state, self.report_every)
        line["timing"] = {"seconds": round(state.seconds, 3)}
        self.writer.add(*lines)

    def snapshot(self) -> None:
        """Hand the observer samples of the averaged generator, from the same inputs every time."""
        if not self.group.writes:
            return
        samples = self.state.snapshot(self.settings.snapshot_samples, self.settings.seed)
        if not all_finite(samples):
            self.stop_non_finite("the samples")
        self.observer.snapshot(self.state.step, samples)

    def save(self, final: bool) -> None:
        """Write a checkpoint of finite numbers."""
        if (name := self.state.first_non_finite()) is not None:
            self.stop_non_finite(f"'{name}'")
        self.writer.save(self.state, final)

    def ending(self, position: Position | None, interrupted: bool) -> Reason | None:
        """Return why training must end now, or None."""
        if self.settings.spent(self.state.progress, self.state.seconds):
            return "budget"
        if position is None:
            return "stages"
        return "interrupted" if interrupted else self.observer.ending() or self.monitor.reason(self.state)

    def is_due(self, step: int) -> bool:
        """Whether a report follows ``step``."""
        return step % self.report_every == 0 or is_milestone(step)

    def attend_to_threads(self, position: Position) -> None:
        """Let the number of threads be chosen by what the coming step takes, and note a change in the log."""
        state = self.state

        def rehearse() -> None:
            with state.unchanged():
                self.rehearse(position)

        self.writer.add(*self.threads.before_step(state.step, state.progress.nimg, position.stage.name, rehearse))

    def rehearse(self, position: Position) -> list[Gradient]:
        """Return the gradients of a pass through the cycle without an update."""
        minibatch = functools.cache(self.feed.batch)
        return [gradient for update in due_updates(position) for gradient in self.gradients(update, minibatch)[0]]

    def stop_non_finite(self, what: str) -> NoReturn:
        """Raise, naming step, phase and tensor."""
        self.writer.add(*self.monitor.note_divergence(what, self.state))
        raise self.state.non_finite(what, locate(self.stages, self.state.step))
