"""Samples that anything made, measured; and what is said of a run's report: how long it takes, what it warns of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch

from saddlepoint.core.errors import DataError
from saddlepoint.core.logs import logged
from saddlepoint.data import KNOWN, Dataset, load_dataset, load_samples
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.options import Preparation
from saddlepoint.engine.plan import unfinished
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import Family
from saddlepoint.run.run import Run

if TYPE_CHECKING:
    from saddlepoint.evaluation import Report
    from saddlepoint.evaluation.duration import Forecast


@logged
def evaluate_samples(
    path: str | Path,
    data: str,
    protocols: Sequence[str] | None = None,
    *,
    seed: int = 0,
    features: str | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    detail: Callable[[str], None] | None = None,
    partial: bool = False,
    threads: int | str | None = None,
    **preparation: Unpack[Preparation],
) -> tuple[Report, Path]:
    """Measure samples that anything made against a data set, and write the report.

    Args:
        path: folder or zip of images, parquet, .npy or .npz; of series CSV, parquet, .npy or
            .npz. Samples must have the size of the data's rows.
        data: name of a data set, path, or ``hf:owner/name``.
        protocols: kinds, aliases or full names; None: all that fit.
        seed: of the reference rows.
        features: name of a feature extractor; None: the best one for the data.
        out: folder of the report; None: ``NAME-report`` in the working directory, after the samples.
        say: as in `Run.evaluate`.
        detail: as in `Run.evaluate`.
        partial: as in `Run.evaluate`.
        threads: of the CPU; ``auto`` or None: what is fastest here, measured at the start.
        preparation: of the data, as in `load_dataset`.

    Returns:
        The report and the path of its page.

    Raises:
        ConfigError: on an unknown protocol or extractor, or one that does not fit.
        DataError: if samples or data cannot be read, or do not fit each other.
    """
    from saddlepoint.evaluation import Subject, evaluate
    from saddlepoint.evaluation.report.page import save_report

    dataset = load_dataset(data, say=say, **preparation)
    x, labels = load_samples(path, dataset)
    path = Path(path)
    # Files stand class by class in folders: any number of them shall be of all.
    order = np.random.default_rng(0).permutation(len(x))
    subject = Subject(
        path.name,
        lambda n, seed: torch.from_numpy(x[order[:n]]),
        count=len(x),
        labels=None if labels is None else lambda n, seed: labels[order[:n]],
    )
    report = evaluate(
        subject, dataset, protocols, seed=seed, features=features, cache_dir=cache_dir() / "controls", progress=say,
        detail=detail, partial=partial, threads=threads,
    )  # fmt: skip
    return report, save_report(Path(f"{path.stem}-report") if out is None else out, report)


def is_followed(source: str) -> bool:
    """Whether a training on this data is followed by its report unless it is said otherwise: that on own data is."""
    return source not in KNOWN


def after_training(forecast: Forecast | None) -> str:
    """Say how much longer a training takes for its report, which is not in its budget.

    >>> after_training(None)
    'takes some time more after the training'
    """
    more = " more after the training"
    return f"takes {f'some time{more}' if forecast is None else forecast.text(more)}"


def caution(run: Run) -> str:
    """Say in a line why samples of a run are worth nothing yet: by its stages, or its last report; "" otherwise."""
    from saddlepoint.evaluation import kept_results, report_of

    if early := unfinished(run.family.stages(), run.step):
        return early
    results = kept_results(RunFolder(run.path).report)
    try:
        if not results or report_of(results).standing != "far":
            return ""
    except DataError:
        return ""
    return f"the last report of this run says that its samples are far from the data: {RunFolder(run.path).report}"


def report_time(dataset: Dataset, family: Family, config: Mapping[str, Any]) -> Forecast | None:
    """Return about how long the report of a training on this data will take, before it has begun.

    Args:
        dataset: the data.
        family: the networks as they are built, trained or not: their mode is left as it is.
        config: of the run.

    Returns:
        None if it cannot be told.
    """
    from saddlepoint.evaluation import expected_time

    networks = copy.deepcopy(family).eval()
    try:
        subject = Run(Path(), config, networks, 0, averaged=False).subject(dataset)
        return expected_time(subject, dataset, cache_dir=cache_dir() / "controls")
    except Exception:  # a forecast that fails, for whatever reason, must not cost the training
        return None
