"""Reading an upload: the one file of a multipart/form-data body, passed on as it arrives (RFC 7578, 2046).

    reader = FileReader(boundary, "snapshot", write)
    reader.feed(piece); …; reader.finish()

Other fields are passed over. Heads of parts have a bound, and so has what is kept of a piece that may be the start of a
boundary; the file itself has none here.
"""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from typing import Final

from qnode.errors import BadRequest

_MOST_HEAD_BYTES: Final = 16 << 10
_MOST_BOUNDARY_BYTES: Final = 70


def boundary_of(content_type: str) -> bytes:
    """Take the boundary from a content type; raise BadRequest if it is no upload."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise BadRequest("Content type error: an upload must be multipart/form-data")
    encoded = boundary.encode("latin-1", "replace")
    if len(encoded) > _MOST_BOUNDARY_BYTES:
        raise BadRequest("the boundary of the upload is too long")
    return encoded


class FileReader:
    """Gives `write` the content of the file in field `name`. Raises BadRequest for what is not multipart."""

    def __init__(self, boundary: bytes, name: str, write: Callable[[bytes], None]) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._name = name
        self._write = write
        self._rest = b"\r\n"  # the first boundary has no line before it
        self._is_in_head = False
        self._is_wanted = False
        self._is_at_end = False
        self.has_file = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        if self._is_at_end:
            return
        self._rest += piece
        while not self._is_at_end and (self._read_head() if self._is_in_head else self._read_content()):
            pass

    def finish(self) -> None:
        """Take note that the body has ended."""
        if not self._is_at_end:
            raise BadRequest("the upload ends before its last boundary")
        if not self.has_file:
            raise BadRequest(f"the upload has no field `{self._name}`")

    def _read_content(self) -> bool:
        """Pass on what is before a boundary; tell whether the boundary is there."""
        at = self._rest.find(self._delimiter)
        if at < 0:
            kept = len(self._delimiter) - 1
            if len(self._rest) > kept:
                self._pass_on(self._rest[:-kept])
                self._rest = self._rest[-kept:]
            return False
        behind = at + len(self._delimiter)
        if len(self._rest) < behind + 2:
            return False
        self._pass_on(self._rest[:at])
        self._is_at_end = self._rest[behind : behind + 2] == b"--"
        self._is_in_head = not self._is_at_end
        self._rest = self._rest[behind:]
        return True

    def _read_head(self) -> bool:
        """Read the head of a part; tell whether it was whole."""
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            if len(self._rest) > _MOST_HEAD_BYTES:
                raise BadRequest("the head of a part of the upload is too long")
            return False
        self._is_wanted = not self.has_file and _field_of(self._rest[:end]) == self._name
        self.has_file = self.has_file or self._is_wanted
        self._rest, self._is_in_head = self._rest[end + 4 :], False
        return True

    def _pass_on(self, content: bytes) -> None:
        if self._is_wanted and content:
            self._write(content)


def _field_of(head: bytes) -> str | None:
    """Give the name of the field that a part is of."""
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            message = Message()
            message["content-disposition"] = value.strip().decode("utf-8", "replace")
            name = message.get_param("name", header="content-disposition")
            return name if isinstance(name, str) else None
    return None
