"""Packages that extras bring, imported where they are needed; where one is missing, the command that installs it."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

from saddlepoint.core.errors import ConfigError, SaddlepointError


def needed(module: str, extra: str, purpose: str, error: type[SaddlepointError] = ConfigError) -> Any:
    """Import a module of a package that an extra brings.

    Args:
        module: its name.
        extra: of this package.
        purpose: what needs it, as the beginning of a sentence.
        error: kind of error to raise.

    Raises:
        ConfigError: or as ``error`` says, if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        refuse_missing(module.split(".")[0], extra, purpose, error, missing)


def refuse_missing(
    package: str,
    extra: str,
    purpose: str,
    error: type[SaddlepointError] = ConfigError,
    cause: BaseException | None = None,
) -> NoReturn:
    """Raise the error that says which package is missing, and how it is installed; arguments as in `needed`."""
    raise error(f"{purpose} needs {package}: pip install 'saddlepoint[{extra}]'") from cause
