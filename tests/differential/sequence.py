"""One sequence: two collections, alike on a node and in local mode, and random calls of the first, each compared."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qdrant_client import QdrantClient, models

from tests.differential.answers import Refused, outcome, same, short, where
from tests.differential.calls import Calls
from tests.differential.values import IDS, INDEXES, OTHER_IDS, Values

EVERYTHING = {"limit": 1000, "with_payload": True, "with_vectors": True}
LATER_INDEXES = ["keyword", "integer", "float", "bool", "datetime", "geo", "uuid"]

READS = {"query_points", "query_batch_points", "query_points_groups", "search_matrix_pairs", "search_matrix_offsets"}
BREAKS_WITH = (TypeError, AttributeError, IndexError)
"""How local mode breaks over some searches of no points, and of points without the vector; a node has answered by then."""


class Difference(Exception):
    """A call that was answered in two ways."""


class Sequence:
    """The calls that a seed gives, to `node` and to local mode."""

    def __init__(self, node: QdrantClient, seed: str) -> None:
        self.node, self.seed = node, seed
        self.rng = random.Random(seed)
        self.name = f"sequence-{self.rng.randrange(2**40)}"
        self.other, self.alias = f"{self.name}-other", f"{self.name}-alias"
        self.values = Values(self.rng)
        self.calls = Calls(self.values, self.other)
        self.aliased = False
        self.shards = self.rng.randint(1, 2)

    def run(self, steps: int) -> None:
        """Make the calls; raise `Difference` at the first that is answered in two ways."""
        with quiet(), self.prepared() as local:
            for step in range(steps):
                self.values.known = [point.id for point in local.scroll(self.name, limit=1000, with_payload=False)[0]]
                if self.rng.random() < 0.04:
                    self.change_surroundings(local)
                name, arguments = self.calls.any()
                self.compare(local, name, arguments, step)

    @contextmanager
    def prepared(self) -> Iterator[QdrantClient]:
        local = QdrantClient(":memory:")
        try:
            points = [self.values.point(each, whole=True) for each in OTHER_IDS]
            # Most sequences begin with points: over few, most answers are empty, and alike for nothing.
            ids = self.rng.sample(IDS, self.rng.choice((0, 20, 28, len(IDS))))
            first = [self.values.point(each, whole=self.rng.random() < 0.7) for each in ids]
            vectors: Any = self.values.dense.get("", self.values.dense)
            for client in (self.node, local):
                for collection in (self.name, self.other):
                    client.create_collection(
                        collection,
                        vectors_config=vectors,
                        sparse_vectors_config=self.values.sparse or None,
                        shard_number=self.shards,
                    )
                client.upsert(self.other, points, wait=True)
            for client in (self.node, local):
                if first:
                    client.upsert(self.name, first, wait=True)
            for field, kind in INDEXES.items():
                self.node.create_payload_index(self.name, field, field_schema=kind, wait=True)
            yield local
        finally:
            for collection in (self.name, self.other):
                self.node.delete_collection(collection)
            local.close()

    def change_surroundings(self, local: QdrantClient) -> None:
        """Make or drop an index on the node alone, or an alias on both."""
        match self.rng.randrange(3):
            case 0:
                kind = self.rng.choice(LATER_INDEXES)
                self.node.create_payload_index(self.name, self.later_field(), field_schema=kind, wait=True)
            case 1:
                self.node.delete_payload_index(self.name, self.later_field(), wait=True)
            case _:
                made = models.CreateAlias(collection_name=self.name, alias_name=self.alias)
                gone = models.DeleteAlias(alias_name=self.alias)
                change: Any = (
                    models.DeleteAliasOperation(delete_alias=gone)
                    if self.aliased
                    else models.CreateAliasOperation(create_alias=made)
                )
                for client in (self.node, local):
                    client.update_collection_aliases([change])
                self.aliased = not self.aliased

    def later_field(self) -> str:
        return self.rng.choice(["k", "t", "place", "o.x", "o.y.z", "parts[].q", "z", "missing"])

    def compare(self, local: QdrantClient, name: str, arguments: dict[str, Any], step: int) -> None:
        collection = self.alias if self.aliased and self.rng.random() < 0.3 else self.name
        ours = outcome(lambda: getattr(self.node, name)(collection, **arguments))
        try:
            theirs = outcome(lambda: getattr(local, name)(collection, **arguments))
        except BREAKS_WITH:
            assert name in READS, name
            return
        said = f"seed {self.seed!r}, step {step}: {name} {short(arguments)}\n  vectors: {short(self.values.dense)} {short(self.values.sparse)}"
        if name == "query_points" and isinstance(arguments.get("query"), models.SampleQuery):
            ours, theirs = (sorted(each["points"], key=str) for each in (ours, theirs))
        if name == "query_points" and isinstance(arguments.get("query"), models.OrderByQuery | None):
            # All their scores are equal, but their order is promised.
            ours, theirs = (
                {**each, "ids": ids_of(each)} if isinstance(each, dict) else each for each in (ours, theirs)
            )
        if not same(ours, theirs) and not is_example_left_alone(ours, theirs, arguments):
            raise Difference(
                f"{said}\n  they differ in {where(ours, theirs)}\n  the node: {short(ours)}\nlocal mode: {short(theirs)}"
            )
        if ours == "written" or isinstance(ours, Refused):
            self.compare_points(local, said)

    def compare_points(self, local: QdrantClient, said: str) -> None:
        ours, theirs = (
            {str(point["id"]): point for point in outcome(lambda: one.scroll(self.name, **EVERYTHING))[0]}  # noqa: B023
            for one in (self.node, local)
        )
        for point in {*ours, *theirs}:
            if not same(ours.get(point), theirs.get(point)):
                left = short(ours.get(point)), short(theirs.get(point))
                raise Difference(f"{said} left\n  the node: {left[0]}\nlocal mode: {left[1]}")


def ids_of(answer: dict[str, Any]) -> list[str]:
    return [str(point["id"]) for point in answer["points"]]


def is_example_left_alone(ours: Any, theirs: Any, arguments: dict[str, Any]) -> bool:
    """Whether only the node has found an example to be missing: local mode looks up none where the prefetches have found nothing."""
    answers = theirs if isinstance(theirs, list) else [theirs]
    asked = "prefetch" in arguments or "requests" in arguments
    return asked and isinstance(ours, Refused) and "404" in ours.text and {"points": []} in answers


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of local mode, about what it does not do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
