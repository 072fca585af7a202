"""The families, in the order of their publication: one folder each, one import line each."""

from saddlepoint.families import autoencoder  # isort: skip
from saddlepoint.families import vae  # isort: skip
from saddlepoint.families import gan  # isort: skip
from saddlepoint.families import cgan  # isort: skip
from saddlepoint.families import dcgan  # isort: skip
from saddlepoint.families import timegan  # isort: skip
from saddlepoint.families import stylegan1  # isort: skip
from saddlepoint.families import stylegan  # isort: skip
from saddlepoint.families import stargan  # isort: skip
from saddlepoint.families import stargan2  # isort: skip
from saddlepoint.families import r3gan  # isort: skip

__all__ = [
    "autoencoder",
    "cgan",
    "dcgan",
    "gan",
    "r3gan",
    "stargan",
    "stargan2",
    "stylegan",
    "stylegan1",
    "timegan",
    "vae",
]
