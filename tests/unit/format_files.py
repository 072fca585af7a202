"""A small whole file of each further format, and how it is read to its end."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from saddlepoint.data.options import Options
from saddlepoint.data.series.ready import load_ready
from saddlepoint.data.sources import hdf5_trial
from saddlepoint.data.sources.paths import path_source
from saddlepoint.data.tables.formats import READERS
from saddlepoint.data.tables.long_array import read_array
from tests.unit.data_helpers import pictures, png
from tests.unit.looker import looked_at


def _idx(path: Path) -> None:
    x = pictures(6, 8)
    path.write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, *x.shape) + x.tobytes())


def _cifar(path: Path) -> None:
    x = pictures(3, 32, 3).transpose(0, 3, 1, 2).reshape(3, -1)
    path.write_bytes(np.concatenate([np.arange(3, dtype=np.uint8)[:, None], x], 1).tobytes())


def _svhn(path: Path) -> None:
    from scipy.io import savemat

    savemat(path, {"X": pictures(6, 8, 3).transpose(1, 2, 3, 0), "y": np.arange(1, 7, dtype=np.uint8)[:, None]})


def _hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=pictures(8, 8, 3), chunks=(4, 8, 8, 3), compression="gzip")
        file["ans"] = np.arange(8)


def _tar(path: Path) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for i, image in enumerate(pictures(5, 8)):
            for end, data in (("png", png(image)), ("cls", str(i % 2).encode())):
                info = tarfile.TarInfo(f"{i}.{end}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def _dicom(path: Path) -> None:
    from tests.unit.test_formats_images import write_dicom

    write_dicom(path, np.arange(3 * 96, dtype=np.int16).reshape(3, 12, 8), RescaleSlope=2, RescaleIntercept=-5)


def _nifti(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.arange(8 * 9 * 4, dtype=np.int16).reshape(8, 9, 4), np.eye(4)), path)


def _fits(path: Path) -> None:
    from astropy.io import fits

    fits.PrimaryHDU(np.arange(2 * 96, dtype=np.uint16).reshape(2, 12, 8)).writeto(path, overwrite=True)


def _workbook(path: Path) -> None:
    table = pd.DataFrame(
        {"day": pd.date_range("2020-01-01", periods=9), "x": np.arange(9) / 4, "kind": list("aabbccdde")}
    )
    table.to_excel(path, index=False)


def _ts(path: Path) -> None:
    path.write_text(
        "@problemName A\n@univariate false\n@classLabel true a b\n@data\n1,2,?:4,5,6:a\n-1e3,7,3:8,9.5,1:b\n"
    )


def _tsf(path: Path) -> None:
    path.write_text(
        "@relation a\n@attribute series_name string\n@attribute size numeric\n@attribute start date\n"
        "@frequency monthly\n@data\nT1:3:1980-01-31 00-00-00:1,?,3,4\nT2:4:1981-02-28 00-00-00:7,-8,2,1\n"
    )


def _arff(path: Path) -> None:
    path.write_text(
        "@relation r\n@attribute a real\n@attribute 'b c' integer\n@attribute k {x, y}\n@data\n1.5,2,x\n?,3,y\n"
    )


def _classic(path: Path) -> None:
    _grid().to_netcdf(path, engine="scipy")


def _netcdf(path: Path) -> None:
    _grid().to_netcdf(path, engine="h5netcdf")


def _grid() -> Any:
    import xarray

    return xarray.Dataset(
        {"t": (("time", "site"), np.arange(18.0).reshape(9, 2))},
        {"time": pd.date_range("2020-01-01", periods=9), "site": ["a", "b"]},
    )


def _windows(path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(12, 6, 2)).astype(np.float32)
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        np.savez(path, x=x, y=np.arange(12) % 2, columns=np.array(["a", "b"]))


def _long(path: Path) -> None:
    np.save(path, np.cumsum(np.random.default_rng(0).normal(size=(40, 2)), axis=0))


FILES: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "idx": ("own-images.idx3-ubyte", _idx),
    "CIFAR": ("data.bin", _cifar),
    "SVHN": ("train_32x32.mat", _svhn),
    "HDF5": ("a.h5", _hdf5),
    "tar": ("a.tar", _tar),
    "tar.gz": ("a.tar.gz", _tar),
    "DICOM": ("a.dcm", _dicom),
    "NIfTI": ("a.nii", _nifti),
    "NIfTI, packed": ("a.nii.gz", _nifti),
    "FITS": ("a.fits", _fits),
    "workbook": ("a.xlsx", _workbook),
    "ts": ("a.ts", _ts),
    "tsf": ("a.tsf", _tsf),
    "arff": ("a.arff", _arff),
    "NetCDF, classic": ("a.nc", _classic),
    "NetCDF": ("b.nc", _netcdf),
    "windows": ("w.npy", _windows),
    "windows, npz": ("w.npz", _windows),
    "long series": ("l.npy", _long),
}
"""Name of the file, and what writes it, by format."""


def read_whole(path: Path) -> int:
    """Read all of a file, and return how many rows it has."""
    with mock.patch.object(hdf5_trial, "in_a_process", looked_at if hasattr(os, "fork") else hdf5_trial.in_a_process):
        return _read(path)


def _read(path: Path) -> int:
    if path.name.startswith("w."):
        return sum(map(len, load_ready(str(path), path, Options()).splits.values()))
    if path.name.startswith("l."):
        return len(read_array(path, Options(modality="sequence")).data)
    if path.suffix in READERS:
        return len(READERS[path.suffix](path, Options()).data)
    return len(list(path_source(path, Options(pages="all")).items()))
