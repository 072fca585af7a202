"""Label files as they come from many hands, beside eight pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

NAMES = tuple(f"{i:04d}.png" for i in range(8))
WORDS: tuple[Any, ...] = (
    "a", "b", "", " ", None, 0, 1, 2.0, -1, True, "é", "a b", "0", "1", [1, 0], [0, 1], ["a", "b"], [], {"a": 1},
    "[1, 0]", float("nan"), "x" * 300, "..", "a/b", 10**30,
)  # fmt: skip
PALETTES: tuple[tuple[Any, ...], ...] = (("a", "b"), ("a", "b"), ("01", "1"), (0, 1), ("yes", "no"), ([1, 0], [0, 1]))
"""What whole files hold."""
FILES: tuple[Any, ...] = (*NAMES, "missing.png", "./0001.png", "sub/0001.png", "0001", "", "../0001.png", None, 7)
KINDS = ("labels.csv", "dataset.json", "metadata.csv", "metadata.jsonl", "list_attr_celeba.txt", "train.csv")
HEADS = ("file,label", "id,class", "file_name,label", "image,label", "label,file", "file", "a,b,c", "")
"""First lines of label files with commas."""

Pairs = Sequence[tuple[Any, Any]]


@st.composite
def label_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """(name, content) of label files that stand beside the pictures `NAMES`."""
    name = draw(st.sampled_from(KINDS))
    files: list[Any] = list(NAMES)
    labels: list[Any] = [draw(st.sampled_from(draw(st.sampled_from(PALETTES)))) for _ in NAMES]
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(NAMES) - 1))
        if draw(st.booleans()):
            files[place] = draw(st.sampled_from(FILES))
        else:
            labels[place] = draw(st.sampled_from(WORDS))
    pairs = list(zip(files, labels, strict=True))
    if draw(st.integers(0, 4)) == 0:
        pairs = pairs[: draw(st.integers(0, 8))] + pairs[: draw(st.integers(0, 3))]
    if name == "dataset.json":
        mapping = {str(file): label for file, label in pairs}
        holders: tuple[Any, ...] = ({"labels": pairs}, {"labels": mapping}, {"labels": None}, pairs, {}, None)
        return name, json.dumps(draw(st.sampled_from(holders))).encode()
    if name == "metadata.jsonl":
        key = draw(st.sampled_from(("label", "label", "text")))
        rows = [{"file_name": file, key: label} for file, label in pairs]
        return name, "\n".join(json.dumps(row) for row in rows).encode()
    if name == "list_attr_celeba.txt":
        return name, draw(_attributes(pairs))
    separator = draw(st.sampled_from((",", ",", ";", "\t")))
    head = draw(st.sampled_from(HEADS)).replace(",", separator)
    lines = [head, *(f"{file}{separator}{label}" for file, label in pairs)]
    return name, "\n".join(lines).encode(draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "latin-1"))), "replace")


@st.composite
def _attributes(draw: st.DrawFn, pairs: Pairs) -> bytes:
    """A table of attributes in the layout of CelebA."""
    counts = (f"{len(pairs)}\n", "", f"{len(pairs) + 1}\n", "x\n")
    values = st.sampled_from(("1", "-1", "1", "-1", "0", "2", "yes", ""))
    rows = [f"{file} {draw(values)} {draw(values)}" for file, _ in pairs]
    return "\n".join([draw(st.sampled_from(counts)) + "Blond Smiling", *rows]).encode()
