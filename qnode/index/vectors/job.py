"""What a builder is asked to do: a JSON file that the owner writes and the builder process reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from qnode.models.vector_params import (
    Datatype,
    Distance,
    Quantization,
    QuantizationKind,
    SlotParams,
    SparseParams,
    VectorParams,
)


@dataclass(frozen=True, slots=True)
class BuildSource:
    """One segment to take rows from.

    rows: how many count. alive: a file of `rows` bytes, 0 for dead. checksums: (first row, last row, checksum) as
    GrowingSegment.checksum gave them, checked before the rows are used; a sealed source is checked by its own.
    """

    directory: Path
    sealed: bool
    rows: int
    alive: Path
    checksums: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class BuildJob:
    """Gather the alive rows of `sources` into a sealed segment that appears at `output` in one step.

    parent: the process id that the builder must not outlive. threads: for the graph; graph False: only gather.
    """

    sources: tuple[BuildSource, ...]
    output: Path
    params: SlotParams
    parent: int
    threads: int = 1
    graph: bool = True

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: bytes) -> BuildJob:
        fields: dict[str, Any] = orjson.loads(text)
        fields["params"] = _params_of(fields["params"])
        fields["output"] = Path(fields["output"])
        fields["sources"] = tuple(
            BuildSource(
                Path(source["directory"]),
                source["sealed"],
                source["rows"],
                Path(source["alive"]),
                tuple((first, last, value) for first, last, value in source["checksums"]),
            )
            for source in fields["sources"]
        )
        return cls(**fields)


def _params_of(fields: dict[str, Any]) -> SlotParams:
    datatype = Datatype(fields.pop("datatype"))
    if "size" not in fields:
        return SparseParams(**fields, datatype=datatype)
    quantization, distance = fields.pop("quantization"), Distance(fields.pop("distance"))
    if quantization is not None:
        quantization = Quantization(
            QuantizationKind(quantization["kind"]), quantization["quantile"], quantization["two_bits"]
        )
    return VectorParams(**fields, distance=distance, datatype=datatype, quantization=quantization)
