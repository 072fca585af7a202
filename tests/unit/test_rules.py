"""Options are held against the rule that the error names: what is just within passes, what is just outside does not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from saddlepoint.core.errors import ConfigError
from saddlepoint.family.rules import check_each

CASES = [
    ("at least 1", (1, 7), (0, -1)),
    ("0 or more", (0, 0.5), (-1e-9,)),
    ("positive", (1e-9, 3), (0, -2)),
    ("positive, or none", (None, 1e-9), (0, -2)),
    ("in [0, 1)", (0, 0.999), (1, -1e-9)),
    ("in (0, 1]", (1, 1e-9), (0, 1.001)),
    ("in [0, 1]", (0, 1), (-1e-9, 1.001)),
]


@pytest.mark.parametrize(("rule", "good", "bad"), CASES, ids=[rule for rule, _, _ in CASES])
def test_a_rule_has_its_limits(rule: str, good: tuple[float | None, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        check_each(SimpleNamespace(beta_one=value), rule, "beta_one")
    for value in bad:
        with pytest.raises(ConfigError) as caught:
            check_each(SimpleNamespace(fine=good[0], beta_one=value), rule, "fine", "beta_one")
        assert str(caught.value) == f"beta-one is {value}, but it must be {rule}"
