"""The studio as an application: which page answers which address, who may ask."""

from __future__ import annotations

import hmac
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from saddlepoint.serve.studio import compare, experiment, run, runs, training
from saddlepoint.serve.studio.desk import Desk

LOOPBACK = ("127.0.0.1", "localhost")
_COOKIE = "saddlepoint-token"
_ASKS = "this studio asks for its token: open it as ?token=..."


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
        picture = None if folder is None else folder / "samples" / f"step{step:08d}.png"
        if picture is None or not picture.is_file():
            return PlainTextResponse(f"there is no snapshot of step {step} of run '{name}'", status_code=404)
        return FileResponse(picture)

    ui.page("/")(lambda: runs.show(desk))
    ui.page("/run/{name}")(lambda name: run.show(desk, name))
    ui.page("/train")(lambda: training.show(desk))
    ui.page("/compare")(lambda one="", two="": compare.show(desk, one, two))
    ui.page("/lab")(experiment.show_all)
    ui.page("/lab/{name}")(experiment.show)
    ui.run_with(app, title="saddlepoint", dark=None, favicon=_ICON, show_welcome_message=False, reconnect_timeout=10)
    return app


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


_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#3b6fc4"/>'
    '<path d="M4 10Q16 26 28 10M16 4V18" fill="none" stroke="#fff" stroke-width="3"/></svg>'
)

__all__ = ["LOOPBACK", "make_app"]
