"""What all formats of an export share: who hears of the work, and how a description is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from saddlepoint.core.files import write_atomically


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a description for people and programs."""
    write_atomically(path, json.dumps(content, indent=1) + "\n")
