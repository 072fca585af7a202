"""Measured beside each other: samples that anything made against a data set, and runs against runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch

from saddlepoint._errors import ConfigError
from saddlepoint.data import Dataset, load_dataset, load_samples
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.options import Preparation
from saddlepoint.engine.folder import RunFolder
from saddlepoint.family import Family
from saddlepoint.run import Run

if TYPE_CHECKING:
    from saddlepoint.evaluate import Line, Report, Result


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
        say, detail, partial: as in `Run.evaluate`.
        threads: of the CPU; ``auto`` or None: what is fastest here, measured at the start.
        preparation: of the data, as in `load_dataset`.

    Returns:
        The report and the path of its page.

    Raises:
        ConfigError: on an unknown protocol or extractor, or one that does not fit.
        DataError: if samples or data cannot be read, or do not fit each other.
    """
    from saddlepoint.evaluate import Subject, evaluate
    from saddlepoint.report import save_report

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


def report_seconds(dataset: Dataset, family: Family, config: Mapping[str, Any]) -> float | None:
    """Return about how many seconds the report of a training on this data will take, before it has begun.

    Args:
        dataset: the data.
        family: the networks as they are built, trained or not: their mode is left as it is.
        config: of the run.

    Returns:
        None if it cannot be told.
    """
    from saddlepoint.evaluate import expected_seconds

    networks = copy.deepcopy(family).eval()
    try:
        subject = Run(Path(), config, networks, 0, averaged=False).subject(dataset)
        return expected_seconds(subject, dataset, cache_dir=cache_dir() / "controls")
    except Exception:  # a forecast that fails, for whatever reason, must not cost the training
        return None


def compare_runs(paths: Sequence[str | Path], protocols: Sequence[str] | None = None) -> list[Line]:
    """Set evaluated runs side by side.

    Args:
        paths: run folders, or folders of reports.
        protocols: kinds or full names to compare; None: all of the first one.

    Raises:
        DataError: if one was not evaluated yet.
        ConfigError: if they were measured differently, on different data, or not by a protocol that is asked for.
    """
    from saddlepoint.evaluate import compare, read_results
    from saddlepoint.evaluate.rows import kind_of

    results: dict[str, list[Result]] = {}
    for path in map(Path, paths):
        folder = path if (path / "metrics.jsonl").exists() else RunFolder(path).report
        found = read_results(folder / "metrics.jsonl")
        label = str(path) if path.name in results else path.name or str(path)
        results[label] = [r for r in found if not protocols or {r.protocol, kind_of(r.protocol)} & set(protocols)]
        if not results[label]:
            raise ConfigError(
                f"{path} was not measured by {' or '.join(protocols or ['any protocol'])}; run saddle evaluate {path}"
            )
    return compare(results)
