"""Which row is held out: as the source says, else by content, so that copies and pages of a file stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saddlepoint.data.dataset import SPLITS
from saddlepoint.data.plan import Finding, Note

SHARE = 10
"""One row in ten goes to each of valid and test where the source does not say."""

FEW = 100
"""Training rows below which it is said that few remain."""


def assign_splits(
    named_splits: Sequence[str], hashes: Sequence[int], valid_tail: int | None = None, *, files: bool = False
) -> tuple[dict[str, np.ndarray], list[Note]]:
    """Decide which row goes where.

    A split that the source does not name is carved out of the training rows: by the hash of the content, so
    that it does not depend on the order of files and equal rows stay together.

    Args:
        named_splits: split named by the source for each row, or "".
        hashes: hash of the content of each row, of a page that of its file.
        valid_tail: see `prepare`.
        files: rows with one hash are pages of one file, which no two splits may share.

    Returns:
        sorted row indices by split, none empty; notes.
    """
    named = {split: [i for i, s in enumerate(named_splits) if s == split] for split in SPLITS}
    pool = [i for i, s in enumerate(named_splits) if s in ("", "train")]
    notes: list[Note] = []
    if len(pool) < 3:
        pool, named = list(range(len(named_splits))), {"valid": [], "test": []}
        notes.append("the source has no training rows of its own, so all rows were pooled")
    result = {split: named[split] for split in ("valid", "test") if named[split]}
    if valid_tail is not None and "valid" not in result and "test" in result:
        tail = valid_tail if len(pool) >= 2 * valid_tail else max(1, len(pool) // 6)
        result["valid"], pool = pool[-tail:], pool[:-tail]
        notes.append(f"the last {tail:,} training rows are the valid split")
    wanted = [split for split in ("test", "valid") if split not in result]
    if wanted:
        count = max(1, round(len(pool) / SHARE))
        carved, how = _carve_files(pool, hashes, wanted, count) if files else (_carve(pool, hashes, wanted, count), "")
        result.update(carved)
        taken = {i for rows in carved.values() for i in rows}
        pool = [i for i in pool if i not in taken]
        sizes = " and ".join(_rows(len(carved[s]), s) for s in reversed(wanted))
        how = how or "chosen by a hash of their content"
        notes.append(_set_aside(f"{sizes} were set aside from {len(pool) + len(taken):,}, {how}", len(pool)))
    result["train"] = pool
    return {split: np.array(result[split], dtype=np.int64) for split in SPLITS}, notes


def keep_all(hashes: Sequence[int]) -> tuple[dict[str, np.ndarray], list[Note]]:
    """Return splits that train on every row: held-out rows are training rows too, chosen as `assign_splits` does.

    Args:
        hashes: as there.
    """
    rows = list(range(len(hashes)))
    parts = {"train": rows, **_carve(rows, hashes, ["test", "valid"], max(1, round(len(rows) / SHARE)))}
    says = f"all {len(rows):,} rows are trained on: no row is held out, so no figure sees copies or overfitting"
    note = Finding("data", says, option="without --splits all a fifth is set aside")
    return {split: np.array(parts[split], dtype=np.int64) for split in SPLITS}, [note]


def _rows(n: int, split: str) -> str:
    return f"{n:,} row{'' if n == 1 else 's'} for {split}"


def _set_aside(says: str, left: int) -> Note:
    """Say what was set aside; where few rows are left to train on, how to keep all and what that costs."""
    if left >= FEW:
        return says
    few = f"{says}: only {left} remain to train on (--splits all trains on all, but then no figure sees copies)"
    return Finding("data", few, option="--splits all")


def _carve(pool: Sequence[int], hashes: Sequence[int], wanted: Sequence[str], count: int) -> dict[str, list[int]]:
    groups: dict[int, list[int]] = {}
    for i in pool:
        groups.setdefault(hashes[i], []).append(i)
    if len(groups) < 3 * len(wanted):
        # so few different rows that groups cannot be kept together: fall back to single rows
        groups = {n: [i] for n, i in enumerate(pool)}
    carved: dict[str, list[int]] = {split: [] for split in wanted}
    for key in sorted(groups):
        for rows in carved.values():
            if len(rows) < count and len(rows) + len(groups[key]) <= max(count, 1):
                rows += groups[key]
                break
    for split, rows in carved.items():
        if not rows:  # every group is larger than the share: take the last rows, duplicates or not
            free = [i for i in pool if not any(i in other for other in carved.values())]
            carved[split] = free[-count:]
    return {split: sorted(rows) for split, rows in carved.items()}


def _carve_files(
    pool: Sequence[int], hashes: Sequence[int], wanted: Sequence[str], count: int
) -> tuple[dict[str, list[int]], str]:
    """Set whole files aside; pages of the only files there are by their order, as far apart as they can be."""
    groups: dict[int, list[int]] = {}
    for i in pool:
        groups.setdefault(hashes[i], []).append(i)
    carved: dict[str, list[int]] = {}
    if len(groups) <= len(wanted):
        for place, split in enumerate(wanted):
            end = len(pool) - place * count
            carved[split] = sorted(pool[end - count : end])
        return carved, "the last pages in order: there are too few files, and pages of one file may be alike"
    # By hash, but files larger than a part last: a long stack among single pictures belongs to training.
    order = sorted(groups, key=lambda key: (max(0, len(groups[key]) - count), key))
    for place, split in enumerate(wanted):
        rows = list(groups[order.pop(0)])
        spare = len(wanted) - place
        while len(order) > spare and len(rows) + len(groups[order[0]]) <= count:
            rows += groups[order.pop(0)]
        carved[split] = sorted(rows)
    return carved, "whole files, chosen by a hash of their content"
