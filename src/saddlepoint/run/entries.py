"""A run as a table shows it: what it is, how it stands, what was measured; a broken one with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.core.files import parse_json, read_end, read_json, snapshots_in
from saddlepoint.engine.storage.entries import is_sound
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.locks import MEASURING
from saddlepoint.run import jobs

if TYPE_CHECKING:
    from saddlepoint.evaluation import Result

STATES = ("starting", "running", "measuring", "paused", "stopped", "finished", "failed", "broken")

TAGS = "tags.json"
"""File in the run folder with the words that a person gave it."""

_TAIL_BYTES, _MOST_TAGS = 16_384, 64 * 1024
WATCHED = ("config.json", "status.json", "log.jsonl", "report/metrics.jsonl", jobs.OUTPUT, TAGS, MEASURING)
"""Files that show by their times that an entry must be read anew."""


@dataclass(frozen=True)
class Figure:
    """A measured figure of a run's generator.

    Attributes:
        protocol: full name.
        metric: name.
        value: the figure, with its interval if it has one, as people read it.
        number: the figure.
        better: ``lower``, ``higher`` or ``neither``.
        ranks: whether a good value speaks for the samples by itself, see `saddlepoint.evaluation.ranks`.
    """

    protocol: str
    metric: str
    value: str
    number: float = 0.0
    better: str = "neither"
    ranks: bool = True


@dataclass(frozen=True)
class Entry:
    """A run as a table shows it.

    Attributes:
        name: of the folder.
        state: one of `STATES`.
        detail: in words: why it ended, or what is broken; of one that is measured, what it is at.
        family, preset, data: what is trained on what; "" where that cannot be read.
        modality: image, vector or sequence; "" where that cannot be read.
        nimg: samples seen.
        progress: share of the budget that is spent, in [0, 1]; None without a budget that can be told.
        verdict: the doctor's last word; "" before the first.
        standing: where the samples stand by all that was measured, one of `STANDINGS`; "" before.
        figures: first figure of each protocol; of precision and recall also the other two, which it needs beside it.
        picture: step of the newest snapshot; None before the first.
        reported: whether there is a page with its figures.
        changed: time of the last change, seconds since the epoch.
        seconds: trained.
        tags: words that a person gave it.
        fingerprint: of the data as the run reads it; "" where that cannot be read.
        path: of the folder.
    """

    name: str
    state: str
    detail: str = ""
    family: str = ""
    preset: str = ""
    data: str = ""
    modality: str = ""
    nimg: int = 0
    progress: float | None = None
    verdict: str = ""
    standing: str = ""
    figures: tuple[Figure, ...] = ()
    picture: int | None = None
    reported: bool = False
    changed: float = 0.0
    seconds: float = 0.0
    tags: tuple[str, ...] = ()
    fingerprint: str = ""
    path: Path = Path()


def read_entry(path: Path, changed: float) -> Entry:
    """Return a run, or what looks like one, as an entry; ``changed``: when, in seconds since the epoch."""
    try:
        return _read(path, changed)
    except (SaddlepointError, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        return Entry(path.name, "broken", _reason(path, error), changed=changed, path=path)


def _read(path: Path, changed: float) -> Entry:
    folder = RunFolder(path)
    config, status = folder.read_config(), folder.read_status()
    data, settings = config["data"], config["settings"]
    last = last_line(path / "log.jsonl")
    nimg = int(last.get("nimg", 0))
    seconds = float(last.get("timing", {}).get("seconds", 0.0))
    state, detail = str(status.get("state", "")), str(status.get("reason", ""))
    if state == "running" and folder.trainer() is None:
        state, detail = "paused", "its process ended without a word; what was saved is there"
    elif state == "interrupted":
        # Until its process has let go of the folder, nobody else can go on.
        held = folder.trainer() is not None
        state, detail = ("running", "saved; ending") if held else ("paused", "saved; it can go on")
    elif state == "finished" and detail == "stopped":
        state = "stopped"
    over = state in ("finished", "stopped")
    if over and (at := folder.measuring()) is not None:
        state, detail = "measuring", at[1]
    nimg, seconds = max(nimg, int(status.get("nimg", 0))), max(seconds, float(status.get("seconds", 0.0)))
    standing, figures = _measured(path)
    spent = _spent(settings, nimg, seconds, int(config["options"]["batch_size"]))
    return Entry(
        name=path.name,
        state=state if state in STATES else "paused",
        detail=detail,
        family=str(config["family"]),
        preset=str(config["preset"]),
        data=str(data.get("name", data["source"])),
        modality=str(data.get("modality", "")),
        nimg=nimg,
        progress=1.0 if status.get("state") == "finished" and state != "stopped" else spent,
        verdict=str(last.get("verdict") or status.get("verdict") or ""),
        standing=standing,
        figures=figures,
        picture=max(snapshot_steps(path), default=None),
        reported=(folder.report / "index.html").is_file(),
        changed=changed,
        seconds=seconds,
        tags=read_tags(path),
        fingerprint=str(data.get("fingerprint", "")),
        path=path,
    )


def read_tags(path: Path) -> tuple[str, ...]:
    """Return the tags of the run in ``path``; none if there are none, or they cannot be read."""
    try:
        found = read_json(path / TAGS, _MOST_TAGS)
    except (OSError, ValueError):
        return ()
    return tuple(tag for tag in found if isinstance(tag, str)) if isinstance(found, list) else ()


def _spent(settings: Mapping[str, Any], nimg: int, seconds: float, batch: int) -> float | None:
    limits = ((settings["steps"], nimg / batch), (settings["kimg"], nimg / 1000), (settings["seconds"], seconds))
    shares = [done / limit for limit, done in limits if limit]
    return min(1.0, max(shares)) if shares else None


def last_line(path: Path) -> dict[str, Any]:
    """Return the last whole line of a file of JSON lines, without reading the rest; empty without any."""
    try:
        lines = read_end(path, _TAIL_BYTES).splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            found = parse_json(line)
        except ValueError:
            continue
        if is_sound(found):
            whole: dict[str, Any] = found
            return whole
    return {}


def _measured(path: Path) -> tuple[str, tuple[Figure, ...]]:
    """Return where a run's samples stand, and its figures; nothing before an evaluation, or if it is damaged."""
    file = RunFolder(path).report / "metrics.jsonl"
    if not file.exists():
        return "", ()
    from saddlepoint.evaluation import read_results, report_of

    try:
        results = read_results(file)
        if not results:
            return "", ()
        report = report_of(results)
    except SaddlepointError:
        return "", ()
    return report.standing, tuple(figure for result in report.results for figure in _figures(result))


def _figures(result: Result) -> list[Figure]:
    """Return the first figure of a protocol; of precision, recall, density and coverage the three that say most."""
    from saddlepoint.evaluation import ranks, shown
    from saddlepoint.evaluation.rows import kind_of

    together = kind_of(result.protocol) == "prdc"
    metrics = [m for m in result.metrics if m.name in _TOGETHER] if together else result.metrics[:1]
    rows = [(metric, result.find(metric.name)) for metric in metrics]
    able = ranks(result.protocol)
    return [
        Figure(result.protocol, metric.name, shown(row, metric), float(row.value), metric.better, able)
        for metric, row in rows
        if row is not None
    ]


_TOGETHER = ("precision", "recall", "coverage")
"""A blot has a precision of 1, and noise may have coverage: none of them stands alone."""


def snapshot_steps(path: Path) -> list[int]:
    """Return the steps whose snapshots a run folder holds, in order."""
    return list(snapshots_in(path / "samples"))


def _reason(path: Path, error: Exception) -> str:
    """Say what is broken; a process that failed before there was a run has said it itself."""
    words = [line for line in jobs.output(path) if line.strip()]
    if words and not (path / "config.json").exists():
        return words[-1].removeprefix("error: ")
    return str(error) if isinstance(error, SaddlepointError) else f"its files cannot be read ({error!r})"
