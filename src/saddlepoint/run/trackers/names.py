"""Which trackers there are, and what a figure is called in all of them.

TensorBoard renames what is no letter, digit, ``_``, ``-``, ``.`` or ``/``, so that two figures may share a curve;
MLflow refuses it. One spelling that all three keep as it is serves them all.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.packages import refuse_missing

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""Names of trackers, of their packages and of the extras that bring them."""

OFF = "off"
"""Said of a run that goes on: it is not logged to any tracker any more."""

LONGEST = 200
"""Letters of a name; MLflow takes 250."""

_PLAIN = re.compile(r"[\w\-./ (),]*")
"""Names whose spelling loses brackets, commas and spaces alone."""


def read_trackers(asked: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the trackers that were asked for, in order; () for `OFF`, None where nothing was said.

    Args:
        asked: names, or one text with commas between them.

    Raises:
        ConfigError: on an unknown name, or one whose package is not installed, with the command that installs it.

    >>> read_trackers(None), read_trackers("off")
    (None, ())
    """
    if asked is None:
        return None
    words = asked.split(",") if isinstance(asked, str) else list(asked)
    names = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if names == (OFF,):
        return ()
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"log-to is '{name}'; {suggest(name, (*TRACKERS, OFF))}")
        if find_spec(name) is None:
            refuse_missing(name, name, f"--log-to {name}")
    return names or None


def tracker_names(names: Iterable[str]) -> dict[str, str]:
    """Return what figures are called in every tracker, by their own names; different ones stay different.

    Letters of any script, digits, ``_``, ``-``, ``.`` and ``/`` stay; a space or an opening bracket is ``_``. A name
    that loses more, or would be another one's, ends in a checksum of its own, whatever comes before or after it.

    >>> tracker_names(["loss/generator", "D(G(z))", "gradient G"])
    {'loss/generator': 'loss/generator', 'D(G(z))': 'D_G_z', 'gradient G': 'gradient_G'}
    >>> tracker_names(["fd (test)", "fd [test]"])
    {'fd (test)': 'fd_test-e66f4faf', 'fd [test]': 'fd_test-3cb185e5'}
    """
    found = {name: _spelt(name) for name in names}
    shared = Counter(found.values())
    return {
        name: spelt if shared[spelt] == 1 and _is_faithful(name, spelt) else f"{spelt}-{_checksum(name)}"
        for name, spelt in found.items()
    }


def _spelt(name: str) -> str:
    """Return a name in the letters that all trackers take; the parts of a path are none that lead elsewhere."""
    parts = (re.sub(r"_+", "_", re.sub(r"[^\w\-.]", "_", part.replace(")", ""))) for part in name.split("/"))
    return "/".join(kept for part in parts if (kept := part.strip("_.")))[:LONGEST] or "_"


def _is_faithful(name: str, spelt: str) -> bool:
    """Whether a spelling lost brackets, commas and spaces alone: no other sign, no part of a path, no end."""
    same = name.count("/") == spelt.count("/") and len(name) <= LONGEST
    return same and _PLAIN.fullmatch(name) is not None and spelt != "_"


def _checksum(name: str) -> str:
    return f"{zlib.crc32(name.encode(errors='surrogatepass')):08x}"
