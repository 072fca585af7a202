"""Everything that changes while a family trains, and how it goes into a checkpoint and comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import CheckpointError, TrainingError
from saddlepoint.core.types import ended
from saddlepoint.engine.machine.runtime import pieces, stream
from saddlepoint.engine.plan import Position
from saddlepoint.engine.profiles import profiles_of
from saddlepoint.engine.stats import Statistics
from saddlepoint.engine.storage.checkpoint import Checkpoint, prefixed, under
from saddlepoint.engine.updates import Averages, build_optimizers, trained
from saddlepoint.engine.warm_start import first_layers
from saddlepoint.family import Family, Progress
from saddlepoint.family.capabilities import BatchNormalised
from saddlepoint.family.explicit import glimpsed


class TrainingState:
    """A family with its averages, optimizers, statistics and counters.

    Args:
        family: freshly built; its weights are drawn here, from ``seed``.
        seed: of the initial weights.
        rows: number of training rows, for epochs.
        device: where training runs.
        averages: of several lengths; see `profiles_of`.
        frozen: layers of D that do not learn; see `first_layers`.
    """

    def __init__(
        self, family: Family, seed: int, rows: int, device: torch.device, averages: str = "auto", frozen: int = 0
    ) -> None:
        # Weights are drawn on the CPU, so that a seed means the same network on every device.
        family.to("cpu").reset_parameters(stream("cpu", "weights", seed))
        self.family = family.to(device).train()
        if device.type != "mps":
            # Convolutions are a third faster on a CPU with channels last; other tensors stay as they are.
            self.family.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.rows = rows
        self.averages = Averages(family)  # after the move: copies lie where their networks do, and as they do
        self.profiles, self.why_no_profiles = profiles_of(family, averages)
        self.optimizers = build_optimizers(family)
        self.statistics = Statistics(device)
        still = first_layers(family, frozen)
        self.parameters = {
            phase.name: {name: p for name, p in trained(family, phase.trains).items() if name not in still}
            for stage in family.stages()
            for phase in stage.cycle
        }
        self.step, self.seconds = 0, 0.0
        self._unfrozen: list[str] | None = None

    @property
    def progress(self) -> Progress:
        """Where training stands, in steps, samples and epochs."""
        nimg = self.step * self.family.config.batch_size
        return Progress(self.step, nimg, nimg / self.rows)

    def unfreeze(self, phases: list[str]) -> None:
        """Let gradients flow to the parameters of these phases only."""
        # A frozen player's weights take no gradient: layers whose passes are written by hand skip that part.
        if phases == self._unfrozen:
            return  # a walk through all modules would take a tenth of a small network's step
        self._unfrozen = list(phases)
        chosen = {id(p) for name in phases for p in self.parameters[name].values()}
        for parameter in self.family.parameters():
            parameter.requires_grad_(id(parameter) in chosen)

    @torch.no_grad()
    def snapshot(self, n: int, seed: int) -> Tensor:
        """Return samples of the averaged generator on the CPU, from the same inputs every time.

        Args:
            n: how many; of a conditional generator whole rows of one sample of each class, if they fit into ``n``. Of
                one that transforms images, a row is one image in each class.
            seed: of the inputs.
        """
        device, classes = next(self.family.parameters()).device, self.family.classes
        n -= n % classes if 0 < classes <= n else 0
        labels = torch.arange(n, device=device) % classes if classes else None
        with self.averaged() as family, glimpsed(family):
            # Drawn on the CPU: the same samples on every device.
            inputs = family.sample_inputs(n, stream("cpu", "snapshot", seed)).to(device)
            if labels is not None and family.tags.input == "image":
                inputs = inputs[torch.arange(n, device=device) // classes]
            noise = stream(device, "snapshot-noise", seed)
            found = [
                family.generate(inputs[part], None if labels is None else labels[part], generator=noise).cpu()
                for part in pieces(0, n, family.data.shape)
            ]
            return torch.cat(found)

    @contextmanager
    def averaged(self) -> Iterator[Family]:
        """Let the family sample in evaluation mode with its averages inside the block."""
        with self.averages.applied() as family:
            self.recalibrate_batch_norm()  # statistics of the averaged weights: see nn/normalise.py
            family.eval()
            yield family
        self.family.train()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Undo afterwards what losses computed inside the block leave in buffers and statistics."""
        # In place: compiled networks hold these very tensors.
        buffers = [(buffer, buffer.clone()) for buffer in self.family.buffers()]
        sums = {name: value.clone() for name, value in self.statistics.state_dict().items()}
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            self.statistics.load_state_dict(sums)

    def recalibrate_batch_norm(self) -> None:
        """Let statistics that belong to the averaged weights be recomputed."""
        # From inputs that are always the same, so that they depend on the weights alone. "settle" is part of the seed:
        # another word would draw others, and change every checkpoint.
        if isinstance(self.family, BatchNormalised):
            with torch.no_grad():
                self.family.recalibrate_batch_norm(stream(next(self.family.parameters()).device, "settle"))

    def first_non_finite(self) -> str | None:
        """Return the name of the first tensor of the family that is not finite, or None."""
        named = self.family.state_dict().items()
        return next((name for name, t in named if t.is_floating_point() and not bool(t.isfinite().all())), None)

    def non_finite(self, seen_in: str, position: Position | None) -> TrainingError:
        """Return the error that names the step, the phase and the tensor that is not finite."""
        # Weights first: a gradient that is not finite shows in what it moved before it shows in a loss.
        name = self.first_non_finite()
        what = seen_in
        if name is not None:
            cycle = position.stage.cycle if position else ()
            # The last phase that trains it: of several, the one that moved it last.
            phase = next((f" in phase '{p.name}'" for p in reversed(cycle) if name in self.parameters[p.name]), "")
            what = f"the update of '{name}'{phase} (seen in {seen_in})"
        return TrainingError(
            f"training stopped at step {self.step}: {what} is not finite. The last checkpoint stays; "
            f"lower the learning rate, and look at log.jsonl for what grew before"
        )

    def checkpoint(self, statistics: Sequence[Mapping[str, Tensor]] | None = None) -> Checkpoint:
        """Return the complete state.

        Args:
            statistics: those of all processes, by rank; None: this one's.
        """
        with self.averages.applied():  # so that a checkpoint's averages can be sampled from as they are
            self.recalibrate_batch_norm()
        training: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            training.update(prefixed(f"optimizer/{name}", optimizer.state_dict()))
        for rank, sums in enumerate(statistics or [self.statistics.state_dict()]):
            training.update(prefixed(_statistics_of(rank), sums))
        tensors = {
            "model": self.family.state_dict(),
            "averages": self.averages.modules.state_dict(),
            "training": training,
        }
        if self.profiles is not None:
            tensors["profiles"] = self.profiles.state_dict()
        facts = {"nimg": self.progress.nimg, "seconds": self.seconds}
        return Checkpoint(self.step, tensors, facts)

    def load(self, checkpoint: Checkpoint, rank: int = 0) -> None:
        """Take over a complete state, and the statistics of the process of this rank.

        Raises:
            CheckpointError: if it belongs to other networks, or its optimizers or statistics cannot be theirs.
        """
        facts = checkpoint.facts
        # step and nimg agree only with the batch size the run had: with another one schedules would go on elsewhere.
        if facts.get("nimg") != checkpoint.step * self.family.config.batch_size or "seconds" not in facts:
            raise CheckpointError(
                f"the checkpoint says that step {checkpoint.step:,} has seen {str(facts.get('nimg'))[:20]} samples, "
                f"but minibatches have {self.family.config.batch_size:,}: it belongs to another run"
            )
        load_weights(self.family, checkpoint.tensors["model"])
        load_weights(self.averages.modules, checkpoint.tensors["averages"])
        self._load_profiles(checkpoint.tensors.get("profiles"))
        training = checkpoint.tensors["training"]
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(under(f"optimizer/{name}", training))
        # A process that was not there before has no sums yet, but reports add up the same names on all.
        for name, sums in training.items():
            if name.startswith("statistics") and (sums.shape != (2,) or not sums.is_floating_point()):
                raise CheckpointError(f"the checkpoint's '{name[:60]}' is no sum and no count: it is damaged")
        first = {name: torch.zeros_like(sums) for name, sums in under(_statistics_of(0), training).items()}
        self.statistics.load_state_dict(first | under(_statistics_of(rank), training))
        self.step, self.seconds = checkpoint.step, float(checkpoint.facts["seconds"])

    def _load_profiles(self, saved: Mapping[str, Tensor] | None) -> None:
        if self.profiles is None:
            return
        if saved is None:
            # The steps before are gone, and an average of a power of time begins with the first one.
            self.profiles, self.why_no_profiles = (
                None,
                "averages: only one length is kept: this run began without others",
            )
        else:
            self.profiles.load_state_dict(saved)


def _statistics_of(rank: int) -> str:
    return f"statistics-{rank}" if rank else "statistics"


def all_finite(samples: Tensor) -> bool:
    """Whether all values are finite, but for what lies after a window's end."""
    return bool((samples.isfinite() | ended(samples)).all())


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a complete state dict.

    Raises:
        CheckpointError: if a name, a shape or a type differs, which would be converted without a word.
    """
    for name, wanted in module.state_dict().items():
        if name in tensors and tensors[name].dtype != wanted.dtype:
            kinds = (str(kind).removeprefix("torch.") for kind in (tensors[name].dtype, wanted.dtype))
            raise CheckpointError("the file belongs to other networks: {} is {}, not {}".format(name, *kinds))
    try:
        module.load_state_dict(dict(tensors))  # copies into the tensors there are: memory formats stay
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the checkpoint belongs to other networks: {reason}") from error
