"""Nobody reads a table any more when its reader has ended: a thread that does aborts the process where that ends."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.options import Options
from saddlepoint.data.plan import OpenQuestion
from saddlepoint.data.tables import text
from saddlepoint.data.tables.streams import ReadAhead
from saddlepoint.data.tables.table import read_table

HEAD, ROWS = "when,a,b\n", [f"{i},{i / 2},{i % 7}\n" for i in range(400)]
BROKEN = HEAD + "".join([*ROWS[:100], "100,1,2,3,4\n", *ROWS[101:]])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Arrow is given to read."""
    found: list[Any] = []
    real = pc.open_csv

    def open_csv(source: Any, *more: Any) -> Any:
        found.append(source)
        return real(source, *more)

    monkeypatch.setattr(pc, "open_csv", open_csv)
    return found


def test_what_is_looked_at_first_and_plain_files_are_read_without_python(tmp_path: Path, opened: list[Any]) -> None:
    (tmp_path / "a.csv").write_text("when,a\n" + "".join(f"{d:02}/{m:02}/2021,1\n" for m in (1, 2) for d in (1, 2, 3)))
    with pytest.raises(OpenQuestion):
        read_table(tmp_path / "a.csv", Options())
    (tmp_path / "b.csv").write_text(BROKEN)
    with pytest.raises(DataError, match=r"line 102 has 5 values"):
        read_table(tmp_path / "b.csv", Options())
    (tmp_path / "c.txt").write_text((HEAD + "".join(ROWS)).replace(",", "  "))
    assert read_table(tmp_path / "c.txt", Options(columns=("a", "b"))).values["a"].tolist() == [
        i / 2 for i in range(400)
    ]
    *all_others, blanks = opened
    assert len(all_others) > 3
    assert all(isinstance(source, pa.NativeFile) and not isinstance(source, pa.PythonFile) for source in all_others)
    assert isinstance(blanks, pa.PythonFile)


class Slow(io.BytesIO):
    """A stream whose fourth read, that after the broken line, takes long, and all that follow."""

    reads = inside = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads, self.inside = self.reads + 1, self.inside + 1
        if self.reads >= 4:
            threading.Event().wait(0.2)
        self.inside -= 1
        return super().read(size)


def test_the_last_read_of_what_python_unpacks_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Any]
) -> None:
    monkeypatch.setattr(text, "_PEEK", 400)
    monkeypatch.setattr(text, "BLOCK", 1000)
    path = tmp_path / "x.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.csv", BROKEN)
    slow = Slow(BROKEN.encode())
    streams = iter([io.BytesIO(BROKEN.encode()), slow])
    monkeypatch.setattr(text, "open_stream", lambda path: next(streams))
    with pytest.raises(DataError, match=r"line 102 has 5 values"):
        read_table(path, Options())
    reads = slow.reads
    assert isinstance(opened[-1], pa.PythonFile)
    assert reads >= 3
    assert not slow.inside
    threading.Event().wait(0.5)
    assert slow.reads == reads


def test_what_has_ended_gives_no_more() -> None:
    stream = ReadAhead(io.BytesIO(b"abcdef"))
    assert stream.read(2) == b"ab"
    assert stream.read(4) == b"cdef"
    assert stream.read(4) == b""
    stream.end()  # it has given its last byte: nothing is waited for
    early = ReadAhead(io.BytesIO(b"abcdef"))
    later = threading.Timer(0.05, lambda: early.read(2))
    later.start()
    early.end()
    assert early.read(2) == b""
