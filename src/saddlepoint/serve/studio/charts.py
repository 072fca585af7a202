"""Diagrams as options of ECharts: the lab's panels, the curves of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saddlepoint.lab import Curve, Panel
from saddlepoint.objectives.theory import LOG4

_GREY = "#888888"
COLOURS = ("#3b7dd8", "#d8743b", "#2e9e5b", "#7b3fb5", "#c0392b", "#12888f")
_MOST_POINTS = 600
_DIGITS = 5


def panel_options(panel: Panel) -> dict[str, Any]:
    """Return the options of a diagram of the lab."""
    options = _frame(panel.x_label, panel.log)
    for axis, reach in (("xAxis", panel.x), ("yAxis", panel.y)):
        if reach is not None:
            options[axis] |= {"min": reach[0], "max": reach[1]}
    options["series"] = [_series(curve) for curve in panel.curves]
    return options


def line_options(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], level: tuple[str, float] | None = None
) -> dict[str, Any]:
    """Return the options of curves over thousands of samples seen.

    Args:
        lines: (x, y) by name; what is not finite is a gap.
        level: name and value of theory, drawn as a dashed line.
    """
    options = _frame("thousands of samples seen", False)
    series = [
        _series(Curve(name, *thinned(x, y), COLOURS[number % len(COLOURS)]))
        for number, (name, (x, y)) in enumerate(lines.items())
    ]
    if level is not None and series:
        series[0]["markLine"] = {
            "silent": True, "symbol": "none", "lineStyle": {"color": _GREY, "type": "dashed"},
            "label": {"formatter": level[0], "color": _GREY, "position": "insideEndTop"},
            "data": [{"yAxis": level[1]}],
        }  # fmt: skip
    options["series"] = series
    return options


def step_options(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Return the options of one curve over steps."""
    options = _frame("step", False)
    options["series"] = [_series(Curve(name, *thinned(range(len(values)), values)))]
    return options


def training_charts(log: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return V, D(x) and D(G(z)), and the losses, by title, with the values at equilibrium."""
    game = [line for line in log if "nimg" in line and "V" in line]
    lines = [line for line in log if "nimg" in line]
    losses = dict.fromkeys(key for line in lines for key in line if key.startswith("loss/"))
    charts = {}
    if game:
        charts["V(D, G), nats"] = line_options({"V": column(game, "V")}, ("-log 4", -LOG4))
        judged = {name: column(game, name) for name in ("D(x)", "D(G(z))")}
        charts["D(x) and D(G(z))"] = line_options(judged, ("1/2", 0.5))
    if losses:
        charts["losses"] = line_options({key.removeprefix("loss/"): column(lines, key) for key in losses})
    return charts


def sign_names(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the doctor's signs that a log holds."""
    return list(dict.fromkeys(name for line in log for name in line.get("signs", {})))


def sign_options(log: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return the curve of one of the doctor's signs."""
    evaluations = [{"nimg": line["nimg"], **line["signs"]} for line in log if "signs" in line]
    return line_options({name: column(evaluations, name)})


def column(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Return (thousands of samples seen, value) of the lines that have a number there."""
    pairs = [
        (_number(line["nimg"]) / 1000, _number(line[key])) for line in lines if isinstance(line.get(key), int | float)
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _number(value: float) -> float:
    """Return a number of a log as one that can be reckoned with: a whole number there may have a thousand digits."""
    try:
        return float(value)
    except OverflowError:
        return math.nan


def thinned(x: Sequence[float], y: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Return at most `_MOST_POINTS` points, the last among them."""
    every = -(-len(x) // _MOST_POINTS)
    return (x, y) if every <= 1 else (x[::-every][::-1], y[::-every][::-1])


def _frame(x_label: str, log: bool) -> dict[str, Any]:
    text = {"color": _GREY}
    axis = {"axisLine": {"lineStyle": text}, "axisLabel": text, "splitLine": {"lineStyle": {"color": "#88888833"}}}
    return {
        "animation": False,
        "backgroundColor": "transparent",
        # Pages put a legend of their own above, which cuts no name: `parts.Legend`.
        "legend": {"show": False},
        "grid": {"left": 8, "right": 16, "top": 12, "bottom": 30, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {
            **axis,
            "type": "value",
            "name": x_label,
            "nameLocation": "middle",
            "nameGap": 26,
            "nameTextStyle": text,
        },
        "yAxis": {**axis, "type": "log" if log else "value", "scale": True},
        "series": [],
    }


def _series(curve: Curve) -> dict[str, Any]:
    points = [_point(x, y) for x, y in zip(np.asarray(curve.x).tolist(), np.asarray(curve.y).tolist(), strict=True)]
    series: dict[str, Any] = {"name": curve.name, "data": points, "color": curve.colour}
    if curve.style in ("points", "crosses"):
        small = curve.style == "points" and len(points) > 1
        return series | {
            "type": "scatter", "symbolSize": 3 if small else 10,
            "symbol": "circle" if curve.style == "points" else "path://M-1,0H1M0,-1V1",
            **({} if curve.style == "points" else {"itemStyle": {"borderColor": curve.colour, "borderWidth": 2}}),
        }  # fmt: skip
    width = {"thick": 6.0, "dotted": 2.0}.get(curve.style, 1.8)
    style = {
        "width": width,
        "type": "dotted" if curve.style == "dotted" else "solid",
        "opacity": 0.6 if width > 5 else 1,
    }
    return series | {"type": "line", "showSymbol": len(points) == 1, "connectNulls": False, "lineStyle": style}


def _point(x: float, y: float) -> list[float | None]:
    """Return a point that JSON can carry: short numbers, gaps where something is not finite."""
    if not (math.isfinite(x) and math.isfinite(y)):
        return [None, None]
    return [float(f"{x:.{_DIGITS}g}"), float(f"{y:.{_DIGITS}g}")]
