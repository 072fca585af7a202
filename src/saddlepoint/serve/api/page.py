"""The page at the root: one file without a word of another host, and the policy that holds it to that."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path


def page() -> tuple[str, str]:
    """Return the page, and the policy for its header: its own style and script by their hashes, no other host."""
    content = Path(__file__).with_name("page.html").read_text("utf-8")
    style, script = (_hashes(content, tag) for tag in ("style", "script"))
    return content, (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src 'self' blob: data:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def _hashes(content: str, tag: str) -> str:
    found = re.findall(f"<{tag}>(.*?)</{tag}>", content, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in found)
