"""What stands before the pages: who may ask, what may be sent, and what a browser is told to allow them."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from nicegui import Client, core
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from saddlepoint.serve.studio.uploads import MOST_BYTES

MOST_PAGES = 256
"""Pages that are kept for visitors at once."""

MOST_LINES = 256
"""Live connections of pages at once."""

MOST_MESSAGE = 1_000_000
"""Bytes of a message of a page to the studio: what a visitor did, never a file."""

LIVE, BRING = "/_nicegui_ws/", "/bring/"
ASSETS = ("/_nicegui/", LIVE, BRING, "/snapshot/", "/thumbnail/", "/report/", "/favicon.ico")
"""Addresses that are no pages: nothing is kept for who asks."""

_FOREIGN = (
    "the studio answers its own pages only, none of another origin; a proxy in front of it has to pass on the header "
    "Host as the browser sends it"
)

COOKIE = "saddlepoint-token"
_ASKS = "this studio asks for its token: open it as ?token=..."

_HEADERS = {
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}


def policy(nonce: str) -> str:
    """Return what a page may load and carry out: the studio's own files, and scripts that carry the page's word.

    NiceGUI compiles the templates of its elements in the browser, and sets styles in elements: neither works without
    ``unsafe-eval`` and inline styles. Scripts in a text that was taken for HTML, attributes such as ``onerror`` among
    them, do not run.

    Args:
        nonce: word of this answer alone.
    """
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


class Gate:
    """Refuses what pages of other origins ask, and what is too much; says to browsers what pages may do.

    It is the outermost: errors and files of the framework have its headers, too.

    Args:
        app: what it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "websocket":
            await self._live(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _headers(message.get("headers", ()), nonce)}
            await send(message)

        answer = self.app
        if refused := refusal(scope):
            # What is left of a body is not read.
            answer = PlainTextResponse(refused[1], status_code=refused[0], headers={"connection": "close"})
        await answer(scope, receive, headed)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        if refusal(scope):
            await WebSocketClose(1008)(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # A message that is none; as an error it would be a line in the terminal for each.
            with suppress(RuntimeError, OSError):
                await send({"type": "websocket.close", "code": 1002})


def _headers(headers: list[tuple[bytes, bytes]], nonce: str) -> list[tuple[bytes, bytes]]:
    # The live connection would tell any origin that it may read.
    kept = [(name, value) for name, value in headers if not name.lower().startswith(b"access-control-")]
    own = {b"content-security-policy": policy(nonce).encode(), **_HEADERS}
    there = {name.lower() for name, _ in kept}
    return kept + [(name, value) for name, value in own.items() if name not in there]


def refusal(scope: Scope) -> tuple[int, str] | None:
    """Return status and words for a request that is not answered; None for one that is."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        # Of two, neither is believed.
        headers[name] = b"" if name in headers and name in (b"origin", b"host") else value
    path, live = scope["path"], scope["path"].startswith(LIVE)
    if is_foreign(headers):
        return 403, _FOREIGN
    if live and b"sid=" not in scope["query_string"] and len(core.sio.eio.sockets) >= MOST_LINES:
        return 503, f"{MOST_LINES} pages are connected already: close some of them"
    if scope["type"] == "websocket":
        return None
    if scope["method"] not in ("GET", "HEAD") and not (scope["method"] == "POST" and path.startswith((LIVE, BRING))):
        return 405, f"{scope['method']} is not answered here"
    if embeds(headers):
        return 403, "pages of others may link to the studio, but load nothing from it: open it in a tab of its own"
    if too_large := _too_large(scope["method"], path, headers):
        return too_large
    return None if path.startswith(ASSETS) or has_room() else (503, f"{MOST_PAGES} pages are open already")


def is_foreign(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that a request is made by a page of another origin.

    Args:
        headers: by name in small letters.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return False
    try:
        asking = urlsplit(origin.decode("ascii"))
        own = headers.get(b"host", b"").decode("ascii").lower()
    except ValueError:
        return True
    # Browsers leave out the port that a scheme has anyway; some proxies put it there.
    usual = {"http": ":80", "https": ":443"}.get(asking.scheme)
    return (
        usual is None
        or not (asking.netloc and own)
        or asking.netloc.lower().removesuffix(usual) != own.removesuffix(usual)
    )


def embeds(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that a page of another origin loads something: a picture, a script, a frame.

    It says so where it trusts the connection: this machine, or TLS.
    """
    if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
        return False
    return (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest")) != (b"navigate", b"document")


def _too_large(method: str, path: str, headers: Mapping[bytes, bytes]) -> tuple[int, str] | None:
    most = 0 if method != "POST" else MOST_MESSAGE if path.startswith(LIVE) else MOST_BYTES
    length = headers.get(b"content-length", b"" if method == "POST" or b"transfer-encoding" in headers else b"0")
    if not length.isdigit():
        return 411, "say how long the body is (Content-Length)"
    return (413, f"the body has more than {most:,} bytes") if len(length) > 19 or int(length) > most else None


def has_room() -> bool:
    """Whether one more page can be kept; those whose browser never came back are dropped first."""
    if len(Client.instances) >= MOST_PAGES:
        Client.prune_instances(client_age_threshold=5.0)
    return len(Client.instances) < MOST_PAGES


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
        given = asked.query_params.get("token") or asked.cookies.get(COOKIE, "")
        if not hmac.compare_digest(given.encode(), self.token):
            answer = WebSocketClose(1008) if scope["type"] == "websocket" else PlainTextResponse(_ASKS, status_code=401)
        elif scope["type"] == "http" and "token" in asked.query_params:
            # Relative: a proxy in front may have another scheme, host and path.
            place, query = scope["raw_path"].partition(b"?")[0], asked.url.remove_query_params("token").query
            here = "./" + place.rpartition(b"/")[2].decode("latin-1")
            answer = RedirectResponse(f"{here}?{query}" if query else here)
            answer.set_cookie(COOKIE, self.token.decode(), httponly=True, samesite="strict")
        await answer(scope, receive, send)
