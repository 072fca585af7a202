"""When a remedy is expected to pay, by the budget that is left."""

from __future__ import annotations

import math

import pytest

from saddlepoint.engine.doctor.remedies import Course


@pytest.mark.parametrize(
    ("verdict", "healthy", "now", "left", "why"),
    [
        # On ring8 a change at 90 kimg was worse than none at twice as many samples, and as good at four times.
        ("discriminator too weak", 50, 90, 102, "what a change upsets may take 270 kimg to settle"),
        ("discriminator too weak", 50, 90, 270, ""),
        ("partial collapse", 0, 4, 15, "may take 20 kimg to settle, and the budget leaves 15 kimg"),
        ("partial collapse", 0, 4, 20, ""),
        ("discriminator too strong", 0, 5_000, math.inf, ""),
        # From what is lost training goes back: as much again as is given up must be left.
        ("full collapse", 50, 90, 39, "going back would give up 40 kimg, and the budget leaves 39 kimg"),
        ("full collapse", 50, 90, 40, ""),
        ("diverged", 85, 90, 19, "may take 20 kimg to settle"),
    ],
)
def test_a_remedy_needs_a_budget_in_which_it_can_pay(
    verdict: str, healthy: int, now: int, left: float, why: str
) -> None:
    found = Course().pays(verdict, healthy * 1000, now * 1000, left * 1000)
    assert found is None if not why else found is not None and why in found
