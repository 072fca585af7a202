"""Medical images: DICOM files (pydicom) and NIfTI volumes (nibabel), in the units that their headers define."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note
from saddlepoint.data.sources.extras import (
    MOST_PIXELS,
    Exact,
    arrange_files,
    check_held,
    check_room,
    guarded,
    need,
    one_type,
    without_gaps,
)  # fmt: skip
from saddlepoint.data.sources.folder import Item, Source

DICOM_SUFFIXES, NIFTI_SUFFIXES = (".dcm", ".dicom", ".ima"), (".nii", ".nii.gz")
_DICOM, _NIFTI = "DICOM", "NIfTI"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR")
_UNREADABLE = b"no DICOM image"


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its ending, or by the mark at byte 128 where it has none."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_nifti(path: Path) -> bool:
    """Whether a file is NIfTI by its ending."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


@dataclass(frozen=True)
class _Header:
    """What decides how a DICOM file is read."""

    path: Path
    frames: int
    photometric: str
    modality: str
    rescaled: bool
    exact: Exact


def dicom_source(path: Path, files: Sequence[Path], options: Options) -> Source:
    """Read DICOM images: values after RescaleSlope and RescaleIntercept, MONOCHROME1 (white is 0) inverted.

    Labels come from subfolders or a label file, as of any folder of images; nothing else of a header is kept.

    Args:
        path: what the user named: a file or a folder.
        files: the DICOM files.
        options: ``pages``: frames of files that hold several.

    Raises:
        DataError: if none can be read, or their pixels are packed in a way that is not unpacked here.
    """
    pydicom = need("pydicom", "medical", ".dcm")
    held = arrange_files(path, files, options)
    headers = {file: _header(pydicom, file) for file in held.used}
    good = [header for header in headers.values() if header is not None]
    if not good:
        raise DataError(f"{path} holds {len(files)} DICOM files, and none has an image that can be read")
    target = one_type(header.exact for header in good)

    def items() -> Iterator[Item]:
        for file, header in headers.items():
            pixels = None if header is None else _frames(pydicom, header, target)
            if header is None or pixels is None:
                yield held.item(file, _UNREADABLE)
                continue
            for number, value in enumerate(pixels if options.pages == "all" else pixels[:1]):
                yield held.item(file, value, f"frame {number}" if header.frames > 1 else "")

    return held.source(path, "dicom", items, _dicom_notes(good, options))


def _dicom_notes(headers: Sequence[_Header], options: Options) -> list[Note]:
    kinds = Counter(header.modality or "no modality" for header in headers)
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    notes: list[Note] = [Finding("images", f"{len(headers):,} DICOM files", said)]
    if rescaled := sum(header.rescaled for header in headers):
        notes.append(Finding("depth", f"RescaleSlope and RescaleIntercept were applied to {rescaled:,} files",
                             "their headers define them; windows (WindowCenter) are not applied",
                             "--levels LOW,HIGH"))  # fmt: skip
    if inverted := sum(header.photometric == "MONOCHROME1" for header in headers):
        notes.append(Finding("depth", f"{inverted:,} files were inverted, so that white is the largest value",
                             "MONOCHROME1: their smallest value is white"))  # fmt: skip
    several = [header for header in headers if header.frames > 1]
    if several:
        frames = sum(header.frames for header in several)
        all_of = options.pages == "all"
        notes.append(Finding(
            "pages", f"{'all' if all_of else 'the first'} of the {frames:,} frames of {len(several):,} files "
            f"{'are images' if all_of else 'of each is used'}", "" if options.pages else "files hold several frames",
            "--pages all" if not all_of else "--pages first", sure=options.pages is not None,
        ))  # fmt: skip
    return notes


def _header(pydicom: Any, path: Path) -> _Header | None:
    """Return what decides how a file is read; None if it holds no image, or is damaged.

    Raises:
        DataError: if its pixels are too many, or packed in a way that is not unpacked here.
    """
    try:
        with guarded(path, _DICOM):
            if str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED:
                raise DataError(f"{path} is deflated as a whole, which is not read: unpack it with a DICOM tool")
            head = pydicom.dcmread(path, stop_before_pixels=True)
            sides = (int(head.Rows), int(head.Columns), int(head.get("SamplesPerPixel", 1)))
            frames = int(head.get("NumberOfFrames", 1) or 1)
            photometric = str(head.PhotometricInterpretation)
            rescaled = "RescaleSlope" in head or "ModalityLUTSequence" in head
            steps = [float(head.get(name, 1)) for name in ("RescaleSlope", "RescaleIntercept")]
            plain = int(head.BitsAllocated) == 8 and not int(head.PixelRepresentation) and not rescaled
            coloured = photometric in _COLOURS
            exact: Exact = "bytes" if plain or coloured else "whole" if all(map(float.is_integer, steps)) else "floats"
            modality = str(head.get("Modality", ""))[:16]
            syntax = head.file_meta.TransferSyntaxUID
    except DataError as error:
        if "deflated" in str(error):
            raise
        return None
    if min(sides) < 1 or frames < 1 or np.prod(sides, dtype=object) > MOST_PIXELS:
        return None
    numbers = int(np.prod(sides, dtype=object)) * frames
    check_room(path, f"{frames:,} frames", numbers * 8)
    check_held(path, numbers, exact)
    with guarded(path, _DICOM):
        decoder = None if not syntax.is_compressed else pydicom.pixels.get_decoder(syntax)
        if decoder is not None and not decoder.is_available:
            raise DataError(
                f"{path} is packed as {syntax.name}, which needs one of "
                f"{shortened(list(decoder.missing_dependencies), 8)}; install it, or unpack the files with a DICOM tool"
            )
    return _Header(path, frames, photometric, modality, rescaled, exact)


def _frames(pydicom: Any, header: _Header, target: np.dtype) -> list[np.ndarray] | None:
    """Return the frames of a file, (height, width) or uint8 (height, width, 3); None if it is damaged."""
    try:
        with guarded(header.path, _DICOM):
            data = pydicom.dcmread(header.path)
            values = pydicom.pixels.pixel_array(data)
            if header.photometric == "PALETTE COLOR":
                values = (pydicom.pixels.apply_color_lut(values, data) >> 8).astype(np.uint8)
            elif header.photometric not in _COLOURS:
                values = _monochrome(pydicom, values, data, header).astype(target)
    except DataError:
        return None
    return list(values) if header.frames > 1 else [values]


def _monochrome(pydicom: Any, values: np.ndarray, data: Any, header: _Header) -> np.ndarray:
    if header.photometric == "MONOCHROME1":
        bits, signed = int(data.BitsStored), bool(data.PixelRepresentation)
        # As a display does it: within the range that the stored bits have.
        values = (-1 if signed else (1 << bits) - 1) - values.astype(np.int64)
    if header.rescaled:
        values = pydicom.pixels.apply_modality_lut(values, data)
    return values


def nifti_source(path: Path, files: Sequence[Path], options: Options) -> Source:
    """Read NIfTI volumes: slices along the last of their three axes as images, values after slope and intercept.

    Args:
        path: what the user named: a file or a folder.
        files: the volumes.
        options: ``pages``: first: the first slice of each alone.

    Raises:
        DataError: if a file is damaged or has fewer than two axes.
    """
    nibabel = need("nibabel", "medical", ".nii")
    held = arrange_files(path, files, options)
    volumes = {file: _volume(nibabel, file) for file in held.used}
    target = one_type(exact for _, exact in volumes.values())
    first = options.pages == "first"
    slices = sum(shape[2] for shape, _ in volumes.values())

    def items() -> Iterator[Item]:
        for file, (shape, _) in volumes.items():
            with guarded(file, _NIFTI):
                volume = _values(nibabel, file, target)
            for number in range(1 if first else shape[2]):
                yield held.item(file, volume[:, :, number].T, f"slice {number}")

    notes: list[Note] = [
        Finding("pages", f"{len(volumes):,} NIfTI volumes: {'the first' if first else f'all {slices:,}'} slices along "
                "the last axis are images", "" if options.pages else "volumes seldom show anything in their first "
                "slice", "--pages all" if first else "--pages first", sure=options.pages is not None),
        Finding("images", "rows run along the second axis and columns along the first, as stored; nothing is turned"),
        Finding("depth", "slope and intercept of the headers were applied"),
    ]  # fmt: skip
    if later := sum(shape[3] > 1 for shape, _ in volumes.values()):
        notes.append(Finding("pages", f"{later:,} files hold several volumes (a fourth axis): the first is used"))
    return held.source(path, "nifti", items, notes)


def _volume(nibabel: Any, path: Path) -> tuple[tuple[int, int, int, int], Exact]:
    """Return the sides of a volume, how many volumes there are, and what its values are, from the header alone."""
    with guarded(path, _NIFTI):
        image = nibabel.load(path)
        shape, kind = tuple(int(side) for side in image.shape), image.get_data_dtype()
        steps = [float(image.dataobj.slope), float(image.dataobj.inter)]
        if len(shape) < 2 or min(shape) < 1:
            raise DataError(f"{path} is of shape {shape}; a volume has two or three axes")
    exact: Exact = "whole" if kind.kind in "ui" and all(map(float.is_integer, steps)) else "floats"
    exact = "bytes" if kind == np.uint8 and steps == [1.0, 0.0] else exact
    full = (*shape, 1, 1)[: max(4, len(shape))]
    check_room(path, "the volume", int(np.prod(full[:3], dtype=object)) * 8)
    check_held(path, int(np.prod(full[:3], dtype=object)), exact)
    return (full[0], full[1], full[2], int(np.prod(full[3:], dtype=object))), exact


def _values(nibabel: Any, path: Path, target: np.dtype) -> np.ndarray:
    """Return the first volume: (first axis, second axis, slices)."""
    image = nibabel.load(path)
    proxy = image.dataobj
    volume = np.asarray(proxy[(..., *([0] * (len(image.shape) - 3)))] if len(image.shape) > 3 else proxy)
    return without_gaps(volume[..., None] if volume.ndim == 2 else volume).astype(target)
