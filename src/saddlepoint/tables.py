"""What a person sees of reports, comparisons and data on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from saddlepoint.data import Inspection
from saddlepoint.data.plan import Finding, ReadingPlan
from saddlepoint.evaluate import Line, Metric, Report, Row, shown

if TYPE_CHECKING:
    from saddlepoint.bench import Bench, Rate


def print_report(report: Report) -> None:
    """Print the figures of a report with their control rows, then what they say."""
    console = _console()
    controls = report.controls
    table = Table("", report.label, *controls, box=None)
    for result in report.results:
        table.add_row(f"[bold]{result.protocol}[/]")
        for metric in result.metrics:
            row = result.find(metric.name)
            if row is not None:
                cells = [_cell(result.find(metric.name, name), metric) for name in controls]
                table.add_row(f"  {_heading(metric)}", shown(row, metric), *cells)
    console.print(table)
    for sentence in (*report.left_out, *report.limits):
        console.print(sentence, markup=False)
    console.print(report.verdict, markup=False)


def print_comparison(lines: Sequence[Line]) -> None:
    """Print the figures of several runs side by side, and what is larger than chance."""
    console = _console()
    labels = list(lines[0].rows)
    table = Table("", *labels, "held-out", "difference", box=None)
    protocol = ""
    for line in lines:
        if line.protocol != protocol:
            protocol = line.protocol
            table.add_row(f"[bold]{protocol}[/]")
        held_out = next((row for row in line.controls if row.row.startswith("held-out")), None)
        cells = [shown(line.rows[label], line.metric) for label in labels]
        table.add_row(f"  {_heading(line.metric)}", *cells, _cell(held_out, line.metric), line.words())
    console.print(table)
    console.print(
        "Errors count samples, not training runs: a difference is one between these generators, not between recipes.",
        markup=False,
    )


def describe_inspection(found: Inspection) -> list[str]:
    """Say in lines what `inspect_source` found."""

    def counted(counts: dict[str, int], most: int = 12) -> str:
        words = [f"{name or 'unnamed'} {count:,}" for name, count in list(counts.items())[:most]]
        return ", ".join(words) + (f", and {len(counts) - most} more" if len(counts) > most else "")

    lines = [f"{found.name}: {found.rows:,} {found.modality}s"]
    parts = (("splits", found.splits), ("sizes", found.sizes), ("modes", found.modes), ("classes", found.classes))
    lines += [f"{title + ':':<12}{counted(counts)}" for title, counts in parts if counts]
    lines += [f"unreadable: {origin}: {reason}" for origin, reason in found.unreadable[:10]]
    if found.modality == "image":
        lines.append(f"duplicates: {found.exact_duplicates:,} exact, {found.near_duplicates:,} pairs nearly the same")
        lines += [f"            {one} = {two}" for one, two in found.duplicate_examples[:3]]
        lines += [f"            {one} ~ {two}" for one, two in found.near_examples[:3]]
    return [*lines, "", *reading_table(found.findings), *([""] if found.advice else []),
            *(f"advice:     {sentence}" for sentence in found.advice)]  # fmt: skip


def reading_table(findings: Sequence[Finding]) -> list[str]:
    """Return a reading plan as lines of a table: what is done, why, and the option for another reading."""
    console = _console()
    table = Table("", box=None, pad_edge=False)
    for heading, width in (("what is done", 88), ("why", 60), ("else", 40)):
        table.add_column(heading, max_width=width, overflow="fold")
    topic = ""
    for finding in findings:
        shown = "" if finding.topic == topic else finding.topic
        says = finding.says if finding.sure else f"likely: {finding.says}"
        table.add_row(shown, *(escape(text) for text in (says, finding.why, finding.option)))
        topic = finding.topic
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


MOST_LINES = 12
"""Lines in which `brief_reading` says what is certain."""


def brief_reading(reading: ReadingPlan) -> list[str]:
    """Return the few lines that training starts with: what is certain in short, what is only likely with its option."""
    certain = [finding.says for finding in reading.findings if finding.sure]
    more = len(certain) - MOST_LINES
    lines = certain if more <= 1 else [*certain[:MOST_LINES], f"... and {more} more: --dry-run shows all"]
    return [*lines, *(f"likely: {finding.sentence()}" for finding in reading.open_ends())]


def _console() -> Console:
    console = Console(highlight=False)
    # A pipe has no width; a table folded to 80 columns would break every figure.
    return console if console.is_terminal else Console(highlight=False, width=200)


def _heading(metric: Metric) -> str:
    arrow = {"lower": " ↓", "higher": " ↑", "neither": ""}[metric.better]
    return f"{metric.name}{arrow}" + (f" ({metric.unit})" if metric.unit else "")


def _cell(row: Row | None, metric: Metric) -> str:
    return "" if row is None else metric.show(row.value)


def print_bench(found: Bench) -> None:
    """Print what was measured: a row for each case, then the ceilings, then what a step's time goes to."""
    console = _console()
    table = Table("", "samples/s", "plain loop", "ratio", "in bf16", "share of ceiling", "peak MiB", "plain", box=None)
    for case in found.cases:
        table.add_row(
            f"[bold]{case.case}[/]  {case.what}", _rate(case.engine), _rate(case.plain), _rate(case.ratio, ".2f"),
            "-" if case.half is None else _rate(case.half, ".2f"), f"{case.ceiling_share:.0%}",
            f"{case.memory:,.0f}", f"{case.plain_memory:,.0f}",
        )  # fmt: skip
    console.print(table)
    console.print("\nceilings (GFLOP/s): " + "; ".join(f"{name} {_rate(r)}" for name, r in found.ceilings.items()))
    for case in found.cases:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in case.phases.items())
        console.print(
            f"{case.case}: {case.flops / 1e6:,.1f} MFLOP a sample (plain {case.plain_flops / 1e6:,.1f}); {shares}"
        )
    machine = found.machine
    console.print(f"machine: {machine['processor']}, {machine['threads']} threads, PyTorch {machine['torch']}")


def _rate(rate: Rate, form: str = ",.0f") -> str:
    return f"{rate.median:{form}} ({rate.least:{form}} to {rate.most:{form}})"
