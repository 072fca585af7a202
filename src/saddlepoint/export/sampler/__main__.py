"""``python sample.py``."""

from __future__ import annotations

from pathlib import Path

from .program import main

main(Path(__file__).resolve().parents[1])
