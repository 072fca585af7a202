"""The contract between a family of models and everything else, and what families share beside their networks.

All that a family needs is imported from here: ``from saddlepoint.family import Family, Phase, Stage, Terms, register``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saddlepoint.data.spec import EXAMPLES, Batch, DataSpec, DataStats
    from saddlepoint.family.capabilities import (
        BatchNormalised,
        Conditional,
        Constrained,
        DiscriminatorLogits,
        Guided,
        Prepared,
        Remediable,
        Simultaneous,
        Sized,
        StyleSpace,
        SuitsData,
        Translator,
        register,
    )
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
    from saddlepoint.family.explicit import Encoding, Iterative, Likelihood, LogLikelihoods
    from saddlepoint.family.per_sample import PairLosses
    from saddlepoint.family.registry import build_family, families, get_family, get_preset

__all__ = [
    "EXAMPLES",
    "Batch",
    "BatchNormalised",
    "Conditional",
    "Constrained",
    "Context",
    "DataSpec",
    "DataStats",
    "DiscriminatorLogits",
    "Encoding",
    "Family",
    "FamilyConfig",
    "Guided",
    "Iterative",
    "Likelihood",
    "LogLikelihoods",
    "OptimizerSpec",
    "PairLosses",
    "Phase",
    "Prepared",
    "Progress",
    "Remediable",
    "Remedy",
    "Schedule",
    "Simultaneous",
    "Sized",
    "Stage",
    "StyleSpace",
    "SuitsData",
    "Tags",
    "Terms",
    "Translator",
    "build_family",
    "families",
    "get_family",
    "get_preset",
    "register",
]

_MODULES = ("registry", "contract", "capabilities", "explicit")


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: a slip in a family's name is told before PyTorch is loaded."""
    import importlib

    if name in __all__:
        for module in _MODULES:
            found = importlib.import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
        return getattr(importlib.import_module("saddlepoint.data.spec"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
