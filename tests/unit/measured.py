"""A small conditional run on digits with figures, for tests of what is made of a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import saddlepoint
from saddlepoint.run.run import Run


def measured(factory: pytest.TempPathFactory, protocols: Sequence[str]) -> Run:
    """Train for a moment, with a cache of its own, and measure by ``protocols``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(factory.mktemp("cache")))
        options = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
        folder = factory.mktemp("runs") / "digits"
        run = saddlepoint.train("cgan", data="digits", steps=30, options=options, threads=1, out=folder)
        run.save_report(run.evaluate(protocols))
    return run
