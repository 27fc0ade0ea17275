"""What filtering must know of the points of a shard, and what a write tells the indexes about them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lmdb
import numpy as np
import numpy.typing as npt

from qnode.models.point_id import PointKey

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.uint32]


class FieldStore(Protocol):
    """The store that the indexes live in; its environment may be exchanged between transactions."""

    path: Path
    read_only: bool
    env: lmdb.Environment
    postings: Any
    fields: Any

    def reading(self) -> AbstractContextManager[lmdb.Transaction]:
        """A read transaction."""


class FieldPoints(Protocol):
    """What filtering asks of the points of a shard; they may move on at any moment.

    Invariant: what it shows is committed, and `published` to the indexes; `applied_op` is set last.
    """

    @property
    def applied_op(self) -> int:
        """The last operation that the masks show; those below show at least that."""

    @property
    def live(self) -> Mask:
        """(capacity,) which numbers are points."""

    def with_vector(self, name: str) -> Mask:
        """(capacity,) which points have the named vector; none if there is no such vector."""

    def numbers_of(self, txn: lmdb.Transaction, keys: Iterable[PointKey]) -> Numbers:
        """The numbers of those keys that are points."""

    def keys_of(self, txn: lmdb.Transaction, numbers: Numbers) -> list[PointKey]:
        """The keys of these points; those that are gone are left out."""

    def payloads_of(self, txn: lmdb.Transaction, numbers: Numbers) -> list[bytes]:
        """The payloads of these points as JSON, in their order; `{}` for those that are gone."""

    def changed_since(self, op_num: int) -> Numbers | None:
        """The points that changed after op_num; None if that is too long ago to be known."""


@dataclass(frozen=True, slots=True)
class PayloadChange:
    """A point's payload before and after a write; None stands for no such point."""

    number: int
    old: dict[str, Any] | None
    new: dict[str, Any] | None


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The points that pass a filter. `mask` is (capacity,), shared with a cache: not to be written to."""

    mask: Mask
    count: int
