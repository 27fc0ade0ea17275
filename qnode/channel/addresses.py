"""Where peers are: their URIs, and which hosts are this machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from qnode.errors import BadInput

DEFAULT_PORT: Final = 6335


def parse_uri(uri: str) -> tuple[str, int]:
    """Read host and port of a peer's URI, `http://host:6335`; raise BadInput.

    The scheme tells nothing: credentials decide on TLS.
    """
    try:
        parts = urlsplit(uri if "://" in uri else f"//{uri}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise BadInput(f"{uri!r} is not the URI of a peer, which looks like http://host:{DEFAULT_PORT}")
    return host, port or DEFAULT_PORT


def is_loopback(host: str) -> bool:
    """Say whether the numeric address of a socket is reached from this machine alone."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
