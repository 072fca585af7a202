"""Write ``src/saddlepoint/run/requests.pyi``: the keyword arguments of `train`, `plan` and `resume` with types.

Editors complete from it, and type checkers read it; at run time `saddlepoint.run.api` is called. Run this after a
family's options, or the fields of `TrainRequest`, or arguments of `train` or
`plan_to_resume` changed:

    python tests/make_requests.py
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import typing
from pathlib import Path
from typing import Any

from saddlepoint.family import Family
from saddlepoint.run import api
from saddlepoint.run.request import TrainRequest

FILE = Path(__file__).parents[1] / "src" / "saddlepoint" / "run" / "requests.pyi"
HEAD = '''"""Keyword arguments of `train`, `plan` and `resume`, by family; written by tests/make_requests.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, overload

from saddlepoint.data.options import Preparation
from saddlepoint.run.callbacks import Callback
from saddlepoint.run.plan import Plan
from saddlepoint.run.run import Run
'''
PLAN = 'def plan(family: str = "gan", data: Any = "mnist", **request: Unpack[Request]) -> Plan: ...'


def text() -> str:
    """Return the content of the file."""
    kinds = {name: kind for name, kind in api.list_families().items() if kind.__module__.startswith("saddlepoint.")}
    parts = [HEAD, base(), *(options(kind) for kind in kinds.values())]
    parts += [overload(name, request_of(kind), name == "gan") for name, kind in kinds.items()]
    parts += ["# A family of your own: its options are typed in its file; give them as options={...}.",
              overload("", "Training", False).replace(": Literal[\"\"]", ": str"), PLAN, resume()]  # fmt: skip
    return "\n".join(parts)


def base() -> str:
    """Return what every family takes."""
    asked = {field.name: str(field.type) for field in dataclasses.fields(TrainRequest)}
    asked |= {name: kind for name, (kind, _) in parameters(api.plan).items()}
    heard = {name: kind for name, (kind, _) in parameters(api.train).items()}
    return typed("Request", "Preparation", asked) + "\n" + typed("Training", "Request", heard)


def typed(name: str, base: str, fields: dict[str, str]) -> str:
    """Return a dictionary of keyword arguments with their types."""
    lines = [line for field, kind in fields.items() for line in folded(f"    {field}: {kind}")]
    return f"class {name}({base}, total=False):\n" + "\n".join(lines) + "\n"


def parameters(function: Any) -> dict[str, tuple[str, str]]:
    """Return annotation and default of the keyword arguments of a function, as they are written."""
    kept = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: (str(p.annotation), repr(p.default)) for p in kept}


def options(kind: type[Family]) -> str:
    """Return the options of a family."""
    hints = typing.get_type_hints(kind.Config)
    return typed(
        request_of(kind), "Training", {f.name: written(f, hints[f.name]) for f in dataclasses.fields(kind.Config)}
    )


def folded(field: str) -> list[str]:
    """Break a long list of words."""
    if len(field) <= 120:
        return [field]
    name, _, words = field.partition("Literal[")
    inside, _, rest = words.rpartition("]")
    wrapped = textwrap.wrap(inside, 110, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return [f"{name}Literal[", *wrapped, f"    ]{rest}"]


def written(field: Any, hint: Any) -> str:
    """Return the type of a field as a caller writes it: words out of its choices, sequences for tuples."""
    choices = field.metadata.get("choices")
    kinds = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    names = []
    for kind in kinds:
        if kind is str and choices:
            names.append("Literal[" + ", ".join(f'"{word}"' for word in choices if word is not None) + "]")
        elif typing.get_origin(kind) is tuple:
            names.append(f"Sequence[{typing.get_args(kind)[0].__name__}]")
        else:
            names.append("None" if kind is type(None) else kind.__name__)
    return " | ".join(names)


def request_of(kind: type[Family]) -> str:
    """Return the name of a family's request."""
    return f"{kind.__name__}Request"


def overload(name: str, request: str, usual: bool) -> str:
    """Return the signature of `train` for a family."""
    default = f' = "{name}"' if usual else ""
    return (
        f'@overload\ndef train(family: Literal["{name}"]{default}, data: Any = "mnist", **request: Unpack[{request}]) '
        "-> Run: ..."
    )


def resume() -> str:
    """Return the signature of `resume`."""
    asked = {**parameters(api.plan_to_resume), **parameters(api.resume)}
    words = "".join(f"    {name}: {kind} = {default},\n" for name, (kind, default) in asked.items())
    return f"def resume(\n    path: str | Path,\n    *,\n{words}) -> Run: ...\n"


if __name__ == "__main__":
    FILE.write_text(text())
