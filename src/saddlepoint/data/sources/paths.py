"""What lies at a path: images, parquet, archives, arrays, and the files of other fields."""

from __future__ import annotations

import zipfile
from pathlib import Path

from saddlepoint.core.errors import DataError
from saddlepoint.data.kinds import kind_findings
from saddlepoint.data.options import Options
from saddlepoint.data.sources import cifar, fits, hdf5, idx, medical, svhn, webdataset
from saddlepoint.data.sources.folder import IMAGE_SUFFIXES, Source, folder_source, stamp, walk, zip_source
from saddlepoint.data.sources.idx import find_idx, idx_source
from saddlepoint.data.sources.npz import npy_source, npz_source
from saddlepoint.data.sources.parquet import parquet_source
from saddlepoint.data.sources.tfd import FILES, tfd_source


def path_key(path: Path) -> str | None:
    """Return the key of the source at ``path`` where opening it takes time: the cache is asked before that.

    Arrays are read once to know their range, and .npz files are unpacked.
    """
    return (
        "array\n" + stamp([path], path.parent) if path.suffix.lower() in (".npy", ".npz") and path.is_file() else None
    )


def path_source(path: Path, options: Options | None = None) -> Source:
    """Return the source at ``path``, by what it holds.

    Args:
        path: a file or a folder.
        options: how it is read where a format leaves a choice, and where labels and splits come from.

    Raises:
        OpenQuestion: if it can be read in several ways.
        DataError: if it is of no known kind, empty or damaged.
    """
    options = options or Options()
    if path.is_dir():
        return _folder(path, options)
    if ".mat" in path.suffix.lower():
        return svhn.mat_source(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return parquet_source(path, [path], options)
    if suffix == ".npy":
        return npy_source(path, path_key(path) or "").with_notes(*kind_findings(path, options))
    if suffix == ".npz":
        return npz_source(path, path_key(path) or "", options.array).with_notes(*kind_findings(path, options))
    if suffix == ".zip" or (path.is_file() and zipfile.is_zipfile(path)):
        return zip_source(path, options)
    return _foreign(path, options)


def _folder(path: Path, options: Options) -> Source:
    """Return the source of a folder, by the files in it."""
    faces = [path / name for name in FILES if (path / name).is_file()]
    if faces:
        return tfd_source(faces[0])
    there = walk(path)[0]
    files = [file for file in there if file.suffix == ".parquet" and file.name != "metadata.parquet"]
    if files:
        return parquet_source(path, files, options)
    if find_idx(path):
        return idx_source(str(path), path)
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in there):
        return folder_source(path, options)
    cifar.refuse_pickles(path)
    if found := idx.idx_files(path):
        return idx.named_idx_source(path, found, options)
    if found := cifar.cifar_files(path):
        return cifar.cifar_source(path, found)
    if found := svhn.svhn_files(path):
        return svhn.svhn_source(path, found)
    if found := hdf5.hdf5_files(path):
        return hdf5.hdf5_source(path, found, options)
    if found := webdataset.tar_files(path):
        return webdataset.tar_source(path, found, options)
    if found := [file for file in there if medical.is_nifti(file)]:
        return medical.nifti_source(path, found, options)
    if found := [file for file in there if fits.is_fits(file)]:
        return fits.fits_source(path, found, options)
    if found := [file for file in there if medical.is_dicom(file)]:
        return medical.dicom_source(path, found, options)
    return folder_source(path, options)


def _foreign(path: Path, options: Options) -> Source:
    """Return the source of one file of another field."""
    suffix = path.suffix.lower()
    if idx.is_idx(path):
        return idx.named_idx_source(path, [path], options)
    if suffix == ".bin":
        return cifar.cifar_source(path, [path])
    if suffix in hdf5.SUFFIXES:
        return hdf5.hdf5_source(path, [path], options)
    if webdataset.is_tar(path):
        return webdataset.tar_source(path, [path], options)
    if medical.is_nifti(path):
        return medical.nifti_source(path, [path], options)
    if fits.is_fits(path):
        return fits.fits_source(path, [path], options)
    if medical.is_dicom(path):
        return medical.dicom_source(path, [path], options)
    cifar.refuse_pickles(path)
    if suffix in IMAGE_SUFFIXES:
        raise DataError(f"{path} is one image; name the folder that holds the images")
    raise DataError(
        f"{path} is not a kind of data that can be read; give a folder of images, a zip or tar of them, or a table, "
        ".parquet, .npy, .npz, .h5, idx, .nii, .fits or .mat file"
    )
