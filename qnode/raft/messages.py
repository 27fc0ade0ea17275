"""What peers say to each other, as msgpack of plain values. Pure.

A message is a map: "v" the format, "from" the incarnation of the sender's journal, "type", and the fields of the type. Nothing of
it is ever evaluated: bytes that are not exactly of the shape below are refused before anybody looks at them.

    request_vote          term, last_log_index, last_log_term         pysyncobj's
    response_vote         term                                        pysyncobj's
    pre_vote              term, last_log_index, last_log_term         would you vote for me in this term?
    pre_vote_granted      term
    stale_term            term                                        you are behind this term
    append_entries        term, commit_index, prevLogIdx, prevLogTerm, entries
    install_snapshot      term, commit_index, index, offset, total, data
    snapshot_part         term, index, offset                         so many bytes of the snapshot are here
    next_node_idx         term, next_node_idx, reset, success         pysyncobj's, with the term in which it was said
    apply_command         command, request_id                         pysyncobj's
    apply_command_response  request_id, and error or log_idx, log_term
    timeout_now           term                                        pysyncobj's: campaign now
    lease_offer           term, commit, at, age, heard                see `lease`; a peer that does not know it passes it over
    lease_answer          term, at, heard
    not_a_member          nothing: the receiver was removed, or its journal is not the voter's
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack

from qnode.raft.commands import MAX_COMMAND_BYTES, decode
from qnode.raft.membership import is_id

FORMAT_VERSION: Final = 1
LARGEST_NUMBER: Final = 2**63 - 1

Message = dict[str, Any]


class MalformedMessage(Exception):
    """Bytes that no peer of this version says."""


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_NUMBER


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_data(value: object) -> bool:
    return type(value) is bytes


def _is_proposal(value: object) -> bool:
    """Say whether a value is a command that somebody may ask the leader for."""
    if type(value) is not bytes:
        return False
    try:
        return decode(value) is not None
    except ValueError:
        return False


def _is_entries(value: object) -> bool:
    return type(value) is list and all(_is_entry(entry) for entry in value)


def _is_entry(value: object) -> bool:
    match value:
        case [bytes(command), index, term] if _is_number(index) and _is_number(term):
            if len(command) > MAX_COMMAND_BYTES:
                return False
            try:
                decode(command)
            except ValueError:
                return False
            return True
    return False


Check = Callable[[object], bool]

_POSITION: Final[Mapping[str, Check]] = {
    "term": _is_number,
    "last_log_index": _is_number,
    "last_log_term": _is_number,
}
_TERM: Final[Mapping[str, Check]] = {"term": _is_number}

_FIELDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "request_vote": _POSITION,
    "response_vote": _TERM,
    "pre_vote": _POSITION,
    "pre_vote_granted": _TERM,
    "stale_term": _TERM,
    "append_entries": {
        "term": _is_number,
        "commit_index": _is_number,
        "prevLogIdx": _is_number,
        "prevLogTerm": _is_number,
        "entries": _is_entries,
    },
    "install_snapshot": {
        "term": _is_number,
        "commit_index": _is_number,
        "index": _is_number,
        "offset": _is_number,
        "total": _is_number,
        "data": _is_data,
    },
    "snapshot_part": {"term": _is_number, "index": _is_number, "offset": _is_number},
    "next_node_idx": {
        "term": _is_number,
        "next_node_idx": _is_number,
        "reset": _is_flag,
        "success": _is_flag,
    },
    "apply_command": {"command": _is_proposal, "request_id": _is_number},
    "apply_command_response": {"request_id": _is_number},
    "timeout_now": _TERM,
    "lease_offer": {"term": _is_number, "commit": _is_number, "at": _is_number, "age": _is_number, "heard": _is_number},
    "lease_answer": {"term": _is_number, "at": _is_number, "heard": _is_number},
    "not_a_member": {},
}
_OUTCOMES: Final[tuple[Mapping[str, Check], ...]] = (
    {"error": _is_number},
    {"log_idx": _is_number, "log_term": _is_number},
)


def encode(message: Message, incarnation: int) -> bytes:
    """Write a message as its sender says it."""
    packed: bytes = msgpack.packb({"v": FORMAT_VERSION, "from": incarnation, **message})
    return packed


def read(data: bytes) -> tuple[int, Message]:
    """Give the sender's incarnation and the message; raise MalformedMessage."""
    try:
        message = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"no message: {error}") from error
    if type(message) is not dict or message.pop("v", None) != FORMAT_VERSION:
        raise MalformedMessage("no message of this format")
    incarnation, kind = message.pop("from", None), message.get("type")
    if not is_id(incarnation) or type(kind) is not str or kind not in _FIELDS:
        raise MalformedMessage("no message of a known type")
    fields = {name: value for name, value in message.items() if name != "type"}
    shapes: list[Mapping[str, Check]] = [_FIELDS[kind]]
    if kind == "apply_command_response":
        shapes = [{**_FIELDS[kind], **outcome} for outcome in _OUTCOMES]
    if not any(_fits(fields, shape) for shape in shapes):
        raise MalformedMessage(f"a {kind} of another shape")
    if kind == "append_entries":
        _check_order(message)
    return incarnation, message


def _fits(fields: Mapping[str, Any], shape: Mapping[str, Check]) -> bool:
    return fields.keys() == shape.keys() and all(check(fields[name]) for name, check in shape.items())


def _check_order(message: Message) -> None:
    """Refuse entries that do not follow each other, and what they are said to follow."""
    index, term = message["prevLogIdx"], message["prevLogTerm"]
    for _, its_index, its_term in message["entries"]:
        if its_index != index + 1 or not term <= its_term <= message["term"]:
            raise MalformedMessage("entries out of order")
        index, term = its_index, its_term
