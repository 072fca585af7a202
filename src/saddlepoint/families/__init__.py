"""The families, in the order of their publication: one file each, one import line each."""

from saddlepoint.families import gan

__all__ = ["gan"]
