"""The studio as an application: which page answers which address, who may ask."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from nicegui import Client, ui
from nicegui import app as nicegui
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request

from saddlepoint.core.errors import DataError, SaddlepointError
from saddlepoint.core.files import read_regular
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.serve.studio import compare, experiment, parts, run, runs, sweeps, training
from saddlepoint.serve.studio.framework import tame
from saddlepoint.serve.studio.gate import ASSETS, Gate, TokenGate
from saddlepoint.serve.studio.state import Studio
from saddlepoint.serve.studio.thumbnails import thumbnail

LOOPBACK = ("127.0.0.1", "localhost")
_MOST_BYTES = 64 * 1024**2
"""Bytes of a snapshot or report that is shown."""


def make_app(runs_folder: str | Path, host: str = LOOPBACK[0], token: str | None = None) -> Gate:
    """Return the studio over a folder of runs.

    Args:
        runs_folder: folder of run folders; need not exist yet.
        host: address that it will be reached at; requests for other names are refused, so that no page of the web can
            reach it under a name of its own.
        token: word that visitors must bring once as ``?token=``; None: whoever can reach it may use it.
    """
    tame()
    # The descriptions of FastAPI would load scripts of another host.
    app, studio = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), Studio(runs_folder)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    if token is not None:
        app.add_middleware(TokenGate, token=token)

    @app.get("/snapshot/{name}/{step}.png")
    def snapshot(name: str, step: str) -> Response:
        try:
            return Response(read_regular(snapshot_path(studio, name, step), _MOST_BYTES), media_type="image/png")
        except (DataError, OSError, ValueError):
            return PlainTextResponse("there is no such snapshot", status_code=404)

    @app.get("/thumbnail/{name}/{step}.png")
    def small(name: str, step: str) -> Response:
        try:
            return Response(thumbnail(snapshot_path(studio, name, step)), media_type="image/png")
        except (DataError, OSError):
            return PlainTextResponse("there is no such snapshot", status_code=404)

    @app.get("/report/{name}")
    def report(name: str) -> Response:
        folder = studio.path(name)
        try:
            page = b"" if folder is None else read_regular(RunFolder(folder).report / "index.html", _MOST_BYTES)
        except (OSError, ValueError):
            page = b""
        if not page:
            words = f"run '{name}' has no report yet that can be shown: measure it on its page"
            return PlainTextResponse(words, status_code=404)
        return HTMLResponse(page, headers={"Content-Security-Policy": _NO_SCRIPTS})

    @app.post("/bring/{ticket}")
    async def bring(ticket: str, path: str, request: Request) -> Response:
        try:
            await studio.uploads.take(ticket, path, request.stream(), int(request.headers.get("content-length", 0)))
        except (SaddlepointError, OSError) as error:
            return PlainTextResponse(str(error), status_code=400)
        except ClientDisconnect:  # nobody hears the answer; an error would be a line in the terminal for each
            return PlainTextResponse("the file did not come whole", status_code=400)
        return Response(status_code=204)

    _pages(studio)
    ui.run_with(
        app, title="saddlepoint", dark=None, favicon=parts.ICON, show_welcome_message=False, reconnect_timeout=10
    )
    return Gate(app)


def snapshot_path(studio: Studio, name: str, step: str) -> Path:
    """Return where the picture of a step is, if there is one.

    Raises:
        DataError: if there is no such run, or the step is no number.
    """
    folder = studio.path(name)
    if folder is None or not re.fullmatch("[0-9]{1,12}", step):
        raise DataError(f"there is no step '{step[:20]}' of a run '{name[:60]}'")
    return folder / "samples" / f"step{int(step):08d}.png"


_page = partial(ui.page, response_timeout=30.0)
"""A page is waited for so long: a folder of a thousand runs on a busy disk takes more than the usual 3 s."""


def _pages(studio: Studio) -> None:
    _page("/")(lambda: runs.show(studio))
    _page("/run/{name}")(lambda name, tab="": run.show(studio, name, tab))
    _page("/train")(lambda: training.show(studio))
    _page("/sweeps")(lambda: sweeps.show(studio))
    _page("/compare")(lambda one="", two="": compare.show(studio, one, two))
    _page("/lab")(experiment.show_all)
    _page("/lab/{name}")(experiment.show)
    nicegui.add_exception_handler(404, _not_found)


async def _not_found(request: Request, error: Exception) -> Response:
    """Answer an address that is not there with a page of the studio, which is kept; what is no page, in words."""
    if request.scope["path"].startswith(ASSETS):
        return PlainTextResponse("there is nothing at this address", status_code=404)
    with Client(ui.page(""), request=request) as client, parts.page("There is no such page"):
        ui.label(f"Nothing answers at {request.url.path}.").classes("break-all")
        with ui.row().classes("gap-4 pt-2"):
            for name, target in parts.PLACES:
                ui.link(name, target)
    return client.build_response(request, 404)


_NO_SCRIPTS = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-popups"
)
"""A report is a page from a folder that may be another's: it is shown, and nothing in it is carried out."""

__all__ = ["LOOPBACK", "make_app"]
