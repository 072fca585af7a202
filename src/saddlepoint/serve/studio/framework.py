"""NiceGUI, held to what the studio promises: words for its scripts, small messages, harmless lines in the terminal."""

from __future__ import annotations

import functools
import logging
import traceback
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import socketio  # type: ignore[import-untyped]
from jinja2 import ChoiceLoader, DictLoader
from nicegui import client, core

from saddlepoint.core.quoting import for_terminal
from saddlepoint.serve.studio.gate import MOST_MESSAGE

_PAGE = "index.html"
_WORD = '<script nonce="{{ request.state.nonce }}"'
_MOST_LINE = 2000
_MESSAGES = ("handshake", "event", "javascript_response", "ack", "log")
"""What pages send, beside coming and going."""


def tame() -> None:
    """Set up the framework, before each studio of a process: there is one framework for all of them."""
    quiet()
    # Else a second studio is refused once the first was started, and its answers are packed twice.
    core.app.middleware_stack = None
    core.app.user_middleware.clear()
    give_nonces()
    core.sio.packet_class = Packet
    core.sio.eio.max_http_buffer_size = MOST_MESSAGE
    answers = core.sio.handlers["/"]
    for said in _MESSAGES:
        if said in answers and not hasattr(answers[said], "patient"):
            answers[said] = patient(answers[said])
    # Below errors of the framework itself, these are lines that strangers write: one for each message that is none.
    logging.getLogger("engineio.server").setLevel(logging.CRITICAL)
    log = logging.getLogger("nicegui")
    if not any(isinstance(found, Harmless) for found in log.filters):
        log.addFilter(Harmless())


def quiet() -> None:
    """Keep PyTorch's warning of a name that nobody here uses from those who start the studio.

    At its start NiceGUI asks every object of the process for its class; PyTorch's stand-in for a retired name answers
    with a warning (findings/a-mounted-page-wakes-every-object.sh).
    """
    warnings.filterwarnings("ignore", ".*torch.distributed.reduce_op.*", FutureWarning)


def give_nonces() -> None:
    """Let the scripts of the framework's own page carry the word that `gate.policy` asks for.

    The word is put into the template: no text that is filled in can get it.
    """
    environment = client.templates.env
    loader = environment.loader
    assert loader is not None
    source, *_ = loader.get_source(environment, _PAGE)
    if _WORD not in source:
        environment.loader = ChoiceLoader([DictLoader({_PAGE: source.replace("<script", _WORD)}), loader])


class Packet(socketio.packet.Packet):
    """A message of a page. What is said in bytes would be gathered piece by piece, without an end; no page does so."""

    def decode(self, encoded_packet: str) -> int:
        """Read a message.

        Raises:
            ValueError: if bytes are to follow.
        """
        if super().decode(encoded_packet):
            raise ValueError("pages send no bytes")
        return 0


def patient(answer: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Let a message that no page of the studio sends end its connection, and nothing else."""

    @functools.wraps(answer)
    async def wrapped(line: str, *arguments: Any) -> Any:
        try:
            outcome = answer(line, *arguments)
            return await outcome if isinstance(outcome, Awaitable) else outcome
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            await core.sio.disconnect(line)

    wrapped.patient = True  # type: ignore[attr-defined]
    return wrapped


class Harmless(logging.Filter):
    """Makes the framework's lines harmless for a terminal: pages may have a part in their words."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape what moves the cursor, and cut what is long."""
        record.msg, record.args = for_terminal(record.getMessage()[:_MOST_LINE]), ()
        if record.exc_info and record.exc_info[0]:
            said = "".join(traceback.format_exception(*record.exc_info, limit=-8))
            record.exc_text, record.exc_info = for_terminal(said[-5 * _MOST_LINE :], lines=True), None
        return True
