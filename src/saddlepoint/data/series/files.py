"""Files of series, opened: what is in them, before anybody decides which column is what."""

from __future__ import annotations

from saddlepoint.data.series.frame import Frame, Look

__all__ = ["Frame", "Look"]
