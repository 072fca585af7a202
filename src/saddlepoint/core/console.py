"""The one console of tables and live lines: what is printed is text, whatever is in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.segment import Segment
from rich.table import Column
from rich.text import Text

from saddlepoint.core.quoting import for_terminal


class LiteralConsole(Console):
    """A console that takes no text for markup or for the name of an emoji, and lets no hidden character through.

    Text of one's own is made bold by `strong`; rich's own movements of the cursor are no text, and stay.

    Args:
        settings: of `rich.console.Console`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a text of one line: a break in it came with a name. Its width is that of what is shown."""
        return super().render_str(for_terminal(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is written; whatever was drawn from no plain string is looked through here."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(for_terminal(segment.text, lines=True), segment.style)


def strong(text: str) -> Text:
    """Return a text in bold letters, harmless for a terminal."""
    return Text(for_terminal(text), style="bold")


def bar(console: Console, shown: bool) -> Progress:
    """Return a bar between the field ``left`` of its task and the task's description; it goes when it is stopped.

    Args:
        console: a `LiteralConsole`.
        shown: whether there is anything to be seen of it.
    """
    return Progress(
        TextColumn("{task.fields[left]}", markup=False),
        BarColumn(bar_width=24, table_column=Column(no_wrap=True)),
        TaskProgressColumn(),
        # The one column that is folded where a terminal is narrow.
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False)),
        console=console,
        transient=True,
        # What a program prints stands above the bar; into a pipe it must go as it is.
        redirect_stdout=sys.stdout.isatty(),
        disable=not shown,
    )
