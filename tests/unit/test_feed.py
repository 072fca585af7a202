"""The feed: each row once an epoch, disjoint across processes, a function of (seed, rank, draw)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saddlepoint.data import feed as feeds
from saddlepoint.data import memory
from saddlepoint.data.dataset import Split
from saddlepoint.data.feed import Feed


def split(rows: int) -> Split:
    return Split(np.arange(rows, dtype=np.float32)[:, None], np.arange(rows))


@pytest.mark.parametrize(("rows", "batch"), [(10, 5), (10, 3), (7, 7), (3, 8), (1, 4)])
def test_every_epoch_holds_each_row_once(rows: int, batch: int) -> None:
    feed = Feed(split(rows), batch, seed=1)
    seen = torch.cat([feed.indices(draw) for draw in range(5 * rows)])
    assert len(seen) == 5 * rows * batch
    for epoch in seen[: len(seen) // rows * rows].view(-1, rows):
        assert sorted(epoch.tolist()) == list(range(rows))


def test_epochs_are_shuffled_differently() -> None:
    feed = Feed(split(50), 50, seed=1)
    assert not torch.equal(feed.indices(0), feed.indices(1))
    assert not torch.equal(feed.indices(0), Feed(split(50), 50, seed=2).indices(0))


def test_any_minibatch_can_be_asked_for_at_any_time() -> None:
    straight = [Feed(split(10), 3, seed=1).batch(draw).x for draw in range(12)]
    jumping = Feed(split(10), 3, seed=1)
    for draw in (11, 0, 7, 3, 11, 5):
        assert torch.equal(jumping.batch(draw).x, straight[draw])


def test_the_shares_of_a_minibatch_are_the_minibatch() -> None:
    """Three shares of 2 rows are, together, what one of 6 rows is, over the ends of epochs too."""
    whole, parted = Feed(split(20), 6, seed=1), Feed(split(20), 6, seed=1, shares=3)
    for draw in range(10):
        assert torch.equal(torch.cat([parted.indices(draw, share) for share in range(3)]), whole.indices(draw))


@pytest.mark.parametrize("batch", [1, 7, 8])
def test_a_minibatch_is_one_share_unless_more_are_asked_for(batch: int) -> None:
    feed = Feed(split(30), batch, 0)
    assert feed.shares == 1
    assert len(feed.batch(0).x) == batch


def test_rows_labels_and_range() -> None:
    images = np.arange(4 * 12, dtype=np.uint8).reshape(4, 3, 2, 2)
    images[0] = 0
    images[1] = 255
    feed = Feed(Split(images, np.array([3, 1, 0, 2])), 4, seed=0)
    batch = feed.batch(0)
    assert batch.labels is not None
    order = feed.indices(0)
    assert torch.equal(batch.labels, torch.tensor([3, 1, 0, 2])[order])
    expected = torch.from_numpy(images[order.numpy()]).double() / 127.5 - 1
    torch.testing.assert_close(batch.x.double(), expected, rtol=0, atol=1e-6)
    assert batch.x.min() == -1
    assert batch.x.max() == 1


def test_a_split_too_large_for_memory_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 4), dtype=np.uint8)
    resident = Feed(Split(images), 4, seed=0)
    monkeypatch.setattr(feeds, "RESIDENT_LIMIT", 10)
    mapped = Feed(Split(images), 4, seed=0)
    assert mapped._resident is None
    for draw in range(5):
        assert torch.equal(mapped.batch(draw).x, resident.batch(draw).x)


def test_a_cpu_keeps_room_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(120, dtype=np.uint8).reshape(20, 6)
    whole = Feed(Split(x), 4, 0)
    for usable, resident in ((4 * x.nbytes, True), (4 * x.nbytes - 4, False)):
        monkeypatch.setattr(feeds, "usable_memory", lambda usable=usable: usable)
        feed = Feed(Split(x), 4, 0)
        assert (feed._resident is not None) == resident
        assert torch.equal(feed.batch(3).x, whole.batch(3).x)


def test_usable_memory_hears_the_limits_of_the_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    machine = memory.usable_memory()
    assert 2**27 < machine < 2**50
    asked = {resource.RLIMIT_AS: (resource.RLIM_INFINITY, 0), resource.RLIMIT_DATA: (12345, 0)}
    monkeypatch.setattr(resource, "getrlimit", asked.__getitem__)
    assert memory.usable_memory() == 12345
    (tmp_path / "memory.max").write_text("1234\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "memory.max")
    assert memory.usable_memory() == 1234
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.usable_memory() == 12345
