"""Decode any picture: upright, laid on a ground or with its transparency, in 8 bits or in 16."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.images import depth
from saddlepoint.data.images.depth import TOP, Levels, NotFinite
from saddlepoint.data.images.opening import Unreadable, check_decoded, draft, open_image, refuse_tiny
from saddlepoint.data.images.shape import WHITE, Colour, Planes

if TYPE_CHECKING:
    from PIL import Image

_GREY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112
_BITS = 16


@dataclass(frozen=True)
class Look:
    """How pictures of a set are decoded: the same for all of them, and for pictures that are compared with them.

    Attributes:
        ground: what transparent pictures are laid on, and what oblong ones are padded with.
        alpha: whether transparency is kept as a fourth channel instead.
        depth: bits of a value that are kept, 8 or 16.
        levels: values of deeper pictures that become black and white.
    """

    ground: Colour = WHITE
    alpha: bool = False
    depth: int = 8
    levels: Levels = field(default_factory=Levels)

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the usual look, as plain JSON values; empty if nothing does."""
        found: dict[str, Any] = {}
        if self.ground != WHITE:
            found["ground"] = list(self.ground)
        if self.alpha:
            found["alpha"] = True
        if self.depth != 8:
            found["depth"] = self.depth
        if self.levels != Levels():
            found["levels"] = {"whole": list(self.levels.whole), "floats": list(self.levels.floats)}
        return found


def look_from_json(kept: Mapping[str, Any] | None) -> Look:
    """Return what `Look.to_json` gave.

    >>> look_from_json(Look((0, 0, 0), depth=16).to_json()) == Look((0, 0, 0), depth=16)
    True
    """
    kept = kept or {}
    levels = {kind: (float(low), float(high)) for kind, (low, high) in kept.get("levels", {}).items()}
    red, green, blue = kept.get("ground", WHITE)
    return Look((red, green, blue), bool(kept.get("alpha")), int(kept.get("depth", 8)), Levels(**levels))


def ground_of(text: str) -> Colour:
    """Return the colour that a word names.

    Raises:
        DataError: if it names none.

    >>> ground_of("white"), ground_of("#ff8000")
    ((255, 255, 255), (255, 128, 0))
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise DataError(f"--background is '{text}', but it must be white, black, grey, or #rrggbb") from None
    return red, green, blue


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Make Pillow's warning about decompression bombs an error, and silence its remarks on odd metadata."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def open_picture(payload: bytes | np.ndarray, origin: str, most_pixels: int | None = None) -> Image.Image:
    """Open a picture without decoding it: size and mode are known afterwards.

    Args:
        payload: bytes of an image file, or pixels (height, width) or (height, width, channel): uint8, or deeper ones of
            any type, whose levels the whole set decides.
        origin: name of the file or row, for messages.
        most_pixels: that it may have; None: as `limits` says.

    Raises:
        Unreadable: if it is not a picture, or smaller than 4 pixels on a side.
        DataError: if it would be too costly to decode, by its pixels or by what its head asks for.
    """
    from PIL import Image

    if isinstance(payload, np.ndarray):
        pixels = payload[..., 0] if payload.ndim == 3 and payload.shape[2] == 1 else payload
        image: Image.Image
        if payload.dtype in (np.uint8, np.bool_):
            image = Image.fromarray(np.ascontiguousarray(pixels))
        else:
            image = depth.of_array(np.ascontiguousarray(pixels))
    else:
        image = depth.attach(open_image(payload, origin, most_pixels), payload=payload)
    refuse_tiny(image)
    return image


USUAL = Look()


def decode(image: Image.Image, done: Counter[str], look: Look = USUAL, side: int | None = None) -> Image.Image | Planes:
    """Decode an opened picture, upright.

    Args:
        image: result of `open_picture`.
        done: counts conversions that change what is seen, by their description.
        look: how.
        side: the longer of the sides that are needed, in pixels; None: all. A very large JPEG is decoded at a smaller
            scale, of at least twice that.

    Returns:
        A picture of mode L or RGB, where transparency is kept RGBA; of 16 bits `Planes`.

    Raises:
        Unreadable: if the file is damaged or its values have no defined brightness.
        DataError: if it would take too much memory.
    """
    if side is not None:
        draft(image, side)
    check_decoded(image, len(depth.payload_of(image)))
    try:
        values = depth.values_of(image) if depth.is_deep(image) else None
        if depth.is_halved(image):
            done["of a kind of 16 bits of which only the upper 8 can be read"] += 1
        image.load()
        orientation = orientation_of(image)
        result: Image.Image | Planes
        if look.depth == _BITS:
            result = _planes(image, values, look, done)
        elif values is not None:
            result = _eight_bits_of(values, look, done)
        else:
            result = _to_eight_bits(image, done, look)
        result = upright(result, orientation)
        if orientation != 1:
            done["turned upright as their EXIF orientation says"] += 1
    except Unreadable:
        raise
    except NotFinite:
        raise Unreadable("it holds NaN or infinity, outside every range of values") from None
    except Exception as error:  # as above: a truncated PNG, a bad JPEG and a broken palette fail differently
        raise Unreadable(f"damaged ({error or type(error).__name__})") from error
    return result


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded picture, 1 to 8; 1 is upright."""
    may_turn = "exif" in image.info or getattr(image, "format", None) in ("TIFF", "MPO")
    orientation = int(image.getexif().get(_ORIENTATION, 1)) if may_turn else 1
    return orientation if orientation in range(2, 9) else 1


def upright(image: Any, orientation: int) -> Any:
    """Turn a picture, or a channel of one, that is stored in an EXIF orientation."""
    if orientation == 1:
        return image
    turn = _turn(orientation)
    return image.transposed(turn) if isinstance(image, Planes) else image.transpose(turn)


def is_grey(image: Image.Image | Planes) -> bool:
    """Whether a decoded picture has no colour, also when it is stored as RGB with equal channels."""
    if isinstance(image, Planes):
        colours = [np.asarray(plane) for plane in image.channels[:3]]
        return len(image.channels) < 3 or all(np.array_equal(colours[0], other) for other in colours[1:])
    if image.mode == "L":
        return True
    pixels = np.asarray(image)[..., :3]
    return bool((pixels[..., :1] == pixels[..., 1:]).all())


def grey_by_mode(image: Image.Image) -> bool:
    """Whether an opened picture is grey for certain, judging by its mode alone."""
    return image.mode in _GREY or image.mode.startswith("I;16")


def _turn(orientation: int) -> Image.Transpose:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }[orientation]  # fmt: skip


def _to_eight_bits(image: Image.Image, done: Counter[str], look: Look) -> Image.Image:
    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if mode == "1":
        return image.convert("L")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _transparent(image.convert("RGBA"), mode in ("L", "LA", "La"), done, look)
    if mode == "CMYK":
        done["converted from CMYK to RGB"] += 1
    return image.convert("RGB")


def _transparent(layered: Image.Image, grey: bool, done: Counter[str], look: Look) -> Image.Image:
    from PIL import Image

    seen_through = layered.getchannel("A").getextrema() != (255, 255)
    if look.alpha:
        if seen_through:
            done[kept_text(look)] += 1
        return layered
    if seen_through:
        done[laid_text(look)] += 1
    ground = Image.new("RGBA", layered.size, (*look.ground, 255))
    flat = look.ground[0] == look.ground[1] == look.ground[2]
    return Image.alpha_composite(ground, layered).convert("L" if grey and flat else "RGB")


def laid_text(look: Look) -> str:
    """Return how `decode` counts pictures that were laid on the ground."""
    return f"transparent and were laid on {colour_name(look.ground)}"


def kept_text(look: Look) -> str:
    """Return how `decode` counts pictures whose transparency was kept."""
    return f"transparent: pixels that cannot be seen were coloured {colour_name(look.ground)}"


def colour_name(colour: Colour) -> str:
    """Return a colour's name, or how it is written.

    >>> colour_name((255, 255, 255)), colour_name((255, 128, 0))
    ('white', '#ff8000')
    """
    names = {(255, 255, 255): "white", (0, 0, 0): "black", (128, 128, 128): "grey"}
    return names.get(colour) or "#{:02x}{:02x}{:02x}".format(*colour)


def _eight_bits_of(values: np.ndarray, look: Look, done: Counter[str]) -> Image.Image:
    """Return a deep picture in 8 bits, after which its transparency is treated as any other's."""
    from PIL import Image

    done[f"scaled from {'floats' if values.dtype.kind == 'f' else 'more than 8 bits'} to 8 bits"] += 1
    pixels = look.levels.bring(values, 255, np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels[..., 3] = np.rint(_opacity(values[..., 3]) * 255)
        return _transparent(Image.fromarray(pixels), False, done, look)
    return Image.fromarray(pixels)


def _planes(image: Image.Image, values: np.ndarray | None, look: Look, done: Counter[str]) -> Planes:
    from PIL import Image

    pixels: np.ndarray
    if values is None:
        found = _to_eight_bits(image, done, look)
        pixels = np.asarray(found, dtype=np.float32) * (TOP // 255)
        alpha = found.mode == "RGBA"
    else:
        pixels = look.levels.bring(values, TOP, np.float32)
        alpha = pixels.ndim == 3 and pixels.shape[2] == 4
        if alpha:
            pixels[..., 3] = _opacity(values[..., 3]) * TOP
            if pixels[..., 3].min() < TOP:
                done[kept_text(look) if look.alpha else laid_text(look)] += 1
        if alpha and not look.alpha:
            share, ground = pixels[..., 3:] / TOP, np.array(look.ground, np.float32) * (TOP // 255)
            pixels, alpha = pixels[..., :3] * share + ground * (1 - share), False
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return Planes(tuple(Image.fromarray(planes[..., k].astype(np.float32)) for k in range(planes.shape[2])), alpha)


def _opacity(alpha: np.ndarray) -> np.ndarray:
    """Return alpha as shares: it uses the range of its type whatever the colours do."""
    return alpha.clip(0, 1) if alpha.dtype.kind == "f" else alpha / float(max(TOP, int(alpha.max())))
