"""Configurations are frozen dataclasses: JSON both ways, typed overrides, no unknown key ever accepted."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from saddlepoint.core.errors import ConfigError, suggest

C = TypeVar("C")


def option(default: Any, help: str, *, choices: tuple[str, ...] = (), **more: Any) -> Any:
    """Declare a field of a configuration: its default, one line saying unit and meaning of None, further metadata."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, **more})


def to_json(config: Any) -> dict[str, Any]:
    """Return the configuration as plain JSON values (tuples become lists)."""
    return {f.name: _to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_json(cls: type[C], values: Mapping[str, Any]) -> C:
    """Build ``cls`` from JSON values.

    Raises:
        ConfigError: on an unknown key, or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    renamed: Mapping[str, str] = getattr(cls, "renamed", {})
    values = {renamed.get(key, key): value for key, value in values.items()}
    _refuse_unknown(cls, values)
    return cls(**{key: _checked(key, value, hints[key]) for key, value in values.items()})


def override(config: C, changes: Mapping[str, Any]) -> C:
    """Return ``config`` with fields changed; text such as ``"0.1"``, ``"256,256"`` or ``"none"`` is read by type.

    Raises:
        ConfigError: on an unknown field or a value that cannot be read as the field's type.

    Example:
        >>> from saddlepoint.families.gan import GAN
        >>> override(GAN.PRESETS["mnist-2014"], {"batch_size": "64"}).batch_size
        64
    """
    changes = {key.replace("-", "_"): value for key, value in changes.items()}
    _refuse_unknown(type(config), changes)
    hints = typing.get_type_hints(type(config))
    read = {
        key: _parsed(key, value, hints[key]) if isinstance(value, str) else _checked(key, value, hints[key])
        for key, value in changes.items()
    }
    return dataclasses.replace(config, **read)  # type: ignore[type-var]


def describe(cls: type, config: Any = None) -> list[tuple[str, str, str]]:
    """List ``(option, value, help)`` of every field, for help texts and for `saddle families`."""
    return [
        (
            "--" + f.name.replace("_", "-"),
            _shown(getattr(config, f.name) if config else f.default),
            f.metadata.get("help", ""),
        )
        for f in dataclasses.fields(cls)
    ]


def check(condition: bool, name: str, value: object, rule: str) -> None:
    """Raise a ConfigError naming the option, the value received and the rule, unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"{name.replace('_', '-')} is {_shown(value)}, but it must be {rule}")


def check_choices(config: Any) -> None:
    """Check every field that declares ``choices``."""
    for f in dataclasses.fields(config):
        choices, value = f.metadata.get("choices"), getattr(config, f.name)
        if choices and value not in choices:
            raise ConfigError(f"{f.name.replace('_', '-')} is '{value}'; {suggest(str(value), choices)}")


def _refuse_unknown(cls: type, values: Mapping[str, Any]) -> None:
    known = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in known:
            names = [name.replace("_", "-") for name in known]
            raise ConfigError(f"unknown option '{key.replace('_', '-')}'; {suggest(key.replace('_', '-'), names)}")


def _to_json(value: Any) -> Any:
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )


def _checked(key: str, value: Any, hint: Any) -> Any:
    for kind in _alternatives(hint):
        if kind is type(None) and value is None:
            return None
        if kind is bool and isinstance(value, bool):
            return value
        if isinstance(value, int) and abs(value) >= 2**53:
            break  # no float holds it
        if kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if kind is str and isinstance(value, str):
            return value
        if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
            item = typing.get_args(kind)[0]
            return tuple(_checked(key, each, item) for each in value)
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    raise ConfigError(f"{key.replace('_', '-')} is {shown}, but it must be {_readable(hint)}")


def _parsed(key: str, text: str, hint: Any) -> Any:
    for kind in _alternatives(hint):
        try:
            return _read(text.strip(), kind)
        except ValueError:
            continue
    raise ConfigError(f"{key.replace('_', '-')} is '{text}', but it must be {_readable(hint)}")


def _read(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() == "none":
            return None
        raise ValueError
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ValueError
        return words[text.lower()]
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if text.lower() == "none":
            return ()
        return tuple(_read(part.strip(), item) for part in text.split(",") if part.strip())
    return kind(text)


def _readable(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "none"}
    parts = []
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is tuple:
            parts.append(f"{names[typing.get_args(kind)[0]].removeprefix('a ')}s separated by commas")
        else:
            parts.append(names.get(kind, str(kind)))
    return " or ".join(parts)
