"""Pictures one after another as a film."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

from PIL import Image

from saddlepoint.core.errors import ConfigError


def film(frames: Sequence[Image.Image], milliseconds: int = 60, least: int = 224, kind: str = "gif") -> bytes:
    """Return pictures as the bytes of a film: a GIF that begins again and again, or an MP4 (H.264).

    Args:
        frames: pictures of one size.
        milliseconds: of a frame.
        least: sides below this many pixels are enlarged to about it, pixel by pixel.
        kind: gif, or mp4, which needs the extra ``video``.

    Raises:
        ConfigError: if there are none, or the extra is not installed.
    """
    if not frames:
        raise ConfigError("0 frames make no film: give at least one")
    scale = max(1, round(least / max(frames[0].size)))
    size = (frames[0].width * scale, frames[0].height * scale)
    large = [frame.convert("RGB").resize(size, Image.Resampling.NEAREST) for frame in frames]
    if kind == "mp4":
        return _mp4(large, milliseconds)
    buffer = io.BytesIO()
    large[0].save(buffer, "GIF", save_all=True, append_images=large[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()


def _mp4(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    """Encode pictures of one size; odd sides lose a pixel, as half of the colours' sides must be whole."""
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            f"MP4 needs a package that is not installed ({error.name}); run: "
            "pip install 'saddlepoint[video]', or give --out FILE.gif"
        ) from error
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(1000, milliseconds), options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width // 2 * 2, frames[0].height // 2 * 2, "yuv420p"
        for picture in frames:
            whole = picture.crop((0, 0, stream.width, stream.height))
            film.mux(stream.encode(av.VideoFrame.from_image(whole)))
        film.mux(stream.encode())
    return buffer.getvalue()
