"""The table of runs: pictures, figures to sort by, what can be done with each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from nicegui import events, ui

from saddlepoint.core.quoting import for_shell, for_terminal
from saddlepoint.evaluation import ARROWS
from saddlepoint.evaluation.rows import kind_of
from saddlepoint.run import jobs
from saddlepoint.run.entries import STATES, Entry, Figure
from saddlepoint.run.sweeps.summary import sweeps_in
from saddlepoint.serve.studio import actions, parts, waits
from saddlepoint.serve.studio.state import Studio, data_of

_EVERY_SECONDS = 1.0
_MOST_FIGURES = 3
_GOOD_FIRST = ("near", "narrow", "different", "far", "copies", "unknown", "")

_SORT = "(a, b) => a === b ? 0 : a === null ? 1 : b === null ? -1 : a < b ? -1 : 1"
"""Runs without the figure stand last where the smallest is first."""

_THOUSANDS = "(value, row) => row.samples ? (value / 1000).toFixed(1) + 'k' : ''"
"""Of a run that cannot be read nobody knows how many there were."""

_PICTURE = """<q-td :props="props" style="width: 80px"><a :href="props.row.address" tabindex="-1" aria-hidden="true">
<img v-if="props.row.picture" class="thumb" :src="props.row.picture" alt="">
<div v-else class="blank"></div></a></q-td>"""
_NAME = """<q-td :props="props" style="white-space: normal; min-width: 11rem"><a class="link" :href="props.row.address">
{{ props.row.called }}</a><div class="quiet small">{{ props.row.family }}</div></q-td>"""
_DATA = """<q-td :props="props"><span :title="props.row.source">{{ props.row.data }}</span></q-td>"""
_STATE = """<q-td :props="props">{{ props.row.state }}
<q-linear-progress v-if="props.row.share !== null" :value="props.row.share" class="q-mt-xs"
:aria-label="'progress of ' + props.row.called" style="min-width: 5rem"/>
<div v-if="props.row.detail" class="quiet small" style="max-width: 20rem; white-space: normal">
{{ props.row.detail }}</div></q-td>"""
_VERDICT = """<q-td :props="props"><span v-if="props.row.verdict" :class="'badge ' + props.row.tone">
{{ props.row.verdict }}</span></q-td>"""
_WORTH = """<q-td :props="props"><span v-if="props.row.worth" :class="'badge ' + props.row.worth_tone">
{{ props.row.worth }}</span><span v-else class="quiet small">not measured</span></q-td>"""
_FIGURE = """<q-td :props="props"><template v-if="props.row.shown[props.col.name]">
<div :title="props.row.shown[props.col.name].protocol">{{ props.row.shown[props.col.name].value }}</div>
<div class="quiet small">{{ props.row.shown[props.col.name].error }}</div></template></q-td>"""
_MENU = """<q-btn flat round dense icon="more_vert" :aria-label="'What to do with ' + props.row.called">
<q-menu auto-close><q-list style="min-width: 9rem">
<q-item v-if="props.row.reported" clickable tag="a" :href="'/report/' + encodeURIComponent(props.row.name)">
<q-item-section>Open the report</q-item-section></q-item>
<q-item v-if="props.row.over" clickable @click="() => $parent.$emit('further', props.row)">
<q-item-section>Train on</q-item-section></q-item>
<q-item clickable @click="() => $parent.$emit('rename', props.row)"><q-item-section>Rename</q-item-section></q-item>
<q-item clickable @click="() => $parent.$emit('remove', props.row)"><q-item-section>Delete</q-item-section></q-item>
</q-list></q-menu></q-btn>"""
_ACTIONS = f"""<q-td :props="props" style="width: 40px; position: sticky; right: 0; background: var(--card)">
{_MENU}</q-td>"""
_CARD = f"""<div class="col-12 q-pa-xs"><q-card flat bordered class="q-pa-sm">
<div class="row no-wrap" style="gap: .75rem"><a :href="props.row.address" tabindex="-1" aria-hidden="true">
<img v-if="props.row.picture" class="thumb" :src="props.row.picture" alt=""><div v-else class="blank"></div></a>
<div class="col" style="min-width: 0"><a class="link" :href="props.row.address">{{{{ props.row.called }}}}</a>
<div v-if="props.row.family" class="quiet small">{{{{ props.row.family }}}} on {{{{ props.row.data }}}}</div>
<div>{{{{ props.row.state }}}}<template v-if="props.row.samples">, {{{{ props.row.samples }}}}</template>
<span v-if="props.row.verdict" :class="'badge ' + props.row.tone">{{{{ props.row.verdict }}}}</span></div>
<div v-if="props.row.worth">samples:
<span :class="'badge ' + props.row.worth_tone">{{{{ props.row.worth }}}}</span></div>
<div class="quiet small">{{{{ props.row.detail }}}}</div></div>{_MENU}</div>
<q-linear-progress v-if="props.row.share !== null" :value="props.row.share" class="q-mt-xs"
:aria-label="'progress of ' + props.row.called"/>
<div v-for="figure in props.row.lines" class="small">{{{{ figure }}}}</div></q-card></div>"""


class Table:
    """The table of one visitor; what changes on disk changes here.

    Args:
        studio: the studio's state.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio, self.found = studio, list[Entry]()
        self.empty = ui.column().classes("sheet gap-2 w-full")
        with self.empty:
            ui.label(f"There are no runs in {studio.index.root} yet.").classes("font-medium")
            ui.label("Train one on your own pictures or table, or on data that come with the library:")
            ui.button("Train", icon="play_arrow", on_click=lambda: ui.navigate.to("/train")).props("no-caps")
            ui.label("Or in a terminal:").classes("quiet")
            first = ("train", "gan", "--data", "digits", "--budget", "20s", "--out", studio.index.root / "first")
            parts.copyable("command", for_shell("saddle", *first))
        with ui.row().classes("items-end gap-4 w-full pb-2") as self.filters:
            self.search = ui.input("Search", placeholder="name, family, data, doctor").props(
                "dense clearable stack-label"
            )
            self.search.classes("w-64")
            self.state = ui.select({"": "every state"}, value="", label="State").props("dense").classes("w-36")
            self.order = ui.select(_ORDERS, value="changed", label="Order").props("dense").classes("w-40 sm:hidden")
            self.count = parts.say("").classes("small")
        self.table = ui.table(rows=[], columns=[], row_key="name", pagination=25).classes("w-full")
        self.table.props[":grid"] = "Quasar.Screen.lt.md"
        self.table.props("flat bordered dense color=primary")  # of the pager, whose own grey is lost in the dark
        self.table.props["rows-per-page-label"] = "Runs on a page:"
        self.table.props["no-data-label"] = "No run fits what is searched for."
        self.slots()
        for control in (self.search, self.state, self.order):
            control.on_value_change(self.draw)
        self.table.on("further", waits.guarded(self.further))
        self.table.on("rename", waits.guarded(self.rename))
        self.table.on("remove", waits.guarded(self.remove))

    def slots(self) -> None:
        """Say how cells are drawn."""
        fixed = {
            "picture": _PICTURE, "name": _NAME, "data": _DATA, "state": _STATE, "verdict": _VERDICT,
            "standing": _WORTH,
            "actions": _ACTIONS, **{f"figure{number}": _FIGURE for number in range(_MOST_FIGURES)},
        }  # fmt: skip
        for name, template in fixed.items():
            self.table.add_slot(f"body-cell-{name}", template)
        self.table.add_slot("item", _CARD)

    async def refresh(self) -> None:
        """Look at the folder again, beside the page."""
        jobs.reap()
        found = await waits.here(asyncio.to_thread(self.studio.entries))
        if found != self.found:
            self.found = found
            self.draw()

    def draw(self) -> None:
        """Show the runs that fit what is searched for."""
        terms, state = str(self.search.value or "").lower().split(), self.state.value
        fit = [entry for entry in self.found if _fits(entry, terms) and state in ("", entry.state)]
        for holder, visible in ((self.empty, not self.found), (self.filters, self.found), (self.table, self.found)):
            holder.set_visibility(bool(visible))
        states = {"": "every state"} | {name: name for name in STATES if any(e.state == name for e in self.found)}
        if self.state.options != states:
            self.state.set_options(states, value=self.state.value if self.state.value in states else "")
        self.count.text = "" if len(fit) == len(self.found) else f"{len(fit)} of {len(self.found)} runs"
        headings = headline(self.found)
        rows = [_row(entry, headings) for entry in sorted(fit, key=_KEYS[str(self.order.value)])]
        columns = _columns(headings)
        if columns != self.table.columns:
            self.table.columns = columns
        if rows != self.table.rows:
            self.table.rows = rows

    async def further(self, event: events.GenericEventArguments) -> None:
        """Ask how much longer a run is to be trained, and go on."""
        if await actions.train_on(self.studio, str(event.args["name"])):
            await self.refresh()

    async def rename(self, event: events.GenericEventArguments) -> None:
        """Ask for another name, and give it."""
        if await actions.rename(self.studio, str(event.args["name"])):
            await self.refresh()

    async def remove(self, event: events.GenericEventArguments) -> None:
        """Ask, and remove."""
        if await actions.remove(self.studio, str(event.args["name"])):
            await self.refresh()


async def show(studio: Studio) -> None:
    """Show all runs."""
    with parts.page("Runs", "Runs"):
        table = Table(studio)
        await table.refresh()
        table.draw()
        if await waits.looked(lambda: sweeps_in(studio.sweeps)):
            ui.link("Sweeps", "/sweeps").classes("inline-block pt-3")
        ui.timer(_EVERY_SECONDS, waits.guarded(table.refresh))


def headline(entries: Sequence[Entry]) -> list[tuple[str, str, str]]:
    """Return kind, name and direction of the figures that most runs have, those of one protocol together.

    Those that do not rank are left out: by them a grey fog can be the best.
    """
    able = [(kind_of(f.protocol), f.metric, f.better) for entry in entries for f in entry.figures if f.ranks]
    counted, found = Counter(able), list[tuple[str, str, str]]()
    for kind in dict.fromkeys(key[0] for key, _ in counted.most_common()):
        found += [key for key in counted if key[0] == kind]
    return found[:_MOST_FIGURES]


def _columns(headings: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    found = [{"name": "picture", "label": "", "field": "picture", "align": "left"}]
    found += [
        _column("name", "run"),
        _column("data", "data"),
        _column("state", "state"),
        _column("nimg", "samples seen"),
    ]
    found[-1]["align"], found[-1][":format"] = "right", _THOUSANDS
    found.append(_column("standing", "samples are"))
    for number, (_, metric, better) in enumerate(headings):
        found.append(_column(f"figure{number}", f"{metric} {ARROWS[better]}".strip()))
        found[-1] |= {"align": "right", ":sort": _SORT, "headerStyle": "white-space: normal; min-width: 6rem"}
    found += [_column("verdict", "doctor"), {"name": "actions", "label": "", "field": "name", "align": "right"}]
    return found


def _column(name: str, label: str) -> dict[str, Any]:
    return {"name": name, "label": label, "field": name, "align": "left", "sortable": True}


def _fits(entry: Entry, terms: Sequence[str]) -> bool:
    text = " ".join((entry.name, entry.family, entry.preset, entry.data, entry.state, entry.verdict, entry.detail))
    return all(word in text.lower() for word in terms)


def _row(entry: Entry, headings: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    figures: dict[tuple[str, str], Figure] = {(kind_of(f.protocol), f.metric): f for f in entry.figures if f.ranks}
    own = [figures.get(key[:2]) for key in headings]
    live = entry.state in ("starting", "running")
    worth, worth_tone = parts.worth_of(entry.standing)
    return {
        "name": entry.name,
        "called": for_terminal(entry.name),
        "address": parts.address("/run", entry.name),
        "picture": None if entry.picture is None else parts.thumbnail_address(entry),
        "family": f"{entry.family} {entry.preset}".strip(),
        "data": data_of(entry),
        "source": entry.data,
        "state": entry.state,
        "over": entry.state in ("finished", "stopped"),
        "detail": entry.detail if entry.state in ("measuring", "paused", "failed", "broken") else "",
        "share": entry.progress if live else None,
        "nimg": entry.nimg,
        "samples": f"{entry.nimg / 1000:,.1f} thousand samples" if entry.family else "",
        "verdict": entry.verdict,
        "tone": parts.tone_of(entry.verdict),
        "standing": _GOOD_FIRST.index(entry.standing),
        "worth": worth,
        "worth_tone": worth_tone,
        "reported": entry.reported,
        "shown": {f"figure{number}": _shown(figure) for number, figure in enumerate(own) if figure is not None},
        "lines": [f"{f.metric} {ARROWS[f.better]} {f.value}" for f in own if f is not None],
        **{f"figure{number}": None if figure is None else figure.number for number, figure in enumerate(own)},
    }


def _shown(figure: Figure) -> dict[str, str]:
    value, _, error = figure.value.partition(" ")
    return {"value": value, "error": error, "protocol": figure.protocol}


_ORDERS = {"changed": "newest first", "name": "by name", "nimg": "most trained"}
_KEYS: dict[str, Any] = {
    "changed": lambda entry: -entry.changed, "name": lambda entry: entry.name, "nimg": lambda entry: -entry.nimg,
}  # fmt: skip
