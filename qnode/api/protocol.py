"""HTTP as uvicorn reads it, with every refusal in the envelope.

Also of what is no HTTP, which no application gets to see. When the node stops, a request whose body does not come whole
within a moment is dropped: nothing of it has begun, and nobody knows when the rest would come.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from qnode.api import answers
from qnode.errors import BadRequest

BODY_SECONDS = 1.0
"""For so long a node that stops waits for the rest of a body."""

_REFUSAL = b"""\
HTTP/1.1 400 Bad Request\r
content-type: application/json\r
content-length: %d\r
connection: close\r
\r
%b"""


class EnvelopeProtocol(HttpToolsProtocol):
    """One connection. What follows invalid HTTP cannot be told apart, so the connection ends there."""

    _begun: Sequence[RequestResponseCycle] = ()
    """What is not answered yet, in order; uvicorn itself knows the last of several requests alone."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._begun = [*(cycle for cycle in self._begun if not cycle.response_complete), self.cycle]

    def connection_lost(self, exc: Exception | None) -> None:
        self._drop_begun()
        super().connection_lost(exc)

    def _drop_begun(self) -> None:
        """Let nothing more be written for what is under way: the connection is gone, or about to go."""
        for cycle in self._begun:
            cycle.disconnected = True
            cycle.message_event.set()

    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be read as a request. A whole one before it, under way, is answered instead: it may have effects."""
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:
                self.cycle.keep_alive = False  # its answer ends the connection
                return
            self._drop_begun()
        body = answers.failed(str(BadRequest(msg)), perf_counter())
        self.transport.write(_REFUSAL % (len(body), body))
        self.transport.close()

    def shutdown(self) -> None:
        """Let a request that is under way be answered, close any other connection."""
        super().shutdown()
        self._await_body()

    def _await_body(self) -> None:
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self.loop.call_later(BODY_SECONDS, self._drop)

    def _drop(self) -> None:
        """Close the connection if the body of its last request is still not there, and none before it is under way."""
        if self.pipeline:
            self._await_body()
        elif self.cycle.more_body:
            self.transport.close()
