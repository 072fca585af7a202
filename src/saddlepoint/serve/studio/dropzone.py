"""A place on a page where files are dropped, or chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import events, ui

from saddlepoint.core.errors import DataError
from saddlepoint.serve.studio import waits
from saddlepoint.serve.studio.uploads import MOST_BYTES, MOST_FILES, Uploads

_CHOICE = '<label class="link" tabindex="0">{}<input type="file" {}></label>'


class DropZone:
    """The place; `drop.js`, which every page has, sends what comes to it.

    Args:
        uploads: where files gather.
        text: what may be brought, without quotes or angle brackets.
        use: receives the word under which files came.
        folders: whether a folder can be chosen.
        accept: kinds of files to choose among, as in HTML; "": all.
        most_files, most_bytes: that one visitor may bring at once.
    """

    def __init__(
        self,
        uploads: Uploads,
        text: str,
        use: Callable[[str], Awaitable[None]],
        *,
        folders: bool = False,
        accept: str = "",
        most_files: int = MOST_FILES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.uploads, self.text, self.use, self.folders, self.accept = uploads, text, use, folders, accept
        self.limits = most_files, most_bytes
        self.place = ui.html(sanitize=False).classes("w-full")
        self.ticket = ""
        self.issue()
        ui.on("brought", waits.guarded(self.brought))
        # What came to a page that is left is used by nobody.
        ui.context.client.on_delete(lambda: asyncio.to_thread(self.uploads.drop, self.ticket))

    def issue(self) -> None:
        """Draw the place, with a ticket of its own."""
        self.ticket = self.uploads.ticket(*self.limits)
        choices = [_CHOICE.format("choose files", f'multiple accept="{self.accept}"')]
        if self.folders:
            choices.append(_CHOICE.format("choose a folder", "webkitdirectory"))
        self.place.content = (
            f'<div class="drop" data-ticket="{self.ticket}">'
            f'<div data-words="{self.text}" role="status">{self.text}</div>'
            f'<div class="small quiet pt-1">or {" &middot; ".join(choices)} of this device</div></div>'
        )

    async def brought(self, event: events.GenericEventArguments) -> None:
        """Hand on what came, unless it came to another place of the page."""
        if event.args["ticket"] != self.ticket:
            return
        ticket = self.ticket
        self.issue()
        try:
            if event.args["problem"]:
                raise DataError(str(event.args["problem"]))
            await self.use(ticket)
        finally:
            await waits.here(asyncio.to_thread(self.uploads.drop, ticket))
