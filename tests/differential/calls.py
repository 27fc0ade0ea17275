"""Random calls of the client library: the name of a method, and its arguments but for the collection."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from tests.differential.queries import Queries
from tests.differential.values import IDS, MISSING, Values

Call = tuple[str, dict[str, Any]]


class Calls:
    """Makes calls about a collection; `other`: another collection, with points under the same ids."""

    def __init__(self, values: Values, other: str) -> None:
        self.values = values
        self.rng = values.rng
        self.other = other
        self.queries = Queries(values, other)

    def any(self) -> Call:
        chance = self.rng.random()
        if chance < 0.03:
            return self.wrong()
        if chance < 0.07:
            return "batch_update_points", {"update_operations": self.operations()}
        if chance < 0.1:
            return self.reshape()
        return self.write() if chance < 0.4 else self.read()

    # Writes

    def write(self) -> Call:
        values, rng = self.values, self.rng
        keys = ["n", "k", "o.x", "o.y", "parts[].q", "z", "t", "city"]
        match rng.randrange(12):
            case 0 | 1 | 2:
                return "upsert", {"points": [values.point(each) for each in values.ids()], **self.condition()}
            case 3 | 4:
                return "upsert", {"points": self.columns(), **self.condition()}
            case 5:
                # Seldom by filter, which often takes most points away.
                few = models.PointIdsList(points=values.known_ids())
                return "delete", {"points_selector": self.selector() if rng.random() < 0.4 else few}
            case 6:
                points = [models.PointVectors(id=each, vector=values.vector_struct()) for each in values.known_ids()]
                return "update_vectors", {"points": points, "update_filter": rng.choice([None, None, values.filter()])}
            case 7:
                # By filter: local mode refuses unknown ids, Qdrant passes over them.
                return "delete_vectors", {
                    "points": models.FilterSelector(filter=values.filter()),
                    "vectors": [values.name()],
                }
            case 8:
                # Without nulls: local mode stores them, Qdrant takes the key away.
                payload = {name: value for name, value in values.shared_payload().items() if value is not None}
                key = rng.choice([None, None, "o", "o.y", "fresh", "parts[]"])
                return "set_payload", {"payload": payload, "points": self.selector(), "key": key}
            case 9:
                return "overwrite_payload", {"payload": values.shared_payload(), "points": self.selector()}
            case 10:
                return "delete_payload", {"keys": rng.sample(keys, 2), "points": self.selector()}
            case _:
                return "clear_payload", {"points_selector": self.selector()}

    def condition(self) -> dict[str, Any]:
        """What makes an upsert conditional."""
        chance = self.rng.random()
        if chance < 0.6:
            return {}
        if chance < 0.8:
            return {"update_filter": self.values.filter()}
        return {"update_mode": self.rng.choice(list(models.UpdateMode))}

    def columns(self) -> models.Batch:
        ids = self.values.ids()
        names = self.rng.sample(self.values.names, self.rng.randint(1, len(self.values.names)))
        columns: Any = {name: [self.values.vector(name) for _ in ids] for name in names}
        vectors = columns if self.values.is_named else columns[""]
        return models.Batch(ids=ids, vectors=vectors, payloads=[self.values.payload() for _ in ids])

    def selector(self) -> Any:
        if self.rng.random() < 0.6:
            return models.PointIdsList(points=self.values.known_ids())
        return models.FilterSelector(filter=self.values.filter())

    def operations(self) -> list[Any]:
        made: list[Any] = []
        values = self.values
        for _ in range(self.rng.randint(1, 4)):
            points = models.PointsList(points=[values.point(each) for each in values.ids()])
            fields = models.SetPayload(payload={"n": self.rng.randrange(9)}, filter=values.filter())
            gone = models.DeletePayload(keys=["n", "o.x"], filter=values.filter())
            cleared = models.FilterSelector(filter=values.filter())
            plain = models.DeleteVectors(filter=values.filter(), vector=[values.name()])
            made.append(
                self.rng.choice(
                    [
                        models.UpsertOperation(upsert=points),
                        models.DeleteOperation(delete=models.PointIdsList(points=values.ids())),
                        models.SetPayloadOperation(set_payload=fields),
                        models.OverwritePayloadOperation(overwrite_payload=fields),
                        models.DeletePayloadOperation(delete_payload=gone),
                        models.ClearPayloadOperation(clear_payload=cleared),
                        models.DeleteVectorsOperation(delete_vectors=plain),
                    ]
                )
            )
        if self.rng.random() < 0.3:
            # The first of all: the points must be there, or local mode updates the others and a node none.
            vectors = [models.PointVectors(id=each, vector=values.vector_struct()) for each in values.known_ids()]
            made.insert(0, models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=vectors)))
        return made

    def reshape(self) -> Call:
        """Add a vector to the collection, or take one away; `Values` is told."""
        values, rng = self.values, self.rng
        added = [name for name in ("late", "later") if name not in values.names]
        if added and rng.random() < 0.6:
            return "create_vector_name", {"vector_name": added[0], "vector_name_config": self.late_vector(added[0])}
        present = [name for name in ("late", "later") if name in values.names]
        if not present:
            return "get_collection_aliases", {}
        name = rng.choice(present)
        del (values.dense if name in values.dense else values.sparse)[name]  # type: ignore[attr-defined]
        return "delete_vector_name", {"vector_name": name}

    def late_vector(self, name: str) -> Any:
        """How a vector that is added is made; `Values` is told."""
        values = self.values
        if self.rng.random() < 0.3:
            sparse = values.sparse[name] = values.sparse_params()
            return models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=sparse.modifier))
        params = values.dense[name] = values.dense_params()
        config = models.DenseVectorConfig(
            size=params.size, distance=params.distance, multivector_config=params.multivector_config
        )
        return models.DenseVectorNameConfig(dense=config)

    # Reads

    def read(self) -> Call:
        values, rng = self.values, self.rng
        shown = {"with_payload": values.with_payload(), "with_vectors": values.with_vectors()}
        match rng.randrange(16):
            case 0 | 1 | 2 | 3 | 4:
                return "query_points", with_the_clients_names(self.queries.query())
            case 5:
                requests = [models.QueryRequest(**self.queries.query()) for _ in range(3)]
                return "query_batch_points", {"requests": requests}
            case 6 | 7:
                asked = {"scroll_filter": values.optional_filter(), "limit": rng.choice((1, 4, 100))}
                if rng.random() < 0.5:
                    asked["offset"] = rng.choice(IDS)
                return "scroll", asked | shown
            case 8:
                order = self.queries.order(rng.choice(("own", "when", "marks")))
                return "scroll", {"order_by": order, "scroll_filter": values.optional_filter(), "limit": 7} | shown
            case 9:
                return "count", {"count_filter": values.optional_filter(), "exact": True}
            case 10 | 11:
                # Each id once: local mode gives a point as often as it is asked for, Qdrant once.
                return "retrieve", {"ids": values.ids()} | shown
            case 12:
                asked = {"key": rng.choice(("city", "n", "flag", "uid")), "facet_filter": values.optional_filter()}
                return "facet", asked | {"limit": rng.choice((1, 3, 100)), "exact": True}
            case 13 | 14:
                return "query_points_groups", self.groups()
        # All points: which ones a smaller sample has is left to chance.
        method = rng.choice(("search_matrix_pairs", "search_matrix_offsets"))
        asked = {"query_filter": values.optional_filter(), "sample": 1000, "limit": rng.choice((1, 3, 50))}
        return method, asked | {"using": values.name() or None}

    def groups(self) -> dict[str, Any]:
        rng, values = self.rng, self.values
        asked = with_the_clients_names(self.queries.simple() if rng.random() < 0.7 else self.queries.over_all())
        if isinstance(asked.get("query"), models.SampleQuery | models.ContextQuery):
            del asked["query"]  # the order of groups whose points tie is left to chance
        key = rng.choice(("n", "city", "k", "o.y.z", "parts[].q", "flag", "uid"))
        # Where a search depends on how many points it is asked for, or on which it may find, all of the groups: how often and for how much
        # it is asked is left to the server; local mode asks once, for everything.
        is_free = "prefetch" not in asked and getattr(asked.get("query"), "mmr", None) is None
        limit = rng.choice((1, 3, 100)) if is_free else 100
        asked |= {"group_by": key, "limit": limit, "group_size": rng.choice((1, 3))}
        if key in ("n", "city", "uid") and rng.random() < 0.5:
            whole = models.WithLookup(
                collection=self.other, with_payload=values.with_payload(), with_vectors=values.with_vectors()
            )
            asked["with_lookup"] = rng.choice([self.other, whole])
        return asked | {"with_payload": values.with_payload()}

    # What is refused

    def wrong(self) -> Call:
        values, rng = self.values, self.rng
        match rng.randrange(5):
            case 0:
                return "query_points", {"query": rng.choice(MISSING), "using": values.name() or None}
            case 1:
                points = [models.PointStruct(id=1, vector={"unknown": [1.0, 2.0]})]
                return "upsert", {"points": points}
            case 2:
                return "create_vector_name", {
                    "vector_name": values.name(),
                    "vector_name_config": models.DenseVectorNameConfig(
                        dense=models.DenseVectorConfig(size=999, distance=models.Distance.DOT)
                    ),
                }
            case 3:
                prefetch = models.Prefetch(query=values.vector(name := values.name()), using=name or None)
                return "query_points", {"prefetch": prefetch}
        return "query_points", {"query": models.FusionQuery(fusion=models.Fusion.RRF)}


def with_the_clients_names(asked: dict[str, Any]) -> dict[str, Any]:
    """Turn the fields of a request into the arguments of the client's method."""
    names = {"with_vector": "with_vectors", "filter": "query_filter", "params": "search_params"}
    return {names.get(name, name): value for name, value in asked.items()}
