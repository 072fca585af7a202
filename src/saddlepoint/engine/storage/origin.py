"""The data that a run was trained on: whether it is still there, and how it differs from what is there now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.data import gone


def refuse_gone(source: str, run: Path, way: str) -> None:
    """Refuse data that is no longer where a run found it.

    Args:
        source: of the data.
        run: folder of the run.
        way: how to say where it is now.

    Raises:
        DataError: naming the place and the way.
    """
    if (lost := gone(source)) is not None:
        raise DataError(
            f"'{run}' was trained on '{lost}', and nothing is there now; if the data was moved, say where it is: {way}"
        )


def counted(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say how many rows data had and has, such as ``700 images then, 699 now``.

    Args:
        then, now: ``data`` of a configuration, or its ``total`` and ``rows``.
    """
    noun = {"sequence": "windows", "image": "images"}.get(str(then.get("modality")), "rows")
    name = "total"
    if then.get(name) is None:  # runs before version 0.2 counted the training rows only
        name, noun = "rows", f"training {noun}"
    before, after = then.get(name), now.get(name)
    if before == after:
        return f"{after:,} {noun} as then, but not the same ones"
    return f"{before:,} {noun} then, {after:,} now"
