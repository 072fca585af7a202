"""Measured beside each other: samples that anything made against a data set, and runs against runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch

from saddlepoint._errors import ConfigError
from saddlepoint.data import load_dataset, load_samples
from saddlepoint.data.cache import cache_dir
from saddlepoint.data.options import Preparation
from saddlepoint.engine.folder import RunFolder

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
        out: folder of the report; None: a folder beside the samples, called after them.
        say: receives one line for each part of the work.
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
        threads=threads,
    )  # fmt: skip
    return report, save_report(path.with_name(f"{path.stem}-report") if out is None else out, report)


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
