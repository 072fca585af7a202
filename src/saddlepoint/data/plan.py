"""How data is read: what was found, why, and the option that overrides it. Inspecting, training and pages show this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import for_shell, for_terminal


@dataclass(frozen=True)
class Finding:
    """One statement of a reading plan.

    Attributes:
        topic: what it is about, in one or two words: ``time``, ``series``, ``columns``, ``missing``, ``size``,
            ``labels``, ``splits``, ...
        says: what is done, in a sentence without a full stop; also the text that is shown alone.
        why: what in the data led to it; "" where the user asked for it or it follows from what is said.
        option: the option that overrides it, as on the command line (``--time-column NAME``); "" if none does.
        sure: whether no other reading fits the data; one that is only likely is shown with its option.
    """

    topic: str
    says: str
    why: str = ""
    option: str = ""
    sure: bool = True

    def sentence(self) -> str:
        """Return the statement with its reason, and with its option where another reading is possible.

        >>> Finding("time", "'t' is the time", "it holds dates", "--time-column NAME", sure=False).sentence()
        "'t' is the time (it holds dates; else --time-column NAME)"
        """
        undo = f"else {self.option}" if self.option and not self.sure else ""
        aside = "; ".join(part for part in (self.why, undo) if part)
        return f"{self.says} ({aside})" if aside else self.says


@dataclass(frozen=True)
class Reading:
    """One of several ways to read data, as it is put before the user.

    Attributes:
        title: the way, in a few words.
        options: what chooses it, by names of `load_dataset`'s arguments.
        rows: how the first rows look then, a line each.
    """

    title: str
    options: Mapping[str, str | bool]
    rows: Sequence[str] = ()

    def flags(self) -> list[str]:
        """Return the options as words of the command line.

        >>> Reading("", {"time_column": "day"}).flags()
        ['--time-column', 'day']
        >>> Reading("", {"header": False}).flags()
        ['--no-header']
        """
        words: list[str] = []
        for key, value in self.options.items():
            name = key.replace("_", "-")
            words += [f"--{'' if value else 'no-'}{name}"] if isinstance(value, bool) else [f"--{name}", value]
        return words


class OpenQuestion(DataError):
    """Two or more readings fit the data and differ: nothing is guessed, the user chooses.

    Attributes:
        question: what is to be decided.
        readings: the ways to read it; each names the options that choose it.
    """

    lines = True

    def __init__(self, question: str, readings: Sequence[Reading]) -> None:
        self.question, self.readings = question, tuple(readings)
        super().__init__(self.text())

    def text(self, command: Sequence[str] = ()) -> str:
        """Return the question with its readings side by side.

        Args:
            command: words of the command that met it; each reading then ends in a whole command to paste. Without
                it the options are named alone.
        """
        lines = [for_terminal(self.question)]
        for letter, reading in zip("abcdefghijklmnopqrstuvwxyz", self.readings, strict=False):
            lines.append(f"  {letter}) {for_terminal(reading.title)}")
            lines += [f"       {for_terminal(row)}" for row in reading.rows]
            lines.append("       " + for_shell(*_without(command, reading.options), *reading.flags()))
        return "\n".join(lines)


@dataclass(frozen=True)
class ReadingPlan:
    """All findings about one data set, in the order in which a person would check them.

    Attributes:
        source: what was asked for.
        findings: what is done, and why.
    """

    source: str
    findings: tuple[Finding, ...] = field(default=())

    def open_ends(self) -> tuple[Finding, ...]:
        """Return what is likely but not certain: the lines that are shown even where only a few are."""
        return tuple(finding for finding in self.findings if not finding.sure)


def findings_to_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as ``config.json`` and the cache keep them: fields that say nothing are left out."""
    return [{key: value for key, value in vars(finding).items() if value not in ("", True)} for finding in findings]


def findings_from_json(kept: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Return what `findings_to_json` gave.

    Raises:
        TypeError: if it is damaged.
    """
    return tuple(Finding(**dict(finding)) for finding in kept)


def gaps_of(data: Mapping[str, Any]) -> list[str]:
    """Return what was found of gaps in a run's data, of what ``config.json`` keeps under ``data``."""
    return [finding["says"] for finding in data.get("reading", ()) if finding.get("topic") == "gaps"]


Note = str | Finding
"""What readers say of the data: a bare sentence is a finding that nothing overrides."""


def as_findings(notes: Iterable[Note], topic: str = "data") -> tuple[Finding, ...]:
    """Return notes as findings; bare sentences get ``topic``."""
    return tuple(Finding(topic, note) if isinstance(note, str) else note for note in notes)


def _without(command: Sequence[str], options: Mapping[str, str | bool]) -> list[str]:
    """Return the words of a command without the options that a reading gives anew."""
    valued = {"--" + key.replace("_", "-") for key, value in options.items() if not isinstance(value, bool)}
    switches = {f"--{no}{key.replace('_', '-')}" for key in options for no in ("", "no-")} - valued
    kept: list[str] = []
    skip = False
    for word in command:
        if not skip and word not in switches and word.partition("=")[0] not in valued:
            kept.append(word)
        skip = not skip and word in valued
    return kept
