"""Rules between columns, such as ``low <= high``: read, held against the rows, noticed where all rows follow one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import numpy as np

from saddlepoint.core.errors import DataError, suggest
from saddlepoint.data.plan import Finding

MOST_BROKEN = 0.01
"""A rule that more than this share of the rows break is none."""

_RULE = re.compile(r"\s*(.+?)\s*(<=|>=|<|>)\s*(.+?)\s*")
_NOTICED = 6
_LEAST_ROWS = 100


@dataclass(frozen=True)
class Rule:
    """``small <= large`` in every row, or ``small < large``.

    Attributes:
        small, large: names of columns; one of them may be a number, as text.
        strict: whether they never are equal.
    """

    small: str
    large: str
    strict: bool = False

    def __str__(self) -> str:
        return f"{self.small} {'<' if self.strict else '<='} {self.large}"


def read_rules(texts: Sequence[str], columns: Sequence[str], name: str) -> tuple[Rule, ...]:
    """Read rules as ``a <= b``, ``b > a``.

    Args:
        texts: a rule each.
        columns: names of the columns of numbers that there are.
        name: of the table, for messages.

    Raises:
        DataError: if one is no rule, names no column, or they go round in a circle.
    """
    found = []
    for word in texts:
        if (match := _RULE.fullmatch(word)) is None:
            raise DataError(
                f"--keep is '{word}', but a rule is two columns with <, <=, > or >= between them: low <= high"
            )
        small, sign, large = match.groups()
        if sign.startswith(">"):
            small, large = large, small
        for side in (small, large):
            if side not in columns and not _is_number(side):
                raise DataError(f"{name} has no column of numbers '{side}' (--keep '{word}'); {suggest(side, columns)}")
        if _is_number(small) and small not in columns and _is_number(large) and large not in columns:
            raise DataError(f"--keep is '{word}', which names no column; write a rule such as low <= high")
        found.append(Rule(small, large, len(sign) == 1))
    try:
        sorted_columns(columns, found)
    except CycleError as error:
        circle = " <= ".join(error.args[1])
        raise DataError(f"the rules of --keep go round in a circle ({circle}); leave one out") from error
    return tuple(found)


def sorted_columns(columns: Sequence[str], rules: Sequence[Rule]) -> list[str]:
    """Return columns so that those that bound others come first.

    >>> sorted_columns(["high", "low"], [Rule("low", "high")])
    ['low', 'high']
    """
    graph: dict[str, set[str]] = {name: set() for name in columns}
    for rule in rules:
        if rule.small in graph and rule.large in graph:
            graph[rule.large].add(rule.small)
    return list(TopologicalSorter(graph).static_order())


def bounds_of(name: str, rules: Sequence[Rule], columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a column is never below."""
    return tuple(rule.small for rule in rules if rule.large == name and rule.small in columns)


def verify(rules: Sequence[Rule], values: Mapping[str, np.ndarray], name: str) -> list[Finding]:
    """Hold rules against all rows, and mend the few that break them: the larger column takes the bound.

    Args:
        rules: as `read_rules` gave them.
        values: columns, without missing values; those that break a rule are changed in place.
        name: of the table, for messages.

    Returns:
        How many rows broke each rule.

    Raises:
        DataError: if more than 1% of the rows break one.
    """
    findings = []
    for rule in rules:
        small, large = (values[side] if side in values else np.float64(side) for side in (rule.small, rule.large))
        broken = np.asarray(small >= large) if rule.strict else np.asarray(small > large)
        share = float(broken.mean())
        if share > MOST_BROKEN or (rule.strict and share):
            raise DataError(
                f"{name}: {int(broken.sum()):,} of {len(broken):,} rows ({share:.1%}) break the rule '{rule}' of "
                f"--keep; at most {'none' if rule.strict else '1%'} may: leave it out, or mend them"
            )
        side, bound = (rule.large, small) if rule.large in values else (rule.small, large)
        if share:
            values[side][broken] = np.broadcast_to(bound, broken.shape)[broken]
        why = f"{int(broken.sum()):,} rows broke it: '{side}' was set to the bound" if share else "no row breaks it"
        findings.append(Finding("rules", f"samples keep '{rule}' in every row", why, "--keep RULES"))
    return findings


def notice(values: Mapping[str, np.ndarray], kept: Sequence[Rule]) -> list[Finding]:
    """Say which columns are never above others, where nobody asked: samples would break what is not told.

    Args:
        values: columns of numbers, without missing values.
        kept: rules that are kept already.
    """
    names = [name for name, column in values.items() if len(column) >= _LEAST_ROWS and column.std() > 0]
    known = {(rule.small, rule.large) for rule in kept}
    for _ in kept:
        known |= {(a, d) for a, b in known for c, d in known if b == c}
    pairs = [
        (a, b) for a in names for b in names
        if a != b and (a, b) not in known and _alike(values[a], values[b]) and bool((values[a] <= values[b]).all())
        and bool((values[a] < values[b]).any())
    ]  # fmt: skip
    # What follows from two others is not said again.
    told = [(a, b) for a, b in pairs if not any((a, c) in pairs and (c, b) in pairs for c in names)]
    if not told:
        return []
    rules = [f"{a} <= {b}" for a, b in told[:_NOTICED]]
    more = f" and {len(told) - _NOTICED} more" if len(told) > _NOTICED else ""
    return [
        Finding(
            "rules", f"samples may break what holds in every row of the data: {', '.join(rules)}{more}",
            "rules are kept where they are asked for", f'--keep "{", ".join(rules)}"', sure=False,
        )
    ]  # fmt: skip


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two columns share a scale: their middle halves overlap, and they move together."""
    (low, high), (bottom, top) = (np.quantile(x, (0.05, 0.95)) for x in (a, b))
    overlap = min(high, top) - max(low, bottom)
    return bool(overlap > 0.3 * max(high - low, top - bottom)) and float(np.corrcoef(a, b)[0, 1]) > 0.5


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
