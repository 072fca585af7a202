"""The families: those of the lineage, then the explicit models, each in the order of publication: one folder each."""

from saddlepoint.families import gan  # isort: skip
from saddlepoint.families import cgan  # isort: skip
from saddlepoint.families import dcgan  # isort: skip
from saddlepoint.families import timegan  # isort: skip
from saddlepoint.families import stylegan1  # isort: skip
from saddlepoint.families import stylegan  # isort: skip
from saddlepoint.families import stargan  # isort: skip
from saddlepoint.families import stargan2  # isort: skip
from saddlepoint.families import r3gan  # isort: skip
from saddlepoint.families import rbm  # isort: skip
from saddlepoint.families import autoencoder  # isort: skip
from saddlepoint.families import dbm  # isort: skip
from saddlepoint.families import vae  # isort: skip
from saddlepoint.families import flow  # isort: skip
from saddlepoint.families import diffusion  # isort: skip
from saddlepoint.families import drifting  # isort: skip

__all__ = [
    "autoencoder", "cgan", "dbm", "dcgan", "diffusion", "drifting", "flow", "gan", "r3gan", "rbm", "stargan",
    "stargan2", "stylegan", "stylegan1", "timegan", "vae",
]  # fmt: skip
