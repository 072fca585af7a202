"""The processes that share one run: who they are, and everything they say to one another.

`torchrun` starts them. Each computes its shares of every minibatch; gradients are averaged once a phase, so parameters
stay equal; one process, the writer, keeps log and checkpoints. What is said in every step goes through `shared_memory`
where all are on one machine, all else through gloo, gradients on GPUs through NCCL. Without `torchrun` there is one,
`SINGLE_PROCESS`, and nothing here costs anything.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError, SaddlepointError, TrainingError
from saddlepoint.engine.machine import shared_memory
from saddlepoint.engine.machine.shared_memory import ProcessGone, SharedMemory
from saddlepoint.engine.settings import Reason

if TYPE_CHECKING:
    import torch.distributed as dist

T = TypeVar("T")

REASONS: tuple[Reason, ...] = get_args(Reason)


class ProcessGroup:
    """One process among those that share a run.

    Args:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on this machine; it chooses the GPU.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank  # of a job of many machines; of this one
        self.memory: SharedMemory | None = None  # what all of them share: `join` puts it there, on one machine

    @property
    def writes(self) -> bool:
        """Whether this is the process that keeps log, checkpoints and pictures."""
        return self.rank == 0

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return new tensors: the means over all processes."""
        if self.size == 1:
            return list(tensors)
        # One message from one flat buffer: a message for each parameter would wait for the network each time.
        with _together() as dist:
            mean = None
            if self.memory is not None and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors):
                mean = self.memory.mean(tensors)
            if mean is None:
                mean = torch.cat([tensor.reshape(-1) for tensor in tensors])
                dist.all_reduce(mean)
                mean /= self.size
        # As each tensor lies in memory, some with their channels last: optimizers go through both side by side.
        means = [torch.empty_like(tensor) for tensor in tensors]
        _spread(mean, means)
        return means

    def any(self, truth: bool) -> bool:
        """Return whether it is true for any of the processes."""
        return bool(self._largest([int(truth)])[0])

    @torch.no_grad()
    def copy_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by the writer's: one message for each type of number."""
        if self.size == 1:
            return
        for kind in {tensor.dtype: None for tensor in tensors}:
            held = [tensor for tensor in tensors if tensor.dtype == kind]
            flat = torch.cat([tensor.reshape(-1) for tensor in held])
            with _together() as dist:
                # Not every backend sends booleans; a view as bytes is the same memory.
                dist.broadcast(flat.view(torch.uint8) if kind == torch.bool else flat, src=0)
            _spread(flat, held)

    def agree(self, reason: Reason | None, save: bool) -> tuple[Reason | None, bool]:
        """Return why training ends now and whether a checkpoint is due: one process's reason holds for all."""
        if self.size == 1:
            return reason, save
        # Clocks differ, and a signal may reach one process only: who stopped alone would leave the others waiting. MAX
        # makes the same choice everywhere, without a second message.
        first, due = self._largest([0 if reason is None else 1 + REASONS.index(reason), int(save)])
        return (REASONS[first - 1] if first else None), bool(due)

    def _largest(self, numbers: list[int]) -> list[int]:
        """Return the largest of each over all processes."""
        if self.size == 1:
            return numbers
        with _together() as dist:
            if self.memory is not None:
                return self.memory.largest(numbers)
            found = torch.tensor(numbers)  # on the CPU, by gloo: no GPU waits for them
            dist.all_reduce(found, op=dist.ReduceOp.MAX)
            return found.tolist()

    def total_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""
        if self.size > 1:
            with _together() as dist:
                for tensor in tensors:
                    dist.all_reduce(tensor)

    def gathered(self, thing: T) -> list[T]:
        """Return what every process has, by rank, to the writer; an empty list to the others."""
        if self.size == 1:
            return [thing]
        found: list[Any] | None = [None] * self.size if self.writes else None
        with _together() as dist:
            dist.gather_object(thing, found, dst=0)
        return found or []

    def shared(self, make: Callable[[], T]) -> T:
        """Return to every process what the writer makes; an error of its making is raised by all."""
        if self.size == 1:
            return make()
        # An error is sent like a result: a process that raised alone would leave the others in a broadcast.
        told: list[Any] = [None]
        if self.writes:
            try:
                told = [make()]
            except SaddlepointError as error:
                told = [error]
        with _together() as dist:
            dist.broadcast_object_list(told, src=0)
        if isinstance(told[0], SaddlepointError):
            raise told[0]
        thing: T = told[0]
        return thing

    def in_turn(self, make: Callable[[], T]) -> T:
        """Return what each process makes for itself, the first one on every machine before the others there."""
        if self.size == 1:
            return make()
        failed, thing = None, None  # what the first one downloads or prepares lies in the cache when the others look
        for first in (True, False):
            if first == (self.local_rank == 0):
                try:
                    thing = make()
                except SaddlepointError as error:
                    failed = error  # raised after the barriers, at which the others wait
            with _together() as dist:
                dist.barrier()
        if failed is not None:
            raise failed
        assert thing is not None
        return thing


SINGLE_PROCESS = ProcessGroup()
"""The group of one process."""


def join() -> ProcessGroup:
    """Return this process's place among those that `torchrun` started, and connect to them; else `SINGLE_PROCESS`.

    Raises:
        ConfigError: if the environment names other processes and they cannot be reached, or this PyTorch cannot.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return SINGLE_PROCESS
    import torch.distributed as dist

    if not dist.is_available():
        raise ConfigError(f"WORLD_SIZE is {size}, but this build of PyTorch knows no other processes; start without it")
    if not dist.is_initialized():
        # Numbers on the CPU go through gloo on every machine: what is agreed on does not make a GPU wait.
        try:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"the {size} processes of this job could not meet: {error}") from error
        atexit.register(dist.destroy_process_group)
    group = ProcessGroup(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    group.memory = _memory_of(group)
    return group


def _memory_of(group: ProcessGroup) -> SharedMemory | None:
    """Return what the processes share, if all of them are on one machine and see one another there."""
    if not shared_memory.fits_here():
        return None
    path = group.shared(lambda: _or_none(lambda: shared_memory.create(group.size)))
    if path is None:
        return None
    processes: list[int] = [0] * group.size
    with _together() as dist:
        dist.all_gather_object(processes, os.getpid())
    memory = _or_none(lambda: SharedMemory(path, group.rank, processes))
    missing = group.any(memory is None)
    if group.writes:
        os.unlink(path)  # all have it, or nobody will: nothing is left behind, however they end
    return None if missing else memory


def _or_none(make: Callable[[], T]) -> T | None:
    try:
        return make()
    except OSError:
        return None


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy the parts of a flat buffer back."""
    # Copied, not replaced: each tensor lies in memory as before, some with their channels last. reshape(-1) read them
    # in the order of their indices, and view writes them in the same.
    parts = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)])


@contextmanager
def _together() -> Iterator[dist]:  # type: ignore[valid-type]
    """Hand out the means to talk; if a process is gone, say so."""
    import torch.distributed as dist

    try:
        yield dist
    except (RuntimeError, ProcessGone) as error:
        reason = str(error).strip().splitlines()[-1]
        raise TrainingError(
            "another process of this job has ended or cannot be reached; the same command goes on from the last "
            f"checkpoint ({reason})"
        ) from error
