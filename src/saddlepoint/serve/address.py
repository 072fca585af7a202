"""Where a server listens."""

from __future__ import annotations

import socket

from saddlepoint.core.errors import ConfigError

API_PORT, STUDIO_PORT = 8018, 8017
"""Where `saddle serve` and `saddle studio` listen unless told otherwise."""

__all__ = ["listen"]


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """Return a socket that listens, and its address without a slash at the end.

    Whoever is told the address may connect at once: connections wait until the server takes them.

    Args:
        host: name or address, of either family.
        port: 0: any that is free.

    Raises:
        ConfigError: if the port is taken, or the host has no such address.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise ConfigError(f"port {port} of {host} cannot be used ({error.strerror}); choose another --port") from error
    return listener, f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
