"""The items of a data set in memory, one by one: read once, whatever they are, and kept in a temporary file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.plan import Finding
from saddlepoint.data.sources.scratch import Scratch

ACCEPTED = (
    "an array or a tensor, (x, labels), a list of pictures or of (picture, label), a data set of PyTorch or of "
    "`datasets`, a pandas.DataFrame, a saddlepoint Dataset, or a mapping from split names to these"
)
IMAGE_KEYS = ("image", "img", "pixel_values", "x", "data")
LABEL_KEYS = ("label", "labels", "y", "target", "class")
_PILLOW_AS_IT_IS = ("L", "RGB")


@dataclass(frozen=True)
class Pictures:
    """Pictures of any size, read one at a time, as often as needed."""

    count: int
    payloads: Callable[[], Iterator[bytes | np.ndarray]]

    def __len__(self) -> int:
        return self.count


def as_array(data: Any) -> np.ndarray | None:
    """Return an array or a tensor as a NumPy array, without a copy where that is possible; None if it is neither."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.is_tensor(data):
        if data.layout != torch.strided or data.is_quantized:
            raise DataError(f"the tensor is {data.layout}; give a dense one ({ACCEPTED})")
        data = data.detach().cpu().resolve_conj().resolve_neg()
        return np.asarray(data.float() if data.dtype == torch.bfloat16 else data)
    return np.asarray(data) if isinstance(data, np.ndarray) else None


def spooled(data: Any) -> tuple[np.ndarray | Pictures, list[Any] | None, list[Finding], Scratch]:
    """Go once through the items of a data set and keep them in a temporary file: items may be random, or slow.

    Items are arrays of one shape, or pictures of any size; alone, as (x, label), or as a mapping.

    Returns:
        Rows; their labels, or None; what was found; what must live as long as the rows.

    Raises:
        DataError: if an item cannot be read, or is unlike the first.
    """
    if len(data) == 0:
        raise DataError(f"the data is empty; give {ACCEPTED}")
    scratch, cells, labelled = Scratch(), list[Any](), False
    place = scratch.path / "rows"
    sizes: list[tuple[int, tuple[int, ...] | None]] = []
    head: tuple[tuple[int, ...], np.dtype] | None = None
    first = b""
    with open(place, "wb") as file:
        for number in range(len(data)):
            x, label, has = _taken_apart(_item(data, number), number)
            value, shape = _payload(x, number)
            if number == 0:
                labelled, first = has, _bytes_of(value)
                head = None if shape is not None or isinstance(value, bytes) else (value.shape, value.dtype)
            _refuse_unlike(number, value, shape, head, has == labelled)
            sizes.append((file.write(_bytes_of(value)), shape))
            cells.append(label)
    findings = []
    if _bytes_of(_payload(_taken_apart(_item(data, 0), 0)[0], 0)[0]) != first:
        says = "items change from one reading to the next (random transforms): what the first reading gave is learned"
        findings.append(Finding("source", says, "families augment by themselves", sure=False))
    x = Pictures(len(sizes), lambda: _unspooled(place, sizes))
    if head is not None:
        x = np.memmap(place, dtype=head[1], mode="r", shape=(len(sizes), *head[0]))
    return x, cells if labelled else None, findings, scratch


def _unspooled(place: Path, sizes: Sequence[tuple[int, tuple[int, ...] | None]]) -> Iterator[bytes | np.ndarray]:
    with open(place, "rb") as file:
        for size, shape in sizes:
            content = file.read(size)
            yield content if shape is None else np.frombuffer(content, np.uint8).reshape(shape)


def _item(data: Any, number: int) -> Any:
    try:
        return data[number]
    except Exception as error:  # the user's own code may raise anything
        raise DataError(f"item {number} of the data cannot be read ({type(error).__name__}: {error})") from error


def _taken_apart(item: Any, number: int) -> tuple[Any, Any, bool]:
    """Return picture or array of an item, its label, and whether it has one."""
    if isinstance(item, Mapping):
        x, label = from_mapping(item)
        return x, label, label is not None
    if isinstance(item, tuple | list) and not (item and isinstance(item[0], int | float)):
        if len(item) not in (1, 2):
            raise DataError(f"item {number} of the data has {len(item)} parts; an item is x, or (x, label)")
        return item[0], item[1] if len(item) == 2 else None, len(item) == 2
    return item, None, False


def from_mapping(item: Mapping[Any, Any]) -> tuple[Any, Any]:
    """Return picture and label of an item that names them, as Hugging Face's data sets do; None: it has no label.

    Raises:
        DataError: if none of its keys is that of a picture.
    """
    keys = [key for key in IMAGE_KEYS if key in item]
    if not keys:
        raise DataError(f"the data has the keys {', '.join(map(str, item))}; its pictures must be called image or x")
    label = next((item[key] for key in LABEL_KEYS if key in item and key != keys[0]), None)
    return item[keys[0]], label


def _payload(x: Any, number: int) -> tuple[bytes | np.ndarray, tuple[int, ...] | None]:
    """Return an array; or a picture as its pixels with their shape, or as the bytes of a file."""
    array = as_array(x)
    if array is None and isinstance(x, list | tuple):
        array = np.asarray(x) if all(isinstance(part, int | float | list | tuple) for part in x) else None
    if array is not None:
        if array.dtype == object:
            raise DataError(f"item {number} of the data holds Python objects; give {ACCEPTED}")
        return array, None
    image = sys.modules.get("PIL.Image")
    if image is None or not isinstance(x, image.Image):
        raise DataError(f"item {number} of the data is of type {type(x).__name__}; give {ACCEPTED}")
    try:
        x.load()
        if x.mode in _PILLOW_AS_IT_IS and "transparency" not in x.info and not x.getexif().get(0x0112):
            pixels = np.asarray(x)
            return pixels, pixels.shape
        stream = io.BytesIO()
        kind = "PNG" if x.mode in ("1", "LA", "P", "RGBA", "I;16") else "TIFF"
        x.save(stream, kind, **({"compress_level": 1, "exif": x.getexif()} if kind == "PNG" else {}))
    except Exception as error:  # a damaged file that is decoded now may raise anything
        raise DataError(f"item {number} of the data is a picture that cannot be read ({error})") from error
    return stream.getvalue(), None


def _bytes_of(value: bytes | np.ndarray) -> bytes:
    return value if isinstance(value, bytes) else value.tobytes()


def _refuse_unlike(
    number: int,
    value: bytes | np.ndarray,
    shape: tuple[int, ...] | None,
    head: tuple[tuple[int, ...], np.dtype] | None,
    same: bool,
) -> None:
    if not same:
        raise DataError(f"item {number} of the data differs from the first in having a label; make all alike")
    picture = isinstance(value, bytes) or shape is not None
    if picture != (head is None):
        raise DataError(
            f"item {number} of the data is no {'array' if picture else 'picture'}, as the first is; make all alike"
        )
    if head is not None and isinstance(value, np.ndarray) and (value.shape, value.dtype) != head:
        raise DataError(
            f"item {number} of the data has shape {value.shape} and type {value.dtype}, but the first has {head[0]} "
            f"and {head[1]}; bring arrays to one shape and type, or give pictures of PIL"
        )
