"""Refusals in words: what was sent, the rule, the remedy; the same sentences as the command has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.data.labels.files import class_index
from saddlepoint.run.generator import check_truncation
from saddlepoint.run.run import Run

MOST_FIELDS = 16
"""Fields that a request may have; no request has as many."""

_MOST = 5
"""Faults that are named in one answer."""


def sentence(errors: Sequence[Mapping[str, Any]], fields: Sequence[str], run: Run) -> str:
    """Return what is wrong with a request.

    Args:
        errors: as pydantic lists them.
        fields: that the request may have.
        run: that is served.
    """
    found: dict[str, str] = {}
    for error in errors:
        place = [part for part in error["loc"][1:] if isinstance(part, int | str)]
        name = str(place[0]) if place else ""
        # A field that may be one thing or another has a fault for each; the first says enough.
        if name not in found:
            found[name] = _fault(name, place, error, fields, run)
    lines = list(found.values())
    return "; ".join(lines[:_MOST]) + (f"; and {len(lines) - _MOST} more" if len(lines) > _MOST else "")


def _fault(name: str, place: list[int | str], error: Mapping[str, Any], fields: Sequence[str], run: Run) -> str:
    kind, value = error["type"], error.get("input")
    if error["loc"][0] == "query" and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if not name and kind == "value_error":
        return f"{len(value or ())} things are asked for, but a request has at most {MOST_FIELDS}"
    if not name:
        return f'the body is {_shown(value)}, but it must be an object such as {{"seed": 1}}'
    if name == "label":
        return _label(value, run)
    if kind == "extra_forbidden":
        return _unknown(name, fields, run)
    if kind == "missing":
        return f"'{name}' is missing"
    index = "".join(f"[{part}]" for part in place[1:] if isinstance(part, int))
    return f"{name}{index} is {_shown(value)}, but it must {_rule(name, kind, error.get('ctx', {}))}"


def _label(value: Any, run: Run) -> str:
    names = run.family.data.classes[: run.family.classes]
    if names and (isinstance(value, bool) or not isinstance(value, int | str)):
        return f"label is {_shown(value)}, but it must be the name or the index of a class"
    try:
        class_index(str(value)[:100], names)
    except ConfigError as error:
        return str(error)
    return f"label is {_shown(value)}, but it must be the name of a class, or its index as a number"


def _unknown(name: str, fields: Sequence[str], run: Run) -> str:
    if name == "truncation":
        try:
            check_truncation(run.family, 1.0)
        except ConfigError as error:
            return str(error)
    return f"there is no '{name[:100]}' to ask for; {suggest(name[:100], fields)}"


def _rule(name: str, kind: str, ctx: Mapping[str, Any]) -> str:
    bounds = {"ge": "be at least {:,}", "gt": "be more than {:,}", "le": "be at most {:,}", "lt": "be less than {:,}"}
    for key, words in bounds.items():
        if key in ctx:
            bound = ctx[key]
            return words.format(int(bound) if bound == int(bound) else bound)
    for key, words in (("min_length", "at least"), ("max_length", "at most")):
        if key in ctx:
            return f"have {words} {ctx[key]}"
    if "expected" in ctx:
        return f"be {ctx['expected']}"
    if kind.startswith(("list", "string")):
        return "be a list" if kind.startswith("list") else "be text"
    return "be a number" if name == "truncation" else "be a whole number"


def _shown(value: Any) -> str:
    """Return a value as it was sent, or what kind of thing it is where it is long."""
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object with {len(value)} entries"
    text = json.dumps(value) if isinstance(value, str | bool) or value is None else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"'{text.strip(chr(34))}'" if isinstance(value, str) else text


def response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return ``{"detail": "one sentence"}``."""
    # JSON may escape halves of characters, which no encoding has.
    return JSONResponse({"detail": detail.encode(errors="replace").decode()}, status, headers=headers)


def response_to(error: Exception) -> JSONResponse:
    """Return the answer to what was not possible (422), or to what is refused with a status of its own."""
    if isinstance(error, HTTPException):
        return response(error.status_code, str(error.detail), error.headers)
    return response(422, str(error))


def not_json(content_type: str | None, empty: bool) -> tuple[int, str]:
    """Return status and sentence for a body that was not read, as it was not said to be JSON.

    Args:
        content_type: the content type, if one was sent.
        empty: whether there is no body.
    """
    how = "send JSON with the header Content-Type: application/json (curl: -H 'Content-Type: application/json')"
    if empty:
        return 422, f"the body is empty; {how}"
    return 415, f"the body's content type is {content_type[:100] if content_type else 'not given'}; {how}"


def is_json(content_type: str | None) -> bool:
    """Say whether a content type is one of JSON.

    >>> is_json("application/json; charset=utf-8"), is_json("application/x-www-form-urlencoded"), is_json(None)
    (True, False, False)
    """
    kind = (content_type or "").split(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
