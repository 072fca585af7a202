"""The options of a family as fields: grouped, each with its meaning, its choices and its default."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from nicegui import ui

from saddlepoint.core.config import describe
from saddlepoint.family import Family
from saddlepoint.serve.studio import parts

_GROUPS = (
    ("Data and augmentation", r"augment.*|ada_.*|flip|given|contrast"),
    (
        "Steps and learning rates",
        r"batch_size|ema_.*|lr.*|.*_lr|optimizer|momentum.*|beta\d|weight_decay|warm_up.*|k|n_critic|generator_steps"
        r"|simultaneous|.*_epochs|.*_iterations|colours_steps|first_level|fade_kimg|stable_kimg",
    ),
    (
        "The game and its penalties",
        r"objective|.*_gamma|gamma.*|penalty.*|.*_weight|classification|cycle|identity|style|diversity.*|path_.*"
        r"|instance_noise|.*_supervision|moments|gate|r1_classes|references|mixing|supervisor_noise",
    ),
)
_REST = "Networks"


def group_of(name: str) -> str:
    """Return the group of an option.

    >>> group_of("lr"), group_of("r1_gamma"), group_of("generator_widths")
    ('Steps and learning rates', 'The game and its penalties', 'Networks')
    """
    return next((title for title, pattern in _GROUPS if re.fullmatch(pattern, name)), _REST)


class Fields:
    """The fields of one visitor.

    Args:
        changed: called when one was changed.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.fields: dict[str, tuple[ui.input | ui.select, str]] = {}
        self.place = ui.column().classes("w-full gap-2")

    def fill(self, kind: type[Family], preset: str) -> None:
        """Offer the options of a family, with the values of a preset."""
        self.place.clear()
        self.fields.clear()
        metadata = {field.name: field for field in dataclasses.fields(kind.Config)}
        groups: dict[str, list[tuple[str, str, str]]] = {_REST: [], **{title: [] for title, _ in _GROUPS}}
        for option, value, help in describe(kind.Config, kind.PRESETS[preset]):
            name = option.removeprefix("--")
            groups[group_of(name.replace("-", "_"))].append((name, value, help))
        with self.place:
            for title, lines in groups.items():
                if not lines:
                    continue
                ui.label(title).classes("font-medium pt-2").props("role=heading aria-level=3")
                with ui.element("div").classes("grid grid-cols-1 sm:grid-cols-2 lg:grid-cols-3 gap-x-6 gap-y-3 w-full"):
                    for name, value, help in lines:
                        field = metadata[name.replace("-", "_")]
                        self.put(name, value, help, field.metadata.get("choices", ()), "bool" in str(field.type))

    def put(self, name: str, value: str, help: str, choices: tuple[str, ...], truth: bool) -> None:
        """Put one field, and under it what it means and what it usually is."""
        with ui.column().classes("w-full gap-0"):
            field: ui.input | ui.select
            if choices or truth:
                offered = {"True": "yes", "False": "no"} if truth else {choice: choice for choice in choices}
                field = ui.select(offered, value=value, label=name, on_change=self.changed)
            else:
                field = ui.input(name, value=value, on_change=self.changed)
            field.props("dense").classes("w-full")
            usual = {"True": "yes", "False": "no"}.get(value, value)
            parts.say(f"{help}. Usually {usual}." if help else f"Usually {usual}.").classes("small")
        self.fields[name] = (field, value)

    @property
    def different(self) -> dict[str, str]:
        """Options that differ from the preset's."""
        return {name: str(field.value) for name, (field, usual) in self.fields.items() if str(field.value) != usual}
