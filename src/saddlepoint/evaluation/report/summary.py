"""The whole evaluation in one sentence, and what a reader must know before trusting it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from saddlepoint.core.errors import DataError
from saddlepoint.data import short_name
from saddlepoint.evaluation.features import default_name
from saddlepoint.evaluation.measurements.series import SERIES_KINDS, summarise_series
from saddlepoint.evaluation.report.judgement import blurs_win, judge
from saddlepoint.evaluation.rows import Report, Result, join, kind_of, label_of, read_results
from saddlepoint.evaluation.sets import MOST, Bench, trained_on
from saddlepoint.evaluation.text import sentence
from saddlepoint.metrics.imagenet_weights import remedy
from saddlepoint.metrics.windows import reach

_FEW_ROWS = 1_000


def limits(bench: Bench, report: Report | None = None) -> tuple[str, ...]:
    """Return sentences on what limits the figures of this bench, and of a report that it made."""
    found = []
    test, n = len(bench.dataset.splits["test"]), bench.count()
    if bench.dataset.modality == "sequence":
        return _series_limits(bench)
    if bench.subject.privacy:
        found.append(
            f"Trained with differential privacy, {bench.subject.privacy}. The figures and pictures of this report look "
            "at training and held-out rows themselves, which that does not count."
        )
    if test < _FEW_ROWS:
        found.append(
            f"'{short_name(bench.dataset.name)}' has only {test:,} test rows: intervals are wide, and "
            "figures must not be compared with those of larger sets."
        )
    if trained_on(bench):
        found.append("The test rows are training rows too: no figure sees copies or overfitting.")
    if n < min(MOST, test):
        found.append(f"Only {n:,} samples were given; up to {min(MOST, test):,} are used where there are as many.")
    extractor = bench.extractor_in_use
    if extractor is not None and not bench.chosen and extractor.name != (usual := default_name(bench.dataset)):
        found.append(
            f"Features are those of {extractor.name}, since the weights of {usual} could not be had: figures must not "
            f"be compared with those of {usual}. To get them: {remedy()}."
        )
    if extractor is not None and extractor.name == "pixels":
        found.append(
            "Features are plain pixels: they weigh brightness and position more than what is shown. "
            "Any images can have those of imagenet-lite (--features)."
        )
    if report is not None and blurs_win(report):
        found.append(
            f"Here plain pixels cannot judge: {bench.control_names[2]}, which are blurs, come nearer to the test rows "
            "than held-out ones do. A small Fréchet or kernel distance says nothing; the verdict does not count it."
        )
    return tuple(found)


def _series_limits(bench: Bench) -> tuple[str, ...]:
    train = bench.dataset.splits["train"].x
    found = []
    if far := reach(train):
        found.append(
            f"Training windows overlap: each shares points with the next {far:,}, so {len(train):,} are hardly "
            f"more than {max(1, len(train) // (far + 1)):,} independent ones. Intervals "
            "count runs of windows."
        )
    if bench.count(MOST, "train") < min(MOST, len(train)):
        found.append(
            f"Only {bench.subject.count:,} samples were given; as many are used as there are training windows."
        )
    return tuple(found)


def summarise(report: Report) -> tuple[str, str]:
    """Say in one sentence how like the samples are to real data, how much of its variety they have, whether they copy.

    Args:
        report: without its verdict.

    Returns:
        Where the samples stand, one of `judgement.STANDINGS`, and the sentence.
    """
    if any(kind_of(result.protocol) in SERIES_KINDS for result in report.results):
        standing, words = summarise_series(report)
    else:
        found = judge(report, next((name for name in report.controls if name.startswith("held-out")), "held-out rows"))
        standing = found.standing
        words = f"{sentence(report.label)}: {'; '.join(found.parts)}." if found.parts else ""
    return standing, words or join([result.verdict for result in report.results])


def kept_report(folder: str | Path) -> Report:
    """Return the report of the figures that ``metrics.jsonl`` in a folder keeps, judged together, without pictures.

    Raises:
        DataError: if the file is missing or damaged.
    """
    return report_of(read_results(Path(folder) / "metrics.jsonl"))


def report_of(results: Sequence[Result]) -> Report:
    """Return the report of results, at least one, that were measured one by one, judged together."""
    # One folder may hold figures on several data sets: those of the last evaluation count.
    results = [result for result in results if result.fingerprint == results[-1].fingerprint]
    report = Report(tuple(results), label_of(results), "")
    try:
        standing, verdict = summarise(report)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"the kept figures cannot be judged together ({error}); run saddle evaluate again") from error
    return dataclasses.replace(report, verdict=verdict, standing=standing)
