"""Where a server listens, and who asks."""

from __future__ import annotations

import functools
import ipaddress
import socket

from saddlepoint.core.errors import ConfigError

API_PORT, STUDIO_PORT = 8018, 8017
"""Where `saddle serve` and `saddle studio` listen unless told otherwise."""

__all__ = ["listen", "peer_of"]


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


def peer_of(address: tuple[str, int] | None) -> str:
    """Return whose connection it is: an address, of version 6 the network of 64 bits that one household has.

    >>> peer_of(("10.0.0.7", 5)), peer_of(("2001:db8::1:2", 5)), peer_of(None)
    ('10.0.0.7', '2001:db8::', '')
    """
    if address is None:
        return ""
    # What a proxy says may be any word, and long ones are not kept.
    return _network_of(address[0]) if len(address[0]) < 64 else address[0]


@functools.lru_cache(1024)
def _network_of(host: str) -> str:
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
