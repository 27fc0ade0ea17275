"""Payload paths: `key(.key | [n] | [])*`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PayloadPath:
    """A parsed path. Steps: a str is an object's key, an int an array's element, None every element (`[]`)."""

    text: str
    steps: tuple[str | int | None, ...]
