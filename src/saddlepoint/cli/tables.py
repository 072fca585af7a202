"""What a person sees of reports, comparisons and data on a terminal."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from saddlepoint.core.config import describe
from saddlepoint.core.console import LiteralConsole, strong
from saddlepoint.core.progress import duration
from saddlepoint.core.quoting import for_shell, for_terminal
from saddlepoint.data import Inspection
from saddlepoint.data.plan import Finding, ReadingPlan
from saddlepoint.evaluation import ARROWS, Comparison, Metric, Report, Row, shown
from saddlepoint.evaluation.rows import kind_of
from saddlepoint.run.entries import Entry, Figure

if TYPE_CHECKING:
    from saddlepoint.family import Family
    from saddlepoint.lab.against import Pair
    from saddlepoint.lab.bench import Bench, Rate
    from saddlepoint.lab.operations import Profile
    from saddlepoint.run.average import Averaging


def print_report(report: Report) -> None:
    """Print the figures of a report with their control rows, then what they say."""
    console = _console()
    controls = report.controls
    table = Table("", report.label, *controls, box=None)
    for result in report.results:
        table.add_row(strong(result.protocol))
        for metric in result.metrics:
            row = result.find(metric.name)
            if row is not None:
                cells = [_cell(result.find(metric.name, name), metric) for name in controls]
                table.add_row(f"  {_heading(metric)}", shown(row, metric), *cells)
    console.print(table)
    for sentence in (*report.left_out, *report.limits):
        console.print(sentence)
    console.print(report.verdict)


def print_comparison(found: Comparison, *, aside: bool = False) -> None:
    """Print the figures of several runs side by side, and what is larger than chance.

    Args:
        found: the comparison.
        aside: print on standard error what is known so far; the whole follows.
    """
    console, names = _console(aside), short_names(list(found[0].rows))
    table = Table("", *names.values(), "held-out", "difference", box=None)
    protocol = ""
    for line in found:
        if line.protocol != protocol:
            protocol = line.protocol
            table.add_row(strong(protocol))
        held_out = next((row for row in line.controls if row.row.startswith("held-out")), None)
        cells = [shown(line.rows[label], line.metric) for label in names]
        table.add_row(f"  {_heading(line.metric)}", *cells, _cell(held_out, line.metric), line.text(names))
    for label, name in names.items():
        if label != name:
            console.print(f"{name}: {label}")
    console.print(table)
    if aside:
        return
    for name, why in found.apart.items():
        for label, short in names.items():
            why = why.replace(label, short)
        console.print(f"not compared: {name}: {why}")
    console.print(
        "Errors count samples, not training runs: a difference is one between these generators, not between recipes."
    )


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """Return short names of runs, by label: the word that tells them apart, or else letters.

    >>> short_names(["dcgan-apple-20261128-2148", "stylegan-apple-20261128-2136"])
    {'dcgan-apple-20261128-2148': 'dcgan', 'stylegan-apple-20261128-2136': 'stylegan'}
    >>> short_names(["one", "two"])
    {'one': 'one', 'two': 'two'}
    """
    if max(map(len, labels)) <= _SHORT:
        return {label: label for label in labels}
    words = [label.split("-") for label in labels]
    for column in zip(*words, strict=False):
        if len(set(column)) == len(labels) and all(0 < len(word) <= _SHORT for word in column):
            return dict(zip(labels, column, strict=True))
    return {label: f"run {number}" for number, label in enumerate(labels, 1)}


_SHORT = 16
"""Letters of a name that fits into the head of a column."""


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
        table.add_row(shown, says, finding.why, finding.option)
        topic = finding.topic
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


MOST_LINES = 12
"""Lines in which `brief_reading` says what is certain."""


def brief_reading(reading: ReadingPlan) -> list[str]:
    """Return the few lines that training starts with: what is certain in short, what is only likely with its option."""
    gaps = [finding.says for finding in reading.findings if finding.topic == "gaps"]
    certain = [finding.says for finding in reading.findings if finding.sure and finding.topic != "gaps"]
    more = len(certain) - MOST_LINES
    lines = certain if more <= 1 else [*certain[:MOST_LINES], f"... and {more} more: --dry-run shows all"]
    lines = [*lines, *gaps]
    return [*lines, *(f"likely: {finding.sentence()}" for finding in reading.open_ends())]


def print_families(kinds: Sequence[type[Family]]) -> None:
    """Print families, a few lines each: what it is, its presets."""
    for kind in kinds:
        _say(f"{kind.name}: {kind.summary}", indent=4)
        _say(f"    presets: {', '.join(kind.PRESETS)}", indent=13)


def print_family(kind: type[Family]) -> None:
    """Print the presets and options of a family; no name is ever cut, whatever the width."""
    default, *others = kind.PRESETS
    usual = dict(options_of(kind.PRESETS[default]))
    _say(f"{kind.name}: {kind.summary}")
    _say("")
    _say("Presets (--preset), each with what differs from the first:")
    _say(f"  {default}: the default")
    for name in others:
        changed = [f"{key}{_TIED}{value}" for key, value in options_of(kind.PRESETS[name]) if usual[key] != value]
        _say(f"  {name}: {' '.join(changed) or 'no difference'}", indent=6)
    _say("")
    _say(f"Options, with their values in preset {default}:")
    for field, (key, value) in zip(dataclasses.fields(kind.Config), usual.items(), strict=True):
        _say(f"  {key} {value}", indent=6)
        choices, meaning = field.metadata.get("choices", ()), field.metadata.get("help", "")
        _say("      " + "; ".join([meaning] * bool(meaning) + [f"one of {', '.join(choices)}"] * bool(choices)), 6)


_TIED = "\N{NO-BREAK SPACE}"
"""Between an option and its value: no line ends there."""


def options_of(config: Any) -> list[tuple[str, str]]:
    """Return ``(--option, value)`` of every field of a configuration, as they are written on the command line."""
    return [(key, for_shell(value)) for key, value, _ in describe(type(config), config)]


def _say(line: str, indent: int = 0) -> None:
    """Print a line, folded between words at the width of the terminal (80 where there is none); words stay whole."""
    width = max(40, min(110, shutil.get_terminal_size((80, 24)).columns))
    folded = textwrap.wrap(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True,
    )  # fmt: skip
    print(for_terminal("\n".join(folded).replace(_TIED, " "), lines=True))  # noqa: T201 - this is what the command answers


def print_runs(entries: Sequence[Entry], sizes: Sequence[int]) -> None:
    """Print runs as a table: what each is, how it stands, what was measured, bytes on the disk."""
    from saddlepoint.evaluation.report.page import STANDING

    console, table = _console(), Table(box=None, pad_edge=False)
    for heading in ("name", "family", "data", "state"):
        table.add_column(heading, overflow="fold")
    for heading in ("time", "kimg"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("samples", overflow="fold")
    table.add_column("figure", overflow="fold")
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("tags", overflow="fold")
    for entry, size in zip(entries, sizes, strict=True):
        figure = headline(entry)
        table.add_row(
            entry.name, entry.family, entry.data, _state(entry),
            duration(entry.seconds) if entry.seconds else "", f"{entry.nimg / 1000:,.1f}" if entry.family else "",
            STANDING[entry.standing][0] if entry.standing else "",
            f"{figure.protocol} {figure.value}" if figure else "", f"{size / 1e6:,.1f}",
            ", ".join(entry.tags),
        )  # fmt: skip
    console.print(table)


def headline(entry: Entry) -> Figure | None:
    """Return the figure that stands for a run, of those that rank: the Fréchet distance, or else the first."""
    able = [figure for figure in entry.figures if figure.ranks]
    return next((f for f in able if kind_of(f.protocol) == "fd"), next(iter(able), None))


def run_to_json(entry: Entry, size: int) -> dict[str, Any]:
    """Return what `print_runs` shows of a run as JSON values, with all its figures; ``bytes`` on the disk."""
    return {**dataclasses.asdict(entry), "path": str(entry.path), "bytes": size}


def _state(entry: Entry) -> str:
    share = "" if entry.progress is None or entry.progress >= 1 else f" {entry.progress:.0%}"
    return f"{entry.state}{share}"


def _console(aside: bool = False) -> LiteralConsole:
    console = LiteralConsole(stderr=aside)
    # A pipe has no width; a table folded to 80 columns would break every figure.
    return console if console.is_terminal else LiteralConsole(stderr=aside, width=200)


def _heading(metric: Metric) -> str:
    arrow = f" {ARROWS[metric.better]}".rstrip()
    return f"{metric.name}{arrow}" + (f" ({metric.unit})" if metric.unit else "")


def _cell(row: Row | None, metric: Metric) -> str:
    return "" if row is None else metric.show(row.value)


def print_trials(found: Averaging) -> None:
    """Print the weights of a run that were measured: last ones, present average, other lengths."""
    console, best = _console(), min(trial.value for trial in found.trials)
    table = Table("weights", found.figure, "standard error", "profile off by", box=None)
    for trial in found.trials:
        value = f"{trial.value:.4g}"
        table.add_row(
            trial.title, strong(value) if trial.value == best else value,
            "" if trial.error is None else f"{trial.error:.2g}", f"{trial.off:.1%}" if trial.length else "",
        )  # fmt: skip
    console.print(table)


def print_bench(found: Bench) -> None:
    """Print what was measured: a row for each case, then the ceilings, then what a step's time goes to."""
    console = _console()
    table = Table("", "samples/s", "plain loop", "ratio", "in bf16", "share of ceiling", "peak MiB", "plain", box=None)
    for case in found.cases:
        table.add_row(
            strong(case.case) + f"  {case.what}", _rate(case.engine), _rate(case.baseline), _rate(case.ratio, ".2f"),
            "-" if case.bf16_ratio is None else _rate(case.bf16_ratio, ".2f"), f"{case.ceiling_share:.0%}",
            f"{case.memory:,.0f}", f"{case.baseline_memory:,.0f}",
        )  # fmt: skip
    console.print(table)
    console.print()
    console.print("ceilings (GFLOP/s): " + "; ".join(f"{name} {_rate(r)}" for name, r in found.ceilings.items()))
    for case in found.cases:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in case.phases.items())
        console.print(
            f"{case.case}: {case.flops / 1e6:,.1f} MFLOP a sample (plain {case.baseline_flops / 1e6:,.1f}); {shares}"
        )
    machine = found.machine
    versions = f"PyTorch {machine['torch']}, kernels of {machine['kernels']}"
    console.print(f"machine: {machine['processor']}, {machine['threads']} threads, {versions}")


def print_pairs(pairs: Sequence[Pair]) -> None:
    """Print two installations beside each other: a row for each preset."""
    table = Table("", "samples/s here", "there", "ratio", "precision", "peak MiB", "there", box=None)
    for pair in pairs:
        table.add_row(
            strong(pair.name), _rate(pair.here), _rate(pair.there), _rate(pair.ratio, ".2f"),
            " / ".join(dict.fromkeys(pair.precision)), *(f"{memory:,.0f}" for memory in pair.memory),
        )  # fmt: skip
    _console().print(table)


def print_operations(profiles: Sequence[Profile], most: int = 8) -> None:
    """Print where the time of steps goes, and the products that take longest beside what they reach alone."""
    console = _console()
    for one in profiles:
        console.print(f"{strong(one.name)}: {one.milliseconds:,.1f} ms a step, {one.precision}")
        shares = Table("of a step", "share", "operations", box=None)
        for kind, share in one.shares.items():
            shares.add_row(kind, f"{share:.0%}", f"{one.calls[kind]:,.0f}" if one.calls[kind] else "")
        console.print(shares)
        kernels = Table("at its shapes", "calls", "microseconds in the step", "alone", box=None)
        for kernel in one.kernels[:most]:
            name = f"{kernel.name} {kernel.shapes}"
            kernels.add_row(name, f"{kernel.calls:g}", f"{kernel.microseconds:,.0f}", f"{kernel.alone:,.0f}")
        console.print(kernels)
        console.print()


def _rate(rate: Rate, form: str = ",.0f") -> str:
    return f"{rate.median:{form}} ({rate.least:{form}} to {rate.most:{form}})"
