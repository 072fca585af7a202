"""The server as an application: what can be asked, and what is answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as Refusal

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.core.version import __version__
from saddlepoint.data.inputs import check_picture
from saddlepoint.export.service import Rows, Service
from saddlepoint.serve.api import refusals
from saddlepoint.serve.api.access import AccessControl, Limits
from saddlepoint.serve.api.batching import Batcher, Ending, Full
from saddlepoint.serve.api.flight import Flight
from saddlepoint.serve.api.metrics import CONTENT_TYPE, Metrics
from saddlepoint.serve.api.page import page
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
from saddlepoint.serve.wire import peer_of

Gone = Callable[[], bool]
"""Says whether nobody waits for an answer any more."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Server:
    """What the endpoints share.

    Args:
        service: what samples.
        limits: of requests.
    """

    def __init__(self, service: Service, limits: Limits) -> None:
        self.service, self.limits = service, limits
        batcher, flight = self.batcher, self.flight = Batcher(service, limits.waiting), Flight(limits.flight)
        self.metrics = Metrics(
            {
                "waiting_rows": ("Rows that wait or are computed.", lambda: batcher.waiting),
                "memory_bytes": ("Bodies and answers in memory.", lambda: flight.taken),
                "batches_total": ("Batches that were computed.", lambda: batcher.batches),
                "batch_rows_total": ("Rows of them, without what fills them up.", lambda: batcher.rows),
                "compute_seconds_total": ("Time of computing them.", lambda: batcher.seconds),
            }
        )
        self.models: dict[tuple[str, str], type[BaseModel]] = {}
        # Beside the loop: megabytes of base64, and heads that were made to take long.
        self.looking = ThreadPoolExecutor(1, "pictures")

    async def answer(self, n: int, kind: str, prepare: Callable[[Gone], Rows], request: Request) -> Response:
        """Compute ``n`` rows and send them.

        Args:
            n: rows.
            kind: of answer, such as png.
            prepare: draws the rows in the thread that computes; it is given what says whether nobody waits any more.
            request: that is answered; rows of one client are counted.

        Raises:
            HTTPException: 422 if too much is asked for, 429 if too much is waiting, 503 if it takes too long.
        """
        self._check(n, kind)
        kept: list[Rows] = []
        gone = threading.Event()

        def drawn() -> Rows:
            kept.append(prepare(gone.is_set))
            return kept[0]

        def finished(samples: np.ndarray) -> tuple[bytes, str]:
            return encoder(self.service.run, kind, kept[0].tensors.get("labels"))(samples)

        try:
            work = self.batcher.submit(n, drawn, finished, peer_of(request.scope.get("client")))
            content, media = await asyncio.wait_for(work, self.limits.seconds)
        except Full as error:
            waiting = f"{error}; try again in a moment"
            raise HTTPException(429, waiting, headers={"Retry-After": "1"}) from error
        except Ending as error:
            raise HTTPException(503, "the server is being stopped", headers={"Retry-After": "5"}) from error
        except TimeoutError as error:
            raise HTTPException(503, f"it took longer than {self.limits.seconds:g} s; ask for fewer samples") from error
        finally:
            gone.set()
        self.metrics.samples.inc(n)
        return Response(content, media_type=media)

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

    def _check(self, n: int, kind: str) -> None:
        family = self.service.run.family
        values = n * int(np.prod(family.data.shape))
        if n > self.limits.samples or values > self.limits.values:
            raise HTTPException(
                422,
                f"{n:,} samples of {values // n:,} values are asked for; at most {self.limits.samples:,} samples and "
                f"{self.limits.values:,} values in one request",
            )
        if kind == "png" and family.data.modality != "image":
            raise HTTPException(422, f"there are no pictures of {family.data.modality}s: ask for npz or json")


def _looked_at(texts: list[str], most: int) -> tuple[list[tuple[str, bytes]], int]:
    """Return pictures and the number of their pixels together."""
    files = pictures_of(texts)
    return files, sum(check_picture(content, name, most) for name, content in files)


def make_app(
    service: Service,
    *,
    limits: Limits | None = None,
    hosts: Iterable[str] | None = LOOPBACK,
    token: str | None = None,
    origins: Iterable[str] = (),
    access: Callable[[str], None] | None = None,
) -> FastAPI:
    """Return the server of a run; it has only the endpoints that the generator can answer.

    Args:
        service: what samples.
        limits: of requests.
        hosts: names under which it answers; None: any.
        token: that requests must bring; None: none.
        origins: whose pages may read the answers (CORS), such as ``https://example.org``; ``*``: all.
        access: hears a line for each answer; None: nobody does.
    """
    limits = limits or Limits()
    # The usual pages of documentation load their scripts from another host.
    app = FastAPI(title="saddlepoint", version=__version__, docs_url=None, redoc_url=None)
    server = Server(service, limits)
    app.state.server = server
    _add_samples(app, server)
    _add_facts(app, server, token is not None)
    _add_refusals(app, server)
    paths = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    names = None if hosts is None else frozenset(hosts)
    app.add_middleware(
        AccessControl, limits=limits, metrics=server.metrics, paths=paths, hosts=names, token=token,
        origins=frozenset(origins), access=access, flight=server.flight,
    )  # fmt: skip
    return app


def _add_refusals(app: FastAPI, server: Server) -> None:
    """Answer what cannot be with ``{"detail": "one sentence"}``."""

    def refusal(status: int, detail: str, headers: Any = None) -> Response:
        # JSON may escape halves of characters, which no encoding has.
        return JSONResponse({"detail": detail.encode(errors="replace").decode()}, status, headers=headers)

    @app.exception_handler(SaddlepointError)
    async def refused(request: Request, error: SaddlepointError) -> Response:
        return refusal(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors, content_type = error.errors()[:10], request.headers.get("content-type")
        if request.method == "POST" and not refusals.is_json(content_type):
            return refusal(*refusals.not_json(content_type, not error.body))
        if errors[0]["type"] == "json_invalid":
            return refusal(400, f"the body is no JSON ({errors[0]['ctx']['error']} at place {errors[0]['loc'][-1]})")
        if error.body is None and request.method == "POST" and errors[0]["loc"] == ("body",):
            return refusal(*refusals.not_json(content_type, True))
        model = server.models[request.method, request.scope["path"]]
        return refusal(422, refusals.sentence(errors, list(model.model_fields), server.service.run))

    @app.exception_handler(Refusal)
    async def unknown(request: Request, error: Refusal) -> Response:
        detail = str(error.detail)
        if error.status_code == 404:
            detail = "there is nothing at this path; / is a page, /openapi.json says what can be asked"
        elif error.status_code == 405:
            # A path may have a route for each method; the error names that of the first only.
            path = request.scope["path"]
            methods = sorted(m for route in app.routes if route.path == path for m in route.methods)  # type: ignore[attr-defined]
            detail = f"this path does not take {request.method[:20]}, but {' or '.join(methods)}"
            return refusal(405, detail, {"Allow": ", ".join(methods)})
        elif error.status_code == 400:
            detail = "the body is no JSON"
        return refusal(error.status_code, detail, error.headers)


class Wrong(BaseModel):
    """Why something was not done."""

    detail: str


_WORDS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "model": Wrong}
    for status, text in (
        (400, "The body is no JSON."),
        (401, "The token is missing or wrong."),
        (408, "The body did not come."),
        (411, "The body's length is not said."),
        (413, "The body is too large."),
        (415, "The body is not said to be JSON."),
        (422, "What is asked for is not possible; the answer says why."),
        (429, "Too much is waiting already."),
        (503, "It took too long, the memory for bodies and answers is full, or the server is being stopped."),
    )
}


def _add_samples(app: FastAPI, server: Server) -> None:
    """Add what the generator can do."""
    service, tags = server.service, server.service.run.family.tags
    series = service.run.family.data.modality == "sequence"

    async def sample(asked: Any, request: Request) -> Response:
        rows = lambda gone: service.rows(asked.n, asked.seed, _label(asked), float(getattr(asked, "truncation", 1.0)))  # noqa: E731
        return await server.answer(asked.n, asked.format, rows, request)

    async def interpolate(asked: Any, request: Request) -> Response:
        rows = lambda gone: service.between(asked.seeds, asked.steps, _label(asked))  # noqa: E731
        return await server.answer(asked.steps, asked.format, rows, request)

    async def translate(asked: Any, request: Request) -> Response:
        files, most = await server.pictures(asked.pictures, asked.format), server.limits.pixels

        def rows(gone: Gone) -> Rows:
            found = []
            for file in files:
                if gone():
                    raise Ending
                found.append(service.run.read_pictures([file], most_pixels=most).numpy())
            return service.rows_of(np.concatenate(found), asked.seed, _label(asked))

        return await server.answer(len(files), asked.format, rows, request)

    async def sample_of_address(asked: Any, request: Request) -> Response:
        return await sample(asked, request)

    def add(path: str, kind: type[Body], answer: Callable[[Any, Request], Any], method: str = "POST") -> None:
        model: Any = fitted(kind, service)
        server.models[method, path] = model
        answer.__annotations__["asked"] = model if method == "POST" else Annotated[model, Query()]
        app.add_api_route(path, answer, methods=[method], responses=_WORDS, response_class=Response)

    if series:
        add("/v1/series", SeriesRequest, sample)
        add("/v1/series", AskedSeries, sample_of_address, "GET")
    elif tags.input != "image":
        add("/v1/sample", SampleRequest, sample)
        add("/v1/sample", AskedSamples, sample_of_address, "GET")
    if tags.input == "latent":
        add("/v1/interpolate", InterpolateRequest, interpolate)
    if tags.input == "image":
        add("/v1/translate", TranslateRequest, translate)


def _label(asked: Body) -> int | str | None:
    return getattr(asked, "label", None)


def _add_facts(app: FastAPI, server: Server, guarded: bool) -> None:
    """Add what the server says of itself."""
    run = server.service.run
    content, policy = page()

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return HTMLResponse(content, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Say what is served."""
        data = run.family.data
        return {
            "status": "ok",
            "saddlepoint": __version__,
            "run": run.path.name,
            "family": run.family.name,
            "step": run.step,
            "backend": server.service.backend,
            "modality": data.modality,
            "shape": list(data.shape),
            "classes": list(data.classes[: run.family.classes]),
            "endpoints": sorted({path for _, path in server.models}),
            "truncation": "mapping" in server.service.graphs,
            "token": guarded,
            "limits": {
                "samples": server.limits.samples,
                "values": server.limits.values,
                "body": max(server.limits.body_of(path) for _, path in server.models),
                "pictures": server.limits.pictures,
                "pixels": server.limits.pixels,
            },
        }

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters and times in Prometheus' text format."""
        return Response(server.metrics.text(), media_type=CONTENT_TYPE)
