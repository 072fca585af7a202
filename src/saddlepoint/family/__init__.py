"""The contract between a family of GANs and everything else, and what families share beside their networks.

All that a family needs is imported from here: ``from saddlepoint.family import Family, Phase, Stage, Terms, register``.
"""

from saddlepoint.data.spec import EXAMPLES, Batch, DataSpec, DataStats
from saddlepoint.family.contract import (
    Context,
    Family,
    FamilyConfig,
    OptimizerSpec,
    Phase,
    Progress,
    Remedy,
    Schedule,
    Stage,
    Tags,
    Terms,
)
from saddlepoint.family.registry import build_family, families, get_family, get_preset, register

__all__ = [
    "EXAMPLES",
    "Batch",
    "Context",
    "DataSpec",
    "DataStats",
    "Family",
    "FamilyConfig",
    "OptimizerSpec",
    "Phase",
    "Progress",
    "Remedy",
    "Schedule",
    "Stage",
    "Tags",
    "Terms",
    "build_family",
    "families",
    "get_family",
    "get_preset",
    "register",
]
