"""Errors a person can act on: what was received, the rule, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SaddlepointError(Exception):
    """Base of every error the library raises on purpose; the command exits with code 2 and this text."""


class ConfigError(SaddlepointError):
    """An option, a preset, a family or a combination of them is not possible."""


class DataError(SaddlepointError):
    """Data cannot be found, read or used."""


class CheckpointError(SaddlepointError):
    """A run folder or a checkpoint cannot be read or written."""


class TrainingError(SaddlepointError):
    """Training cannot go on: a loss or a gradient is not finite."""


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return the clause that helps after a wrong word: the nearest choice, or all of them.

    >>> suggest("gann", ["gan", "dcgan"])
    "did you mean 'gan'?"
    >>> suggest("zzz", ["gan", "dcgan"])
    'choose from: dcgan, gan'
    """
    names = sorted(choices)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"choose from: {', '.join(names)}"
