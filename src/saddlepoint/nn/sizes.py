"""Which sizes of images networks can make that double a small start, square or oblong."""

from __future__ import annotations

from collections.abc import Callable

from saddlepoint.core.errors import ConfigError

MOST_OBLONG = 4  # the long side of an image as a multiple of the short one, at most

Sizes = list[tuple[int, int]]
"""(height, width) of the layers, from the smallest to that of the images."""

_FARTHEST = 64


def sides(side: int) -> list[int] | None:
    """Return the sides of the layers from 4, 5, 6 or 7 up to the image by doubling; None if there is no such list.

    >>> sides(32), sides(28), sides(9)
    ([4, 8, 16, 32], [7, 14, 28], None)
    """
    found = [side]
    while found[0] > 7:  # from 8 on a side has a smaller one that will do, so an odd one above 7 ends the search
        if found[0] % 2:
            return None
        found.insert(0, found[0] // 2)
    return found if found[0] >= 4 and len(found) > 1 else None


SIZES = tuple(side for side in range(8, 1025) if sides(side))
"""Sides of the square images that the generators can make."""


def starts(height: int, width: int) -> Sizes | None:
    """Return (height, width) of the layers by doubling, the short side from 4, 5, 6 or 7 up; None if there are none.

    >>> starts(64, 48), starts(64, 50)
    ([(8, 6), (16, 12), (32, 24), (64, 48)], None)
    """
    short, long = min(height, width), max(height, width)
    found = sides(short)
    # The long side is halved as often as the short one: it must be a multiple of the same power of two.
    if found is None or long > SIZES[-1] or long % (short // found[0]) or long > MOST_OBLONG * short:
        return None
    most = short // found[0]
    return [(height // most * (side // found[0]), width // most * (side // found[0])) for side in found]


def sides_of(shape: tuple[int, ...], family: str) -> Sizes:
    """Return (height, width) of the layers for images of a shape.

    Args:
        shape: (channel, height, width).
        family: its name, for messages.

    Raises:
        ConfigError: if the short side is none of `SIZES`, or the long one cannot be halved as often.
    """
    _, height, width = shape
    found = starts(height, width)
    if found is None:
        raise ConfigError(
            f"family '{family}' makes images whose short side is 4, 5, 6 or 7 times a power of two, from 8 to 1024, "
            f"and whose long side is a multiple of that power, but these are {width}x{height}; choose --size "
            f"{proposed(width, height, lambda w, h: starts(h, w) is not None)} or another of them"
        )
    return found


def nearest_size(width: int, height: int, can_make: Callable[[int, int], bool]) -> tuple[int, int] | None:
    """Return the (width, height) nearest to a size among those that can be made: in steps of a pixel, then in aspect.

    None if there is none within a quarter of the longer side, or within 64 pixels.

    >>> nearest_size(100, 66, lambda w, h: w % 16 == h % 16 == 0)
    (96, 64)
    """
    aspect = width / height
    for away in range(max(_FARTHEST, max(width, height) // 4) + 1):
        ring = [
            (w, h)
            for w in range(max(4, width - away), width + away + 1)
            for h in (  # left and right edge of the ring in full, else its top and bottom
                (height - away, height + away) if abs(w - width) < away else range(height - away, height + away + 1)
            )
            if h >= 4 and can_make(w, h)
        ]
        if ring:
            return min(ring, key=lambda size: (abs(size[0] / size[1] / aspect - 1), -size[0]))
    return None


def proposed(width: int, height: int, can_make: Callable[[int, int], bool]) -> str:
    """Return the nearest size as it is written; 32 if there is none near.

    >>> proposed(30, 30, lambda w, h: w == h and w in (28, 32))
    '32'
    """
    found = nearest_size(width, height, can_make) or (32, 32)
    return str(found[0]) if found[0] == found[1] else f"{found[0]}x{found[1]}"
