"""What can be done with a whole run: rename it, remove it; each asks first."""

from __future__ import annotations

import asyncio

from nicegui import ui

from saddlepoint.serve.studio import parts
from saddlepoint.serve.studio.desk import Desk
from saddlepoint.shelf import remove_run, rename_run


async def rename(desk: Desk, name: str) -> str:
    """Ask for another name of a run and give it; return it, or "" if nothing was changed."""
    new = (await parts.asked(f"New name of {name}", name, "Rename")).strip()
    if not new or new == name:
        return ""
    await parts.here(asyncio.to_thread(rename_run, desk.shelf.root, name, new))
    ui.notify(f"{name} is now {new}.")
    return new


async def remove(desk: Desk, name: str) -> bool:
    """Ask, and remove a run; return whether it is gone."""
    question = f"Delete {name} with its checkpoints, pictures and figures? This cannot be undone."
    if not await parts.confirmed(question, "Delete"):
        return False
    await parts.here(asyncio.to_thread(remove_run, desk.shelf.root, name))
    ui.notify(f"{name} is deleted.")
    return True
