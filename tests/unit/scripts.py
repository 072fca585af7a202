"""Scripts of benchmarks/ as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def scripts_of(names: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return scripts by name, each after those that it imports; other tests find none of them imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    loaded = {name: importlib.import_module(name) for name in names}
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return loaded
