"""Payload paths: `key(.key | [n] | [])*`, as filters, payload edits and payload indexes name a place in a payload.

A key is made of letters, digits, `_` and `-`, or is anything between double quotes. `a.b` goes through objects only:
it does not look into arrays, `a[].b` does. A key of digits is still a key.

Two ways to look at what a path reaches:

- `values_at`: the values themselves, arrays whole. What counts, or asks whether something is there (values_count,
  is_empty, is_null), looks at these.
- `elements_at`: the same, with each array replaced by its elements, one level deep. What compares (match, range, geo)
  and what a field index holds are these.

A path has at most MAX_STEPS steps, so walking one is bounded whatever a client sends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qnode.errors import MalformedBody

MAX_STEPS = 100

_CACHED_PATHS = 4096
_CACHED_TEXT_LENGTH = 256
_SHOWN_TEXT_LENGTH = 100
_MAX_INDEX = 2**64 - 1

_STEP = re.compile(r'(?:^|(?!^)\.)(?:([\w-]+)|"([^"]*)")|(?!^)\[([0-9]*)\]')


@dataclass(frozen=True, slots=True)
class PayloadPath:
    """A parsed path. Steps: a str is an object's key, an int an array's element, None every element (`[]`)."""

    text: str
    steps: tuple[str | int | None, ...]


def parse_path(text: str) -> PayloadPath:
    """Read a path; raise MalformedBody if it is none. Short paths are remembered."""
    return _parse_remembered(text) if len(text) <= _CACHED_TEXT_LENGTH else _parse(text)


def _parse(text: str) -> PayloadPath:
    steps: list[str | int | None] = []
    end = 0
    while end < len(text):
        found = _STEP.match(text, end)
        if found is None:
            break
        end = found.end()
        plain, quoted, index = found.groups()
        if index is None:
            steps.append(plain if plain is not None else quoted)
        else:
            steps.append(_index(index, text))
        if len(steps) > MAX_STEPS:
            raise MalformedBody(f"{_named(text)}, it has more than {MAX_STEPS} steps")
    if not text or end < len(text):
        raise MalformedBody(_named(text))
    return PayloadPath(text, tuple(steps))


_parse_remembered = lru_cache(maxsize=_CACHED_PATHS)(_parse)


def _index(digits: str, text: str) -> int | None:
    if not digits:
        return None
    # Twenty digits hold every index; int() of a longer text would take time that grows with its square.
    if len(digits.lstrip("0")) > 20 or int(digits) > _MAX_INDEX:
        raise MalformedBody(_named(text))
    return int(digits)


def _named(text: str) -> str:
    shown = text if len(text) <= _SHOWN_TEXT_LENGTH else text[:_SHOWN_TEXT_LENGTH] + "…"
    return f"Invalid json path: '{shown}'"


def values_at(payload: dict[str, Any], path: PayloadPath) -> list[Any]:
    """List the values that a path reaches, in the payload's order; an array reached is one value."""
    reached: list[Any] = [payload]
    for step in path.steps:
        if isinstance(step, str):
            reached = [value[step] for value in reached if isinstance(value, dict) and step in value]
        elif step is None:
            reached = [element for value in reached if isinstance(value, list) for element in value]
        else:
            reached = [value[step] for value in reached if isinstance(value, list) and step < len(value)]
        if not reached:
            break
    return reached


def elements_at(payload: dict[str, Any], path: PayloadPath) -> list[Any]:
    """List the values that a path reaches, the elements of an array (one level deep) in the array's place."""
    elements: list[Any] = []
    for value in values_at(payload, path):
        if isinstance(value, list):
            elements += value
        else:
            elements.append(value)
    return elements
