"""Makes the figures on a server that is told to stop under load, and on clients that want it to fall.

    python benchmarks/server_faults.py run RUN [--stops 30] [--seconds 6]    what is there already is not done again
    python benchmarks/server_faults.py write                                 write the tables

Stops: a server with 64 clients, of which every fourth asks for 64 samples as JSON and the others for one as PNG, gets
SIGTERM at a random moment. What it took in must be answered: with samples, or with 503. A request is lost if it was
sent and got no whole answer, over a connection that was made before the signal.

Hostile clients: eight ordinary clients ask for what `soak.py` names and hold each answer against what it must be, while
a process of another address does one of `hostile_clients.KINDS`. The server asks for a token. Afterwards it must be
there, with no more open files than before; who has no token, or another host's name, must have got nothing. The
studio is asked for a picture of a run, and for what it refuses, beside those that mean it, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostile_clients import KINDS, OTHER_HOSTS, WRONG_TOKENS
from http_load import (
    TOKEN,
    Clients,
    Load,
    descriptors,
    one_sample,
    request,
    resident,
    run_or_write,
    serving,
    started,
    threads,
    with_token,
)
from records import commit, head_of, line_of, write_section
from soak import Mixture

from saddlepoint.core.files import write_atomically
from saddlepoint.engine.machine import runtime

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "server-faults.json"
PAGE = HERE.parent / "docs" / "notebook" / "reliability-server.md"
CLIENTS, ORDINARY = 64, 8
STUDIO = [name for name in KINDS if not re.search("large|send on|ask as fast|after the request|tokens|6,000", name)]
"""What the studio is asked beside: it draws no samples for who asks by HTTP."""


def stopped(run: Path, seed: int) -> dict[str, Any]:
    """Tell a server under load to stop, and count what got an answer."""
    moment, told = random.Random(seed).uniform(0.5, 2.0), list[float]()

    def ask(client: int, number: int) -> bytes:
        if client % 4:
            return one_sample(10**6 * client + number)
        return request("/v1/sample", b'{"n": 64, "format": "json", "seed": %d}' % number)

    with serving(run) as (port, process):

        def at(spent: float) -> None:
            if spent > moment and not told:
                told.append(time.monotonic())
                clients.closing = time.perf_counter()
                os.kill(process, signal.SIGTERM)

        clients = Clients(port, ask, at=at)
        found = clients.run(CLIENTS, seconds=moment + 3, patience=10)
        while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        seconds = time.monotonic() - told[0]
    return {**facts_of(found), "until it ended": seconds}


def facts_of(found: Load) -> dict[str, Any]:
    """Return what is kept of a load."""
    return {
        "requests": len(found.times) + found.lost, "lost": found.lost, "statuses": dict(found.statuses),
        "not taken": found.refused, "slowest": found.quantile(1.0) / 1000, "p99": found.quantile(0.99) / 1000,
    }  # fmt: skip


def beside(port: int, process: int, name: str, seconds: float, kind: type[Mixture] = Mixture) -> dict[str, Any]:
    """Count what ordinary clients get beside a hostile one."""
    mixture, before = kind(random.Random(name)), descriptors(process)
    words = [sys.executable, str(HERE / "hostile_clients.py"), name, str(port), str(seconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as hostile:
        time.sleep(0.5)
        ask = lambda client, number: with_token(mixture.ask(client, number))  # noqa: E731
        found = Clients(port, ask, mixture.heard).run(ORDINARY, seconds=seconds)
        memory = resident(process)
        assert hostile.stdout is not None
        done, let_in = map(int, hostile.stdout.readline().split())
    after = settled(process, before)
    facts = facts_of(found) | {"hostile": done, "let in": let_in if name in (OTHER_HOSTS, WRONG_TOKENS) else 0}
    facts |= {"wrong": sum(mixture.wrong.values()), "words": mixture.wrong, "megabytes": memory}
    return facts | {"files left": max(0, after - before), "threads": threads(process)}


class Pages(Mixture):
    """What ordinary clients ask of the studio: pictures of a run, and what is refused."""

    def ask(self, client: int, number: int) -> bytes:
        """Return a client's next request."""
        fine = request("/snapshot/run/0.png")
        of = {
            200: fine, 404: request("/snapshot/run/11.png"), 405: request("/", method="DELETE"),
            403: fine.replace(b"\r\n", b"\r\nOrigin: https://evil.example\r\n", 1),
            400: fine.replace(b"127.0.0.1", b"evil.example"),
        }  # fmt: skip
        status = self.random.choices(list(of), (16, 1, 1, 1, 1))[0]
        self.waiting[client] = "", status
        return of[status]

    def heard(self, client: int, number: int, status: int, body: bytes) -> None:
        """Note an answer that is not as it must be."""
        if status != self.waiting[client][1]:
            self._note(f"{status} instead of {self.waiting[client][1]}")


@contextlib.contextmanager
def studio(run: Path) -> Iterator[tuple[int, int]]:
    """Start a studio over a copy of a run."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(run, Path(folder) / "run")
        with started([sys.executable, "-m", "saddlepoint", "studio", folder, "--no-browser", "--port", "0"]) as found:
            yield found


def settled(process: int, wanted: int) -> int:
    """Return the number of open files when it is what it was, or after a while."""
    end = time.monotonic() + 20
    while descriptors(process) > wanted and time.monotonic() < end:
        time.sleep(0.2)
    return descriptors(process)


def keep(found: dict[str, Any], kind: str, name: str, facts: dict[str, Any]) -> None:
    """Keep the figures of one case."""
    found.setdefault(kind, {})[name] = facts | {"commit": commit()}
    found["machine"] = runtime.machine()
    write_atomically(FIGURES, json.dumps(found, indent=1) + "\n")
    words = {key: facts[key] for key in ("requests", "lost", "wrong", "slowest", "statuses", "words") if facts.get(key)}
    print(f"{name}: {words}", flush=True)


def measure(run: Path, stops: int, seconds: float) -> None:
    """Do what was not done yet."""
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for seed in range(stops):
        if f"seed {seed}" not in found.get("stops", {}):
            keep(found, "stops", f"seed {seed}", stopped(run, seed))
    missing = [name for name in KINDS if name not in found.get("hostile", {})]
    if missing:
        os.environ["SADDLEPOINT_TOKEN"] = TOKEN
        with serving(run) as (port, process):
            first = Mixture(random.Random(0))
            Clients(port, lambda client, number: with_token(first.ask(client, number))).run(ORDINARY, most=1000)
            for name in missing:
                keep(found, "hostile", name, beside(port, process, name, seconds))
    missing = [name for name in STUDIO if name not in found.get("studio", {})]
    if missing:
        with studio(run) as (port, process):
            Clients(port, Pages(random.Random(0)).ask).run(ORDINARY, most=500)
            for name in missing:
                keep(found, "studio", name, beside(port, process, name, seconds, Pages))


def rows() -> list[dict[str, Any]]:
    """Return what the table of all reliability needs: what, how many, lost, the slowest answer in seconds."""
    found = json.loads(FIGURES.read_text())
    words = {"stops": "requests to a server that gets SIGTERM", "hostile": "requests beside hostile clients"}
    words["studio"] = "requests to the studio beside hostile clients"
    return [
        {
            "what": text,
            "cases": len(found[kind]),
            "how many": sum(one["requests"] for one in found[kind].values()),
            "lost": sum(one["lost"] + one.get("wrong", 0) + one.get("let in", 0) for one in found[kind].values()),
            "slowest": max(one["slowest"] for one in found[kind].values()),
        }
        for kind, text in words.items()
    ]


def write() -> None:
    """Write the tables into the page."""
    found = json.loads(FIGURES.read_text())
    stops = list(found["stops"].values())
    answers = {status: sum(one["statuses"].get(status, 0) for one in stops) for status in ("200", "503")}
    lines = [
        f"SIGTERM at {len(stops)} random moments under {CLIENTS} clients: {sum(one['requests'] for one in stops):,} "
        f"requests, {answers['200']:,} answered with samples, {answers['503']:,} with 503, "
        f"**{sum(one['lost'] for one in stops)}** lost; ended "
        f"{max(one['until it ended'] for one in stops):.1f} s after the signal at most.",
        "",
        *head_of(
            [
                "hostile client", "did it", "requests of ordinary clients", "lost or wrong", "p99 (s)", "slowest (s)",
                "memory (MB)",
            ]
        ),
    ]  # fmt: skip
    beside = [(name, one) for name, one in found["hostile"].items()]
    beside += [(f"studio: {name}", one) for name, one in found["studio"].items()]
    for name, one in beside:
        cells = [f"{one['hostile']:,}", f"{one['requests']:,}", str(one["lost"] + one["wrong"])]
        cells += [f"{one['p99']:.2f}", f"{one['slowest']:.2f}", f"{one['megabytes']:.0f}"]
        lines.append(line_of([name, *cells]))
    left = sum(one["files left"] for _, one in beside)
    commits = sorted({one["commit"] for kind in ("stops", "hostile", "studio") for one in found[kind].values()})
    machine = found["machine"]
    let_in = sum(one["let in"] for _, one in beside)
    lines += [
        "",
        f"Let in without the token or by another host's name: {let_in}. Files and sockets left open: {left}.",
        f"{machine['processor']}, {machine['cores']} cores that clients share with the server. "
        f"Commits: {', '.join(commits)}.",
    ]
    write_section(PAGE, "server-faults", lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stops", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=6.0)
    run_or_write(parser, lambda words: measure(words.run, words.stops, words.seconds), write)


if __name__ == "__main__":
    main()
