"""What lies at a path: images, parquet, zip, npy or npz."""

from __future__ import annotations

import zipfile
from pathlib import Path

from saddlepoint._errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.sources.arrays import find_idx, idx_source, npy_source, npz_source
from saddlepoint.data.sources.folder import IMAGE_SUFFIXES, Source, folder_source, stamp, walk, zip_source
from saddlepoint.data.sources.parquet import parquet_source
from saddlepoint.data.sources.tfd import FILES, split_path, tfd_source


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
        path: file or folder.
        options: where labels and splits come from, if the user chose.

    Raises:
        DataError: if it is of no known kind, empty or damaged.
    """
    if path.is_dir():
        faces = [path / name for name in FILES if (path / name).is_file()]
        if faces:
            return tfd_source(faces[0])
        files = [file for file in walk(path)[0] if file.suffix == ".parquet" and file.name != "metadata.parquet"]
        if files:
            return parquet_source(path, files, options)
        return idx_source(str(path), path) if find_idx(path) else folder_source(path, options)
    if ".mat" in path.suffix.lower():
        return tfd_source(*split_path(str(path)))
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return parquet_source(path, [path], options)
    if suffix == ".npy":
        return npy_source(path, path_key(path) or "")
    if suffix == ".npz":
        return npz_source(path, path_key(path) or "")
    if suffix == ".zip" or (path.is_file() and zipfile.is_zipfile(path)):
        return zip_source(path, options)
    if suffix in IMAGE_SUFFIXES:
        raise DataError(f"{path} is one image; name the folder that holds the images")
    raise DataError(
        f"{path} is not a kind of data that can be read; give a folder of images, a zip of one, or a "
        ".csv, .parquet, .npy or .npz file, or a .mat file of the Toronto Face Database"
    )
