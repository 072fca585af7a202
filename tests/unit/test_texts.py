"""Texts out of arrays: whole, or refused where a character is none."""

from __future__ import annotations

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.texts import texts_of


@pytest.mark.parametrize("order", ["<", ">"])
def test_characters_beyond_the_last_are_refused(order: str) -> None:
    points = np.array([[0x61, 0x10FFFF], [0x62, 0]], f"{order}u4")
    array = np.frombuffer(points.tobytes(), f"{order}U2")
    assert texts_of(array, "columns") == ["a\U0010ffff", "b"]
    points[1, 1] = 0x110000
    with pytest.raises(DataError, match="columns holds 0x110000 as a character") as caught:
        texts_of(np.frombuffer(points.tobytes(), f"{order}U2"), "columns")
    assert str(caught.value).isprintable()


def test_other_types_have_their_text() -> None:
    assert texts_of(np.array([[1], [2]]), "") == ["1", "2"]
    assert texts_of(np.array([], "<U3"), "") == []
    assert texts_of(np.array(["a", "bc"]).reshape(2, 1).T, "") == ["a", "bc"]
