"""What a picture may cost: kinds, pixels, scans, tags, pages and the pixels of a whole set, with small limits."""

from __future__ import annotations

import ast
import io
import struct
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import MARKER

import saddlepoint
from saddlepoint.core.errors import DataError
from saddlepoint.data import limits, load_dataset
from saddlepoint.data.images import headers
from saddlepoint.data.images.decode import decode, open_picture
from saddlepoint.data.images.headers import check_directories, gif_frames, scans_of
from saddlepoint.data.images.opening import Unreadable, open_image
from saddlepoint.data.inputs import read_picture
from saddlepoint.figures.snapshots import read_snapshot, save_snapshot
from tests.unit.data_helpers import own_cache, pictures, png, write_folder  # noqa: F401

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n%%EOF\n"
"""Pillow opens it, and hands it to Ghostscript when it is decoded."""


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _rows(path: Path) -> int:
    return sum(len(split) for split in load_dataset(str(path)).splits.values())


def test_every_place_opens_pictures_by_the_one_function() -> None:
    """`Image.open` stands in one line of the package, with the kinds that are allowed."""
    root = Path(saddlepoint.__file__).parent
    found = [
        (file.name, [word.arg for word in node.keywords])
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    ]
    assert found == [("opening.py", ["formats"])]


def test_no_kind_goes_to_another_program() -> None:
    """Pillow's plugins that run programs or scripts of others: EPS, and the stubs that load what is registered."""
    assert not {"EPS", "WMF", "GRIB", "HDF5", "BUFR", "FITS", "MPEG"} & set(limits.PICTURE_KINDS)
    assert Image.open(io.BytesIO(EPS)).format == "EPS"
    for opens in (lambda: open_image(EPS, "a.png"), lambda: open_picture(EPS, "a.png")):
        with pytest.raises(Unreadable, match="not an image"):
            opens()
    with pytest.raises(DataError, match="cannot be read"):
        read_picture(EPS, "a.png", (3, 16, 16))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000"])
def test_the_allowed_kinds_are_read(kind: str) -> None:
    image = Image.fromarray(pictures(1, channels=3)[0])
    assert open_image(_encoded(image, kind), "x").size == (16, 16)


def test_a_snapshot_is_a_picture_of_an_allowed_kind(tmp_path: Path) -> None:
    (tmp_path / "step.png").write_bytes(EPS)
    with pytest.raises(DataError, match="not a grid of samples"):
        read_snapshot(tmp_path / "step.png", {"n": 1, "columns": 1, "gap": 0, "shape": [3, 16, 16]})


@pytest.mark.parametrize("wrong", [{"columns": 0}, {"n": -1}, {"gap": -1}, {"shape": None}])
def test_the_layout_of_a_snapshot_is_not_trusted(wrong: dict[str, object], tmp_path: Path) -> None:
    import torch

    path = save_snapshot(tmp_path, 0, torch.zeros(4, 1, 8, 8))
    layout = {"n": 4, "columns": 2, "gap": 2, "shape": [1, 8, 8], **wrong}
    with pytest.raises(DataError, match=path.name):
        read_snapshot(path, layout)


def test_pixels_are_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, deep = png(np.zeros((40, 40), np.uint8)), png(np.zeros((40, 40), np.uint16))
    webp = png(np.zeros((40, 40, 3), np.uint8), "WEBP")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    for data, name in ((flat, "MOST_PIXELS"), (deep, "MOST_DEEP_PIXELS"), (webp, "MOST_WEBP_PIXELS")):
        monkeypatch.setattr(limits, name, 1599)
        with pytest.raises(DataError, match=r"x declares 40x40 pixels, and at most 1,599 .* scale it down"):
            open_picture(data, "x")
    monkeypatch.setattr(limits, "MOST_PIXELS", 1600)
    assert open_picture(flat, "x").size == (40, 40)


def test_a_picture_that_is_hardly_packed_may_be_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_PIXELS", 100)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    assert decode(open_picture(png(noise, "BMP"), "x"), Counter()).size == (40, 40)


def test_a_server_gives_pictures_a_limit_of_its_own() -> None:
    data = png(pictures(1, size=32)[0])
    assert read_picture(data, "x", (1, 8, 8), most_pixels=1024).shape == (1, 8, 8)
    with pytest.raises(DataError, match="x declares 32x32 pixels, and at most 1,023"):
        read_picture(data, "x", (1, 8, 8), most_pixels=1023)


def test_very_large_jpegs_are_decoded_at_a_smaller_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = Image.fromarray(pictures(1, size=16, channels=3)[0]).resize((512, 512), Image.Resampling.BICUBIC)
    data = _encoded(smooth, "JPEG", quality=95)
    whole = read_picture(data, "x", (3, 16, 16))
    monkeypatch.setattr(limits, "DRAFT_PIXELS", 512 * 512 - 1)
    image = open_picture(data, "x")
    assert decode(image, Counter(), side=16).size == (64, 64)  # an eighth, at least twice 16
    assert decode(open_picture(data, "x"), Counter(), side=100).size == (256, 256)
    drafted = read_picture(data, "x", (3, 16, 16))
    assert np.abs(drafted.astype(int) - whole).max() <= 3
    monkeypatch.setattr(limits, "MOST_PIXELS", 4095)  # which the smaller scale has to keep to
    with pytest.raises(DataError, match="256x256"):
        decode(open_picture(data, "x"), Counter(), side=100)


def test_scans_of_a_jpeg_count(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _encoded(Image.fromarray(pictures(1, size=64, channels=3)[0]), "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    assert scans > 2
    assert decode(open_picture(data, "x"), Counter()).size == (64, 64)
    monkeypatch.setattr(limits, "MOST_SCANNED", 64 * 64 * scans - 1)
    with pytest.raises(DataError, match=f"{scans} scans"):
        open_picture(data, "x")
    monkeypatch.setattr(limits, "MOST_SCANS", scans - 1)
    with pytest.raises(DataError, match=f"too costly to open .*{scans} scans"):
        open_picture(data, "x")


def test_what_is_no_scan_of_a_jpeg_does_not_count() -> None:
    """Telephones put a film of some megabytes behind a photograph; previews lie in its head."""
    image = Image.fromarray(pictures(1, 64)[0])
    photo, preview = _encoded(image, "JPEG"), _encoded(image, "JPEG", progressive=True)
    film = np.random.default_rng(0).bytes(6_000_000)
    assert film.count(b"\xff\xda") > limits.MOST_SCANS
    assert open_image(photo + film, "a.jpg").size == (64, 64)
    head = b"\xff\xe5" + (2 + 20 * len(preview)).to_bytes(2, "big") + 20 * preview
    assert 20 * preview.count(b"\xff\xda") > limits.MOST_SCANS
    assert open_image(photo[:2] + head + photo[2:], "a.jpg").size == (64, 64)
    assert (scans_of(photo), scans_of(photo + film), scans_of(preview)) == (1, 1, preview.count(b"\xff\xda"))


def test_a_scan_is_not_hidden_by_what_looks_like_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end mark in a remark between scans is none; Pillow reads on, and so does the count."""
    data = _encoded(Image.fromarray(pictures(1, 64)[0]), "JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    before = data.rindex(b"\xff\xc4", 0, second)
    hiding = data[:before] + b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + data[before:]
    assert np.array_equal(Image.open(io.BytesIO(hiding)), Image.open(io.BytesIO(data)))
    assert scans_of(hiding) == scans_of(data) > 2
    assert scans_of(data[:second] + b"\xff\x02\xff\xff" + data[second:]) == scans_of(data)
    monkeypatch.setattr(headers, "_MOST_SEGMENTS", 50)
    with pytest.raises(DataError, match="more than 50 segments"):
        open_image(data[:2] + 50 * b"\xff\xfe\x00\x02" + data[2:], "a.jpg")


def test_the_head_of_a_jpeg_is_gone_through_as_pillow_does() -> None:
    """Pillow passes over what is no segment byte by byte, and puts EXIF together piece by piece."""
    assert {mark & 255 for mark, (_, _, read) in MARKER.items() if read is None} == {*range(0xD0, 0xD8), *headers.BARE}
    photo = _encoded(Image.fromarray(pictures(1, 64)[0]), "JPEG")
    start, rest = photo[:20], photo[20:]  # JFIF's segment; Pillow wants it to begin at once
    assert rest[0] == 0xFF
    for between in (b"\xff", b"\0", b"\xff\xd8", b"\xff\0", b"\xff\xd9", b"\xff\xd1"):
        assert open_image(start + 1000 * between + rest, "x").size == (64, 64)
        with pytest.raises(Unreadable, match="not an image"):
            open_image(start + 200_000 * between + rest, "x")
    piece = b"\xff\xe1\x00\x0aExif\0\0ab"
    assert open_image(start + 100 * piece + rest, "x").size == (64, 64)
    with pytest.raises(DataError, match="EXIF in more than 100 pieces"):
        open_image(start + 101 * piece + rest, "x")
    hidden = b"\xff\xd8\x00\x0a" + piece  # the second mark has no length that would lead past the EXIF
    assert [mark for mark, _ in headers.segments_of(start + hidden + rest)][:2] == [0xE0, 0xE1]
    assert [Image.open(io.BytesIO(start + hidden + rest)).info["exif"]] == [b"Exif\0\0ab"]


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3"])
def test_remarks_in_a_picture_of_text_are_counted_first(kind: bytes) -> None:
    """Four megabytes of them took Pillow half a minute, the square of their number in each block."""
    top, most = b"" if kind == b"P1" else b"255\n", headers._MOST_REMARKS
    values = b"1 " * (64 * (3 if kind == b"P3" else 1))
    fine = kind + b"\n# by hand\n8 8\n" + top + (most - 1) * b"#\n" + values
    assert decode(open_picture(fine, "x"), Counter()).size == (8, 8)
    with pytest.raises(DataError, match=r"10,001 remarks, more than 10,000.*save it again"):
        open_picture(fine + b"#\n", "x")


def _overlapping(tags: int, size: int) -> bytes:
    """Return a small TIFF whose private tags all point at the same bytes."""
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (278, 3, 1, 16), (279, 4, 1, 256), *[(60000 + k, 7, size, 8) for k in range(tags)]]  # fmt: skip
    start = 8 + size
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHI", b"II", 42, start) + bytes(size) + table + struct.pack("<I", 0)


def test_strips_of_a_tiff_are_counted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(file, "TIFF", tiffinfo={278: 1})
    monkeypatch.setattr(limits, "MOST_STRIPS", 40)
    assert open_picture(file.getvalue(), "x").size == (40, 40)
    monkeypatch.setattr(limits, "MOST_STRIPS", 39)
    with pytest.raises(DataError, match=r"x is too costly to open \(a page of it is cut into 40 strips or tiles"):
        open_picture(file.getvalue(), "x")


def test_tags_that_overlap_are_refused_before_they_are_read() -> None:
    assert open_image(_overlapping(2, 1000), "x").size == (16, 16)
    costly = _overlapping(60, 100_000)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x is too costly to open \(its tags claim 6,000,\d+ bytes of a file of 100,"):
        open_image(costly, "x")
    assert tracemalloc.get_traced_memory()[1] < 2 * 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_same_in_exif(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddlepoint.data.images.headers._SPARE", 1000)
    exif = b"Exif\0\0" + _overlapping(20, 10_000)
    data = _encoded(Image.fromarray(pictures(1, channels=3)[0]), kind, exif=exif)
    with pytest.raises(DataError, match="its tags claim"):
        open_image(data, "x")
    honest = Image.Exif()
    honest[0x0112] = 6
    data = _encoded(Image.fromarray(pictures(1, size=20, channels=3)[0][:16]), kind, exif=honest.tobytes())
    assert decode(open_picture(data, "x"), Counter()).size == (16, 20)


def test_pages_are_counted_by_the_bytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.fromarray(x) for x in pictures(7, channels=3)]
    gif = _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    tiff = _encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert gif_frames(gif) == Image.open(io.BytesIO(gif)).n_frames == 7  # type: ignore[attr-defined]
    assert check_directories(tiff) == Image.open(io.BytesIO(tiff)).n_frames == 7  # type: ignore[attr-defined]
    monkeypatch.setattr(limits, "MOST_PAGES", 6)
    for data in (gif, tiff):
        with pytest.raises(DataError, match="too costly to open"):
            open_image(data, "x")


@pytest.mark.parametrize("cut", [0, 5, 20, 60, 200])
def test_heads_that_are_cut_off_are_no_more_than_unreadable(cut: int) -> None:
    frames = [Image.fromarray(x) for x in pictures(3, channels=3)]
    for kind in ("GIF", "TIFF", "PNG", "JPEG", "WEBP"):
        data = _encoded(frames[0], kind)[:cut]
        try:
            decode(open_picture(data, "x"), Counter())
        except Unreadable:
            continue


def test_a_later_page_may_not_be_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "d", pictures(6))
    first, second = Image.fromarray(pictures(1)[0]), Image.new("L", (64, 64))
    content = _encoded(first, "TIFF", save_all=True, append_images=[second], compression="tiff_deflate")
    (root / "a.tif").write_bytes(content)
    monkeypatch.setattr(limits, "MOST_PIXELS", 300)
    with pytest.raises(DataError, match="page 1 declares 64x64 pixels"):
        load_dataset(str(root), pages="all", size=16)


def test_the_pixels_of_a_whole_set_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = np.zeros((100, 100), np.uint8)
    root = write_folder(tmp_path / "d", [np.roll(flat + (np.arange(100) == k), k) for k in range(20)])
    monkeypatch.setattr(limits, "MOST_WORK", 22_000)
    monkeypatch.setattr(limits, "WORK_OF_FILE", limits.WORK_OF_PICTURE)
    with pytest.raises(DataError, match=r"0007.png take .* million pixels .* scale pictures down first, or"):
        load_dataset(str(root))
    monkeypatch.setenv("SADDLEPOINT_LIMITS", "off")
    assert _rows(root) == 20


def test_a_folder_may_hold_any_number_of_tiny_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand sprites of 100 bytes: opening each takes longer than its bytes and pixels say."""
    sprites = np.kron(np.eye(6, dtype=np.uint8)[:, None, :], np.full((1, 6, 1), 255, np.uint8))
    root = write_folder(tmp_path / "d", [*sprites, *(255 - sprites)])
    monkeypatch.setattr(limits, "MOST_WORK", 1000)
    assert max(path.stat().st_size for path in root.rglob("*.png")) * limits.WORK_PER_BYTE < limits.WORK_OF_PICTURE
    assert _rows(root) == 12
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in root.rglob("*.png"):
            archive.write(path, path.name)
    monkeypatch.setattr(limits, "WORK_PER_BYTE", 4)
    monkeypatch.setattr(limits, "FILES_OF_ARCHIVE", 0)
    with pytest.raises(DataError, match="million pixels"):
        load_dataset(str(tmp_path / "a.zip"))


def test_icons_are_read_from_a_folder_and_so_many_from_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand icons of 256x256 with transparency take 3 KB each as WebP: they were refused."""
    root = tmp_path / "icons"
    root.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in range(10):
            icon = Image.new("RGBA", (256, 256), (k, 0, 0, 0))
            icon.paste((200, 10 * k, 30, 255), (50, 60, 200, 210))
            (root / f"{k}.webp").write_bytes(_encoded(icon, "WEBP", lossless=True))
            archive.write(root / f"{k}.webp", f"{k}.webp")
    monkeypatch.setattr(limits, "MOST_WORK", 0)
    assert _rows(root) == 10 == _rows(tmp_path / "a.zip")
    monkeypatch.setattr(limits, "FILES_OF_ARCHIVE", 0)
    with pytest.raises(DataError, match="million pixels"):
        load_dataset(str(tmp_path / "a.zip"), size=8)


def test_pictures_with_content_are_not_counted_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WORK", 0)
    assert _rows(write_folder(tmp_path / "d", pictures(12, size=32))) == 12
