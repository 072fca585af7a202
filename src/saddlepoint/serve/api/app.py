"""The server as an application: what can be asked, and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as Refusal

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.core.version import __version__
from saddlepoint.export.service import Service
from saddlepoint.serve.address import peer_of
from saddlepoint.serve.api import refusals
from saddlepoint.serve.api.access import AccessControl, Limits
from saddlepoint.serve.api.direct import Direct
from saddlepoint.serve.api.endpoints import Endpoint, Server, add_endpoints
from saddlepoint.serve.api.metrics import CONTENT_TYPE
from saddlepoint.serve.api.page import page

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


def make_app(
    service: Service,
    *,
    limits: Limits | None = None,
    hosts: Iterable[str] | None = LOOPBACK,
    token: str | None = None,
    origins: Iterable[str] = (),
    access: Callable[[str], None] | None = None,
) -> AccessControl:
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
    add_endpoints(server)
    _add_samples(app, server)
    _add_facts(app, server, token is not None)
    _add_refusals(app, server)
    paths = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    names = None if hosts is None else frozenset(hosts)
    guarded = AccessControl(
        Direct(app, server.endpoints), limits=limits, metrics=server.metrics, paths=paths, hosts=names, token=token,
        origins=frozenset(origins), access=access, flight=server.flight,
    )  # fmt: skip
    guarded.state = app.state
    guarded.state.server = server
    return guarded


def _add_refusals(app: FastAPI, server: Server) -> None:
    """Answer what cannot be with ``{"detail": "one sentence"}``."""

    refusal = refusals.response

    @app.exception_handler(SaddlepointError)
    async def refused(request: Request, error: SaddlepointError) -> Response:
        return refusals.response_to(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors, content_type = error.errors()[:10], request.headers.get("content-type")
        if request.method == "POST" and not refusals.is_json(content_type):
            return refusal(*refusals.not_json(content_type, not error.body))
        if errors[0]["type"] == "json_invalid":
            return refusal(400, f"the body is no JSON ({errors[0]['ctx']['error']} at place {errors[0]['loc'][-1]})")
        if error.body is None and request.method == "POST" and errors[0]["loc"] == ("body",):
            return refusal(*refusals.not_json(content_type, True))
        model = server.endpoints[request.method, request.scope["path"]].model
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
    """Describe what the generator can do, and answer it where a request is unusual; see `Direct` for the others."""
    for (method, path), endpoint in server.endpoints.items():
        name = endpoint.answer.__name__ + ("_of_address" if method == "GET" else "")
        answer = _route(method, endpoint)
        app.add_api_route(path, answer, methods=[method], name=name, responses=_WORDS, response_class=Response)


def _route(method: str, endpoint: Endpoint) -> Callable[..., Any]:
    async def answered(asked: Any, request: Request) -> Response:
        content, media = await endpoint.answer(asked, peer_of(request.scope.get("client")))
        return Response(content, media_type=media)

    kind: Any = endpoint.model
    answered.__annotations__["asked"] = kind if method == "POST" else Annotated[kind, Query()]
    return answered


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
            "endpoints": sorted({path for _, path in server.endpoints}),
            "truncation": "mapping" in server.service.graphs,
            "token": guarded,
            "limits": {
                "samples": server.limits.samples,
                "values": server.limits.values,
                "body": max(server.limits.body_of(path) for _, path in server.endpoints),
                "pictures": server.limits.pictures,
                "pixels": server.limits.pixels,
            },
        }

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters and times in Prometheus' text format."""
        return Response(server.metrics.text(), media_type=CONTENT_TYPE)
