"""What a peer shows to be let into the cluster: a shared key, certificates, both, or, on one machine, nothing.

- **A key** (`with_key`): every peer knows it; the handshake proves that, and seals what follows. Read by who can read
  the network.
- **Certificates** (`with_certificates`): links run inside TLS 1.3, and both ends must show a certificate of the given
  authority; the dialer checks too that it names the host that was dialled. The authority should sign nothing but peers:
  all that it signs are let in. Where it signs more, a key beside it keeps the others out. Renewed files are read again
  after `CERTIFICATE_TTL_SECONDS`, for new links.
- **Nothing** (`loopback_only`): for trying a cluster on one machine. Such a peer neither listens on nor dials nor
  accepts anything but loopback addresses, so no other machine can reach it; other users of the same machine can.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Final

from qnode.channel.addresses import is_loopback
from qnode.errors import CannotStart

MIN_KEY_BYTES: Final = 16
CERTIFICATE_TTL_SECONDS: Final = 3600.0


class Certificates:
    """The TLS settings of a peer, made of three PEM files."""

    def __init__(self, authority: Path, certificate: Path, private_key: Path) -> None:
        """Read the files; raise CannotStart, naming what cannot be read."""
        self._files = (authority, certificate, private_key)
        self._loaded_at = time.monotonic()
        try:
            self._contexts = self._load()
        except (OSError, ssl.SSLError) as error:
            listed = ", ".join(str(path) for path in self._files)
            raise CannotStart(f"the certificates of this peer cannot be used ({listed}): {error}") from None

    def contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Give the settings for listening and for dialling. Files that became unreadable leave the former ones in use."""
        if time.monotonic() - self._loaded_at > CERTIFICATE_TTL_SECONDS:
            self._loaded_at = time.monotonic()
            try:
                self._contexts = self._load()
            except (OSError, ssl.SSLError):
                return self._contexts
        return self._contexts

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        authority, certificate, private_key = self._files
        listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        dialling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (listening, dialling):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority)
            context.load_cert_chain(certificate, private_key)
        return listening, dialling


class Credentials:
    """What this peer shows, and what it asks of others. Made by the three functions below."""

    def __init__(self, key: bytes, certificates: Certificates | None, *, only_loopback: bool) -> None:
        self.key = key
        self.certificates = certificates
        self._only_loopback = only_loopback

    def allow(self, *hosts: str) -> bool:
        """Say whether this peer may have a socket between these numeric addresses."""
        return not self._only_loopback or all(is_loopback(host) for host in hosts)


def with_key(key: str) -> Credentials:
    """Let in who knows the key; raise CannotStart if it is too short to be one."""
    return Credentials(_checked(key), None, only_loopback=False)


def with_certificates(certificates: Certificates, key: str | None = None) -> Credentials:
    """Let in who shows a certificate, and, if a key is given, knows that as well; raise CannotStart as `with_key`."""
    return Credentials(b"" if key is None else _checked(key), certificates, only_loopback=False)


def loopback_only() -> Credentials:
    """Let in everybody on this machine, and nobody else."""
    return Credentials(b"", None, only_loopback=True)


def _checked(key: str) -> bytes:
    encoded = key.encode()
    if len(encoded) < MIN_KEY_BYTES:
        raise CannotStart(f"the key of the cluster has {len(encoded)} bytes, and needs at least {MIN_KEY_BYTES}")
    return encoded
