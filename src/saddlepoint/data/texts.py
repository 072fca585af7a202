"""Texts out of arrays of a file."""

from __future__ import annotations

import sys

import numpy as np

from saddlepoint.core.errors import DataError


def texts_of(array: np.ndarray, where: str) -> list[str]:
    """Return the texts of an array of any type, all dimensions as one.

    Args:
        array: of texts, or of what has a text.
        where: what it is, for the error.

    Raises:
        DataError: if a character is none. NumPy makes a str of any 32 bits in a file, and Python fails later, where
            somebody looks at its characters.

    >>> texts_of(np.array(["a", "b"]), "columns"), texts_of(np.array([1, 2]), "columns")
    (['a', 'b'], ['1', '2'])
    """
    if array.dtype.kind == "U" and array.size:
        points = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).view(np.uint32)
        if int(points.max()) > sys.maxunicode:
            raise DataError(f"{where} holds {int(points.max()):#x} as a character, and the last one is 0x10ffff")
    return [str(text) for text in array.reshape(-1).tolist()]
