"""A family whose options choose among variants of its game, each a class that changes a few methods."""

from __future__ import annotations

import abc
from functools import cache
from typing import Any, Self, cast

from saddlepoint.data.spec import DataSpec


class Varied(abc.ABC):
    """Puts the classes that the options ask for before the game; each calls the next by ``super()``.

    A family inherits it first: ``class StyleGAN(Varied, Game)``.
    """

    @classmethod
    @abc.abstractmethod
    def variants(cls, config: Any) -> tuple[type, ...]:
        """Return the classes whose methods come before the game's own, first ones first."""

    def __new__(cls, config: Any = None, data: DataSpec | None = None) -> Self:
        """Return the game as the options ask for it."""
        # A copy is made without options: its class is known already, and so are the variants in it.
        asked = () if config is None else cls.variants(config)
        kind: Any = _with(cls, tuple(variant for variant in asked if not issubclass(cls, variant)))
        return cast("Self", super().__new__(kind))


@cache
def _with(game: type, variants: tuple[type, ...]) -> type:
    """Return the game with the variants before it: one class for all that ask for the same."""
    return abc.ABCMeta(game.__name__, (*variants, game), {"__module__": game.__module__}) if variants else game
