"""Pictures: exact round trips, yellow where promised, true neighbours."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.figures import grids, snapshots
from saddlepoint.figures.grids import BACKGROUND, YELLOW


def _bytes(seed: int, n: int, channels: int = 1, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, channels, height, width), dtype=np.uint8)


def _inside(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).float() / 127.5 - 1


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_every_byte_survives_the_inside_range() -> None:
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(grids.to_uint8(_inside(every)), every)
    np.testing.assert_array_equal(grids.to_uint8(np.array([-1.5, -1, 1, 7.0])), [0, 0, 255, 255])


def test_values_that_are_not_finite_are_counted() -> None:
    x = torch.zeros(2, 1, 3, 3)
    x[0, 0, 0, :2] = torch.nan
    x[1, 0, 1, 1] = torch.inf
    with pytest.raises(DataError, match="3 of 18"):
        grids.grid(x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("gap", [0, 2])
def test_tiles_stand_where_they_should(channels: int, scale: int, gap: int) -> None:
    images = _bytes(0, 5, channels)
    picture = grids.tile(images, 3, scale=scale, gap=gap)
    pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape == (2 * (5 * scale + gap) + gap, 3 * (7 * scale + gap) + gap, 3)
    assert picture.mode == ("L" if channels == 1 else "RGB")
    for index, image in enumerate(images):
        top, left = gap + index // 3 * (5 * scale + gap), gap + index % 3 * (7 * scale + gap)
        cell = pixels[top : top + 5 * scale, left : left + 7 * scale]
        np.testing.assert_array_equal(cell[::scale, ::scale], np.broadcast_to(image.transpose(1, 2, 0), (5, 7, 3)))
        np.testing.assert_array_equal(cell[scale - 1 :: scale, scale - 1 :: scale], cell[::scale, ::scale])
    assert (pixels[-1, -1] == BACKGROUND).all()


def test_frames_are_yellow_around_their_tiles_and_nowhere_else() -> None:
    images = np.zeros((4, 1, 6, 6), np.uint8)
    pixels = np.asarray(grids.tile(images, 2, scale=1, gap=2, frames={3}))
    yellow = (pixels == YELLOW).all(2)
    expected = np.zeros_like(yellow)
    expected[8:18, 8:18] = True
    expected[10:16, 10:16] = False
    np.testing.assert_array_equal(yellow, expected)


def test_small_images_are_enlarged_and_large_ones_are_not() -> None:
    assert grids.tile(_bytes(0, 1, 1, 8, 8), gap=0).size == (56, 56)
    assert grids.tile(_bytes(0, 1, 1, 28, 28), gap=0).size == (56, 56)
    assert grids.tile(_bytes(0, 1, 1, 100, 100), gap=0).size == (100, 100)


def test_captions_stand_left_of_their_rows() -> None:
    images = _bytes(1, 4, 1, 20, 20)
    plain = grids.tile(images, 2, scale=1)
    picture = grids.tile(images, 2, scale=1, captions=["step 1", "step 2"])
    assert picture.width > plain.width
    shown = np.asarray(picture)[:, -plain.width :]
    np.testing.assert_array_equal(shown, np.asarray(plain))
    assert (np.asarray(picture)[:, : -plain.width] > 200).any()


def test_words_leave_every_tile_as_it_is() -> None:
    images = _bytes(1, 4, 3, 20, 20)
    plain = np.asarray(grids.tile(images, 2, scale=2))
    for headings in (["a", "b"], ["a name that is much wider than its column", ""]):
        picture = np.asarray(grids.tile(images, 2, scale=2, headings=headings, captions=["x", "y"]))
        above = picture.shape[0] - plain.shape[0]
        np.testing.assert_array_equal(picture[above:, -plain.shape[1] :], plain)
        assert (picture[:above, -plain.shape[1] :] > 200).any(), "the headings are not there"
    titled = np.asarray(grids.tile(images, 2, scale=2, gap=2, titles=["1", "2", "3", "4"]))
    high = (titled.shape[0] - 2) // 2
    for row in range(2):
        tiles = titled[2 + row * high :][:40]
        np.testing.assert_array_equal(tiles, plain[2 + row * 42 :][:40])
        assert (titled[2 + row * high + 40 :][: high - 42] > 200).any(), "the titles are not there"
    corner = np.asarray(grids.tile(images, 2, scale=2, corner="one\ntwo"))
    np.testing.assert_array_equal(corner[:, 44:], plain[:, 44:])
    assert (corner[2:42, 2:42] == BACKGROUND).mean() > 0.5
    assert (corner[2:42, 2:42] > 200).any()


def test_layouts_that_cannot_be_are_refused() -> None:
    images = _bytes(0, 4)
    for wrong, word in (
        ({"columns": -1}, "columns"),
        ({"scale": 0}, "scale"),
        ({"gap": -1}, "gap"),
        ({"gap": 0, "frames": {1}}, "gap"),
        ({"frames": {4}}, "frames"),
        ({"columns": 2, "captions": ["a"]}, "captions"),
        ({"columns": 2, "headings": ["a"]}, "1 headings for 2 columns"),
        ({"columns": 2, "titles": ["a"]}, "1 titles for 4 images"),
    ):
        with pytest.raises(ConfigError, match=word):
            grids.tile(images, **wrong)  # type: ignore[arg-type]
    for bad in (images[:0], images[0], images.astype(np.float32), np.zeros((1, 2, 3, 3), np.uint8)):
        with pytest.raises(DataError, match="uint8"):
            grids.tile(bad)


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (7, 3), (64, 1), (10, 3)])
def test_snapshot_round_trip_is_exact(tmp_path, count: int, channels: int) -> None:
    images = _bytes(2, count, channels)
    path = snapshots.save_snapshot(tmp_path / "samples", 1000, _inside(images))
    assert path == tmp_path / "samples" / "step00001000.png"
    np.testing.assert_array_equal(snapshots.read_snapshot(path), images)
    first = path.read_bytes()
    snapshots.save_snapshot(tmp_path / "samples", 1000, _inside(images))
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_arrays_round_trip(tmp_path) -> None:
    images = _bytes(9, 6, 3)
    path = grids.save_arrays(tmp_path / "new" / "x.npz", _inside(images))
    first = path.read_bytes()
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["x"], images)
    assert grids.save_arrays(path, _inside(images)).read_bytes() == first
    vectors = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    with np.load(grids.save_arrays(path, vectors)) as arrays:
        np.testing.assert_array_equal(arrays["x"], vectors.numpy())


def test_snapshots_of_others_need_a_layout(tmp_path) -> None:
    images = _bytes(3, 6)
    path = tmp_path / "step00000001.png"
    grids.tile(images, 3, scale=1, gap=1).save(path)
    with pytest.raises(DataError, match="layout"):
        snapshots.read_snapshot(path)
    layout = {"n": 6, "shape": [1, 5, 7], "columns": 3, "gap": 1}
    np.testing.assert_array_equal(snapshots.read_snapshot(path, layout), images)
    with pytest.raises(DataError, match="does not fit"):
        snapshots.read_snapshot(path, {**layout, "gap": 2})
    path.write_text("no picture")
    with pytest.raises(DataError, match=r"step00000001\.png"):
        snapshots.read_snapshot(path)


def test_chosen_steps_hold_both_ends_and_the_landmarks() -> None:
    available = list(range(0, 100_001, 500))
    chosen = snapshots.choose_steps(available, 8)
    assert len(chosen) == 8
    assert {0, 10_000, 50_000, 90_000, 100_000} <= set(chosen)
    assert snapshots.choose_steps([5], 8) == [5]
    assert snapshots.choose_steps([0, 100, 9_000, 12_345], 3) == [0, 9_000, 12_345]
    assert snapshots.choose_steps(available, 1) == [100_000]
    even = np.array(snapshots.choose_steps(list(range(1, 1025)), 11))
    assert (even[1:] / even[:-1] <= 3).all()
    with pytest.raises(ConfigError, match="0 steps"):
        snapshots.choose_steps(available, 0)


def test_filmstrip_shows_the_same_z_in_a_column(tmp_path) -> None:
    shots = {step: _bytes(step, 9, 1, 12, 12) for step in (0, 1, 10, 100, 1000)}
    for step, images in shots.items():
        snapshots.save_snapshot(tmp_path, step, _inside(images))
    (tmp_path / "stepper.png").write_text("not one of them")
    strip = np.asarray(snapshots.filmstrip(tmp_path, rows=3, columns=4, scale=1).convert("L"))
    assert strip.shape[0] == 3 * 14 + 2
    chosen = snapshots.choose_steps(list(shots), 3)
    for row, step in enumerate(chosen):
        for column in range(4):
            top, left = 2 + row * 14, strip.shape[1] - (4 - column) * 14
            np.testing.assert_array_equal(strip[top : top + 12, left : left + 12], shots[step][column, 0])
    picked = snapshots.filmstrip(tmp_path, columns=4, steps=[0, 900], scale=1)
    assert picked.height == 2 * 14 + 2
    with pytest.raises(DataError, match="no pictures"):
        snapshots.filmstrip(tmp_path / "nothing")
    snapshots.save_snapshot(tmp_path, 2000, _inside(_bytes(0, 9)))
    with pytest.raises(DataError, match="different shapes"):
        snapshots.filmstrip(tmp_path)


def test_neighbours_finds_planted_copies_and_frames_them() -> None:
    train = _bytes(4, 50, 1, 6, 6)
    planted = np.array([3, 41, 7, 12])
    samples = _bytes(5, 8, 1, 6, 6)
    samples[[1, 3, 5, 7]] = train[planted]
    indices, distances = grids.nearest(samples[[1, 3, 5, 7]], train)
    assert indices.tolist() == planted.tolist()
    assert distances.tolist() == [0, 0, 0, 0]
    pixels = np.asarray(grids.neighbours(_inside(samples), train, columns=2, scale=1))
    assert pixels.shape == (4 * 8 + 2, 3 * 8 + 2, 3)
    for row, index in enumerate(planted):
        cell = pixels[2 + row * 8 : 8 + row * 8, 18:24]
        np.testing.assert_array_equal(cell[..., 0], train[index, 0])
        assert (pixels[row * 8 + 4, 16:18] == YELLOW).all()
    assert not (pixels[:, :16] == YELLOW).all(2).any()


def test_neighbours_beside_each_sample() -> None:
    train = _bytes(6, 30, 3, 6, 6)
    pixels = np.asarray(grids.neighbours(_inside(train[:4]), train, columns=2, beside=True, scale=1))
    assert pixels.shape == (2 * 8 + 2, 4 * 8 + 2, 3)
    np.testing.assert_array_equal(pixels[2:8, 2:8], pixels[2:8, 10:16])
    assert (pixels[0, 8:18] == YELLOW).all()
    assert (pixels[0, 18:24] == BACKGROUND).all()
    with pytest.raises(ConfigError, match="3 samples"):
        grids.neighbours(_inside(train[:3]), train, columns=4)


def test_interpolation_ends_at_its_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    z0, z1 = torch.randn(2, 3, 4, generator=generator)

    def generate(z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z[:, :1, None, None] + z[:, 1:2, None, None] * torch.ones(1, 1, 6, 6))

    pixels = np.asarray(grids.grid(generate(grids.walk(z0, z1, 5)), 5, scale=1))
    assert pixels.shape == (3 * 8 + 2, 5 * 8 + 2)
    cells = pixels[2:, 2:].reshape(3, 8, 5, 8)[:, :6, :, :6].transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(cells[:, 0], grids.to_uint8(generate(z0))[:, 0])
    np.testing.assert_array_equal(cells[:, -1], grids.to_uint8(generate(z1))[:, 0])
    np.testing.assert_array_equal(cells[:, 2], grids.to_uint8(generate((z0 + z1) / 2))[:, 0])
    with pytest.raises(ConfigError, match="steps"):
        grids.walk(z0, z1, 1)
    with pytest.raises(ConfigError, match="shapes"):
        grids.walk(z0, z1[:2])


@pytest.mark.parametrize("features", [1, 2, 5])
def test_scatter_is_deterministic_and_serves_as_snapshot(tmp_path, features: int) -> None:
    rng = np.random.default_rng(7)
    samples, data = rng.normal(size=(300, features)), rng.normal(size=(500, features))
    picture = grids.scatter(samples, data)
    assert _png(picture) == _png(grids.scatter(torch.from_numpy(samples), data))
    assert _png(picture) != _png(grids.scatter(samples + 1, data))
    for step in (0, 10):
        path = snapshots.save_snapshot(tmp_path, step, torch.from_numpy(samples), data)
    np.testing.assert_array_equal(snapshots.read_snapshot(path)[0].transpose(1, 2, 0), np.asarray(picture))
    assert snapshots.filmstrip(tmp_path).height > 2 * picture.height


def test_scatter_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(DataError, match="vectors"):
        grids.scatter(np.zeros((3, 1, 4, 4)))
    with pytest.raises(DataError, match="vectors"):
        grids.scatter(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(DataError, match="1 of 3"):
        grids.scatter(np.array([[0.0, 1], [np.nan, np.nan], [2, 2]]))


def test_pictures_have_equal_bytes_for_equal_input() -> None:
    x = _inside(_bytes(8, 12, 3))
    assert _png(grids.grid(x)) == _png(grids.grid(x.clone()))
