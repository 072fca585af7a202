"""Files of folders that come from elsewhere: plain ones are read, nothing else is opened or waited for."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from saddlepoint.core.files import (
    is_folder_no_link,
    open_regular,
    read_end,
    read_json,
    read_regular,
    write_atomically,
    written,
)
from saddlepoint.data.sources.folder import picture_bytes
from saddlepoint.export.sampler.description import read_file


def _link(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"theirs")
    path.symlink_to(path.with_name("elsewhere"))


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # a socket's path has 107 bytes at most


ODD: dict[str, Callable[[Path], None]] = {
    "link": _link,
    "link to nothing": _link_to_nothing,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "pipe": lambda path: os.mkfifo(path),
    "socket": _socket,
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("mode", ["rb", "ab"])
@pytest.mark.parametrize("kind", ODD)
def test_only_a_regular_file_is_opened(kind: str, mode: str, tmp_path: Path) -> None:
    ODD[kind](tmp_path / "file")
    refused: list[OSError] = []

    def try_it() -> None:
        try:
            open_regular(tmp_path / "file", mode).close()
        except OSError as error:
            refused.append(error)

    # In a thread, so that waiting for ever is a failure, not a hang.
    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(10)
    assert len(refused) == 1
    assert kind == "folder" or "a link, a pipe or a device" in str(refused[0])
    assert not (tmp_path / "nothing").exists()


def test_a_link_is_read_where_that_is_asked_but_no_device(tmp_path: Path) -> None:
    _link(tmp_path / "file")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert read_regular(tmp_path / "file", 100, follow=True) == b"theirs"
    with pytest.raises(OSError, match="a link, a pipe or a device"):
        read_regular(tmp_path / "zero", 100, follow=True)
    with pytest.raises(ValueError, match="to read"):
        open_regular(tmp_path / "file", "ab", follow=True)


def test_what_is_appended_comes_last_and_is_made_if_missing(tmp_path: Path) -> None:
    for word in (b"a", b"b"):
        with open_regular(tmp_path / "file", "ab") as file:
            file.seek(0)
            file.write(word)
    assert (tmp_path / "file").read_bytes() == b"ab"


def test_a_limit_takes_no_memory(tmp_path: Path) -> None:
    """Before, a read of at most 512 MB took 512 MB for a moment."""
    (tmp_path / "file").write_bytes(b"123456")
    tracemalloc.start()
    try:
        assert read_regular(tmp_path / "file", 2**29) == b"123456"
        assert picture_bytes(tmp_path / "file") == b"123456"
        assert read_file(tmp_path / "file", 2**29) == b"123456"
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123456")
    assert read_regular(tmp_path / "file", 6) == b"123456"
    with pytest.raises(ValueError, match="more than 5 bytes"):
        read_regular(tmp_path / "file", 5)
    with pytest.raises(ValueError, match="more than 5 bytes"):
        read_json(tmp_path / "file", 5)


@pytest.mark.parametrize(
    ("most", "right"), [(100, b"one\ntwo\nsix"), (7, b"two\nsix"), (6, b"six"), (3, b"six"), (2, b"")]
)
def test_the_end_begins_with_a_line(most: int, right: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo\nsix")
    assert read_end(tmp_path / "file", most) == right


def test_a_linked_folder_is_none_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "there")
    (tmp_path / "file").touch()
    assert [is_folder_no_link(tmp_path / name) for name in ("there", "linked", "file", "none")] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "name", ["a" * 255, "\u00e9" * 127, "\U0001f600" * 62 + ".json", "a." + "b" * 253], ids=[*"1234"]
)
def test_names_of_any_length_that_a_disk_takes_are_written(name: str, tmp_path: Path) -> None:
    """File systems take 255 bytes; the other name, under which a file is written first, may not be longer."""
    write_atomically(tmp_path / name, "one")
    assert (tmp_path / name).read_text() == "one"
    with written(tmp_path / name) as place:
        place.write_text("two")
    assert (tmp_path / name).read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == [name]
