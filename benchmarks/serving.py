"""Makes the figures of docs/serving.md: requests answered a second and their times, with batches and without.

    python benchmarks/serving.py run RUN [--seconds 10]     measure; what is there already is not measured again
    python benchmarks/serving.py steady RUN [--requests N]  memory over many requests (default 100,000)
    python benchmarks/serving.py write                      write the table

Two servers of the same run, one after the other: with batches of 32 rows, and one request at a time (--batch 1), which
is the same server without what this measures. Clients keep their connections and ask for one PNG of one sample, each as
soon as it has the answer to the one before; they run in a process of their own on the same machine and take part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records import commit, write_section

from saddlepoint.engine.machine import runtime

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "serving.json"
PAGE = HERE.parent / "docs" / "serving.md"
CLIENTS = (1, 8, 64)
SERVERS = {"batches": ("--batch", "32"), "one at a time": ("--batch", "1")}


@contextlib.contextmanager
def server(run: Path, *words: str) -> Iterator[tuple[int, int]]:
    """Yield the port of a server and its process."""
    command = [sys.executable, "-m", "saddlepoint", "serve", str(run), "--port", "0", "--threads", "1", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+) ", line)
        if found is None:
            sys.exit(f"the server did not start: {line}")
        try:
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def request(seed: int) -> bytes:
    """Return a request for one sample."""
    body = json.dumps({"n": 1, "seed": seed, "format": "png"}).encode()
    head = (
        f"POST /v1/sample HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


async def client(port: int, until: float, times: list[float], first: int) -> None:
    """Ask again and again until the clock says so, and note how long each answer took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seed = first
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(request(seed))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"the server answered {head[:200]!r}")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        await reader.readexactly(int(length[1]))
        times.append(time.perf_counter() - started)
        seed += 1
    writer.close()


async def load(port: int, clients: int, seconds: float) -> dict[str, float]:
    """Return requests a second and times in milliseconds under a number of clients."""
    times: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(*(client(port, started + seconds, times, 10**6 * k) for k in range(clients)))
    spent, times = time.perf_counter() - started, sorted(times)
    quantile = {f"p{q}": 1000 * times[min(len(times) - 1, len(times) * q // 100)] for q in (50, 99)}
    return {"requests": len(times), "per_second": len(times) / spent, **quantile}


def measure(run: Path, seconds: float) -> None:
    """Measure what is not there yet; both servers take turns, so that a slower minute of the machine hits both."""
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    found.setdefault("about", {"machine": runtime.machine(), "commit": commit(), "run": run.name, "seconds": seconds})
    for clients in CLIENTS:
        for name, words in SERVERS.items():
            if str(clients) in found.get(name, {}):
                continue
            with server(run, *words) as (port, _):
                asyncio.run(load(port, clients, min(2.0, seconds)))
                result = asyncio.run(load(port, clients, seconds))
            found.setdefault(name, {})[str(clients)] = result
            FIGURES.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name}, {clients} clients: {result['per_second']:,.0f}/s, p99 {result['p99']:.1f} ms", flush=True)


def steady(run: Path, requests: int) -> None:
    """Note the server's memory in MB after every tenth of the requests."""
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    memory: list[float] = []
    with server(run, *SERVERS["batches"]) as (port, process):
        done = 0
        for tenth in range(1, 11):
            while done < requests * tenth // 10:
                done += int(asyncio.run(load(port, 64, 5.0))["requests"])
            memory.append(resident(process))
            print(f"{done:,} requests: {memory[-1]:.0f} MB", flush=True)
    found["memory"] = {"requests": done, "megabytes": memory}
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")


def resident(process: int) -> float:
    """Return the memory that a process holds, in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def write() -> None:
    """Write the table into the page."""
    found = json.loads(FIGURES.read_text())
    about, machine = found["about"], found["about"]["machine"]
    lines = [
        f"Commit `{about['commit']}`, {machine['processor']}, {machine['cores']} cores, one thread for the generator; "
        f"run `{about['run']}`, one sample a request as PNG, {about['seconds']:g} s each.",
        "",
        "| clients | requests/s in batches | p50, p99 (ms) | one at a time | p50, p99 (ms) | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for clients in map(str, CLIENTS):
        ours, theirs = found["batches"][clients], found["one at a time"][clients]
        cells = [f"{of['per_second']:,.0f} | {of['p50']:.1f}, {of['p99']:.1f}" for of in (ours, theirs)]
        lines.append(f"| {clients} | {' | '.join(cells)} | {ours['per_second'] / theirs['per_second']:.2f} |")
    if memory := found.get("memory"):
        first, last = memory["megabytes"][0], memory["megabytes"][-1]
        lines += [
            "",
            f"Memory over {memory['requests']:,} requests: {first:.0f} MB after a tenth, {last:.0f} MB at the end.",
        ]
    write_section(PAGE, "serving", lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "steady", "write"))
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=100_000)
    words = parser.parse_args()
    if words.what == "write":
        write()
    elif words.run is None:
        sys.exit("name a run")
    elif words.what == "run":
        measure(words.run, words.seconds)
    else:
        steady(words.run, words.requests)


if __name__ == "__main__":
    main()
