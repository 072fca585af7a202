"""The table of runs."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from saddlepoint import jobs
from saddlepoint.serve.studio import parts
from saddlepoint.serve.studio.desk import Desk
from saddlepoint.shelf import Entry

_EVERY_SECONDS = 1.0

_COLUMNS = [
    {"name": name, "label": label, "field": name, "align": "left", "sortable": True}
    for name, label in (
        ("name", "run"), ("family", "family"), ("data", "data"), ("state", "state"), ("progress", "progress"),
        ("verdict", "doctor"), ("figures", "figures"),
    )
]  # fmt: skip

_LINK = """<q-td :props="props"><a class="link" :href="'/run/' + encodeURIComponent(props.row.name)">
{{ props.row.name }}</a></q-td>"""
_STATE = """<q-td :props="props">{{ props.row.state }}
<div v-if="props.row.detail" class="quiet" style="max-width: 22rem; white-space: normal">
{{ props.row.detail }}</div></q-td>"""
_PROGRESS = """<q-td :props="props"><q-linear-progress v-if="props.row.share !== null" :value="props.row.share"
:aria-label="'progress of ' + props.row.name" style="min-width: 5rem"/>
<span class="quiet">{{ props.row.progress }}</span></q-td>"""
_FIGURES = """<q-td :props="props"><div v-for="figure in props.row.figures">{{ figure }}</div></q-td>"""
_CARD = """<div class="col-12 q-pa-xs"><q-card flat bordered class="q-pa-sm">
<a class="link" :href="'/run/' + encodeURIComponent(props.row.name)">{{ props.row.name }}</a>
<div>{{ props.row.family }} {{ props.row.data }}</div>
<div>{{ props.row.state }} <span class="quiet">{{ props.row.detail }}</span></div>
<q-linear-progress v-if="props.row.share !== null" :value="props.row.share"
:aria-label="'progress of ' + props.row.name"/>
<div class="quiet">{{ props.row.progress }}</div><div>{{ props.row.verdict }}</div>
<div v-for="figure in props.row.figures">{{ figure }}</div></q-card></div>"""


def show(desk: Desk) -> None:
    """Show all runs; what changes on disk changes here."""
    with parts.page("Runs"):
        empty = ui.column().classes("gap-2")
        with empty:
            ui.label(f"There are no runs in {desk.shelf.root} yet.")
            ui.label("Train one on the page Train, or in a terminal:")
            ui.code("saddle train", language="bash")
        search = ui.input("Search", placeholder="family, data, verdict ...").props("dense clearable").classes("w-64")
        table = ui.table(rows=[], columns=_COLUMNS, row_key="name", pagination=25).classes("w-full")
        table.props[":grid"] = "Quasar.Screen.lt.sm"
        table.props["flat"] = True
        for slot, template in (
            ("body-cell-name", _LINK), ("body-cell-state", _STATE), ("body-cell-progress", _PROGRESS),
            ("body-cell-figures", _FIGURES), ("item", _CARD),
        ):  # fmt: skip
            table.add_slot(slot, template)
        search.bind_value_to(table, "filter", lambda text: text or "")

        def refresh() -> None:
            jobs.reap()
            rows = [_row(entry) for entry in desk.shelf.entries()]
            empty.set_visibility(not rows)
            table.set_visibility(bool(rows))
            search.set_visibility(bool(rows))
            if rows != table.rows:
                table.rows = rows

        refresh()
        ui.timer(_EVERY_SECONDS, refresh)


def _row(entry: Entry) -> dict[str, Any]:
    share = entry.progress
    return {
        "name": entry.name,
        "family": f"{entry.family} {entry.preset}".strip(),
        "data": entry.data,
        "state": entry.state,
        "detail": entry.detail if entry.state in ("paused", "failed", "broken") else "",
        "share": share,
        "progress": f"{entry.nimg / 1000:,.1f} kimg" + ("" if share is None else f", {share:.0%}")
        if entry.family
        else "",
        "verdict": entry.verdict,
        "figures": [f"{figure.metric} {figure.value}" for figure in entry.figures[:3]],
    }
