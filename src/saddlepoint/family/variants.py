"""A family whose options choose among variants of its game, each a class that changes a few methods."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Self, cast

from saddlepoint.data.spec import DataSpec


class Varied:
    """Puts the classes that the options ask for before the game; each calls the next by ``super()``.

    A family inherits it first: ``class StyleGAN(Varied, Game)``.

    Attributes:
        variants: classes whose methods come before the game's own, first ones first, and the options that ask for each.
    """

    variants: ClassVar[tuple[tuple[type, Callable[[Any], bool]], ...]]

    def __new__(cls, config: Any = None, data: DataSpec | None = None) -> Self:
        """Return the game as the options ask for it."""
        # A copy is made without options: its class is known already, and so are the variants in it.
        asked = () if config is None else tuple(kind for kind, wanted in cls.variants if wanted(config))
        game: Any = cls
        whole = _with(game, tuple(kind for kind in asked if not issubclass(cls, kind)))
        return cast("Self", super().__new__(whole))


@cache
def _with(game: Any, variants: tuple[type, ...]) -> type:
    """Return the game with the variants before it: one class for all that ask for the same."""
    if not variants:
        return cast("type", game)
    # The name says in a traceback which methods are in force.
    name = "".join(kind.__name__ for kind in variants) + game.__name__
    return abc.ABCMeta(name, (*variants, game), {"__module__": game.__module__})
