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


_ELSEWHERE = {
    "learning_rate": ("lr",),
    "epochs": ("kimg", "steps"),
    "num_epochs": ("kimg", "steps"),
    "iterations": ("steps",),
    "max_steps": ("steps",),
    "resolution": ("size",),
    "image_size": ("size",),
    "img_size": ("size",),
    "random_state": ("seed",),
    "num_workers": ("threads",),
    "time": ("budget",),
    "z_dim": ("latent_size", "latent-size"),
    "latent_dim": ("latent_size", "latent-size"),
    "gpus": ("device",),
    "outdir": ("out",),
    "output": ("out",),
    "target": ("label_column", "label-column"),
}
"""What other libraries call it, and what it is called here."""


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return the clause that helps after a wrong word: the nearest choice, or all of them.

    >>> suggest("gann", ["gan", "dcgan"])
    "did you mean 'gan'?"
    >>> suggest("zzz", ["gan", "dcgan"])
    'choose from: dcgan, gan'
    >>> suggest("learning_rate", ["lr", "width"])
    "did you mean 'lr'?"
    """
    names = sorted(choices)
    called = [name for name in _ELSEWHERE.get(word.replace("-", "_").lower(), ()) if name in names]
    if called:
        return "did you mean {}?".format(" or ".join(f"'{name}'" for name in called))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"choose from: {', '.join(names)}"
