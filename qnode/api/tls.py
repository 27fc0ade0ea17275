"""TLS of the REST interface: the certificate as its files hold it, also when they are renewed.

The files are looked at every few seconds; when one has changed, both are loaded into the settings that are in use, and new
connections get the new certificate. Files that do not fit each other, or are only half written, leave the former certificate in use,
and are looked at again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from qnode.errors import CannotStart

WATCH_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class RestCertificate:
    """A certificate and its private key. `authority`: who must have signed the certificates of clients; None asks for none."""

    def __init__(self, certificate: Path, private_key: Path, authority: Path | None = None) -> None:
        """Read the files; raise CannotStart, naming what cannot be read."""
        self._files = (certificate, private_key)
        self._seen = self._stamps()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self.context.load_cert_chain(*self._files)
            if authority is not None:
                self.context.load_verify_locations(authority)
                self.context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            listed = ", ".join(str(path) for path in filter(None, (*self._files, authority)))
            raise CannotStart(f"the certificate of the REST interface cannot be used ({listed}): {error}") from None

    async def watch(self) -> None:
        """Follow the files until cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.follow()

    def follow(self) -> None:
        """Load the files if one has changed."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)  # a key that does not fit shows here
            self.context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as error:
            _log.warning("the renewed certificate of the REST interface cannot be used yet: %s", error)
            return
        self._seen = stamps
        _log.info("the certificate of the REST interface was renewed")

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written to; None while it is not there."""
    try:
        shown = path.stat()
    except OSError:
        return None
    return shown.st_mtime_ns, shown.st_ino, shown.st_size
