"""Files of weights, in whichever of three forms: a pickle, `torch.save` of before version 1.6, or its archive."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.files import open_regular
from saddlepoint.core.zips import Zip
from saddlepoint.data.memory import usable_memory
from saddlepoint.run.imports.machine import Budget
from saddlepoint.run.imports.pickles import MAGIC, read_legacy, read_one
from saddlepoint.run.imports.stored import Refused, Storage

_MOST_PICKLE = 256 * 1024**2
"""Bytes of the pickle in an archive, which has the numbers beside it."""


def read_file(path: Path) -> Any:
    """Return what a file of weights describes: dictionaries, plain values, `Part`s and `Stored` tensors.

    Args:
        path: of a plain file, or a link to one.

    Raises:
        CheckpointError: if it cannot be opened, holds anything but tensors and plain values, or is damaged.
    """
    try:
        with open_regular(path, follow=True) as file:
            size = os.fstat(file.fileno()).st_size
            if 2 * size > (usable := usable_memory()):  # its bytes, and the tensors made of them
                raise Refused(
                    f"it has {size / 1e9:,.1f} GB, more than half of the {usable / 1e9:,.1f} GB of memory here"
                )
            first = file.read(4)
            file.seek(0)
            if first == b"PK\3\4":
                return _of_archive(path, file, size)
            if first[:1] != b"\x80":
                raise Refused("it is neither a pickle nor an archive of torch.save")
            budget = Budget(copied=2 * size)  # texts of numbers, as old protocols have them, and numbers of these
            found = read_one(file, size, budget)
            return read_legacy(file, size, budget, begun=True) if found == MAGIC else found
    except Refused as error:
        raise CheckpointError(f"'{path}' is not read: {error}; nothing in it was executed") from error
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}") from error


def _of_archive(path: Path, file: BinaryIO, size: int) -> Any:
    """Return what an archive of `torch.save` holds: ``data.pkl``, and a member for each storage."""
    try:
        with Zip(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            roots = [
                name.removesuffix("data.pkl") for name in members if name.count("/") == 1 and name.endswith("/data.pkl")
            ]
            if len(roots) != 1:
                raise Refused("it is an archive, but none of torch.save: it has no data.pkl")
            if sum(info.file_size for info in members.values()) > size or any(
                info.compress_type != zipfile.ZIP_STORED for info in members.values()
            ):
                raise Refused("its members are packed, which those of torch.save are not")
            root, order = roots[0], members.get(roots[0] + "byteorder")
            if order is not None and archive.read(order)[:10] != b"little":
                raise Refused("it is of a machine with another order of bytes")
            pickled = members[root + "data.pkl"]
            if pickled.file_size > _MOST_PICKLE:
                raise Refused(f"its pickle has more than {_MOST_PICKLE:,} bytes")
            storages: dict[str, Storage] = {}

            def persistent(told: Any) -> Storage:
                if not isinstance(told, tuple) or len(told) != 5 or told[0] != "storage" or type(told[2]) is not str:
                    raise Refused("it refers to something outside of it that is no storage")
                if told[2] not in storages:
                    storages[told[2]] = _member(archive, members, root, told)
                return storages[told[2]]

            with archive.open(pickled) as inner:
                return read_one(inner, pickled.file_size, Budget(copied=2 * pickled.file_size), persistent)  # type: ignore[arg-type]
    # What Python's reader raises of damaged archives.
    except (zipfile.BadZipFile, ValueError, LookupError, RuntimeError, EOFError, struct.error) as error:
        raise Refused(f"it is a damaged archive ({error})") from error


def _member(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], root: str, told: tuple[Any, ...]) -> Storage:
    """Return a storage with the bytes of its member."""
    storage, info = Storage.told(told), members.get(f"{root}data/{told[2]}")
    if info is None or info.file_size != storage.size:
        raise Refused("it has a storage of another size than it says")
    storage.content = archive.read(info)
    return storage
