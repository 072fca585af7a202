"""Words on pictures: beside rows, above columns, below tiles, in a tile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont

from saddlepoint.core.quoting import for_terminal

_INK = (235, 235, 235)
_LARGE, _SMALL = 14, 8
_LONGEST = 160
"""Pixels of a heading or a caption; what is longer ends in three dots."""

_MOST = 200
"""Letters that are looked at: a name may have a million, and is cut letter by letter."""

STRIP = 15
"""Height of the line below a tile."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def captioned(
    picture: Image.Image, captions: Sequence[str], tops: Sequence[int], high: int, ground: int
) -> Image.Image:
    """Put one line of text on the left of each row.

    Args:
        picture: RGB or RGBA.
        captions: a line for each row.
        tops: where the tiles of each row begin.
        high: height of a tile.
        ground: grey level behind the text.
    """
    font = ImageFont.load_default(min(_LARGE, max(_SMALL, high)))
    lines = [_shortened(line, font, _LONGEST) for line in _one_line(captions)]
    margin = int(max(font.getlength(line) for line in lines)) + 12
    result = _grown(picture, margin, 0, ground)
    draw = ImageDraw.Draw(result)
    for line, top in zip(lines, tops, strict=True):
        draw.text((margin - 6, top + high // 2), line, _INK, font, anchor="rm")
    return result


def headed(picture: Image.Image, headings: Sequence[str], lefts: Sequence[int], wide: int, ground: int) -> Image.Image:
    """Put one line of text above each column; all of them upright where one is wider than its column.

    Args:
        picture: RGB or RGBA.
        headings: a line for each column.
        lefts: where the tiles of each column begin.
        wide: width of a tile.
        ground: grey level behind the text.
    """
    lines = _one_line(headings)
    font = _fitting(lines, wide)
    upright = font is None
    font = font or ImageFont.load_default(12)
    lines = [_shortened(line, font, _LONGEST) for line in lines]
    high = int(max(font.getlength(line) for line in lines)) + 10 if upright else 20
    result = _grown(picture, 0, high, ground)
    draw = ImageDraw.Draw(result)
    for line, left in zip(lines, lefts, strict=True):
        if upright:
            strip = Image.new("L", (high - 6, 16))
            ImageDraw.Draw(strip).text((0, 8), line, 255, font, anchor="lm")
            turned = strip.transpose(Image.Transpose.ROTATE_90)
            result.paste(_INK, (left + (wide - 16) // 2, 3), turned)
        else:
            draw.text((left + wide / 2, high / 2), line, _INK, font, anchor="mm")
    return result


def titled(picture: Image.Image, titles: Iterable[str], places: Iterable[tuple[int, int]], wide: int) -> None:
    """Write a line below each tile, into a strip of `STRIP` pixels that is there for it.

    Args:
        picture: RGB or RGBA; written on.
        titles: a line for each tile.
        places: left edge and upper edge of each strip.
        wide: width of a tile.
    """
    lines = _one_line(titles)
    font = _fitting(lines, wide) or ImageFont.load_default(_SMALL)
    draw = ImageDraw.Draw(picture)
    for line, (left, top) in zip(lines, places, strict=True):
        draw.text((left + wide / 2, top + STRIP / 2), _shortened(line, font, wide), _INK, font, anchor="mm")


def written_over(picture: Image.Image, text: str, box: tuple[int, int, int, int], ground: int) -> None:
    """Write lines of text in the place of a tile.

    Args:
        picture: RGB or RGBA; written on.
        text: lines, parted by newlines.
        box: left, upper, right and lower edge of the tile.
        ground: grey level behind the text.
    """
    draw, lines = ImageDraw.Draw(picture), _one_line(text.split("\n"))
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), (ground,) * 3)
    font = _fitting(lines, box[2] - box[0]) or ImageFont.load_default(_SMALL)
    middle, pitch = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), (box[3] - box[1]) / len(lines)
    for number, line in enumerate(lines):
        shift = (number - (len(lines) - 1) / 2) * min(pitch, 16)
        draw.text((middle[0], middle[1] + shift), line, _INK, font, anchor="mm")


def _one_line(lines: Iterable[str]) -> list[str]:
    """Return texts of one line each: a break, which cannot be measured, is shown as its escape."""
    return [for_terminal(line[:_MOST]) for line in lines]


def _fitting(lines: Sequence[str], wide: int) -> Font | None:
    """Return the largest font in which every line is at most ``wide`` pixels, or None."""
    for size in range(_LARGE - 2, _SMALL, -1):
        font = ImageFont.load_default(size)
        if max(font.getlength(line) for line in lines) <= wide:
            return font
    return None


def _shortened(line: str, font: Font, most: int) -> str:
    if font.getlength(line) <= most:
        return line
    kept = line
    while kept and font.getlength(kept + "...") > most:
        kept = kept[:-1]
    return kept + "..."


def _grown(picture: Image.Image, left: int, top: int, ground: int) -> Image.Image:
    colour = (ground,) * 3 + ((255,) if picture.mode == "RGBA" else ())
    result = Image.new(picture.mode, (picture.width + left, picture.height + top), colour)
    result.paste(picture, (left, top))
    return result
