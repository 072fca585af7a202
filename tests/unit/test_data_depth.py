"""Pictures of more than 8 bits: hand-made values, and what must become of each."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saddlepoint.core.errors import DataError
from saddlepoint.core.types import from_bytes, to_uint16
from saddlepoint.data import load_dataset
from saddlepoint.data.dataset import Split
from saddlepoint.data.feed import Feed
from saddlepoint.data.images.depth import Extent, choose_levels
from saddlepoint.data.plan import Finding
from tests.unit.data_helpers import own_cache, pictures, png, write_folder  # noqa: F401


def deep_png(pixels: np.ndarray, filters: bool = False) -> bytes:
    """Encode (height, width, channel) of 16 bits as PNG; with ``filters`` lines are differences, in two ways."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    lines, step, before = [], 2 * channels, np.zeros(rows.shape[1], np.uint8)
    for number, row in enumerate(rows):
        kind = 1 + number % 2 if filters else 0
        left = np.concatenate([np.zeros(step, np.uint8), row[:-step]])
        lines.append(bytes([kind]) + (row - (0, left, before)[kind]).astype(np.uint8).tobytes())
        before = row
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


def deep_tiff(pixels: np.ndarray, order: str = "<") -> bytes:
    """Encode colours of 16 bits as an uncompressed TIFF, by hand."""
    height, width, channels = pixels.shape
    data = pixels.astype(order + "u2").tobytes()
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8 + len(data)), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data)),
    ]  # fmt: skip
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        packed = struct.pack(order + "HH", value, 0) if short else struct.pack(order + "I", value)
        directory += struct.pack(order + "HHI", tag, kind, count) + packed
    start = struct.pack(order + "HI", 42, 8 + len(data) + len(bits))
    return (b"II" if order == "<" else b"MM") + start + data + bits + directory + b"\0\0\0\0"


def tiff(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", **options)
    return buffer.getvalue()


def folder(root: Path, files: list[bytes], kind: str = "png") -> str:
    root.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(files):
        (root / f"{number:03d}.{kind}").write_bytes(content)
    return str(root)


def everything(source: str, **options: object) -> tuple[np.ndarray, list[Finding]]:
    dataset = load_dataset(source, **options)  # type: ignore[arg-type]
    rows = np.concatenate([np.asarray(split.x) for split in dataset.splits.values()])
    return rows[np.lexsort(rows.reshape(len(rows), -1).T[::-1])], list(dataset.findings)


def ordered(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.reshape(len(rows), -1).T[::-1])]


def about(findings: list[Finding], topic: str) -> str:
    return " / ".join(finding.sentence() for finding in findings if finding.topic == topic)


def ramps(top: int, n: int = 8) -> np.ndarray:
    """Return (n, 64, 64) ramps of which every one runs through all values up to ``top``, each begun elsewhere."""
    values = np.linspace(0, top, 64 * 64).round().astype(np.uint16)
    return np.stack([np.roll(values, 97 * k).reshape(64, 64) for k in range(n)])


def test_twelve_bits_keep_all_levels_of_eight(tmp_path: Path) -> None:
    x = ramps(4095)
    found, findings = everything(folder(tmp_path / "d", [png(row) for row in x]))
    assert np.array_equal(found[:, 0], ordered(np.rint(x / 4095 * 255).astype(np.uint8)))
    assert len(np.unique(found)) == 256
    said = about(findings, "depth")
    for words in ("0 is black, 4095 is white", "values end at 4095 of 65535", "--levels LOW,HIGH", "--depth 16"):
        assert words in said or words in str(findings)


def test_advice_on_levels_followed_gives_what_it_says(tmp_path: Path) -> None:
    """``--levels 0,65535`` undoes the scale: 12 bits become 17 levels, as they were before."""
    source = folder(tmp_path / "d", [png(row) for row in ramps(4095)])
    found, findings = everything(source, levels="0,65535")
    assert found.max() == 16
    assert "0 is black, 65535 is white" in about(findings, "depth")


def test_sixteen_bits_in_use_get_the_whole_range(tmp_path: Path) -> None:
    x = ramps(65535)
    found, findings = everything(folder(tmp_path / "d", [png(row) for row in x]))
    assert np.array_equal(found[:, 0], ordered(np.rint(x / 65535 * 255).astype(np.uint8)))
    assert all(finding.sure for finding in findings if finding.topic == "depth")


def test_one_scale_holds_for_the_set_though_pictures_differ(tmp_path: Path) -> None:
    dark = [np.full((16, 16), 100 * k + 1, np.uint16) for k in range(1, 8)]
    found, _ = everything(folder(tmp_path / "d", [png(x) for x in [*dark, np.full((16, 16), 1023, np.uint16)]]))
    expected = [round((100 * k + 1) / 1023 * 255) for k in range(1, 8)] + [255]
    assert found[:, 0, 0, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["png", "tiff", "npy", "npz"])
def test_one_rule_holds_for_files_and_arrays(tmp_path: Path, kind: str) -> None:
    x = ramps(1000)
    if kind == "npy":
        source = str(tmp_path / "x.npy")
        np.save(source, x)
    elif kind == "npz":
        source = str(tmp_path / "x.npz")
        np.savez(source, x_train=x[:5], x_test=x[5:])
    else:
        source = folder(tmp_path / "d", [png(row) if kind == "png" else tiff(row) for row in x], kind)
    found, findings = everything(source)
    assert np.array_equal(found[:, 0], ordered(np.rint(x / 1023 * 255).astype(np.uint8)))
    assert "0 is black, 1023 is white" in about(findings, "depth")


@pytest.mark.parametrize("kind", ["tiff", "npy"])
@pytest.mark.parametrize(
    ("dtype", "low", "high", "levels"),
    [
        (np.int16, -1000, 3000, (-1000, 3000)),  # Hounsfield units
        (np.float32, -2.5, 7.5, (-2.5, 7.5)),
        (np.float32, 0, 0.1, (0, 0.1)),
        (np.float32, 0, 1, (0, 1)),
        (np.float32, -1, 1, (-1, 1)),
        (np.float32, 0, 255, (0, 255)),
        (np.int32, 0, 200_000, (0, 200_000)),
        (np.uint32, 0, 4_000_000_000, (0, 4_000_000_000)),
    ],
)
def test_the_range_in_use(
    tmp_path: Path, kind: str, dtype: type, low: float, high: float, levels: tuple[float, float]
) -> None:
    steps = np.linspace(low, high, 256).astype(dtype)
    x = np.stack([np.roll(steps, k).reshape(16, 16) for k in range(8)])
    if kind == "npy":
        source = str(tmp_path / "x.npy")
        np.save(source, x)
    elif dtype in (np.int16, np.uint32):
        source = folder(tmp_path / "d", [_signed(row) for row in x], "tif")
    else:
        source = folder(tmp_path / "d", [tiff(row) for row in x], "tif")
    found, findings = everything(source, modality="image")
    share = (x.astype(np.float64) - levels[0]) / (levels[1] - levels[0])
    assert np.abs(found[:, 0].astype(int) - ordered(np.rint(share * 255).astype(int))).max() <= 1
    assert len(np.unique(found)) == 256
    assert f"{np.float32(levels[0]):g} is black" in about(findings, "depth")


def _signed(row: np.ndarray) -> bytes:
    """Encode whole numbers as an uncompressed TIFF of their own type, by hand."""
    data, size = row.tobytes(), row.dtype.itemsize
    entries = [
        (256, row.shape[1]), (257, row.shape[0]), (258, 8 * size), (259, 1), (262, 1), (273, 8), (277, 1),
        (278, row.shape[0]), (279, len(data)), (339, 2 if row.dtype.kind == "i" else 1),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in entries)
    return b"II" + struct.pack("<HI", 42, 8 + len(data)) + data + directory + b"\0\0\0\0"


@pytest.mark.parametrize("coded", ["png", "filtered png", "tiff", "big-endian tiff", "npy"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_keep_both_bytes(tmp_path: Path, coded: str, channels: int) -> None:
    x = np.random.default_rng(0).integers(0, 65536, (8, 12, 12, channels)).astype(np.uint16)
    x[..., 3:] = 65535
    encode = {
        "png": deep_png, "filtered png": lambda row: deep_png(row, True), "tiff": deep_tiff,
        "big-endian tiff": lambda row: deep_tiff(row, ">"),
    }  # fmt: skip
    if coded == "npy":
        source = str(tmp_path / "x.npy")
        np.save(source, x)
    else:
        source = folder(tmp_path / "d", [encode[coded](row) for row in x], coded.split()[-1][:4])
    found, _ = everything(source, depth=16)
    assert found.dtype == np.uint16
    assert np.array_equal(found, ordered(x[..., :3].transpose(0, 3, 1, 2)))


def test_depth_16_keeps_every_value_of_twelve_bits_through_the_feed(tmp_path: Path) -> None:
    x = ramps(4095)
    dataset = load_dataset(folder(tmp_path / "d", [png(row) for row in x]), depth=16)
    train = dataset.splits["train"]
    assert train.x.dtype == np.uint16
    assert len(np.unique(train.x)) == 4096
    batch = Feed(train, len(train), seed=0).batch(0).x
    assert len(torch.unique(batch)) == 4096
    assert (batch.min(), batch.max()) == (-1, 1)
    # every value comes back from [-1, 1]
    assert np.array_equal(np.unique(np.rint((batch.double().numpy() + 1) / 2 * 4095)), np.arange(4096))
    assert torch.equal(to_uint16(from_bytes(torch.from_numpy(np.array(train.x)))), torch.from_numpy(np.array(train.x)))


def test_a_feed_too_large_for_memory_serves_16_bits_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(np.random.default_rng(0).integers(0, 65536, (10, 1, 4, 4)).astype(np.uint16))
    held = Feed(split, 4, seed=0).batch(1).x
    monkeypatch.setattr("saddlepoint.data.feed.RESIDENT_LIMIT", 0)
    assert torch.equal(Feed(split, 4, seed=0).batch(1).x, held)


def test_statistics_of_16_bits_are_in_the_inside_range(tmp_path: Path) -> None:
    dataset = load_dataset(folder(tmp_path / "d", [png(row) for row in ramps(65535)]), depth=16)
    stats = dataset.stats()
    inside = from_bytes(torch.from_numpy(np.array(dataset.splits["train"].x))).double()
    torch.testing.assert_close(stats.mean.double(), inside.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(stats.std.double(), inside.std(0, correction=0), atol=1e-6, rtol=0)
    assert stats.examples.abs().max() <= 1


def test_in_bytes_agrees_with_a_preparation_in_8_bits(tmp_path: Path) -> None:
    source = folder(tmp_path / "d", [png(row) for row in ramps(65535)])
    eight, sixteen = load_dataset(source), load_dataset(source, depth=16).in_bytes()
    rows = [ordered(np.concatenate([split.x for split in data.splits.values()])) for data in (eight, sixteen)]
    assert np.array_equal(*rows)
    assert eight.in_bytes() is eight


def test_white_is_zero_is_turned(tmp_path: Path) -> None:
    x = ramps(65535)
    inverted = folder(tmp_path / "d", [tiff(row, tiffinfo={262: 0}) for row in x], "tif")
    found, _ = everything(inverted)
    assert np.array_equal(found[:, 0], ordered(np.rint((65535 - x.astype(float)) / 257).astype(np.uint8)))


def test_grey_with_opacity_of_16_bits_says_what_it_lost(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 65536, (8, 12, 12, 2)).astype(np.uint16)
    _, findings = everything(folder(tmp_path / "d", [deep_png(row) for row in x]))
    assert "8 of 8 images were of a kind of 16 bits of which only the upper 8 can be read" in about(findings, "depth")


def test_levels_beyond_the_values_in_use_clip(tmp_path: Path) -> None:
    found, findings = everything(folder(tmp_path / "d", [png(row) for row in ramps(4095)]), levels="1000,2000")
    assert (found.min(), found.max()) == (0, 255)
    assert (found == 0).mean() == pytest.approx(1000 / 4096, abs=0.01)
    assert "values reach from 0 to 4095 and are clipped" in about(findings, "depth")


def test_eight_bits_among_deep_ones_stay_as_they_are(tmp_path: Path) -> None:
    plain = pictures(4, 64)
    files = [png(row) for row in [*ramps(4095, 4), *plain]]
    found, _ = everything(folder(tmp_path / "d", files))
    assert {row.tobytes() for row in plain} <= {row.tobytes() for row in found}


def test_values_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((8, 16, 16), -3.0))
    with pytest.raises(DataError, match="--levels"):
        load_dataset(str(tmp_path / "x.npy"), modality="image")


def test_the_bits_of_whole_numbers() -> None:
    for high, top in ((200, 255), (256, 511), (1023, 1023), (16_000, 16_383), (40_000, 65_535)):
        assert choose_levels({"whole": Extent(0, high, 1)}, None)[0].whole == (0, top)


def test_square_eight_bit_data_has_the_fingerprint_it_had(tmp_path: Path) -> None:
    """Of runs that were begun before 16 bits could be kept: made at ada098a from the same files."""
    grey = load_dataset(str(write_folder(tmp_path / "grey", pictures(30, 16))))
    colour = load_dataset(str(write_folder(tmp_path / "colour", pictures(30, 16, 3), ["a", "b", "c"] * 10)))
    assert grey.fingerprint[:16] == "05a67ee030f198d2"
    assert colour.fingerprint[:16] == "0af4c1951d766153"
