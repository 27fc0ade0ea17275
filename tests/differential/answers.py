"""What a call gives, in a form that a node's answers and local mode's share, and when two of them are the same.

Left out of comparisons: what local mode does not keep (`version`, `shard_key`, `usage`), and the wording of its errors, which is its own.
Equal scores may stand in any order, and any of them may be the ones that a limit cuts off: Qdrant promises neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from qdrant_client.http.exceptions import UnexpectedResponse

TOLERANCE = 1e-4
NOT_KEPT = ("version", "shard_key", "usage", "order_value")


class Refused:
    """An error that a client has made."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Refused({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused)

    __hash__ = None  # type: ignore[assignment]


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or that it is refused."""
    try:
        return plain(call())
    except UnexpectedResponse as error:
        if (error.status_code or 500) >= 500:
            raise
        return Refused(str(error))
    except (ValueError, KeyError) as error:
        return Refused(str(error))


def plain(value: Any) -> Any:
    """Turn the client's models into dicts."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if not hasattr(value, "model_dump"):
        return value
    shown = value.model_dump()
    if "operation_id" in shown:
        return "written"
    if "pairs" in shown:
        return _by_row((pair["a"], pair["b"], pair["score"]) for pair in shown["pairs"])
    if "offsets_row" in shown:
        ids = shown["ids"]
        places = zip(shown["offsets_row"], shown["offsets_col"], shown["scores"], strict=True)
        return _by_row((ids[row], ids[col], score) for row, col, score in places)
    return without(shown, NOT_KEPT)


def _by_row(entries: Iterable[tuple[Any, Any, float]]) -> dict[str, list[dict[str, Any]]]:
    """A matrix of distances as a list of hits for each of its points."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for one, other, score in entries:
        rows.setdefault(str(one), []).append({"id": other, "score": score})
    return rows


def without(value: Any, names: tuple[str, ...]) -> Any:
    """Leave out what local mode does not keep."""
    if isinstance(value, dict):
        return {name: without(inner, names) for name, inner in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value


def same(ours: Any, theirs: Any) -> bool:
    """Whether two answers say the same."""
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        if _is_ranked(ours) and _is_ranked(theirs):
            return _same_hits(ours, theirs)
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and bool(ours == theirs)


def _is_ranked(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) and {"id", "score"} <= value.keys() for value in values)


def _same_hits(ours: list[Any], theirs: list[Any]) -> bool:
    if len(ours) != len(theirs):
        return False
    if not all(same(float(one["score"]), float(other["score"])) for one, other in zip(ours, theirs, strict=True)):
        return False
    known = {str(hit["id"]): hit for hit in theirs}
    if len(known) < len(theirs) or len({str(hit["id"]) for hit in ours}) < len(ours):
        return False
    # Hits of one side alone tie with an end of the list, where a limit or an offset cuts.
    ends = [float(theirs[0]["score"]), float(theirs[-1]["score"])]
    return all(
        same(hit, known[str(hit["id"])])
        if str(hit["id"]) in known
        else any(same(float(hit["score"]), end) for end in ends)
        for hit in ours
    )


def short(value: Any) -> Any:
    """A value as a difference shows it: without what is not set, numbers cut."""
    if hasattr(value, "model_dump"):
        return short(value.model_dump(mode="json", exclude_none=True, by_alias=True))
    if isinstance(value, dict):
        return {name: short(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [short(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value


def where(ours: Any, theirs: Any, path: str = "") -> str:
    """The first place where two answers differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return next(
            (where(ours[name], theirs[name], f"{path}.{name}") for name in ours if not same(ours[name], theirs[name])),
            path,
        )
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next((where(one, other, f"{path}[{at}]") for at, (one, other) in pairs if not same(one, other)), path)
    return f"{path or 'all of it'}: {short(ours)} / {short(theirs)}"
