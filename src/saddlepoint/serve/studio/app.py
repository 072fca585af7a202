"""The studio as an application: which page answers which address, who may ask."""

from __future__ import annotations

import hmac
import warnings
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from nicegui import Client, ui
from nicegui import app as nicegui
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from saddlepoint._errors import DataError, SaddlepointError
from saddlepoint._files import read_plain
from saddlepoint.engine.folder import RunFolder
from saddlepoint.serve.studio import compare, experiment, parts, run, runs, training
from saddlepoint.serve.studio.desk import Desk
from saddlepoint.serve.studio.thumbnails import thumbnail

LOOPBACK = ("127.0.0.1", "localhost")
_COOKIE = "saddlepoint-token"
_ASKS = "this studio asks for its token: open it as ?token=..."


_MOST_SHOWN = 64 * 1024**2


def _of_run(path: Path) -> bytes | None:
    """Return a picture or a page of a run; None if there is none, or it leads elsewhere."""
    try:
        return read_plain(path, _MOST_SHOWN)
    except (OSError, ValueError):
        return None


def make_app(runs_folder: str | Path, host: str = LOOPBACK[0], token: str | None = None) -> FastAPI:
    """Return the studio over a folder of runs.

    Args:
        runs_folder: folder of run folders; need not exist yet.
        host: address that it will be reached at; requests for other names are refused, so that no page of the web can
            reach it under a name of its own.
        token: word that visitors must bring once as ``?token=``; None: whoever can reach it may use it.
    """
    app, desk = FastAPI(title="saddlepoint studio"), Desk(runs_folder)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    if token is not None:
        app.add_middleware(TokenGate, token=token)

    @app.get("/snapshot/{name}/{step}.png")
    def snapshot(name: str, step: int) -> Response:
        folder = desk.shelf.path(name)
        content = None if folder is None else _of_run(folder / "samples" / f"step{step:08d}.png")
        if content is None:
            return PlainTextResponse(f"there is no snapshot of step {step} of run '{name}'", status_code=404)
        return Response(content, media_type="image/png")

    @app.get("/thumbnail/{name}/{step}.png")
    def small(name: str, step: int) -> Response:
        folder = desk.shelf.path(name)
        try:
            if folder is not None:
                return Response(thumbnail(folder / "samples" / f"step{step:08d}.png"), media_type="image/png")
        except (DataError, OSError):
            pass
        return PlainTextResponse(f"there is no snapshot of step {step} of run '{name}'", status_code=404)

    @app.get("/report/{name}")
    def report(name: str) -> Response:
        folder = desk.shelf.path(name)
        content = None if folder is None else _of_run(RunFolder(folder).report / "index.html")
        if content is None:
            return PlainTextResponse(f"run '{name}' has no report yet: measure it on its page", status_code=404)
        return Response(content, media_type="text/html", headers={"Content-Security-Policy": _NO_SCRIPTS})

    @app.post("/bring/{ticket}")
    async def bring(ticket: str, path: str, request: Request) -> Response:
        try:
            await desk.uploads.take(ticket, path, request.stream())
        except (SaddlepointError, OSError) as error:
            return PlainTextResponse(str(error), status_code=400)
        return Response(status_code=204)

    _pages(desk)
    quiet()
    ui.run_with(
        app, title="saddlepoint", dark=None, favicon=parts.ICON, show_welcome_message=False, reconnect_timeout=10
    )
    return app


def quiet() -> None:
    """Keep PyTorch's warning of a name that nobody here uses from those who start the studio.

    At its start NiceGUI asks every object of the process for its class; PyTorch's stand-in for a retired name answers
    with a warning (findings/a-mounted-page-wakes-every-object.sh).
    """
    warnings.filterwarnings("ignore", ".*torch.distributed.reduce_op.*", FutureWarning)


def _pages(desk: Desk) -> None:
    ui.page("/")(lambda: runs.show(desk))
    ui.page("/run/{name}")(lambda name: run.show(desk, name))
    ui.page("/train")(lambda: training.show(desk))
    ui.page("/compare")(lambda one="", two="": compare.show(desk, one, two))
    ui.page("/lab")(experiment.show_all)
    ui.page("/lab/{name}")(experiment.show)
    nicegui.add_exception_handler(404, _not_found)


async def _not_found(request: Request, error: Exception) -> Response:
    """Answer an address that is not there with a page of the studio; an asset of the framework in words."""
    if request.url.path.startswith("/_nicegui"):
        return PlainTextResponse(str(error), status_code=404)
    with Client(ui.page(""), request=request) as client, parts.page("There is no such page"):
        ui.label(f"Nothing answers at {request.url.path}.").classes("break-all")
        with ui.row().classes("gap-4 pt-2"):
            for name, target in parts.PLACES:
                ui.link(name, target)
    return client.build_response(request, 404)


class TokenGate:
    """Lets in, to pages and to their live connection, who brings the token once as ``?token=``; a cookie remembers it.

    Args:
        app: what it guards.
        token: the word.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        asked, answer = HTTPConnection(scope), self.app
        given = asked.query_params.get("token") or asked.cookies.get(_COOKIE, "")
        if not hmac.compare_digest(given.encode(), self.token):
            answer = WebSocketClose(1008) if scope["type"] == "websocket" else PlainTextResponse(_ASKS, status_code=401)
        elif scope["type"] == "http" and "token" in asked.query_params:
            answer = RedirectResponse(asked.url.remove_query_params("token"))
            answer.set_cookie(_COOKIE, self.token.decode(), httponly=True, samesite="strict")
        await answer(scope, receive, send)


_NO_SCRIPTS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups"
"""A report is a page from a folder that may be another's: it is shown, and nothing in it is carried out."""

__all__ = ["LOOPBACK", "make_app"]
