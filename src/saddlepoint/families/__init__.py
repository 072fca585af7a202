"""The families, in the order of their publication: one folder each, one import line each."""

from saddlepoint.families import gan  # isort: skip
from saddlepoint.families import cgan  # isort: skip
from saddlepoint.families import dcgan  # isort: skip
from saddlepoint.families import timegan  # isort: skip
from saddlepoint.families import stylegan1  # isort: skip
from saddlepoint.families import stylegan  # isort: skip
from saddlepoint.families import stargan  # isort: skip
from saddlepoint.families import stargan2  # isort: skip
from saddlepoint.families import r3gan  # isort: skip
from saddlepoint.families import flow  # isort: skip
from saddlepoint.families import diffusion  # isort: skip
from saddlepoint.families import drifting  # isort: skip

__all__ = [
    "cgan",
    "dcgan",
    "diffusion",
    "drifting",
    "flow",
    "gan",
    "r3gan",
    "stargan",
    "stargan2",
    "stylegan",
    "stylegan1",
    "timegan",
]
