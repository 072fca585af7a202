"""A step whose gradients are one CUDA graph: an experiment of the script for GPUs, not a way that training takes.

All that a step computes on the GPU up to its gradients is recorded once and then replayed in one call. What Python
decides is recorded with it: numbers that a schedule makes of the progress stay as they were, so that an option of
training would have to refuse families that read it. What a replay needs anew it gets: rows and labels are copied to
where the recorded ones lie, and generators that the graph knows are seeded as those of the step would be.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saddlepoint.engine.compiled import distance
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import seed_for
from saddlepoint.engine.plan import Position, Update, due_updates
from saddlepoint.engine.stats import Statistics
from saddlepoint.engine.updates import Gradient
from saddlepoint.family import Batch

WARM_UP = 3
"""Steps on a stream of their own before a graph is recorded: PyTorch's libraries make their workspaces then."""


class Replayed:
    """The gradients of one update, recorded.

    Args:
        trainer: whose.
        update: which phases.
    """

    def __init__(self, trainer: Trainer, update: Update) -> None:
        self.trainer, self.phases = trainer, update.phases
        self.device, self.statistics = trainer.feed.device, Statistics(trainer.feed.device)
        first = trainer.feed.batch(0)
        self.batch = Batch(first.x.clone(), None if first.labels is None else first.labels.clone())
        self.generators: list[tuple[torch.Generator, tuple[int | str, ...]]] = []
        self._next = 0
        self.graph = torch.cuda.CUDAGraph() if self.device.type == "cuda" else None
        self._found: list[Gradient] = []
        self._record(update)

    def _stream(self, *parts: int | str) -> torch.Generator:
        # Called in the same order in every step: each place has a generator of its own, which the graph knows.
        if self._next == len(self.generators):
            made = torch.Generator(self.device)
            if self.graph is not None:
                self.graph.register_generator_state(made)
            self.generators.append((made, ()))
        generator, _ = self.generators[self._next]
        self.generators[self._next] = (generator, parts)
        self._next += 1
        return generator

    def _compute(self, update: Update) -> list[Gradient]:
        return self._with(update, self._stream)

    def _with(self, update: Update, stream: Callable[..., torch.Generator]) -> list[Gradient]:
        state, kept = self.trainer.state, (self.trainer.stream, self.trainer.state.statistics)
        # Sums of its own: a graph adds to the tensors that it was recorded with, which must outlive it.
        self._next, self.trainer.stream, state.statistics = 0, stream, self.statistics  # type: ignore[assignment]
        try:
            return self.trainer.gradients(update, lambda draw, share: self.batch)[0]
        finally:
            self.trainer.stream, state.statistics = kept

    def _record(self, update: Update) -> None:
        if self.graph is None:
            self._found = self._compute(update)
            return
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside), self.trainer.state.unchanged():
            for _ in range(WARM_UP):
                self._compute(update)
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(self.graph):
            self._found = self._compute(update)

    def __call__(self, update: Update) -> list[Gradient]:
        """Return the gradients at the present weights, of the update's minibatch and noise."""
        state, feed = self.trainer.state, self.trainer.feed
        rows = feed.batch(update.draw)
        self.batch.x.copy_(rows.x)
        if self.batch.labels is not None and rows.labels is not None:
            self.batch.labels.copy_(rows.labels)
        seed = self.trainer.settings.seed
        # As `Trainer.context` does: the noise of the step, then what belongs to the minibatch.
        for generator, parts in self.generators:
            of_step = (seed, 0, state.step, update.stream) if parts[0] == "noise" else (seed, 0, update.draw)
            generator.manual_seed(seed_for(parts[0], *of_step))
        if self.graph is None:
            self._found = self._compute_again(update)
        else:
            self.graph.replay()
        return self._found

    def _compute_again(self, update: Update) -> list[Gradient]:
        # The dry run of a replay: generators keep the seeds that they were given.
        order = iter([generator for generator, _ in self.generators])
        return self._with(update, lambda *parts: next(order))


def graphed_steps(trainer: Trainer) -> tuple[Callable[[], None], dict[str, Any]]:
    """Return a function that makes the next step of the last stage by graphs, and how far its gradients are off.

    Each set of phases that step together has a graph of its own, made when it is first due.
    """
    stage, graphs, number = trainer.stages[-1], dict[tuple[str, ...], Replayed](), 0
    facts: dict[str, Any] = {"off": {}}

    def gradients(update: Update) -> list[Gradient]:
        names = tuple(phase.name for phase in update.phases)
        if names not in graphs:
            with trainer.state.unchanged():
                graphs[names] = Replayed(trainer, update)
                found = [_kept(g) for g in graphs[names](update)]
            with trainer.state.unchanged():
                eager = trainer.gradients(update, functools.cache(trainer.feed.batch))[0]
                off = [distance(a, b.of_parameters) for a, b in zip(found, eager, strict=True)]
            facts["off"]["+".join(names)] = max(off)
        return graphs[names](update)

    def step() -> None:
        nonlocal number
        for update in due_updates(Position(stage, number, number)):
            trainer.apply(gradients(update))
        trainer.state.step += 1
        trainer.state.averages.update(trainer.state.family.config.ema_beta(trainer.state.progress.nimg))
        number += 1

    return step, facts


def _kept(gradient: Gradient) -> tuple[Tensor | None, ...]:
    return tuple(None if one is None else one.clone() for one in gradient.of_parameters)
