"""Errors a person can act on: what was received, the rule, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from saddlepoint.core.quoting import for_terminal, shortened


class SaddlepointError(Exception):
    """Base of every error the library raises on purpose; the command exits with code 2 and this text.

    The text is harmless wherever it is printed: a hidden character in it came with somebody's name, and is shown as
    its escape; so is a line break, but for kinds of errors whose text has several lines.
    """

    lines = False
    """Whether line breaks are the text's own."""

    def __str__(self) -> str:
        """Return the text."""
        return for_terminal(super().__str__(), self.lines)


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


MOST_CHOICES = 40
"""Words that are named where nothing is near; a data set may have thousands of classes."""


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return the clause that helps after a wrong word: the nearest choice, or all of them.

    >>> suggest("gann", ["gan", "dcgan"])
    "did you mean 'gan'?"
    >>> suggest("zzz", ["gan", "dcgan"])
    'choose from: dcgan, gan'
    >>> suggest("learning_rate", ["lr", "width"])
    "did you mean 'lr'?"
    >>> suggest("--bugdet", ["--budget", "--lr"]), suggest("lga", ["EWR", "LGA"])
    ("did you mean '--budget'?", "did you mean 'LGA'?")
    """
    names = sorted(choices)
    dashes = "--" * word.startswith("--")
    called = [dashes + name for name in _ELSEWHERE.get(word.removeprefix("--").replace("-", "_").lower(), ())]
    called = [name for name in called if name in names]
    if called:
        return "did you mean {}?".format(" or ".join(f"'{name}'" for name in called))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not near:  # the same in other letters
        plain = {name.lower(): name for name in reversed(names)}
        near = [plain[name] for name in difflib.get_close_matches(word.lower(), list(plain), n=1, cutoff=0.6)]
    return f"did you mean '{near[0]}'?" if near else f"choose from: {shortened(names, MOST_CHOICES)}"


def sentence(text: str) -> str:
    """Return a text with a full stop, where it does not end in a mark of its own.

    >>> sentence("did you mean 'gan'?"), sentence("choose from: dcgan, gan")
    ("did you mean 'gan'?", 'choose from: dcgan, gan.')
    """
    return text if text.endswith(("?", "!", ".")) else text + "."


def enumerated(names: Iterable[str], last: str = "and") -> str:
    """Return names as a person lists them.

    >>> enumerated(["gan", "cgan", "dcgan"]), enumerated(["gan", "cgan"], "or"), enumerated(["gan"])
    ('gan, cgan and dcgan', 'gan or cgan', 'gan')
    """
    every = list(names)
    return f"{', '.join(every[:-1])} {last} {every[-1]}" if len(every) > 1 else "".join(every)
