"""Decoding: every mode has an oracle, and geometry is checked on pictures whose answer is known."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data.images.decode import (
    Look,
    Unreadable,
    decode,
    is_grey,
    look_from_json,
    open_picture,
    strict_pillow,
)
from saddlepoint.data.images.depth import Levels
from saddlepoint.data.images.shape import shape_to
from saddlepoint.data.images.survey import Survey
from tests.unit.data_helpers import pictures, png


def _decoded(payload: bytes | np.ndarray) -> tuple[np.ndarray, Counter[str]]:
    done: Counter[str] = Counter()
    with strict_pillow():
        return np.asarray(decode(open_picture(payload, "x"), done)), done


def _saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_files_come_back_bit_for_bit(channels: int) -> None:
    for pixels in pictures(5, 17, channels):
        assert np.array_equal(_decoded(png(pixels))[0], pixels)
        assert np.array_equal(_decoded(pixels)[0], pixels)


def test_sixteen_bit_gradient_maps_to_the_nearest_eight_bit_value() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels, done = _decoded(_saved(Image.fromarray(values)))
    expected = np.rint(values / 65535 * 255)
    assert np.abs(pixels - expected).max() == 0
    assert (np.diff(pixels.ravel().astype(int)) >= 0).all()
    assert sum(done.values()) == 1


def test_floats_in_unit_range_are_scaled_and_nan_is_unreadable() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert np.array_equal(_decoded(_saved(Image.fromarray(values), "TIFF"))[0], np.rint(values * 255))
    values[0, 0] = np.nan
    with pytest.raises(Unreadable, match="NaN or infinity"):
        _decoded(_saved(Image.fromarray(values), "TIFF"))


def test_one_bit_becomes_black_and_white() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(bool)
    assert np.array_equal(_decoded(_saved(Image.fromarray(bits)))[0], bits * np.uint8(255))


def test_palette_is_looked_up() -> None:
    rgb = pictures(1, 16, 3)[0] // 128 * 255
    image = Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    assert np.array_equal(_decoded(_saved(image))[0], rgb)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[:4, :, 3] = 255
    pixels, done = _decoded(png(rgba))
    assert (pixels[:4] == 0).all()
    assert (pixels[4:] == 255).all()
    assert done == {"transparent and were laid on white": 1}
    grey, _ = _decoded(_saved(Image.fromarray(rgba).convert("LA")))
    assert grey.shape == (8, 8)
    assert np.array_equal(grey, pixels[..., 0])


def test_half_transparency_is_the_mean_with_white() -> None:
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[..., 0], rgba[..., 3] = 255, 51  # a fifth of red over white
    assert np.abs(_decoded(png(rgba))[0][0, 0].astype(int) - [255, 204, 204]).max() <= 1


def test_cmyk_white_and_black() -> None:
    image = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 4))
    pixels, done = _decoded(_saved(image, "TIFF"))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[7, 7].tolist() == [255, 255, 255]
    assert done["converted from CMYK to RGB"] == 1


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda x: x),
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (4, lambda x: x[::-1]),
        (5, lambda x: x.T),
        (6, lambda x: x.T[:, ::-1]),
        (7, lambda x: x.T[::-1, ::-1]),
        (8, lambda x: x.T[::-1]),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation(orientation: int, turn, kind: str) -> None:
    pixels = pictures(1, 12)[0][:, :9]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found, done = _decoded(_saved(Image.fromarray(pixels), kind, exif=exif))
    assert np.array_equal(found, turn(pixels))
    if kind == "PNG":  # Pillow turns TIFF files itself
        assert sum(done.values()) == (orientation != 1)


@pytest.mark.parametrize("size", [4, 7, 16, 40])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_resizing_a_constant_picture_keeps_it_constant(size: int, fit: str) -> None:
    row = shape_to(Image.new("RGB", (20, 20), (10, 120, 250)), (size, size), 3, fit)
    assert row.shape == (3, size, size)
    assert row.dtype == np.uint8
    assert (row.reshape(3, -1).T == [10, 120, 250]).all()


def test_crop_takes_the_centre_and_pad_keeps_everything() -> None:
    wide = np.zeros((8, 16), dtype=np.uint8)
    wide[:, 4:12] = 200
    wide[:, 0] = 77
    cropped = shape_to(Image.fromarray(wide), (8, 8), 1, "crop")
    assert (cropped == 200).all()
    padded = shape_to(Image.fromarray(wide), (16, 16), 1, "pad")[0]
    assert np.array_equal(padded[4:12], wide)
    assert (padded[:4] == 255).all()
    assert (padded[12:] == 255).all()


def test_extreme_strips_are_padded_without_a_huge_square() -> None:
    strip = np.full((4, 200_000), 90, dtype=np.uint8)
    row = shape_to(Image.fromarray(strip), (16, 16), 1, "pad")[0]
    assert sorted(set(row.sum(axis=1).tolist())) == [16 * 90, 16 * 255]
    assert (shape_to(Image.fromarray(strip), (16, 16), 1, "crop") == 90).all()


def test_grey_in_three_channels_is_found_grey_and_reduced_exactly() -> None:
    pixels = pictures(1, 16)[0]
    image = Image.fromarray(np.repeat(pixels[..., None], 3, axis=2))
    assert is_grey(image)
    assert np.array_equal(shape_to(image, (16, 16), 1, "crop")[0], pixels)
    assert np.array_equal(shape_to(Image.fromarray(pixels), (16, 16), 3, "crop"), np.stack([pixels] * 3))


def test_downscaling_by_lanczos_keeps_the_mean() -> None:
    pixels = pictures(1, 64)[0]
    small = shape_to(Image.fromarray(pixels), (16, 16), 1, "crop")
    assert abs(small.mean() - pixels.mean()) < 1.5


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty file"),
        (b"just text", "not an image"),
        (png(pictures(1, 16)[0])[:60], "damaged|not an image"),
        (png(np.zeros((1, 1), np.uint8)), "1x1 pixels, smaller"),
    ],
)
def test_unreadable_pictures_say_why(payload: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        _decoded(payload)


def test_decompression_bomb_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 30):  # a warning of Pillow, and an error of it
        with pytest.raises(DataError, match="decompression bombs"):
            _decoded(png(np.zeros((side, side), np.uint8)))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28)], 28),
        ([(100, 100)], 100),
        ([(92, 112)], 64),
        ([(30, 40), (33, 33), (50, 33)], 32),
        ([(500, 400), (20, 20), (300, 300)], 64),
        ([(5, 9)], 4),
    ],
)
def test_default_size(sizes: list[tuple[int, int]], expected: int) -> None:
    survey = Survey()
    survey.sizes.update(sizes)
    size, why = survey.choose_size()
    assert size == (expected, expected)
    assert bool(why) == (len(sizes) > 1 or sizes[0][0] != sizes[0][1])


def test_a_look_is_kept_as_what_differs_from_the_usual_one() -> None:
    assert Look().to_json() == {}
    other = Look(ground=(1, 2, 3), alpha=True, depth=16)
    assert other.to_json() == {"ground": [1, 2, 3], "alpha": True, "depth": 16}
    for look in (Look(), other, Look(levels=Levels(whole=(0, 4095)))):
        assert look_from_json(json.loads(json.dumps(look.to_json()))) == look
