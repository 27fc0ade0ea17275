"""Bodies of reads that order, count, group or sample points, as orjson parsed them, to values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qnode.api.read_parts_json import filter_of, limit_of, payload_selector_of, vector_selector_of
from qnode.api.shard_choice_json import choice_of
from qnode.errors import BadInput, MalformedBody
from qnode.models import reading
from qnode.models.datetimes import parse_datetime
from qnode.models.grouping import Grouping, Lookup
from qnode.models.payload_path import parse_path
from qnode.models.query import ALL_PAYLOAD, UNNAMED
from qnode.models.reads import Direction, FacetRequest, MatrixRequest, OrderedRequest

Request = TypeVar("Request")

DEFAULT_GROUP_SIZE = 3
DEFAULT_SAMPLE = 10
DEFAULT_NEIGHBOURS = 3

_DIRECTION = reading.one_of(*Direction)


@dataclass(frozen=True, slots=True, eq=False)
class GroupsBody(Generic[Request]):
    """A search whose hits are to be grouped."""

    request: Request
    grouping: Grouping


def parse_ordered(given: dict[str, Any]) -> OrderedRequest:
    """Read a scroll that is ordered by a field."""
    if given.get("offset") is not None:
        raise BadInput(
            "Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from` "
            "and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value"
        )
    field, direction, start_from = parse_order_by(given["order_by"])
    return OrderedRequest(
        field,
        direction,
        start_from,
        limit_of(given.get("limit"), "scroll_request."),
        filter_of(given, "scroll_request."),
        payload_selector_of(given.get("with_payload"), ALL_PAYLOAD),
        vector_selector_of(given),
        choice_of(given),
    )


def parse_order_by(value: object) -> tuple[str, Direction, int | float | None]:
    """Read by which field, in which direction, and from which value on."""
    if isinstance(value, str):
        return _path(value), Direction.ASCENDING, None
    if not isinstance(value, dict):
        raise MalformedBody("data did not match any variant of untagged enum OrderByInterface")
    field = _path(reading.required(value, "key"))
    direction = value.get("direction")
    return (
        field,
        Direction.ASCENDING if direction is None else Direction(_DIRECTION(direction)),
        _start(value.get("start_from")),
    )


def parse_facet(body: object) -> FacetRequest:
    """Read which field's values to count."""
    given = reading.mapping(body, "struct FacetRequest")
    key = reading.required(given, "key")
    if given.get("exact") is not None:
        reading.boolean(given["exact"])  # always exact: the postings know
    return FacetRequest(
        _path(key),
        limit_of(given.get("limit"), "facet_request."),
        filter_of(given, "facet_request."),
        choice_of(given),
    )


def parse_matrix(body: object) -> MatrixRequest:
    """Read of how many points to compare which vectors."""
    given, path = reading.mapping(body, "struct SearchMatrixRequest"), "search_request."
    using = given.get("using")
    return MatrixRequest(
        UNNAMED if using is None else reading.text(using),
        limit_of(given.get("sample"), path, DEFAULT_SAMPLE, name="sample", least=2),
        limit_of(given.get("limit"), path, DEFAULT_NEIGHBOURS),
        filter_of(given, path),
        choice_of(given),
    )


def parse_groups(body: object, parse: Callable[[object, str], Request], *, is_old: bool) -> GroupsBody[Request]:
    """Read a search, which `parse` reads, and by what its hits are grouped; `is_old`: the limits must be there."""
    given = reading.mapping(body, "struct SearchGroupsRequest" if is_old else "struct QueryGroupsRequest")
    for name in ("group_by", "group_size", "limit") if is_old else ("group_by",):
        reading.required(given, name)
    path = "search_group_request."
    limit = limit_of(given.get("limit"), f"{path}group_request.")
    size = limit_of(given.get("group_size"), f"{path}group_request.", DEFAULT_GROUP_SIZE, name="group_size")
    request = parse({name: value for name, value in given.items() if name != "offset"} | {"limit": limit}, path)
    grouping = Grouping(parse_path(reading.text(given["group_by"])), limit, size, _lookup(given.get("with_lookup")))
    return GroupsBody(request, grouping)


def _lookup(value: object) -> Lookup | None:
    if value is None:
        return None
    if isinstance(value, str):
        return Lookup(value)
    if not isinstance(value, dict):
        raise MalformedBody("data did not match any variant of untagged enum WithLookupInterface")
    return Lookup(
        reading.text(reading.required(value, "collection")),
        payload_selector_of(value.get("with_payload"), ALL_PAYLOAD),
        vector_selector_of(value),
    )


def _path(value: object) -> str:
    return parse_path(reading.text(value)).text


def _start(value: object) -> int | float | None:
    if value is None:
        return None
    if type(value) is int:
        return value
    if isinstance(value, str):
        if (microseconds := parse_datetime(value)) is not None:
            return microseconds
    elif type(value) is float:
        return reading.number(value)
    raise MalformedBody("data did not match any variant of untagged enum StartFrom")
