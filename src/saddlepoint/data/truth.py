"""The known truth about translations between the domains of `data/domains.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saddlepoint.core.progress import Say
from saddlepoint.data.dataset import Dataset
from saddlepoint.data.images.domains import DOMAINS, Domains
from saddlepoint.data.load import load_dataset


@dataclass(frozen=True)
class Truth:
    """What every row of a data set looks like in any other domain, and what it shows.

    Attributes:
        domains: how its rows were rendered.
        base: the grey images, row by row.
    """

    domains: Domains
    base: Dataset

    def translated(self, split: str, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return rows of a split as they are in other domains: uint8 (n, 3, height, width).

        What no label tells stays as it is in the row.

        Args:
            split: train, valid or test.
            rows: (n,) row numbers.
            labels: (n,) class indices, or (n, classes) of 1 and 0.
        """
        grey = np.asarray(self.base.splits[split].x)
        return self.domains.render(grey[rows, 0], labels, self.domains.vary(split, len(grey))[rows])

    def content(self, split: str) -> np.ndarray | None:
        """Return what the rows of a split show, whatever their domain: (rows,) class indices of the grey data."""
        return self.base.splits[split].labels


def known_truth(dataset: Dataset, say: Say | None = None) -> Truth | None:
    """Return the truth about a data set; None if it is not one of `DOMAINS`, or was prepared in another size.

    Raises:
        DataError: if its grey images cannot be found any more.
    """
    domains = DOMAINS.get(dataset.name)
    if domains is None:
        return None
    base = load_dataset(domains.base, say=say)
    same = dataset.spec.shape == (3, *base.spec.shape[1:])
    return Truth(domains, base) if same else None
