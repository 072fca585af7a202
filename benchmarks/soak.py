"""Makes the figures on a long life of the server: memory, files and threads over a million requests of all kinds.

    python benchmarks/soak.py run RUN [--requests 1000000] [--chunk 25000]    ask; goes on where it was stopped
    python benchmarks/soak.py write                                           write the table

Sixteen clients ask for what `KINDS` names, in the shares given there: over connections that they keep, and now and then
over a fresh one. Each answer must have its status; samples of a seed that was asked for before must have the same
bytes. Each chunk of requests is kept in benchmarks/figures/soak.json, with what the server's process then
holds. A chunk's server is the one of the chunk before unless the script was stopped: then its life begins anew.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from http_load import Clients, descriptors, processor_seconds, request, resident, run_or_write, serving, threads
from records import commit, head_of, line_of, write_section

from saddlepoint.core.files import write_atomically
from saddlepoint.engine.machine import runtime

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "soak.json"
PAGE = HERE.parent / "docs" / "notebook" / "reliability-server.md"
CLIENTS, SEEDS = 16, 500


def asked(path: str, words: dict[str, Any]) -> bytes:
    """Return a request with a body."""
    return request(path, json.dumps(words).encode())


TOO_LARGE = asked("/v1/sample", {"label": "a" * 70_000})


@functools.cache
def of_seed(seed: int) -> dict[str, tuple[int, int, bytes]]:
    """Return requests by name, each with its weight and the status that it must get."""
    sample, png = "/v1/sample", {"n": 1, "seed": seed, "format": "png"}
    return {
        "png": (40, 200, asked(sample, png)),
        "png by address": (20, 200, request(f"{sample}?seed={seed}")),
        "png, fresh connection": (6, 200, request(f"{sample}?seed={seed}", close=True)),
        "npz of 4": (8, 200, asked(sample, {"n": 4, "seed": seed, "format": "npz"})),
        "json of 2": (5, 200, asked(sample, {"n": 2, "seed": seed, "format": "json"})),
        "sheet of 40": (1, 200, asked(sample, {"n": 40, "seed": seed, "format": "png"})),
        "interpolation": (4, 200, asked("/v1/interpolate", {"seeds": [seed, seed + 1], "steps": 8})),
        "health": (3, 200, request("/health")),
        "metrics": (1, 200, request("/metrics")),
        "page": (1, 200, request("/")),
        "n of 0": (2, 422, asked(sample, {**png, "n": 0})),
        "a field that is none": (2, 422, asked(sample, {**png, "path": "/etc/passwd"})),
        "no JSON": (2, 400, request(sample, b"{")),
        "nothing there": (2, 404, request("/v2/sample")),
        "another method": (1, 405, request(sample, method="DELETE")),
        "another host": (1, 421, request("/health").replace(b"127.0.0.1", b"evil.example")),
        "too large": (1, 413, TOO_LARGE),
    }


KINDS = {name: (weight, status) for name, (weight, status, _) in of_seed(0).items()}
ALIKE = {name for name, (_, status) in KINDS.items() if status == 200} - {"health", "metrics", "page", "npz of 4"}
"""Kinds whose answer to a seed has always the same bytes; a zip has the time in it."""


@dataclass
class Mixture:
    """Draws requests, and holds answers against what they must be."""

    random: random.Random
    waiting: dict[int, tuple[str, int]] = field(default_factory=dict)
    seen: dict[tuple[str, int], bytes] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)

    def ask(self, client: int, number: int) -> bytes:
        """Return a client's next request."""
        seed = self.random.randrange(SEEDS)
        name = self.random.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
        self.waiting[client] = name, seed
        return of_seed(seed)[name][2]

    def heard(self, client: int, number: int, status: int, body: bytes) -> None:
        """Note an answer that is not as it must be."""
        name, seed = self.waiting[client]
        if status != KINDS[name][1]:
            self._note(f"{name}: status {status}")
        elif name in ALIKE:
            sort = "png by address" if name.startswith("png") else name
            found = hashlib.sha256(body).digest()
            if self.seen.setdefault((sort, seed), found) != found:
                self._note(f"{name}: other bytes")

    def _note(self, words: str) -> None:
        self.wrong[words] = self.wrong.get(words, 0) + 1


def soak(run: Path, requests: int, chunk: int) -> None:
    """Ask until so many requests are answered, those of earlier calls counted."""
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"chunks": []}
    chunks = found["chunks"]
    if sum(one["requests"] for one in chunks) >= requests:
        return
    life = 1 + max((one["life"] for one in chunks), default=0)
    found |= {"machine": runtime.machine(), "commit": commit(), "run": run.name}
    with serving(run) as (port, process):
        mixture = Mixture(random.Random(len(chunks)))
        Clients(port, mixture.ask, mixture.heard).run(CLIENTS, most=2000)  # what is loaded once is loaded
        while (done := sum(one["requests"] for one in chunks)) < requests:
            mixture.wrong.clear()
            before = processor_seconds(process)
            got = Clients(port, mixture.ask, mixture.heard).run(CLIENTS, most=min(chunk, requests - done))
            state = {"megabytes": resident(process), "threads": threads(process), "descriptors": descriptors(process)}
            kept = {"life": life, "requests": len(got.times), "lost": got.lost + got.refused, **state}
            kept |= {"wrong": mixture.wrong.copy(), "statuses": dict(got.statuses), "seconds": got.seconds}
            kept |= {"slowest_ms": got.quantile(1.0), "processor_seconds": processor_seconds(process) - before}
            chunks.append(kept)
            write_atomically(FIGURES, json.dumps(found, indent=1) + "\n")
            told = ", ".join(f"{value:,.0f} {name}" for name, value in state.items())
            print(f"{done + len(got.times):,} requests: {told}; lost {got.lost}, wrong {mixture.wrong}", flush=True)


def row() -> dict[str, Any]:
    """Return what the table of all reliability needs: how many, lost, and the slowest answer in seconds."""
    chunks = json.loads(FIGURES.read_text())["chunks"]
    return {
        "what": "requests of all kinds to one server",
        "how many": sum(one["requests"] for one in chunks),
        "lost": sum(one["lost"] + sum(one["wrong"].values()) for one in chunks),
        "slowest": max(one["slowest_ms"] for one in chunks) / 1000,
    }


def write() -> None:
    """Write the table into the page."""
    found = json.loads(FIGURES.read_text())
    chunks, total = found["chunks"], row()
    machine, lives = found["machine"], max(one["life"] for one in chunks)
    rate = total["how many"] / sum(one["seconds"] for one in chunks)
    lines = [
        f"{total['how many']:,} requests of {len(KINDS)} kinds from {CLIENTS} clients, {rate:,.0f} a second, in "
        f"{lives} {'life' if lives == 1 else 'lives'} of the server: **{total['lost']}** without the answer they must "
        f"have; slowest {total['slowest']:.2f} s. "
        f"Commit `{found['commit']}`, {machine['processor']}, run `{found['run']}`.",
        "",
        *head_of(["requests", "memory (MB)", "open files and sockets", "threads"]),
    ]
    done, tenth = 0, 0
    for one in chunks:
        done += one["requests"]
        if done * 10 // total["how many"] > tenth:
            tenth = done * 10 // total["how many"]
            lines.append(
                line_of([f"{done:,}", f"{one['megabytes']:.0f}", str(one["descriptors"]), str(one["threads"])])
            )
    write_section(PAGE, "soak", lines)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=25_000)
    run_or_write(parser, lambda words: soak(words.run, words.requests, words.chunk), write)


if __name__ == "__main__":
    main()
