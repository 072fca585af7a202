"""Makes the figures of docs/serving.md: requests answered a second, their times, and what each costs the server's CPU.

    python benchmarks/serving.py run RUN [--seconds 8]      measure; what is there already is not measured again
    python benchmarks/serving.py write                      write the table

Servers of the same run, one after the other: with batches of 32 rows, and one request at a time (--batch 1), which is
the same server without what this measures. Floors: a bare application on the same uvicorn, which answers the bytes of
one PNG, and nginx, if it is installed, which sends them from a file. Clients keep their connections and ask for one PNG
of one sample, each as soon as it has the answer to the one before; they run in this process on the same machine and
take part of it, so the time that the server's own process had of the CPU is told, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from http_load import Clients, one_sample, processor_seconds, request, run_or_write, serving, started
from records import commit, head_of, line_of, write_section

from saddlepoint.core.files import write_atomically
from saddlepoint.engine.machine import runtime

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "serving.json"
PAGE = HERE.parent / "docs" / "serving.md"
CLIENTS = (1, 8, 64)
BATCHES, ALONE, BARE, LIMITED, NGINX = "batches", "one at a time", "bare", "bare with limits", "nginx"
SERVERS = {
    BATCHES: "`saddle serve`",
    ALONE: "`saddle serve --batch 1`",
    LIMITED: "bare application, limits of connections",
    BARE: "bare application on uvicorn",
    NGINX: "nginx, a file",
}
Asks = Callable[[int, int], bytes]


def ask_sample(client: int, number: int) -> bytes:
    """Ask for a sample that nobody asked for before."""
    return one_sample(10**6 * client + number)


def ask_file(client: int, number: int) -> bytes:
    """Ask for the file."""
    return request("/sample.png")


@contextlib.contextmanager
def server(name: str, run: Path) -> Iterator[tuple[int, int, Asks]]:
    """Yield port, process and requests of a server."""
    if name in (BATCHES, ALONE):
        with serving(run, *(() if name == BATCHES else ("--batch", "1"))) as (port, process):
            yield port, process, ask_sample
        return
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "sample.png"
        file.write_bytes(picture(run))
        if name == NGINX:
            with nginx(file) as (port, process):
                yield port, process, ask_file
            return
        words = [sys.executable, str(HERE / "bare_server.py"), str(file), *(["--limits"] if name == LIMITED else [])]
        with started(words) as (port, process):
            yield port, process, ask_sample


def picture(run: Path) -> bytes:
    """Return the PNG of one sample."""
    with serving(run) as (port, _), socket.create_connection(("127.0.0.1", port)) as talk:
        talk.sendall(request("/v1/sample?seed=1", close=True))
        parts = []
        while part := talk.recv(65536):
            parts.append(part)
    return b"".join(parts).partition(b"\r\n\r\n")[2]


@contextlib.contextmanager
def nginx(file: Path) -> Iterator[tuple[int, int]]:
    """Serve the folder of a file by nginx with one worker; yield the port and the worker's process."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    place = file.parent
    place.chmod(0o755)  # the worker is another user where this is root
    paths = "".join(
        f"{kind}_temp_path {place}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(
        f"worker_processes 1; pid {place}/pid; error_log {place}/errors; daemon off; events {{ }} "
        f"http {{ access_log off; keepalive_requests 100000000; {paths} types {{ image/png png; }} "
        f"server {{ listen 127.0.0.1:{port}; root {place}; }} }}"
    )
    with subprocess.Popen(["nginx", "-p", str(place), "-c", str(place / "nginx.conf")]) as master:
        time.sleep(1)
        children = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
        try:
            yield port, int(children[0])
        finally:
            master.send_signal(signal.SIGTERM)


def measure(run: Path, seconds: float, names: list[str]) -> None:
    """Measure what is not there yet, a server with all numbers of clients."""
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    found.setdefault("about", {"machine": runtime.machine(), "commit": commit(), "run": run.name, "seconds": seconds})
    for name in names:
        missing = [clients for clients in CLIENTS if str(clients) not in found.get(name, {})]
        if not missing or (name == NGINX and shutil.which("nginx") is None):
            continue
        with server(name, run) as (port, process, ask):
            Clients(port, ask).run(8, 1.0)  # what is loaded once is loaded
            for clients in missing:
                before = processor_seconds(process)
                got = Clients(port, ask).run(clients, seconds)
                spent = processor_seconds(process) - before
                if got.lost or set(got.statuses) != {200}:
                    sys.exit(f"{name}: {got.lost} requests got no answer; statuses: {got.statuses}")
                result = {"requests": len(got.times), "per_second": len(got.times) / got.seconds}
                result |= {"p50": got.quantile(0.5), "p99": got.quantile(0.99)}
                result |= {"processor_ms": 1000 * spent / len(got.times)}
                found.setdefault(name, {})[str(clients)] = result
                write_atomically(FIGURES, json.dumps(found, indent=1) + "\n")
                told = f"{result['per_second']:,.0f}/s, p50 {result['p50']:.1f}, p99 {result['p99']:.1f} ms"
                print(f"{name}, {clients} clients: {told}, CPU {result['processor_ms']:.3f} ms a request", flush=True)


def write() -> None:
    """Write the table into the page."""
    found = json.loads(FIGURES.read_text())
    about, machine = found["about"], found["about"]["machine"]
    lines = [
        f"Commit `{about['commit']}`, {machine['processor']}, {machine['cores']} cores, one thread for the generator; "
        f"run `{about['run']}`, one sample a request as PNG, {about['seconds']:g} s each.",
        "",
    ]
    head = [f"{clients} client{'s' if clients > 1 else ''}: requests/s; p50, p99 (ms)" for clients in CLIENTS]
    lines += head_of(["", *head, f"CPU of the server, {CLIENTS[-1]} clients (ms a request)"])
    for name, words in SERVERS.items():
        if name in found:
            kept = [found[name][str(clients)] for clients in CLIENTS]
            cells = [f"{one['per_second']:,.0f}; {one['p50']:.1f}, {one['p99']:.1f}" for one in kept]
            lines.append(line_of([words, *cells, f"{kept[-1]['processor_ms']:.3f}"]))
    most = str(CLIENTS[-1])
    ratio = found[BATCHES][most]["per_second"] / found[ALONE][most]["per_second"]
    lines += ["", f"At {most} clients batches answer {ratio:.2f} times what one at a time does."]
    write_section(PAGE, "serving", lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", choices=list(SERVERS))
    run_or_write(
        parser, lambda words: measure(words.run, words.seconds, [words.only] if words.only else list(SERVERS)), write
    )


if __name__ == "__main__":
    main()
