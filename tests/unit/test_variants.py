"""A family with variants is the game that its options ask for, with the variants' methods first; a copy is one too."""

from __future__ import annotations

import copy

import pytest
import torch

from saddlepoint.family import DataSpec, families
from saddlepoint.family.variants import Varied
from tests.contract.presets import untrained

VARIED = [name for name, kind in families().items() if issubclass(kind, Varied)]


class Game:
    def __init__(self, config: str, data: DataSpec) -> None:
        self.config = config

    def steps(self) -> str:
        return "game"


class Loud(Game):
    def steps(self) -> str:
        return f"loud {super().steps()}"


class Slow(Game):
    def steps(self) -> str:
        return f"slow {super().steps()}"


class Whole(Varied, Game):
    variants = ((Loud, lambda config: "loud" in config), (Slow, lambda config: "slow" in config))


DATA = DataSpec("vector", (2,))


def test_each_variant_calls_the_next() -> None:
    assert [Whole(words, DATA).steps() for words in ("", "loud", "slow", "slow and loud")] == [
        "game", "loud game", "slow game", "loud slow game",
    ]  # fmt: skip
    loud = Whole("loud", DATA)
    assert isinstance(loud, Whole)
    assert type(loud) is type(Whole("loud", DATA))
    assert type(loud)("loud", DATA).steps() == "loud game"
    assert (type(loud).__name__, type(loud).__module__) == ("LoudWhole", __name__)


@pytest.mark.parametrize("words", ["", "slow and loud"])
def test_a_copy_has_the_variants(words: str) -> None:
    whole = Whole(words, DATA)
    other = copy.deepcopy(whole)
    assert (type(other), other.steps()) == (type(whole), whole.steps())


@pytest.mark.parametrize("name", VARIED)
def test_every_variant_of_a_family_can_be_copied(name: str) -> None:
    """A forecast of the report copies the family before it trains."""
    for preset in families()[name].PRESETS:
        family, _ = untrained(name, preset)
        other = copy.deepcopy(family)
        assert type(other) is type(family)
        for (key, value), (same, kept) in zip(family.state_dict().items(), other.state_dict().items(), strict=True):
            assert key == same
            assert torch.equal(value, kept)
