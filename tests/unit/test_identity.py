"""Whose rows a data set holds, whatever fingerprint it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saddlepoint.data import Dataset, Split, load_dataset
from saddlepoint.data.identity import identified
from saddlepoint.evaluation import Subject, evaluate, features
from saddlepoint.evaluation.features import Trained, extractor_for, kept_classifier
from saddlepoint.metrics.extractors import Lenet
from tests.unit.data_helpers import own_cache  # noqa: F401


def _taken(whole: Dataset, rows: slice) -> Dataset:
    train = whole.splits["train"]
    return replace(whole, splits={**whole.splits, "train": Split(train.x[rows], train.labels[rows])})  # type: ignore[index]


@pytest.mark.parametrize("name", ["digits", "sines", "ar2", "ring8"])
def test_equal_content_has_one_fingerprint(name: str) -> None:
    whole = load_dataset(name)
    assert identified(whole) is whole
    copied = {split: Split(np.array(part.x), part.labels) for split, part in whole.splits.items()}
    copy = replace(whole, splits=copied)
    assert identified(copy).fingerprint == whole.fingerprint
    stray = identified(replace(copy, fingerprint="00" * 32)).fingerprint
    # What is drawn anew each time has a fingerprint by its name, which a stray one does not tell.
    assert (stray == whole.fingerprint) is (name == "digits")
    part = whole.splits["train"]
    for x in (part.x[::-1], part.x[:-1], np.array(part.x[:-1])):
        labels = None if part.labels is None else part.labels[: len(x)]
        other = replace(whole, splits={**whole.splits, "train": Split(x, labels)})
        assert identified(other).fingerprint != whole.fingerprint
    assert identified(replace(whole, splits={**copied, "test": copied["valid"]})).fingerprint != whole.fingerprint


def test_rows_that_were_taken_have_a_classifier_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted trap: a classifier of some rows was kept as that of all, for all who ask later."""
    whole = load_dataset("digits")
    few, others = _taken(whole, slice(0, 40)), _taken(whole, slice(40, 80))
    monkeypatch.setitem(features.TRAINED, "digits", Trained("digits-lenet", whole.spec.shape, flip=False))  # type: ignore[arg-type]
    monkeypatch.setattr(features, "NAMES", ("digits-lenet", "pixels"))
    monkeypatch.setattr(features, "_EPOCHS", 1)

    def asked(data: Dataset) -> list[str]:
        labels = {split: part.labels for split, part in data.splits.items() if part.labels is not None}
        kept = kept_classifier(data, "digits-domain", labels, 10, rows=100, epochs=1)
        own = extractor_for(data, "digits-lenet")
        assert isinstance(own, Lenet)
        return [kept.sha256, own.sha256]

    found = [asked(data) for data in (few, whole, others)]
    assert all(len(set(digests)) == 3 for digests in zip(*found, strict=True))
    assert asked(whole) == found[1]


def test_figures_of_real_rows_are_those_of_the_rows_given(tmp_path: Path) -> None:
    whole = load_dataset("digits")
    subject = Subject("noise", lambda n, seed: torch.zeros((n, *whole.spec.shape)))
    train = whole.splits["train"]
    dark = Split(np.zeros_like(train.x), train.labels)
    other = replace(whole, splits={**whole.splits, "train": dark})
    one, two = (
        evaluate(subject, data, ["fd"], cache_dir=tmp_path, features="pixels").results[0] for data in (whole, other)
    )
    assert one.fingerprint != two.fingerprint
    rows = [next(row for row in found.rows if row.row == "training images") for found in (one, two)]
    assert rows[0].value != rows[1].value
