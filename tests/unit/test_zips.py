"""Archives of strangers are damaged in words."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from saddlepoint.core.zips import Zip

NAME = "\u00e9.txt"


def written(path: Path, heads: bool) -> Path:
    """Write an archive whose name says it is UTF-8 and is not: in the list of members, or before the member only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(NAME, "text")
    content, name = buffer.getvalue(), NAME.encode()
    first, last = content.index(name), content.rindex(name)
    assert first < last
    at = last if heads else first
    path.write_bytes(content[:at] + b"\xff\xff" + content[at + 2 :])
    return path


def test_a_whole_archive_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(NAME, "text")
    with Zip(tmp_path / "x.zip") as found:
        assert found.read(NAME) == b"text"


def test_names_that_are_no_text_are_damage(tmp_path: Path) -> None:
    with pytest.raises(zipfile.BadZipFile, match="not in UTF-8"):
        Zip(written(tmp_path / "x.zip", heads=True))
    with Zip(written(tmp_path / "y.zip", heads=False)) as found, pytest.raises(zipfile.BadZipFile, match="UTF-8"):
        found.read(NAME)


def test_no_reader_opens_archives_otherwise() -> None:
    import saddlepoint

    package = Path(saddlepoint.__file__).parent
    lines = {(path.name, line.strip()) for path in package.rglob("*.py") for line in path.read_text().splitlines()}
    assert {name for name, line in lines if "zipfile.ZipFile(" in line and '"w"' not in line} <= {"zips.py"}


def test_members_without_a_name_are_damage(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(NAME, "text")
        archive.filelist[0].filename = ""
    with pytest.raises(zipfile.BadZipFile, match="has no name"):
        Zip(tmp_path / "x.zip")


@pytest.mark.parametrize("place", [tuple(range(20, 24)), tuple(range(42, 46))], ids=["bytes packed", "where it begins"])
def test_members_that_go_beyond_the_archive_are_damage(tmp_path: Path, place: tuple[int, ...]) -> None:
    """Asking for what is not there costs memory before the first byte is read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", b"text")
    content = bytearray(buffer.getvalue())
    at = content.index(b"PK\1\2")
    content[at + place[0] : at + place[-1] + 1] = (2**31).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(zipfile.BadZipFile, match="more bytes than there are"):
        Zip(tmp_path / "x.zip")


def test_an_archive_with_something_before_it_is_read(tmp_path: Path) -> None:
    """Of programs that unpack themselves, say: places are counted from where the archive begins."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", b"text")
        archive.writestr("y", b"")
    (tmp_path / "x.zip").write_bytes(b"#!/bin/sh\n" * 100 + buffer.getvalue())
    with Zip(tmp_path / "x.zip") as found:
        assert found.read("x") == b"text"
