"""Answering at once: a small search is answered where its last byte is read, in one write.

To uvicorn a request is a task, three messages and two writes, which together cost as much as a search. Here the ordinary
way is put off until the body is there; if the application can answer in one call, uvicorn never hears of the request. Where the
answer is on its way from other nodes it is written when it arrives, and until then the request can still be handed over.

Invariants: only answers with status 200 are given here. A request that is in any way unusual (in chunks, large, with a
query string, with `Origin`, the last of its connection, …), whose answer is not quick, or that fails, goes the ordinary
way, as if this module were not there, with as much of its time as is left. Answers keep the order of the requests: nothing is
answered here while an earlier request of the connection is under way, and one that is awaited when the next begins is handed over.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, cast

from qnode.api.app import WAITED, AnswerNow, Application
from qnode.api.points import Withdraw
from qnode.api.protocol import EnvelopeProtocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_HEAD = b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


def protocol_of(application: Application) -> type[asyncio.Protocol]:
    """Give what speaks HTTP for an application."""
    return cast("type[asyncio.Protocol]", partial(DirectProtocol, application))


class DirectProtocol(EnvelopeProtocol):
    """One connection. While `_answer_now` is set, uvicorn has not heard of the request that is being read, or was read last.

    `_withdraw` is set while the answer to that one is awaited.
    """

    def __init__(
        self,
        application: Application,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._application = application
        self._answer_now: AnswerNow | None = None
        self._withdraw: Withdraw | None = None
        self._body = b""
        self._started = self._asked = 0.0

    def on_message_begin(self) -> None:
        self._give_up_waiting()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._answer_now = self._answering_now()
        if self._answer_now is None:
            super().on_headers_complete()
        else:
            self._body, self._started = b"", perf_counter()

    def on_body(self, body: bytes) -> None:
        if self._answer_now is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        if self._answer_now is not None:
            self._asked = perf_counter()
            answer = self._answer_now(self._body, self._started, self._answered)
            if isinstance(answer, bytes):
                self._answer_now = None
                self._write(answer)
                return
            if answer is not None:
                self._withdraw = answer
                return
            self._hand_over()
        super().on_message_complete()

    def shutdown(self) -> None:
        self._give_up_waiting()
        if self._answer_now is not None:
            self._hand_over()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._withdraw is not None:
            self._withdraw()
            self._withdraw = self._answer_now = None
        super().connection_lost(exc)

    def _answered(self, answer: bytes | None) -> None:
        """Take the answer that was awaited."""
        self._withdraw = None
        if answer is None:
            self._hand_over_whole()
        else:
            self._answer_now = None
            self._write(answer)

    def _give_up_waiting(self) -> None:
        if self._withdraw is not None:
            self._withdraw()
            self._withdraw = None
            self._hand_over_whole()

    def _hand_over_whole(self) -> None:
        """Tell uvicorn of a request that was read to its end."""
        self._hand_over()
        cast("dict[str, object]", self.scope)[WAITED] = perf_counter() - self._asked
        super().on_message_complete()

    def _answering_now(self) -> AnswerNow | None:
        is_under_way = self.cycle is not None and not self.cycle.response_complete
        if is_under_way or self.flow.write_paused or self.expect_100_continue:
            return None
        parser = self.parser
        if not parser.should_keep_alive() or parser.should_upgrade() or parser.get_http_version() != "1.1":
            return None
        return self._application.answering_now(parser.get_method(), self.url, self.headers)

    def _hand_over(self) -> None:
        """Tell uvicorn what was kept from it."""
        self._answer_now = None
        super().on_headers_complete()
        super().on_body(self._body)

    def _write(self, answer: bytes) -> None:
        fixed = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        self.transport.write(_HEAD % (fixed, len(answer), answer))
        self.on_response_complete()
