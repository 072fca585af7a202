"""Further formats from the file to the data set: what is read is what was written, and every piece of advice works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data import Dataset, inspect_source, load_dataset
from saddlepoint.data.plan import OpenQuestion
from tests.unit.data_helpers import own_cache, pictures  # noqa: F401


def table(n: int = 120) -> pd.DataFrame:
    steps = np.arange(n)
    return pd.DataFrame({
        "day": pd.date_range("2020-01-28", periods=n), "wave": np.round(20 + 5 * np.sin(steps / 9), 2),
        "count": (steps * 7) % 31,
    })  # fmt: skip


def training_rows(data: Dataset) -> np.ndarray:
    """Return the rows of the first training window in the units of the data."""
    assert data.layout is not None
    return data.layout.restore(np.asarray(data.splits["train"].x)[0])


def test_a_workbook_gives_the_same_data_as_its_csv(tmp_path: Path) -> None:
    table().to_excel(tmp_path / "a.xlsx", index=False)
    table().to_csv(tmp_path / "a.csv", index=False)
    book, text = (load_dataset(str(tmp_path / name), window=8) for name in ("a.xlsx", "a.csv"))
    for split in ("train", "valid", "test"):
        assert np.array_equal(book.splits[split].x, text.splits[split].x)
    assert np.allclose(training_rows(book), table()[["wave", "count"]].to_numpy()[:8])


@pytest.mark.parametrize("end", ["nc", "zarr"])
def test_grids_become_series(tmp_path: Path, end: str) -> None:
    import xarray

    rng = np.random.default_rng(0)
    values = np.round(rng.normal(10, 5, (60, 3)), 1)
    grid = xarray.Dataset({"temp": (("time", "site"), values)},
                          {"time": pd.date_range("2020-02-01", periods=60, freq="h"), "site": [7, 8, 9]})  # fmt: skip
    path = tmp_path / f"a.{end}"
    grid.to_netcdf(path) if end == "nc" else grid.to_zarr(path, zarr_format=2, consolidated=False)
    data = load_dataset(str(path), window=6)
    assert any("3 series" in note for note in data.notes)
    assert np.allclose(training_rows(data)[:, 0], values[:6, 0], atol=0.051)
    if end == "zarr":
        (grid + 1).to_zarr(path, mode="w", zarr_format=2, consolidated=False)
        assert np.allclose(training_rows(load_dataset(str(path), window=6))[:, 0], values[:6, 0] + 1, atol=0.051)


def test_classes_of_an_archive_and_many_channels_are_no_question(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [":".join(",".join(f"{v:.2f}" for v in channel) for channel in rng.normal(size=(9, 12))) + f":c{i % 2}"
             for i in range(40)]  # fmt: skip
    (tmp_path / "a.ts").write_text("@univariate false\n@classLabel true c0 c1\n@data\n" + "\n".join(lines) + "\n")
    data = load_dataset(str(tmp_path / "a.ts"), window=12)
    assert data.spec.shape == (12, 9)
    assert data.classes == ("c0", "c1")


def test_a_flat_arff_is_asked_about_and_keeps_its_class_either_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 12)).round(3)
    head = (
        "@relation r\n"
        + "".join(f"@attribute att{i} numeric\n" for i in range(12))
        + "@attribute target {up,down}\n@data\n"
    )
    rows = [",".join(map(str, row)) + ("," + "up" if i % 2 else ",down") for i, row in enumerate(values)]
    (tmp_path / "a.arff").write_text(head + "\n".join(rows) + "\n")
    with pytest.raises(OpenQuestion, match="is each row a whole series") as asked:
        load_dataset(str(tmp_path / "a.arff"), window=12)
    assert len(asked.value.readings) == 2
    data = load_dataset(str(tmp_path / "a.arff"), window=12, wide=True)
    assert data.spec.shape == (12, 1)
    assert data.classes == ("down", "up")
    assert np.allclose(training_rows(data)[:, 0], values[0], atol=1e-3)


def test_an_array_of_images_says_how_else_it_could_be_read(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((40, 12, 12))
    np.save(tmp_path / "x.npy", x)
    data = load_dataset(str(tmp_path / "x.npy"))
    assert data.modality == "image"
    assert any("--modality sequence" in note for note in data.notes)
    windows = load_dataset(str(tmp_path / "x.npy"), modality="sequence")
    assert (windows.modality, windows.spec.shape) == ("sequence", (12, 12))
    assert inspect_source(str(tmp_path / "x.npy"), modality="sequence").shape == (12, 12)


def test_every_answer_to_the_question_about_an_array_is_followed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "windows.npy", rng.random((60, 24, 5), dtype=np.float32))
    np.save(tmp_path / "long.npy", np.cumsum(rng.normal(size=(200, 3)), axis=0))
    for name, shapes in (("windows.npy", [(24, 5), (1, 4, 4)]), ("long.npy", [(24, 3), (3,)])):
        with pytest.raises(OpenQuestion) as asked:
            load_dataset(str(tmp_path / name))
        found = [load_dataset(str(tmp_path / name), **reading.options) for reading in asked.value.readings]  # type: ignore[arg-type]
        assert [data.modality for data in found] == [r.options["modality"] for r in asked.value.readings]
        assert found[0].spec.shape == shapes[0]
        assert found[1].modality == "vector" or found[1].spec.shape[0] == 1
    inspected = inspect_source(str(tmp_path / "windows.npy"), modality="sequence")
    assert not any("--window" in advice for advice in inspected.advice)
    with pytest.raises(DataError, match="ready windows of 24 rows; leave it out"):
        load_dataset(str(tmp_path / "windows.npy"), modality="sequence", window=12)


def test_hdf5_shards_and_cifar_become_data_sets(tmp_path: Path) -> None:
    import h5py

    x = pictures(60, 16, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["ans"] = x, np.arange(60) % 3
    data = load_dataset(str(tmp_path / "a.h5"))
    assert data.spec.shape == (3, 16, 16)
    assert data.classes == ("0", "1", "2")
    rows = {row.tobytes() for part in data.splits.values() for row in np.asarray(part.x)}
    assert rows == {np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes() for image in x}


def test_slices_of_a_volume_stay_in_one_part_and_have_one_scale(tmp_path: Path) -> None:
    import nibabel

    rng = np.random.default_rng(0)
    volumes = [(rng.integers(0, 3000, (12, 12, 6)) + 5 * i - 1000).astype(np.int16) for i in range(10)]
    for i, volume in enumerate(volumes):
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"{i}.nii.gz")
    data = load_dataset(str(tmp_path))
    low, high = min(map(np.min, volumes)), max(map(np.max, volumes))
    expected = {}
    for i, volume in enumerate(volumes):
        scaled = np.rint((volume.astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)
        expected |= {scaled[:, :, k].T.tobytes(): i for k in range(6)}
    parts = {split: {expected[row.tobytes()] for row in np.asarray(part.x)} for split, part in data.splits.items()}
    assert sum(len(part) for part in data.splits.values()) == 60
    assert set.union(*parts.values()) == set(range(10))
    assert sum(map(len, parts.values())) == 10  # no volume is in two parts
    assert any(f"{low} is black, {high} is white" in note for note in data.notes)
    first = load_dataset(str(tmp_path), pages="first")
    assert sum(len(part) for part in first.splits.values()) == 10


def test_every_advice_of_a_volume_a_cube_and_a_frame_is_followed(tmp_path: Path) -> None:
    from astropy.io import fits

    from tests.unit.test_formats_images import write_dicom

    rng = np.random.default_rng(0)
    for i in range(6):
        (tmp_path / "f").mkdir(exist_ok=True)
        fits.PrimaryHDU(rng.normal(size=(3, 12, 12)).astype(np.float32)).writeto(tmp_path / "f" / f"{i}.fits")
        write_dicom(tmp_path / "d" / f"{i}.dcm", rng.integers(0, 4096, (3, 12, 12), dtype=np.uint16), RescaleSlope=2,
                    RescaleIntercept=-1024)  # fmt: skip
    for name in "fd":
        data = load_dataset(str(tmp_path / name))
        assert sum(len(part) for part in data.splits.values()) == 6
        (advice,) = {f.option for f in data.findings if f.topic == "pages" and f.option}
        assert advice == "--pages all"
        assert sum(len(part) for part in load_dataset(str(tmp_path / name), pages="all").splits.values()) == 18
    narrow = load_dataset(str(tmp_path / "d"), levels=(0, 2000))
    assert any("0 is black, 2000 is white" in note for note in narrow.notes)


@pytest.mark.parametrize("pages", [None, "all"])
def test_a_column_of_lists_of_images(tmp_path: Path, pages: str | None) -> None:
    import datasets
    from PIL import Image

    from saddlepoint.data.options import Options
    from saddlepoint.data.sources.hub import layout_of, rows_of

    x = pictures(60, 16, 3)
    features = datasets.Features(
        {"views": datasets.List(datasets.Image()), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = {"views": [[Image.fromarray(image) for image in x[3 * i : 3 * i + 3]] for i in range(20)],
            "label": [i % 2 for i in range(20)]}  # fmt: skip
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(tmp_path / "train.parquet")
    data = load_dataset(str(tmp_path / "train.parquet"), pages=pages)
    expected = x if pages else x[::3]
    found = {row.tobytes() for part in data.splits.values() for row in np.asarray(part.x)}
    assert found == {np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes() for image in expected}
    assert data.classes == ("a", "b")
    assert any(("all are images" if pages else "the first of each is used (") in note for note in data.notes)
    layout = layout_of("it", {"train": made}, Options(pages=pages))  # type: ignore[arg-type]
    items = list(rows_of(made.with_format(None), layout, "train"))
    assert len(items) == len(expected)
    assert [item.label for item in items] == [i % 2 for i in range(20) for _ in range(3 if pages else 1)]
