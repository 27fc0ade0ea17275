"""Changing a payload, and choosing a part of it: pure functions, the given payloads stay as they are.

New payloads share with the old ones whatever was not changed. The number of steps of a path is bounded
(`payload_path`), and so is the recursion here; how deep a payload itself is does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qnode.models.payload_path import PayloadPath
from qnode.models.query import PayloadSelector

Payload = dict[str, Any]
Steps = tuple[str | int | None, ...]


def set_payload(payload: Payload, addition: Payload, path: PayloadPath | None = None) -> Payload:
    """Merge an object into the payload, or into the object at a path: its keys replace, a null removes the key.

    On the way to the path missing and other values become objects, and arrays where an array is asked for; elements of
    an array are touched only where they exist.
    """
    if path is None:
        return _merged(payload, addition)
    edited: Payload = _edited(payload, path.steps, addition, _merged)
    return edited


def delete_paths(payload: Payload, paths: Iterable[PayloadPath]) -> Payload:
    """Remove what the paths reach: keys of objects, with a last `[]` all elements of an array.

    A path that ends in `[n]` removes nothing: the same request twice would remove two elements.
    """
    for path in paths:
        payload = _without(payload, path.steps)
    return payload


def select(payload: Payload, selector: PayloadSelector) -> Payload:
    """Choose the part of a payload that is to be returned.

    `include` keeps the listed paths with what leads to them, `exclude` drops them with what is below. Arrays are
    entered by `[]` only.
    """
    assert selector.enabled, "asked for a payload that nobody wants"
    if selector.include is not None:
        payload = _included(payload, _tree(selector.include))
    if selector.exclude is not None:
        payload = _excluded(payload, _tree(selector.exclude))
    return payload


def _merged(value: Any, addition: Payload) -> Payload:
    merged = dict(value) if isinstance(value, dict) else {}
    for key, added in addition.items():
        if added is None:
            merged.pop(key, None)
        else:
            merged[key] = added
    return merged


def _edited(value: Any, steps: Steps, given: Payload, edit: Callable[[Any, Payload], Payload]) -> Any:
    """Copy `value` with `edit` applied to what the steps reach in it."""
    if not steps:
        return edit(value, given)
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        copy = dict(value) if isinstance(value, dict) else {}
        copy[step] = _edited(copy.get(step), rest, given, edit)
        return copy
    if not isinstance(value, list):
        return []
    if step is None:
        return [_edited(element, rest, given, edit) for element in value]
    elements = list(value)
    if step < len(elements):
        elements[step] = _edited(elements[step], rest, given, edit)
    return elements


def _without(value: Any, steps: Steps) -> Any:
    """Copy `value` without what the steps reach in it."""
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if not isinstance(value, dict) or step not in value:
            return value
        if not rest:
            return {key: kept for key, kept in value.items() if key != step}
        return {**value, step: _without(value[step], rest)}
    if not isinstance(value, list):
        return value
    if step is None:
        return [_without(element, rest) for element in value] if rest else []
    if not rest or step >= len(value):
        return value
    return [*value[:step], _without(value[step], rest), *value[step + 1 :]]


Tree = dict[str | int | None, Any]
"""Paths by their steps; True stands for everything from here on."""


def _tree(paths: Iterable[PayloadPath]) -> Tree:
    root: Tree = {}
    for path in paths:
        node: Any = root
        for step in path.steps[:-1]:
            node = node.setdefault(step, {})
            if node is True:
                break
        else:
            node[path.steps[-1]] = True
    return root


def _included(value: Any, tree: Tree) -> Any:
    if isinstance(value, dict):
        return {
            key: inner if tree[key] is True else _included(inner, tree[key])
            for key, inner in value.items()
            if key in tree
        }
    if not isinstance(value, list):
        return value
    below = tree.get(None)
    if below is None:
        return []
    return value if below is True else [_included(element, below) for element in value]


def _excluded(value: Any, tree: Tree) -> Any:
    if isinstance(value, dict):
        return {
            key: _excluded(inner, tree[key]) if key in tree else inner
            for key, inner in value.items()
            if tree.get(key) is not True
        }
    below = tree.get(None) if isinstance(value, list) else None
    if below is None:
        return value
    return [] if below is True else [_excluded(element, below) for element in value]
