"""What the index must know about each named vector: the effective settings, defaults filled in.

`collection` derives them from what the user sent (collection-wide settings overlaid by the vector's own).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Distance(StrEnum):
    """The metric. Inside, a similarity is always larger-is-better: Euclid -Σ(a-b)², Manhattan -Σ|a-b|."""

    COSINE = "Cosine"
    DOT = "Dot"
    EUCLID = "Euclid"
    MANHATTAN = "Manhattan"

    @property
    def smaller_is_better(self) -> bool:
        """Whether the score that users see ascends."""
        return self in (Distance.EUCLID, Distance.MANHATTAN)


class Datatype(StrEnum):
    """How a component is stored. uint8 truncates, then clamps to 0..255."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"


class QuantizationKind(StrEnum):
    """Which codes the user asked for; without, the index chooses codes of its own and always rescores."""

    SCALAR = "scalar"
    BINARY = "binary"
    TURBO = "turbo"


@dataclass(frozen=True, slots=True)
class Quantization:
    """The user's quantization settings. `quantile` is of |x|, scalar only; `two_bits`: more than one for a component, binary only."""

    kind: QuantizationKind
    quantile: float | None = None
    two_bits: bool = False


@dataclass(frozen=True, slots=True)
class VectorParams:
    """One named dense vector ("" is the unnamed one). `slot` is its number for life in the collection.

    multivector: a point has any number of rows of this size, and its score is max_sim: for each row of the query the most
    similar of them, summed up.
    """

    name: str
    slot: int
    size: int
    distance: Distance
    datatype: Datatype = Datatype.FLOAT32
    m: int = 16
    ef_construct: int = 100
    full_scan_threshold_kb: int = 10_000
    max_indexing_threads: int = 0
    quantization: Quantization | None = None
    on_disk: bool = False
    multivector: bool = False


@dataclass(frozen=True, slots=True)
class SparseParams:
    """One named sparse vector. `slot` is its number for life, counted together with those of dense vectors.

    idf: a query's weights are multiplied by how rare their indices are.
    """

    name: str
    slot: int
    idf: bool = False
    datatype: Datatype = Datatype.FLOAT32

    @property
    def distance(self) -> Distance:
        """Sparse vectors are compared by their dot product alone."""
        return Distance.DOT


SlotParams = VectorParams | SparseParams


@dataclass(frozen=True, slots=True)
class IndexParams:
    """All that a shard's index is configured by. Sizes in KB of vectors, as Qdrant counts them.

    indexing_threshold_kb 0 means: never build a graph.
    """

    vectors: tuple[VectorParams, ...]
    indexing_threshold_kb: int = 10_000
    deleted_threshold: float = 0.2
    vacuum_min_vector_number: int = 1000
    max_segment_size_kb: int | None = None
    default_segment_number: int = 0
    sparse: tuple[SparseParams, ...] = ()
    next_slot: int = 0
    """Not 0 where vectors were added or taken away: then all slots that were ever given are below it."""
    prevent_unoptimized: bool = False

    @property
    def slots_given(self) -> int:
        """How many slots were ever given; a record of a point has so many."""
        return max([self.next_slot, *(params.slot + 1 for params in self.by_name.values())])

    @property
    def by_name(self) -> dict[str, SlotParams]:
        """Everything that a point can have a vector for."""
        slots: tuple[SlotParams, ...] = self.vectors + self.sparse
        return {params.name: params for params in slots}
