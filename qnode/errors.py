"""Everything that can go wrong in the world, as one tree.

    QnodeError
    ├── BadInput               400  Wrong input: …
    │   └── AlreadyExists      409  Wrong input: …
    ├── BadRequest             400  Bad request: …
    ├── RefusedBody            400  …
    │   └── HugeBody           400  … and the connection ends
    ├── MalformedBody          400  Format error in JSON body: …
    ├── MalformedParameters    400  Deserialize error in query parameters: …
    ├── ValidationFailed       422  Validation error in …: [path: message; …]
    ├── Unauthorized           401  … in plain text
    ├── Untrusted              403  … in plain text
    ├── NotFound               404  Not found: …
    ├── Forbidden              403  Forbidden: …
    ├── NeedsCluster           405  Qdrant is running in standalone mode
    ├── TimedOut               408  Timeout: …
    ├── RateLimited            429  Rate limiting exceeded: …
    ├── OutOfSpace             507  Insufficient storage: …
    ├── Unavailable            503  Shard temporarily unavailable: …
    │   └── NotPrimary         503  … certainly not taken; whoever is primary may take it
    ├── CannotStart              –  ends the process before it serves anything
    │   └── CannotJoin           –  … because the cluster that it asked does not take it in
    └── InternalError          500  Service internal error: …
        ├── UnknownOutcome     500  … logged, and nobody knows whether it will stay
        │   └── NotYetApplied  500  … it will stay, and is not known to be visible everywhere
        └── Corruption         500  … names the damaged file and the way out

A class knows the words in front of its text; which HTTP status it becomes is decided in one table in api.
`assert` is for mistakes of our own.
"""

from __future__ import annotations

from pathlib import Path


class QnodeError(Exception):
    """A fault of the world; `str(error)` is the text that a client reads."""

    prefix = ""

    def __init__(self, text: str) -> None:
        super().__init__(self.prefix + text)


class BadInput(QnodeError):
    """The request is well-formed and asks for something that cannot be."""

    prefix = "Wrong input: "


class AlreadyExists(BadInput):
    """What should be made is there already."""


class BadRequest(QnodeError):
    """The request contradicts itself or a limit."""

    prefix = "Bad request: "


class RefusedBody(QnodeError):
    """The body is too large, or is not declared as JSON; it was not read."""


class HugeBody(RefusedBody):
    """The body is declared so large that it is not even read and dropped."""


class MalformedBody(QnodeError):
    """The body is not JSON, or not of the shape that the endpoint takes."""

    prefix = "Format error in JSON body: "


class MalformedParameters(QnodeError):
    """A query parameter cannot be read."""

    prefix = "Deserialize error in query parameters: "


class ValidationFailed(QnodeError):
    """The body was read, and a value in it is out of its bounds.

    `where` is "JSON body", "query parameters" or "path parameters"; `faults` are (path, message) pairs.
    """

    def __init__(self, faults: list[tuple[str, str]], where: str = "JSON body") -> None:
        listed = "; ".join(f"{path}: {message}" if path else message for path, message in faults)
        super().__init__(f"Validation error in {where}: [{listed}]")


class Unauthorized(QnodeError):
    """The request shows no key, or none that is known."""


class Untrusted(QnodeError):
    """The request shows a token that is not, or no longer, to be trusted."""


class NotFound(QnodeError):
    """What was named is not there."""

    prefix = "Not found: "


class Forbidden(QnodeError):
    """The caller may not do this."""

    prefix = "Forbidden: "


class NeedsCluster(QnodeError):
    """A cluster operation was asked of a node that runs alone."""

    def __init__(self) -> None:
        super().__init__("Qdrant is running in standalone mode")


class TimedOut(QnodeError):
    """The time that the caller gave ran out."""

    prefix = "Timeout: "


class RateLimited(QnodeError):
    """Too many requests; `retry_after_seconds` is None when no waiting would help."""

    prefix = "Rate limiting exceeded: "

    def __init__(self, text: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class OutOfSpace(QnodeError):
    """The disk is full, or a quota is used up. Nothing was written; reads go on."""

    prefix = "Insufficient storage: "


class Unavailable(QnodeError):
    """The shard cannot answer now; later it may."""

    prefix = "Shard temporarily unavailable: "


class NotPrimary(Unavailable):
    """The node is not the shard's primary. Nothing of the write was taken: it may be sent to whoever is."""


class CannotStart(QnodeError):
    """The node cannot start as it is configured, or where it is; the text is one line for the operator."""


class CannotJoin(CannotStart):
    """The cluster refuses this node, and would again: its id, its storage or its address is another member's."""


class InternalError(QnodeError):
    """Something that should not happen did."""

    prefix = "Service internal error: "


class UnknownOutcome(InternalError):
    """A write was logged, and whether it will stay is not known here: to send it again might write it twice."""


class NotYetApplied(UnknownOutcome):
    """The write is committed and will stay, but it is not known to be visible on every replica. `op_num` is its number."""

    def __init__(self, op_num: int, text: str) -> None:
        super().__init__(text)
        self.op_num = op_num


class Corruption(InternalError):
    """A file does not hold what was written to it. Names the file, what is wrong, and the way out."""

    def __init__(self, path: Path | str, fault: str, way_out: str) -> None:
        super().__init__(f"{path} is damaged: {fault}. {way_out}")
        self.path = Path(path)
        self.fault = fault
        self.way_out = way_out
