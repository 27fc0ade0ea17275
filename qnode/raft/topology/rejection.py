"""Why a command changed nothing, as a value that reaches the proposer.

Inside the rules a rejection is raised as `Refused`, which `apply_command` catches: it never leaves this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import orjson

from qnode.errors import AlreadyExists, BadRequest, InternalError, NotFound, QnodeError


class Reason(StrEnum):
    """exists: the name is taken; missing: what was named is not there; outdated: a guard no longer holds; refused: a rule."""

    EXISTS = "exists"
    MISSING = "missing"
    OUTDATED = "outdated"
    REFUSED = "refused"


_ERRORS: dict[Reason, type[QnodeError]] = {
    Reason.EXISTS: AlreadyExists,
    Reason.MISSING: NotFound,
    Reason.OUTDATED: InternalError,
    Reason.REFUSED: BadRequest,
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command changed nothing; `text` says why in a client's words."""

    reason: Reason
    text: str

    def error(self) -> QnodeError:
        """Make the error that a client is told."""
        return _ERRORS[self.reason](self.text)


class Refused(Exception):
    """Leaves a rule early."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.rejected = Rejected(reason, text)


def result_to_bytes(rejected: Rejected | None) -> bytes:
    """Write what `result_from_bytes` reads."""
    return orjson.dumps(None if rejected is None else [rejected.reason, rejected.text])


def result_from_bytes(value: bytes) -> Rejected | None:
    """Read what became of a command."""
    content = orjson.loads(value)
    return None if content is None else Rejected(Reason(content[0]), content[1])
