"""The secret of a private run: noise that others can draw again hides nothing.

A seed stands in ``config.json`` and is easily guessed, so noise and the choice of rows come from a secret of their own,
drawn from the system's randomness and kept in the run folder, which exports leave behind.
"""

from __future__ import annotations

import os
import secrets

from saddlepoint.core.durable import move_into_place
from saddlepoint.core.errors import CheckpointError
from saddlepoint.core.files import hidden_beside, read_regular
from saddlepoint.engine.storage.folder import RunFolder

FILE = "noise.key"
_BYTES = 32


def secret_of(folder: RunFolder, begun: bool) -> str:
    """Return the secret of a run, which is drawn before its first step.

    Args:
        folder: of the run, which is locked.
        begun: whether the run has a step behind it.

    Raises:
        CheckpointError: if a run that goes on has none any more, or it is damaged.
    """
    path = folder.path / FILE
    try:
        found = read_regular(path, 4 * _BYTES).decode("ascii").strip()
        if len(bytes.fromhex(found)) != _BYTES:
            raise ValueError(f"it has {len(found)} characters, not {2 * _BYTES}")
        return found
    except FileNotFoundError:
        if begun:
            raise CheckpointError(
                f"'{path}' is gone, from which the noise of this private run was drawn: it cannot go on; begin a new "
                "run, whose epsilon adds to what this one has spent"
            ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged ({error}): bring it back, or begin a new run") from error
    found = secrets.token_hex(_BYTES)
    temporary = hidden_beside(path)
    # Its owner alone may read it.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(found + "\n")
    move_into_place(temporary, path)  # half a secret would be one that nobody can bring back
    return found
