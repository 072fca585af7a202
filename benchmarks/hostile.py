"""Makes the figures of docs/notebook/strangers.md: how long `/health` takes while one client wants the server to fall.

    python benchmarks/hostile.py run [--seconds 20]      measure, and keep
    python benchmarks/hostile.py run --source OLD/src    the same with the package of an older commit, kept beside it
    python benchmarks/hostile.py write                   write the table

A well-behaved client asks for `/health` fifty times a second over one connection, while a hostile client, a process of
its own, does one thing as often as it can. A time counts from the moment at which the question was due, so that a stop
of the server is counted for all questions that fell into it. Memory is the server's highest in the meantime. Both runs
are made here, of random pictures and one step: what is measured is the server, not the samples.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import multiprocessing
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from http_load import request, serving
from PIL import Image
from records import commit, write_section

import saddlepoint
from saddlepoint.core.files import write_atomically
from saddlepoint.engine.machine import runtime

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "hostile.json"
PAGE = HERE.parent / "docs" / "notebook" / "strangers.md"
PAUSE = 0.02
"""Seconds between two questions."""


def with_pictures(*files: bytes) -> bytes:
    """Return a request that translates pictures."""
    pictures = {"pictures": [base64.b64encode(file).decode() for file in files]}
    return request("/v1/translate", json.dumps(pictures).encode(), close=True)


def picture(side: int, kind: str = "PNG", mode: str = "RGB", grain: int = 0) -> bytes:
    """Return a picture of one colour, or of random squares."""
    image = Image.new(mode, (side, side))
    if grain:
        squares = np.random.default_rng(0).integers(0, 256, (side // grain, side // grain, 3), dtype=np.uint8)
        image = Image.fromarray(squares.repeat(grain, 0).repeat(grain, 1))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def ask(port: int, words: bytes) -> bytes:
    """Say something, and read the answer until the server closes, or for a minute."""
    parts = []
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60) as talk:
        with contextlib.suppress(OSError):
            talk.sendall(words)
        while part := talk.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def again(words: bytes) -> Callable[[int], None]:
    """Return an attack that says the same again and again."""

    def attack(port: int) -> None:
        while True:
            ask(port, words)

    return attack


def endless_head(port: int) -> None:
    """Send a head that does not end, as fast as it is taken, again and again."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60) as talk:
            talk.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            while True:
                talk.sendall(b"X: " + b"a" * 65_000 + b"\r\n")


def slow_readers(port: int) -> None:
    """Ask for the largest answer over 64 connections, and read one byte a second of each."""
    words, talks = request("/v1/sample", b'{"n": 256, "format": "json"}', close=True), list[socket.socket]()
    while True:
        with contextlib.suppress(OSError):
            while len(talks) < 64:
                talks.append(socket.socket())
                talks[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                talks[-1].connect(("127.0.0.1", port))
                talks[-1].sendall(words)
                talks[-1].setblocking(False)
        time.sleep(1)
        for talk in list(talks):
            try:
                ended = not talk.recv(1)
            except BlockingIOError:
                continue
            except OSError:
                ended = True
            if ended:
                talks.remove(talk)
                talk.close()


def attacks() -> dict[str, tuple[str, Callable[[int], None]]]:
    """Return what is done by a name: to which of the two servers, and how."""
    keys = b"{" + b",".join(b'"%d":0' % k for k in range(700_000)) + b"}"
    return {
        "B1: an object of 700,000 fields": ("painter", again(request("/v1/translate", keys, close=True))),
        "B2: a head without an end": ("painter", endless_head),
        "B3: pictures that another program would open": ("painter", again(with_pictures(picture(64, "EPS")))),
        "B3: JPEG 2000 of 16 megapixels": ("painter", again(with_pictures(picture(4000, "JPEG2000", grain=100)))),
        "B4: 16 pictures of 88 megapixels": ("painter", again(with_pictures(*[picture(9400)] * 16))),
        "B4: 4 pictures of 16 megapixels": ("painter", again(with_pictures(*[picture(4000)] * 4))),
        "64 readers of a byte a second": ("sampler", slow_readers),
    }


def make_runs(folder: Path) -> None:
    """Make a run that samples and one that translates."""
    x, y = np.random.default_rng(0).integers(0, 256, (64, 3, 64, 64), dtype=np.uint8), np.arange(64) % 2
    saddlepoint.train("dcgan", data=x, size=64, steps=1, threads=1, out=folder / "sampler", batch_size=16)
    small = {"batch_size": 8, "width": 8, "blocks": 1, "discriminator_width": 8}
    saddlepoint.train("stargan", data=(x, y), steps=1, threads=1, out=folder / "painter", options=small)


async def health(port: int, seconds: float) -> list[float]:
    """Return the sorted times of `/health` in milliseconds, each from when it was due; a minute for what never came."""
    times: list[float] = []
    words = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    talk: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    start = time.perf_counter()
    for number in range(int(seconds / PAUSE)):
        due = start + number * PAUSE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            if talk is None:
                talk = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 60)
            reader, writer = talk
            writer.write(words)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            length = re.search(rb"content-length: (\d+)", head.lower())
            assert length is not None
            await reader.readexactly(int(length[1]))
            times.append(1000 * (time.perf_counter() - due) if head.startswith(b"HTTP/1.1 200") else 60_000.0)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            talk = None
            times.append(60_000.0)
        if times[-1] >= 60_000 and time.perf_counter() - start > 3 * seconds:
            break
    return sorted(times)


def highest(process: int, begin: bool = False) -> float:
    """Return the highest memory of a process in MB; or begin to look for it."""
    if begin:
        Path(f"/proc/{process}/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def during(port: int, process: int, seconds: float, attack: Callable[[int], None] | None) -> dict[str, float]:
    """Measure while an attack is on, or nothing is."""
    hostile = multiprocessing.get_context("fork").Process(target=attack, args=(port,), daemon=True) if attack else None
    highest(process, begin=True)
    if hostile:
        hostile.start()
        time.sleep(0.5)
    try:
        times = asyncio.run(health(port, seconds))
    finally:
        if hostile:
            hostile.kill()
            hostile.join()
    quantile = {f"p{q}": round(times[min(len(times) - 1, len(times) * q // 100)], 1) for q in (50, 99)}
    return {**quantile, "longest": round(times[-1], 1), "questions": len(times), "megabytes": round(highest(process))}


def measure(seconds: float, source: Path | None, nice: int, only: str) -> None:
    """Measure every attack, each right after the same server was measured without it."""
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    place = HERE if source is None else source
    at = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=place, capture_output=True, text=True, check=False)
    about = {"machine": runtime.machine(), "seconds": seconds, "pause": PAUSE, "nice": nice}
    side = "before" if source else "now"
    rows: dict[str, Any] = found.get(side, {}).get("rows", {}) if only else {}
    found[side] = {"about": about | {"commit": at.stdout.strip() or commit()}, "rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder))
        planned = {name: one for name, one in attacks().items() if only in name}
        prefer(nice)
        for run in ("painter", "sampler"):
            with serving(Path(folder) / run, source=source or HERE.parent / "src", quiet=True) as (port, process):
                asyncio.run(health(port, 1.0))
                for name, (_, attack) in ((name, one) for name, one in planned.items() if one[0] == run):
                    quiet = during(port, process, seconds / 2, None)
                    hostile = during(port, process, seconds, attack)
                    rows[name] = {"quiet": quiet, "hostile": hostile, "load": round(os.getloadavg()[0], 1)}
                    write_atomically(FIGURES, json.dumps(found, indent=1) + "\n")
                    print(f"{name}: p99 {quiet['p99']} ms, then {hostile}", flush=True)


def prefer(nice: int) -> None:
    """Give this session another priority among all that run here: where much else does, that is what would be measured.

    Linux shares cores among sessions first, so begin the script with ``setsid``.
    """
    if nice:
        Path("/proc/self/autogroup").write_text(str(nice))


def write() -> None:
    """Write the table into the page."""
    found = json.loads(FIGURES.read_text())
    about = found["now"]["about"]
    lines = [
        f"Commit `{about['commit']}`, {about['machine']['processor']}, {about['machine']['cores']} cores that "
        f"other work shares (load {max(row['load'] for row in found['now']['rows'].values()):.0f}, priority "
        f"{about['nice']}); `/health` every {1000 * about['pause']:g} ms for {about['seconds']:g} s.",
        "",
        "| one hostile client sends | p99 without it (ms) | p99 | longest | memory at most (MB) |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["now"]["rows"].items():
        hostile = row["hostile"]
        cells = [row["quiet"]["p99"], hostile["p99"], hostile["longest"]]
        lines.append(f"| {name} | {' | '.join(f'{cell:,.0f}' for cell in cells)} | {hostile['megabytes']:,.0f} |")
    if before := found.get("before"):
        worst = "; ".join(f"{name}: {row['hostile']['p99']:,.0f} ms" for name, row in before["rows"].items())
        lines += ["", f"p99 at commit `{before['about']['commit']}`, before these limits: {worst}."]
    write_section(PAGE, "hostile", lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "write"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--only", default="", help="part of the name of what is measured anew")
    parser.add_argument(
        "--nice", type=int, default=0, help="priority of the session, with setsid: -15 where much else runs"
    )
    words = parser.parse_args()
    if words.what == "run":
        measure(words.seconds, words.source, words.nice, words.only)
    else:
        write()


if __name__ == "__main__":
    main()
