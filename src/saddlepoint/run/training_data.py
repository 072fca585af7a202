"""The data that a run was trained on: found again, and held against the fingerprint of then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from saddlepoint.core.errors import CheckpointError, DataError
from saddlepoint.core.quoting import for_python
from saddlepoint.data import Dataset, load_dataset
from saddlepoint.data.options import preparation_of
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.origin import counted, refuse_gone

if TYPE_CHECKING:
    from saddlepoint.run.run import Run


def load(run: Run, say: Callable[[str], None] | None = None) -> Dataset:
    """Return the data of a run, prepared as in training; see `Run.dataset`."""
    data = run.config["data"]
    refuse_gone(data["source"], run.path, f"--data NEW, or saddlepoint.load({for_python(str(run.path))}, data=NEW)")
    dataset = load_dataset(data["source"], say=say, **preparation_of(data))
    if dataset.fingerprint != data["fingerprint"]:
        now = sum(len(split) for split in dataset.splits.values())
        raise DataError(
            f"'{data['source']}' has changed since the run was trained on it: "
            f"{counted(data, {'total': now, 'rows': dataset.spec.rows})} (fingerprint "
            f"{dataset.fingerprint[:12]} now, {data['fingerprint'][:12]} then); restore it, or train again"
        )
    _keep_place(run)
    return dataset


def _keep_place(run: Run) -> None:
    """Note in ``config.json`` where the data is now, once it was found to be the same; an export stays as it is."""
    folder = RunFolder(run.path)
    with contextlib.suppress(CheckpointError, KeyError, TypeError):
        kept = folder.read_config()
        now, then = run.config["data"], kept["data"]
        if now["source"] != then["source"] and "export" not in kept and now["fingerprint"] == then["fingerprint"]:
            folder.write_config({**kept, "data": {**then, "source": now["source"]}})
