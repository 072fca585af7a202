"""Transparency: laid on the ground asked for, or kept as a fourth channel that carries no noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.data import load_dataset
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.images.decode import ground_of
from saddlepoint.data.images.shape import crop_box, luma, place_within, shape_to
from tests.unit.data_helpers import own_cache, pictures, png, write_folder  # noqa: F401


def stickers(n: int = 8, side: int = 16, seed: int = 0) -> np.ndarray:
    """Return (n, side, side, 4) pictures seen in a disc; noise under the transparent rest."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, side, side, 4), dtype=np.uint8)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    x[..., 3] = np.where(np.hypot(rows, columns) < side / 3, 255, 0)
    x[:, side // 2, side // 2, 3] = 128
    return x


def found(dataset: Dataset) -> np.ndarray:
    rows = np.concatenate([np.asarray(split.x) for split in dataset.splits.values()])
    return rows[np.lexsort(rows.reshape(len(rows), -1).T[::-1])]


def ordered(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.reshape(len(rows), -1).T[::-1])]


@pytest.mark.parametrize(("word", "colour"), [("white", 255), ("black", 0), ("#804020", (128, 64, 32))])
def test_what_cannot_be_seen_shows_the_ground(tmp_path: Path, word: str, colour: object) -> None:
    x = stickers()
    dataset = load_dataset(str(write_folder(tmp_path / "d", list(x))), background=word)
    share = x[..., 3:] / 255
    expected = x[..., :3] * share + np.array(colour) * (1 - share)
    rows = found(dataset)
    apart = [np.abs(rows - one.transpose(2, 0, 1)).max(axis=(1, 2, 3)).min() for one in expected]
    assert max(apart) <= 1
    (said,) = [finding for finding in dataset.findings if finding.topic == "alpha"]
    assert f"8 of 8 images were transparent and were laid on {word}" in said.says
    assert "--background" in said.option
    assert "--channels 4" in said.option


def test_four_channels_come_back_as_they_were_but_for_noise_that_nobody_sees(tmp_path: Path) -> None:
    x = stickers()
    dataset = load_dataset(str(write_folder(tmp_path / "d", list(x))), channels=4)
    clean = np.where(x[..., 3:] == 0, np.array([255, 255, 255, 0]), x).astype(np.uint8)
    assert np.array_equal(found(dataset), ordered(clean.transpose(0, 3, 1, 2)))
    assert dataset.spec.shape == (4, 16, 16)
    assert any("pixels that cannot be seen were coloured white" in note for note in dataset.notes)


def test_a_smaller_size_lets_no_hidden_colour_bleed_in(tmp_path: Path) -> None:
    x = np.zeros((8, 32, 32, 4), np.uint8)
    x[..., :3] = (255, 0, 0)  # red where nothing is seen
    x[:, 8:24, 8:24] = (0, 0, 255, 255)
    x[:, 12, 12, 1] = np.arange(8) * 30
    rows = found(load_dataset(str(write_folder(tmp_path / "d", list(x))), channels=4, size=9))
    seen = rows[:, 3] > 0
    assert seen.any()
    assert rows[:, 0][seen].max() <= 2
    assert (rows[:, :3][np.repeat(~seen[:, None], 3, 1)] == 255).all()


def test_pictures_without_transparency_are_opaque_in_four_channels(tmp_path: Path) -> None:
    grey = pictures(8, 16)
    dataset = load_dataset(str(write_folder(tmp_path / "d", list(grey))), channels=4)
    rows = found(dataset)
    assert (rows[:, 3] == 255).all()
    assert np.array_equal(rows[:, :3], np.repeat(ordered(grey)[:, None], 3, 1))
    assert any("the fourth channel is opacity" in note for note in dataset.notes)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_padding_has_the_ground_and_in_four_channels_cannot_be_seen(tmp_path: Path, channels: int, depth: int) -> None:
    x = pictures(8, 16, 3)[:, 4:12]
    options = {"fit": "pad", "background": "#204060", "channels": channels, "depth": depth}
    rows = found(load_dataset(str(write_folder(tmp_path / "d", list(x))), size=16, **options))  # type: ignore[arg-type]
    times = 257 if depth == 16 else 1
    edge = [luma((0x20, 0x40, 0x60))] if channels == 1 else [0x20, 0x40, 0x60, 0][:channels]
    for part in (rows[:, :, :4], rows[:, :, 12:]):
        assert (part == np.array(edge)[:, None, None] * times).all()
    if channels >= 3:
        inner = rows[:, :3, 4:12]
        assert np.array_equal(inner, ordered(x.transpose(0, 3, 1, 2)).astype(np.uint16) * times)
    if channels == 4:
        assert (rows[:, 3, 4:12] == 255 * times).all()


def test_16_bits_and_opacity_together(tmp_path: Path) -> None:
    x = stickers()
    rows = found(load_dataset(str(write_folder(tmp_path / "d", list(x))), channels=4, depth=16))
    clean = np.where(x[..., 3:] == 0, np.array([255, 255, 255, 0]), x).astype(np.uint16) * 257
    assert np.array_equal(rows, ordered(clean.transpose(0, 3, 1, 2)))


def test_a_word_that_is_no_colour_is_refused(tmp_path: Path) -> None:
    source = str(write_folder(tmp_path / "d", list(stickers())))
    with pytest.raises(DataError, match="--background is 'whit'"):
        load_dataset(source, background="whit")
    assert ground_of("#fff") == (255, 255, 255)


@pytest.mark.parametrize(
    ("own", "size", "box"),
    [
        ((64, 48), (4, 3), (0, 0, 64, 48)),
        ((100, 48), (64, 48), (18, 0, 82, 48)),
        ((48, 100), (48, 64), (0, 18, 48, 82)),
        ((10, 10), (5, 10), (2, 0, 7, 10)),
        ((1, 1000), (1000, 1), (0, 499, 1, 500)),
    ],
)
def test_the_crop_has_the_aspect_of_the_size(
    own: tuple[int, int], size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert crop_box(own, size) == box


def test_oblong_sizes_take_the_exact_pixels_of_the_centre(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (8, 40, 60, 3), dtype=np.uint8)
    dataset = load_dataset(str(write_folder(tmp_path / "d", list(x))), size="30x40")
    assert dataset.spec.shape == (3, 40, 30)
    assert np.array_equal(found(dataset), ordered(x[:, :, 15:45].transpose(0, 3, 1, 2)))
    assert any("of another aspect than 30x40: their centre was cropped" in note for note in dataset.notes)


def test_oblong_padding_centres_the_whole_picture() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    row = shape_to(Image.fromarray(x), (40, 20), 1, "pad", (0, 0, 0))[0]
    assert place_within((20, 20), (40, 20)) == (10, 0, 30, 20)
    assert np.array_equal(row[:, 10:30], x)
    assert row[:, :10].max() == row[:, 30:].max() == 0


def test_equal_oblong_pictures_are_cropped_and_told_of_their_own_size(tmp_path: Path) -> None:
    x = pictures(8, 96, 3)[:, :, :72]
    dataset = load_dataset(str(write_folder(tmp_path / "d", list(x))))
    assert dataset.spec.shape == (3, 64, 64)
    assert any("--size 48x64" in finding.option for finding in dataset.findings if not finding.sure)
    assert load_dataset(str(tmp_path / "d"), size="48x64").spec.shape == (3, 64, 48)
