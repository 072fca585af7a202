"""Every protocol of evaluation and each of its figures, as a committed list: what a report says changes by intent only.

``python -m tests.unit.test_protocols`` writes the list anew; what changes in it belongs in the changelog.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any, get_args

from saddlepoint.evaluation import Metric
from saddlepoint.evaluation.protocol import protocols
from saddlepoint.evaluation.rows import Better

KEPT = Path(__file__).parents[1] / "golden" / "protocols.txt"


def shown(value: Any) -> str:
    """Return a value as the list has it: functions by their names."""
    if callable(value):
        return f"{value.__module__.removeprefix('saddlepoint.evaluation.')}.{value.__name__}"
    return repr(value)


def listed() -> str:
    """Return a line for each protocol, each of its fields, and each of its figures."""
    lines = []
    for name, protocol in sorted(protocols().items()):
        lines.append(name)
        for field in dataclasses.fields(protocol):
            value = getattr(protocol, field.name)
            if field.name == "metrics":
                lines += [f"    figure  {one.name}  {one.better}  {one.unit or '-'}  {one.digits}" for one in value]
            else:
                lines.append(f"    {field.name}  {shown(value)}")
    return "\n".join(lines) + "\n"


def test_protocols_are_those_of_the_list() -> None:
    kept, found = KEPT.read_text().splitlines(), listed().splitlines()
    assert found == kept, "\n".join(difflib.unified_diff(kept, found, "the list", "now", lineterm="", n=1))


def test_every_figure_says_which_way_is_better() -> None:
    for protocol in protocols().values():
        assert protocol.metrics
        assert len({metric.name for metric in protocol.metrics}) == len(protocol.metrics)
        for metric in protocol.metrics:
            assert isinstance(metric, Metric)
            assert metric.better in get_args(Better)


if __name__ == "__main__":
    KEPT.write_text(listed())
