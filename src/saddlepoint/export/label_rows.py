"""Labels in a graph: rows of 0 and 1 that are multiplied, not whole numbers that are compared and cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class LabelRows(TorchFunctionMode):
    """Lets a family that is told classes compute with rows of 0 and 1: products in the stead of casts and comparisons.

    Each use of the classes that is known here is replaced; any other reads them as they are.

    Args:
        labels: (batch,) classes, the very tensor that the family gets.
        rows: (batch, classes) of 0 and 1.
    """

    def __init__(self, labels: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.labels, self.rows = labels, rows

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Take the place of a call of PyTorch."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "one_hot" and args[0] is self.labels:
            return self.rows
        if name == "embedding" and args[0] is self.labels:
            # Further rows of the table are of no class.
            return self.rows @ args[1][: self.rows.shape[1]]
        if name == "__getitem__" and isinstance(args[1], tuple) and args[1][-1] is self.labels:
            # numbers[each row, its label]: (batch, classes, ...).
            shape = (*self.rows.shape, *[1] * (args[0].ndim - 2))
            return (args[0] * self.rows.reshape(shape)).sum(1)
        return func(*args, **kwargs)


def as_rows(labels: Tensor, classes: int) -> Tensor:
    """Return classes (batch,) as rows of 0 and 1; a file that looks them up refuses those beyond the last."""
    return F.embedding(labels, torch.eye(classes))
