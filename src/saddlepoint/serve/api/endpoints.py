"""What answers a request: its rows are computed with those of others and written as asked for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from saddlepoint.data.inputs import check_picture
from saddlepoint.export.service import Rows, Service
from saddlepoint.serve.api.access import Limits
from saddlepoint.serve.api.batching import Batcher, Ending, Full
from saddlepoint.serve.api.flight import Flight
from saddlepoint.serve.api.metrics import Metrics
from saddlepoint.serve.api.requests import (
    AskedSamples,
    AskedSeries,
    Body,
    InterpolateRequest,
    SampleRequest,
    SeriesRequest,
    TranslateRequest,
    fitted,
)
from saddlepoint.serve.api.responses import encoder, pictures_of
from saddlepoint.serve.exchange import Exchange

SMALL = {"png": 16_384, "npz": 16_384, "json": 1_024, "csv": 256}
"""Values of an answer of each kind that are written in less than a millisecond."""

NEAR = 0.005
"""Seconds of a batch up to which the thread of the event loop computes it: so long no other client is heard."""

Answer = Callable[[Any, str], Awaitable[tuple[bytes, str]]]
"""From what is asked, and who asks, to the content and its media type."""


@dataclass(frozen=True)
class Endpoint:
    """What can be asked at a path.

    Attributes:
        model: that what is asked has to fit.
        answer: what is done then.
    """

    model: type[BaseModel]
    answer: Answer


class Server:
    """What the endpoints share.

    Attributes:
        endpoints: by method and path: only those that the generator can answer.

    Args:
        service: what samples.
        limits: of requests.
    """

    def __init__(self, service: Service, limits: Limits) -> None:
        self.service, self.limits = service, limits
        data = service.run.family.data
        self.values, self.modality = math.prod(data.shape), data.modality
        batcher = self.batcher = Batcher(service, limits.waiting, service.seconds < NEAR, limits.seconds)
        flight = self.flight = Flight(limits.flight)
        self.metrics = Metrics(
            {
                "waiting_rows": ("Rows that wait or are computed.", lambda: batcher.waiting),
                "memory_bytes": ("Bodies and answers in memory.", lambda: flight.taken),
                "batches_total": ("Batches that were computed.", lambda: batcher.batches),
                "batch_rows_total": ("Rows of them, without what fills them up.", lambda: batcher.rows),
                "compute_seconds_total": ("Time of computing them.", lambda: batcher.seconds),
            }
        )
        self.endpoints: dict[tuple[str, str], Endpoint] = {}
        # Beside the loop: megabytes of base64, and heads that were made to take long.
        self.looking = ThreadPoolExecutor(1, "pictures")

    async def answer(
        self, n: int, kind: str, prepare: Callable[[Exchange], Rows], peer: str, small: bool = True
    ) -> tuple[bytes, str]:
        """Compute ``n`` rows; return them as they are sent, and their media type.

        Args:
            n: rows.
            kind: of answer, such as png.
            prepare: draws the rows in the thread that computes; it is given what says whether nobody waits any more.
            peer: who asks; rows of one client are counted.
            small: whether ``prepare`` takes less than a millisecond.

        Raises:
            HTTPException: 422 if too much is asked for, 429 if too much is waiting, 503 if it takes too long.
        """
        values = self._check(n, kind)
        kept: list[Rows] = []
        gone = Exchange()

        def drawn() -> Rows:
            kept.append(prepare(gone))
            return kept[0]

        def finished(samples: np.ndarray) -> tuple[bytes, str]:
            return encoder(self.service.run, kind, kept[0].tensors.get("labels"))(samples)

        try:
            found = await self.batcher.submit(n, drawn, finished, peer, small and values <= SMALL[kind])
        except Full as error:
            waiting = f"{error}; try again in a moment"
            raise HTTPException(429, waiting, headers={"Retry-After": "1"}) from error
        except Ending as error:
            raise HTTPException(503, "the server is being stopped", headers={"Retry-After": "5"}) from error
        except TimeoutError as error:
            raise HTTPException(503, f"it took longer than {self.limits.seconds:g} s; ask for fewer samples") from error
        finally:
            gone.left = True
        self.metrics.samples.inc(n)
        return found

    async def pictures(self, texts: list[str], kind: str) -> list[tuple[str, bytes]]:
        """Return pictures by name, unless their heads say that they are too much: before anything waits for them.

        Args:
            texts: in base64.
            kind: of answer, such as png.

        Raises:
            HTTPException: 422 if they are too many or too large together.
            DataError: if one is no base64, no picture, or too large.
        """
        self._check(len(texts), kind)
        looked = asyncio.get_running_loop().run_in_executor(self.looking, _looked_at, texts, self.limits.pixels)
        try:
            files, pixels = await asyncio.wait_for(looked, self.limits.seconds)
        except TimeoutError as error:
            raise HTTPException(503, f"it took longer than {self.limits.seconds:g} s; send fewer pictures") from error
        if pixels > self.limits.all_pixels:
            raise HTTPException(
                422,
                f"the pictures have {pixels:,} pixels together, but at most {self.limits.all_pixels:,} in one request: "
                "scale them down first",
            )
        return files

    def _check(self, n: int, kind: str) -> int:
        """Return the number of values of an answer, unless it is too much."""
        values = n * self.values
        if n > self.limits.samples or values > self.limits.values:
            raise HTTPException(
                422,
                f"{n:,} samples of {values // n:,} values are asked for; at most {self.limits.samples:,} samples and "
                f"{self.limits.values:,} values in one request",
            )
        if kind == "png" and self.modality != "image":
            raise HTTPException(422, f"there are no pictures of {self.modality}s: ask for npz or json")
        return values


def _looked_at(texts: list[str], most: int) -> tuple[list[tuple[str, bytes]], int]:
    """Return pictures and the number of their pixels together."""
    files = pictures_of(texts)
    return files, sum(check_picture(content, name, most) for name, content in files)


def add_endpoints(server: Server) -> None:
    """Let a server answer what its generator can."""
    service, tags = server.service, server.service.run.family.tags
    series = service.run.family.data.modality == "sequence"

    async def sample(asked: Any, peer: str) -> tuple[bytes, str]:
        # As one dictionary: asking a model for a field that it lacks costs as much as drawing.
        words = asked.__dict__
        label, truncation = words.get("label"), words.get("truncation", 1.0)
        draw = lambda gone: service.rows(asked.n, asked.seed, label, truncation)  # noqa: E731
        return await server.answer(asked.n, asked.format, draw, peer)

    async def interpolate(asked: Any, peer: str) -> tuple[bytes, str]:
        draw = lambda gone: service.between(asked.seeds, asked.steps, asked.__dict__.get("label"))  # noqa: E731
        return await server.answer(asked.steps, asked.format, draw, peer)

    async def translate(asked: Any, peer: str) -> tuple[bytes, str]:
        files, most = await server.pictures(asked.pictures, asked.format), server.limits.pixels

        def rows(gone: Exchange) -> Rows:
            found = []
            for file in files:
                if gone.left:
                    raise Ending
                found.append(service.run.read_pictures([file], most_pixels=most).numpy())
            return service.rows_of(np.concatenate(found), asked.seed, asked.__dict__.get("label"))

        return await server.answer(len(files), asked.format, rows, peer, small=False)

    def add(path: str, kind: type[Body], answer: Answer, method: str = "POST") -> None:
        server.endpoints[method, path] = Endpoint(fitted(kind, service), answer)

    if series:
        add("/v1/series", SeriesRequest, sample)
        add("/v1/series", AskedSeries, sample, "GET")
    elif tags.input != "image":
        add("/v1/sample", SampleRequest, sample)
        add("/v1/sample", AskedSamples, sample, "GET")
    if tags.input == "latent":
        add("/v1/interpolate", InterpolateRequest, interpolate)
    if tags.input == "image":
        add("/v1/translate", TranslateRequest, translate)
