"""Windows of series in the units of their table: numbers scaled back, categories, frequent values, rules."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST_DECIMALS = 10


def restored(windows: np.ndarray, columns: list[dict[str, Any]]) -> np.ndarray:
    """Return windows in the units of their table, (n, step, column); categories by their place among ``values``."""
    found = np.empty((*windows.shape[:2], len(columns)), dtype=np.float64)
    number, group = 0, sum(not column.get("values") and not column.get("static") for column in columns)
    for place, column in enumerate(columns):
        values = column.get("values")
        if values:
            hot = windows[..., group : group + len(values)]
            found[..., place] = np.where(np.isnan(hot).any(-1), np.nan, np.nan_to_num(hot).argmax(-1))
            group += len(values)
            continue
        at, number, group = (group, number, group + 1) if column.get("static") else (number, number + 1, group)
        found[..., place] = scaled_back(windows[..., at].astype(np.float64), column)
        if column.get("spike") is not None:
            often = windows[..., group] > windows[..., group + 1]
            other = beside(found[..., place], windows[..., at], column)
            found[..., place] = np.where(np.isnan(other) | ~often, other, column["spike"])
            group += 2
    names = [column["name"] for column in columns]
    waiting = [place for place, column in enumerate(columns) if column.get("above")]
    while waiting:
        # A column that is above others by rule holds the difference to the largest of them.
        bounds = {place: [names.index(name) for name in columns[place]["above"]] for place in waiting}
        place = next(place for place in waiting if not set(bounds[place]) & set(waiting))
        base, decimals = found[..., bounds[place]].max(-1), columns[place]["decimals"]
        value = np.clip(base + found[..., place], *columns[place]["range"])
        if decimals is not None:
            value = np.round(value, decimals)
            value = np.where(value < base, np.ceil(base * 10.0**decimals) / 10.0**decimals, value)
        found[..., place] = value
        waiting.remove(place)
    return found


def scaled_back(values: np.ndarray, column: dict[str, Any]) -> np.ndarray:
    """Return values of [0, 1] in the units of their column, rounded to its decimals."""
    low, high, decimals = column["low"], column["high"], column["decimals"]
    if low == high:
        return np.where(np.isnan(values), np.nan, low)
    restored = values * (high - low) + low
    if column.get("step"):
        restored = low + np.rint((restored - low) / column["step"]) * column["step"]
        decimals = MOST_DECIMALS if decimals is None else decimals
    return restored if decimals is None else np.round(restored, decimals)


def beside(restored: np.ndarray, values: np.ndarray, column: dict[str, Any]) -> np.ndarray:
    """Return values that are not the frequent one: what was rounded to it takes the nearest other value."""
    spike, low, high, decimals = column["spike"], column["low"], column["high"], column["decimals"]
    if decimals is None and not column.get("step"):
        return restored
    decimals = MOST_DECIMALS if decimals is None else decimals
    unit, exact = column.get("step") or 10.0**-decimals, values.astype(np.float64) * (high - low) + low
    up = (exact >= spike) & (spike + unit <= high) | (spike - unit < low)
    return np.where(
        np.abs(restored - spike) < unit / 2, np.round(np.where(up, spike + unit, spike - unit), decimals), restored
    )
