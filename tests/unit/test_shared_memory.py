"""Memory that processes share: means and largest numbers, equal for all; no room; a process that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from saddlepoint.engine.machine import shared_memory
from saddlepoint.engine.machine.shared_memory import ProcessGone, SharedMemory, create, fits_here

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="for Linux on x86 only"
)

T = TypeVar("T")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shared_memory, "FOLDER", str(tmp_path))
    return tmp_path


def members(size: int) -> list[SharedMemory]:
    """As many as processes would be; here threads call them."""
    path = create(size)
    return [SharedMemory(path, rank, [os.getpid()] * size) for rank in range(size)]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def told(memory: SharedMemory, words: list[int]) -> list[int]:
    """Return means of numbers, as `SharedMemory.largest` returns the largest ones."""
    found = memory.mean([torch.tensor(words, dtype=torch.float32)])
    assert found is not None
    return [int(value) for value in found.tolist()]


def each(pool: ThreadPoolExecutor, call: Callable[[SharedMemory], T], group: list[SharedMemory]) -> list[T]:
    return list(pool.map(call, group, timeout=60))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_means_are_sums_in_the_order_of_ranks(size: int, folder: Path, pool: ThreadPoolExecutor) -> None:
    """Bit for bit the same everywhere; sizes that no number of processes divides, that grow and shrink."""
    group, g = members(size), torch.Generator().manual_seed(size)
    for n in (1, 7, 1_000, 13, 100_003, 2):
        rows = torch.randn(size, n, generator=g)
        expected = rows[0].clone()
        for row in rows[1:]:
            expected += row
        expected /= size

        def mean(memory: SharedMemory, rows: Tensor = rows, n: int = n) -> Tensor:
            own = rows[memory.rank]
            found = memory.mean([own[: n // 2].view(1, -1), own[n // 2 :]])
            assert found is not None
            return found.clone()

        assert all(torch.equal(found, expected) for found in each(pool, mean, group))
    assert [file.name for file in folder.iterdir()] == [Path(group[0].path).name]


def test_many_calls_in_a_row_do_not_overtake_one_another(folder: Path, pool: ThreadPoolExecutor) -> None:
    group = members(2)

    def talk(memory: SharedMemory) -> None:
        for turn in range(300):
            assert memory.largest([turn * (1 - memory.rank), 7 * memory.rank - turn]) == [turn, 7 - turn]
            found = memory.mean([torch.full((5,), float(turn + 2 * memory.rank))])
            assert found is not None
            assert found.tolist() == [turn + 1.0] * 5

    each(pool, talk, group)


@pytest.mark.parametrize("call", [SharedMemory.largest, told])
def test_one_that_reads_late_reads_what_was_said_then(
    call: Callable[[SharedMemory, list[int]], list[int]],
    folder: Path,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first process has said its next word before the second one looks at the last; neither may meet too early."""
    first, second = members(2)
    meet = second._meet

    def late() -> None:
        meet()
        deadline = time.monotonic() + 0.3
        while first._meetings == second._meetings and time.monotonic() < deadline:
            time.sleep(0.001)

    monkeypatch.setattr(second, "_meet", late)
    said = {0: ([8], [80]), 1: ([2], [20])}
    found = each(pool, lambda memory: [call(memory, words) for words in said[memory.rank]], [first, second])
    assert found == [found[0]] * 2
    assert found[0] == ([[8], [80]] if call is SharedMemory.largest else [[5], [50]])


def test_without_room_all_say_so_and_go_on(
    folder: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, reserve = members(3), os.posix_fallocate

    def full(file: int, offset: int, length: int) -> None:
        if length > 4_000:
            raise OSError(28, "No space left on device")
        reserve(file, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    for n, fits in ((10, True), (10_000, False), (20_000, False), (10, True), (100, True), (10_000, False)):
        found = each(pool, lambda memory, n=n: memory.mean([torch.ones(n)]), group)  # type: ignore[misc]
        assert [one is not None for one in found] == [fits] * 3
    assert [file.name for file in folder.iterdir()] == [Path(group[0].path).name]


def test_a_process_that_ends_is_noticed(folder: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    memory = SharedMemory(create(2), 0, [os.getpid(), other.pid])
    other.communicate(b"\n")
    with pytest.raises(ProcessGone, match="ended"):
        memory.largest([1])


def test_one_that_does_not_come_is_not_waited_for_forever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "PATIENCE", 0.06)
    with pytest.raises(ProcessGone, match="not been heard of"):
        members(2)[0].largest([1])


def test_only_where_all_are_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, fits in (("2", True), ("1", False)):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
        assert fits_here() is fits
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert not fits_here()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(shared_memory.platform, "machine", lambda: "aarch64")
    assert not fits_here()
