"""Measures what the most costly inputs of at most 10 MB cost in every reader of data: processor time and memory.

    python benchmarks/costs.py run [NAME ...]      measure what is not kept yet; each input in a process of its own
    python benchmarks/costs.py again [NAME ...]    measure anew
    python benchmarks/costs.py show                print what is kept, the most costly first
    python benchmarks/costs.py worker PATH WORDS   what `run` starts: load a path, and print what that cost

The inputs are harmless in kind: they are large, flat, wide, deep or many, and nothing in them is damaged. Each is
either loaded or refused with a DataError; neither may take more than 10 s of processor time, or 1 GB above what the
imports take. Kept figures: benchmarks/figures/costs/.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "costs"
MOST_BYTES, MOST_SECONDS, MOST_MB = 10 * 10**6, 10.0, 1000
_STOP_SECONDS, _STOP_BYTES = 90, 8 * 1024**3
Make = Callable[[Path], "Path | tuple[Path, dict[str, Any]]"]
CASES: dict[str, Make] = {}


def case(make: Make) -> Make:
    """Keep a function that writes an input into a folder and returns its path, or that and options."""
    CASES[make.__name__] = make
    return make


def picture(mode: str, side: int, kind: str, **options: Any) -> bytes:
    """Return a flat picture."""
    from PIL import Image

    held = io.BytesIO()
    Image.new(mode, (side, side)).save(held, kind, **options)
    return held.getvalue()


def folder_of(root: Path, pictures: dict[str, bytes], least: int = 5) -> Path:
    """Write pictures into a folder, the first of them as often as a data set has rows at least."""
    place = root / "pictures"
    place.mkdir()
    first, content = next(iter(pictures.items()))
    for number in range(least - len(pictures)):
        pictures[f"{number}{first}"] = content
    for name, data in pictures.items():
        (place / name).write_bytes(data)
    return place


def _flat(mode: str, side: int, kind: str, ending: str, count: int = 5, **options: Any) -> Make:
    def make(root: Path) -> Path:
        return folder_of(root, {f"a.{ending}": picture(mode, side, kind, **options)}, count)

    return make


for _name, _make in {
    "png_grey": _flat("L", 7000, "PNG", "png"),
    "png_colour": _flat("RGB", 7000, "PNG", "png"),
    "png_transparent": _flat("RGBA", 7000, "PNG", "png"),
    "png_16_bits": _flat("I;16", 9000, "PNG", "png"),
    "png_many_large": _flat("L", 4000, "PNG", "png", 500),
    "jpeg_colour": _flat("RGB", 9000, "JPEG", "jpg"),
    "jpeg_progressive": _flat("RGB", 7000, "JPEG", "jpg", progressive=True),
    "jpeg_cmyk": _flat("CMYK", 7000, "JPEG", "jpg"),
    "tiff_packed": _flat("RGB", 7000, "TIFF", "tif", compression="tiff_deflate"),
    "tiff_floats": _flat("F", 4000, "TIFF", "tif", compression="tiff_deflate"),
    "webp_colour": _flat("RGB", 7000, "WEBP", "webp"),
    "avif_colour": _flat("RGB", 4000, "AVIF", "avif"),
    "jpeg2000_colour": _flat("RGB", 4000, "JPEG2000", "jp2"),
    "bmp_in_full": _flat("L", 1400, "BMP", "bmp"),
}.items():
    CASES[_name] = _make


def _paged(kind: str, ending: str, side: int, pages: int, **options: Any) -> Make:
    def make(root: Path) -> tuple[Path, dict[str, Any]]:
        from PIL import Image

        frames = [Image.new("P" if kind == "GIF" else "L", (side, side), k % 2) for k in range(pages)]
        held = io.BytesIO()
        frames[0].save(held, kind, save_all=True, append_images=frames[1:], **options)
        return folder_of(root, {f"a.{ending}": held.getvalue()}, 1), {"pages": "all"}

    return make


CASES["gif_of_many_frames"] = _paged("GIF", "gif", 1000, 1500)
CASES["gif_of_small_frames"] = _paged("GIF", "gif", 8, 20_000)
CASES["tiff_of_many_pages"] = _paged("TIFF", "tif", 1000, 1500, compression="tiff_deflate")
CASES["webp_of_many_frames"] = _paged("WEBP", "webp", 1000, 300)


@case
def pngs_of_many_tiny(root: Path) -> Path:
    from PIL import Image

    place = root / "pictures"
    place.mkdir()
    for number in range(100_000):
        held = io.BytesIO()
        Image.new("L", (4, 4), number % 256).save(held, "PNG")
        (place / f"{number}.png").write_bytes(held.getvalue())
    return place


def _zip(root: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return root / "a.zip"


@case
def zip_of_nested_flat(root: Path) -> Path:
    data = picture("L", 4000, "PNG")
    return _zip(root, {f"{k}.png": data for k in range(10_000)})


@case
def zip_of_flat_bmp(root: Path) -> Path:
    data = picture("1", 11_000, "BMP")
    return _zip(root, {f"{k}.bmp": data for k in range(100)})


@case
def zip_of_many_tiny(root: Path) -> Path:
    data = picture("L", 4, "PNG")
    return _zip(root, {f"{k}.png": data for k in range(50_000)})


@case
def zip_of_large_texts(root: Path) -> Path:
    rows = b"file_name,label\n" + b"".join(b"%d.png,a\n" % (k % 5) for k in range(7 * 10**6))
    return _zip(root, {**{f"{k}.png": picture("L", 8, "PNG") for k in range(5)}, "metadata.csv": rows[: 60 * 1024**2]})


@case
def zip_of_many_texts(root: Path) -> Path:
    tables = {f"{k}/train.csv": b"id,label\n" + b"x,1\n" * 4 * 10**6 for k in range(30)}
    return _zip(root, {**{f"{k}.png": picture("L", 8, "PNG") for k in range(5)}, **tables})


@case
def labels_of_equal_names(root: Path) -> Path:
    data = picture("L", 4, "PNG")
    rows = "file_name,label\n" + "".join(f"x{k}/a.png,{k % 3}\n" for k in range(40_000))
    return _zip(root, {**{f"d/{k}/a.png": data for k in range(40_000)}, "d/labels.csv": rows.encode()})


@case
def labels_wide(root: Path) -> Path:
    header = ",".join(["file_name", *(f"c{k}" for k in range(900_000))]).encode()
    return folder_of(root, {"a.png": picture("L", 8, "PNG"), "labels.csv": header + b"\na.png,1\n"})


@case
def labels_json_of_other_keys(root: Path) -> Path:
    rows = json.dumps([{f"k{k}": k} for k in range(400_000)]).encode()
    return folder_of(root, {"a.png": picture("L", 8, "PNG"), "labels.json": rows})


@case
def labels_json_deep(root: Path) -> Path:
    rows = b'{"labels":' + b"[" * 4_000_000 + b"]" * 4_000_000 + b"}"
    return folder_of(root, {"a.png": picture("L", 8, "PNG"), "labels.json": rows})


@case
def labels_parquet(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = io.BytesIO()
    names = pa.array(np.zeros(3 * 10**7, np.int8)).cast(pa.string())
    pq.write_table(pa.table({"file_name": names, "label": names}), held)
    return folder_of(root, {"a.png": picture("L", 8, "PNG"), "metadata.parquet": held.getvalue()})


@case
def tar_of_large(root: Path) -> Path:
    return _tar(root, {f"{k}.bmp": picture("1", 11_000, "BMP") for k in range(100)})


@case
def tar_of_many(root: Path) -> Path:
    return _tar(root, {f"{k}.png": picture("L", 4, "PNG") for k in range(300_000)})


@case
def tar_of_texts(root: Path) -> Path:
    texts = {f"{k}.txt": b"a" * 1_000_000 for k in range(1500)}
    return _tar(root, {**{f"{k}.png": picture("L", 8, "PNG") for k in range(5)}, **texts})


def _tar(root: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(root / "a.tar.gz", "w:gz") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return root / "a.tar.gz"


@case
def parquet_of_equal_images(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = pa.table({"image": pa.array([picture("1", 500, "BMP")] * 1000, pa.binary())})
    with pq.ParquetWriter(root / "a.parquet", cells.schema) as writer:
        for _ in range(200):
            writer.write_table(cells)
    return root / "a.parquet"


@case
def parquet_of_large_labels(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.array(np.zeros(50_000, np.int32))
    images = pa.array([picture("L", 8, "PNG")] * len(rows), pa.binary())
    labels = pa.DictionaryArray.from_arrays(rows, pa.array(["a" * 900_000]))
    pq.write_table(pa.table({"image": images, "label": labels}), root / "a.parquet")
    return root / "a.parquet"


@case
def parquet_of_zeros(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": np.zeros(10**8), "b": np.zeros(10**8)}), root / "a.parquet")
    return root / "a.parquet"


@case
def parquet_of_texts(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**5, np.int32)), pa.array(["word " * 100_000]))
    pq.write_table(pa.table({"a": np.arange(10**5), "b": words}), root / "a.parquet")
    return root / "a.parquet"


@case
def parquet_of_many_columns(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({f"c{k}": [1.0, 2.0] for k in range(15_000)}), root / "a.parquet")
    return root / "a.parquet"


def _npz(root: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(root / "a.npz", **arrays)
    return root / "a.npz"


@case
def npz_of_images(root: Path) -> Path:
    return _npz(root, x=np.zeros((9_000_000, 8, 8), np.uint8))


@case
def npz_of_vectors(root: Path) -> tuple[Path, dict[str, Any]]:
    return _npz(root, x=np.zeros((10**8, 1), np.float32)), {"modality": "vector"}


@case
def npz_of_a_series(root: Path) -> tuple[Path, dict[str, Any]]:
    return _npz(root, x=np.zeros((6 * 10**7, 1), np.float64)), {"modality": "sequence"}


@case
def npz_of_windows(root: Path) -> tuple[Path, dict[str, Any]]:
    return _npz(root, x=np.zeros((10**6, 24, 4), np.float32)), {"modality": "sequence"}


@case
def npy_of_texts(root: Path) -> Path:
    np.save(root / "a.npy", np.array(["a" * 1000] * 2400))
    return root / "a.npy"


@case
def idx_of_zeros(root: Path) -> Path:
    head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (900_000, 28, 28))
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(900_000 * 28 * 28)))
    return root


@case
def h5_of_zeros(root: Path) -> Path:
    import h5py

    with h5py.File(root / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((500_000, 32, 32), np.uint8), compression="gzip", chunks=(1000, 32, 32))
    return root / "a.h5"


@case
def h5_in_columns(root: Path) -> Path:
    import h5py

    with h5py.File(root / "a.h5", "w") as file:
        data = np.zeros((10**6, 8, 8), np.float32)
        file.create_dataset("x", data=data, compression="gzip", chunks=(10**6, 1, 1))
    return root / "a.h5"


@case
def mat_of_zeros(root: Path) -> Path:
    from scipy.io import savemat

    arrays = {"X": np.zeros((32, 32, 3, 200_000), np.uint8), "y": np.ones((200_000, 1), np.uint8)}
    savemat(root / "train_32x32.mat", arrays, do_compression=True)
    return root / "train_32x32.mat"


@case
def nifti_of_zeros(root: Path) -> Path:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((700, 700, 700), np.uint8), np.eye(4)), root / "a.nii.gz")
    return root / "a.nii.gz"


@case
def fits_of_zeros(root: Path) -> tuple[Path, dict[str, Any]]:
    from astropy.io import fits

    held = io.BytesIO()
    fits.PrimaryHDU(np.zeros((300, 1000, 1000), np.uint8)).writeto(held)
    (root / "a.fits.gz").write_bytes(gzip.compress(held.getvalue()))
    return root / "a.fits.gz", {"pages": "all"}


@case
def dicom_of_zeros(root: Path) -> tuple[Path, dict[str, Any]]:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    data = FileDataset(str(root / "a.dcm"), {}, file_meta=meta, preamble=bytes(128))
    data.Rows = data.Columns = 3000
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit = 1, 8, 8, 7
    data.PixelRepresentation, data.PhotometricInterpretation = 0, "MONOCHROME2"
    data.PixelData = bytes(3000 * 3000)
    data.save_as(root / "a.dcm", enforce_file_format=True)
    return root / "a.dcm", {}


def lines(form: bytes, count: int, values: Callable[[int], Any]) -> bytes:
    """Return lines of a form, with values of their number."""
    return b"".join(form % values(k) for k in range(count))


def _text(name: str, ending: str, content: Callable[[], bytes], **options: Any) -> None:
    def make(root: Path) -> tuple[Path, dict[str, Any]]:
        path = root / f"a.{ending}"
        data = content()
        path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
        return path, options

    CASES[name] = make


_text("csv_honest", "csv", lambda: b"a,b,c\n" + lines(b"%d,%.3f,%d\n", 200_000, lambda k: (k, k % 77 / 7, k % 5)))
_text("csv_of_short_rows", "csv", lambda: b"a\n" + b"0\n1\n" * 2_400_000)
_text("csv_of_texts", "csv", lambda: b"a,b\n" + b"x,1\ny,2\n" * 1_200_000)
_text("csv_of_unlike_texts", "csv", lambda: b"a,b\n" + lines(b"w%d,1\n", 900_000, int))
_text("csv_of_zeros_packed", "csv.gz", lambda: b"a,b\n" + b"0,0\n1,1\n" * 3 * 10**7)
_text("csv_wide_header", "csv", lambda: ",".join(f"c{k}" for k in range(1_200_000)).encode() + b"\n")
_text(
    "csv_wide",
    "csv",
    lambda: b"".join(",".join(f"{k}" for k in range(9000)).encode() + b"\n" for _ in range(200)),
    header=False,
)
_text("csv_long_line", "csv", lambda: b"a,b\n" + b"1" * 9_000_000 + b",2\n")
_text("csv_large_cell", "csv", lambda: b'a,b\n1,"' + b"x, " * 3_000_000 + b'"\n' + b"1,2\n" * 50)
_text("csv_quotes", "csv", lambda: b"a,b\n" + b'"""",""""\n' * 900_000)
_text("csv_open_quote", "csv", lambda: b'a,b\n1,"' + b"x\n" * 4_000_000)
_text("csv_blanks", "txt", lambda: b"a b\n" + b"1" + b" " * 60 + b"2\n" * 1 + b"1 2\n" * 2_300_000)
_text(
    "csv_dates",
    "csv",
    lambda: b"when,b\n" + lines(b"%d. March %d,1\n", 500_000, lambda k: (k % 28 + 1, 1700 + k % 300)),
)
_text(
    "csv_odd_dates",
    "csv",
    lambda: b"when,b\n" + lines(b"Tue %d Mar 24 %d:5 PM +03,1\n", 330_000, lambda k: (k % 28 + 1, k % 12)),
)
_text("csv_numbers_of_digits", "csv", lambda: b"a,b\n" + (b"9" * 5000 + b",1\n") * 1900)
_text("csv_comments", "csv", lambda: b"# a\n" * 2_000_000 + b"a,b\n1,2\n")
_text("json_of_other_keys", "json", lambda: json.dumps([{f"k{k}": k} for k in range(400_000)]).encode())
_text("json_of_rows", "json", lambda: b"[" + b'{"a":1},' * 1_200_000 + b'{"a":2}]')
_text("json_deep", "json", lambda: b"[" + b'{"a":' * 1_900_000 + b"1" + b"}" * 100)
_text("jsonl_of_rows", "jsonl", lambda: b'{"a":1}\n' * 1_200_000)
_text("arff_of_rows", "arff", lambda: b"@relation r\n@attribute a numeric\n@data\n" + b"1\n2\n" * 2_300_000)
_text(
    "arff_wide",
    "arff",
    lambda: b"@relation r\n" + lines(b"@attribute a%d numeric\n", 400_000, int) + b"@data\n1\n",
)
_text("ts_of_series", "ts", lambda: b"@problemName p\n@data\n" + b"1,2\n2,1\n" * 1_200_000)
_text("ts_of_channels", "ts", lambda: b"@problemName p\n@data\n" + b"1:" * 4_500_000 + b"1\n")
_text("ts_long", "ts", lambda: b"@problemName p\n@data\n" + b"1," * 4_500_000 + b"1\n")
_text(
    "tsf_of_series",
    "tsf",
    lambda: b"@attribute n string\n@frequency daily\n@data\n" + lines(b"T%d:1,2\n", 800_000, int),
)


@case
def xlsx_of_rows(root: Path) -> Path:
    return _sheet(root, b"<row><c><v>1</v></c><c><v>2</v></c></row>" * 3_000_000)


@case
def xlsx_of_strings(root: Path) -> Path:
    cell = b'<row><c t="s"><v>0</v></c><c><v>2</v></c></row>'
    return _sheet(
        root, cell * 500_000, b"<si><t>" + b"a" * 10_000_000 + b"</t></si>" + b"<si><t>b</t></si>" * 2_000_000
    )


def _sheet(root: Path, rows: bytes, strings: bytes = b"") -> Path:
    import openpyxl

    book, held = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["a", "b"])
    book.save(held)
    with zipfile.ZipFile(held) as plain, zipfile.ZipFile(root / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            data = plain.read(name)
            if name.endswith("sheet1.xml"):
                data = data.replace(b"</sheetData>", rows + b"</sheetData>")
            if strings and name.endswith("sharedStrings.xml"):
                data = data.replace(b"</sst>", strings + b"</sst>")
            archive.writestr(name, data)
    return root / "a.xlsx"


@case
def nc_of_zeros(root: Path) -> Path:
    import xarray

    data = xarray.Dataset({"v": (("time", "x"), np.zeros((500_000, 100), np.float32))})
    data.to_netcdf(root / "a.nc", engine="h5netcdf", encoding={"v": {"zlib": True}})
    return root / "a.nc"


@case
def nc_of_broad(root: Path) -> Path:
    import xarray

    held = {f"v{k}": (("time",), np.zeros(10_000, np.float32)) for k in range(20)}
    data = xarray.Dataset({**held, "w": (("time", "x"), np.zeros((10_000, 1000), np.float32))})
    data.to_netcdf(root / "a.nc", engine="h5netcdf", encoding={"w": {"zlib": True}})
    return root / "a.nc"


def peak_kb() -> int:
    """Return the most memory that this process had; `getrusage` gives that of its parent where it was more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def worker(path: str, words: str) -> None:
    """Load a path, and print what it cost as JSON."""
    import pandas.core.arrays.arrow.extension_types  # noqa: F401
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet  # noqa: F401
    from PIL import Image

    from saddlepoint.core.errors import DataError
    from saddlepoint.data import load_dataset

    Image.init()
    resource.setrlimit(resource.RLIMIT_AS, (_STOP_BYTES, _STOP_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_STOP_SECONDS, _STOP_SECONDS))
    before, started = peak_kb(), time.process_time()
    try:
        load_dataset(path, **json.loads(words))
        outcome = "loaded"
    except DataError as error:
        outcome = f"refused: {' '.join(str(error).split())[:160]}"
    except BaseException as error:
        outcome = f"FAILED: {error!r}"[:200]
    seconds = time.process_time() - started
    print(json.dumps({"seconds": round(seconds, 2), "mb": (peak_kb() - before) // 1024, "outcome": outcome}))


def measure(name: str) -> dict[str, Any]:
    """Write an input, load it in a process of its own, and return what that cost."""
    with tempfile.TemporaryDirectory(prefix="saddlepoint-costs-") as folder:
        root = Path(folder)
        (root / "in").mkdir()
        made = CASES[name](root / "in")
        path, options = made if isinstance(made, tuple) else (made, {})
        size = sum(file.stat().st_size for file in (root / "in").rglob("*") if file.is_file())
        command = [sys.executable, __file__, "worker", str(path), json.dumps(options)]
        environment = {**os.environ, "SADDLEPOINT_CACHE_DIR": str(root / "cache"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        try:
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            found = {"seconds": _STOP_SECONDS, "mb": 0, "outcome": f"STOPPED ({done.returncode})"}
    return {"bytes": size, **found}


def line(name: str, found: dict[str, Any]) -> str:
    """Return one line of the list."""
    over = found["seconds"] > MOST_SECONDS or found["mb"] > MOST_MB or found["outcome"][:1].isupper()
    mark = "OVER" if over else "    "
    size = f"{found['bytes'] / 1e6:6.2f} MB"
    return f"{mark} {name:28} {size} {found['seconds']:7.2f} s {found['mb']:6} MB  {found['outcome'][:110]}"


def main() -> None:
    """Do what the command line says."""
    command, *words = sys.argv[1:] or ["show"]
    if command not in ("run", "again", "show", "worker"):
        raise SystemExit(f"command is '{command}', but must be run, again or show")
    if command == "worker":
        worker(*words)
        return
    from records import keep

    kept = {path.stem: json.loads(path.read_text()) for path in sorted(FIGURES.glob("*.json"))}
    if command == "show":
        for name, found in sorted(kept.items(), key=lambda item: -max(item[1]["seconds"] / 10, item[1]["mb"] / 1000)):
            print(line(name, found))
        return
    for name in words or CASES:
        if command == "again" or name not in kept:
            found = measure(name)
            keep(FIGURES / f"{name}.json", found, 1)
            print(line(name, found), flush=True)


if __name__ == "__main__":
    main()
