"""What the bodies of most reads have in common: limit, filter, search parameters, which parts of points to show.

`path` is the prefix under which Qdrant names a fault of the body.
"""

from __future__ import annotations

import math
from typing import Any

from qnode.errors import MalformedBody, ValidationFailed
from qnode.models import reading
from qnode.models.filter import Filter
from qnode.models.filter_json import parse_filter
from qnode.models.payload_path import PayloadPath, parse_path
from qnode.models.query import (
    ALL_PAYLOAD,
    ALL_VECTORS,
    DEFAULT_LIMIT,
    NO_PAYLOAD,
    NO_VECTORS,
    Idf,
    PayloadSelector,
    QuantizationParams,
    SearchParams,
    VectorSelector,
)

_DEFAULT_PARAMS = SearchParams()
_LARGEST_FLOAT32 = 3.4028234663852886e38


def limit_of(value: object, path: str, default: int = DEFAULT_LIMIT, *, name: str = "limit", least: int = 1) -> int:
    """Read how many are wanted."""
    if value is None:
        return default
    limit = reading.unsigned(value)
    if limit < least:
        raise ValidationFailed([(f"{path}{name}", f"value {limit} invalid, must be {least} or larger")])
    return limit


def filter_of(given: dict[str, Any], path: str) -> Filter | None:
    """Read the filter; one without conditions passes everything, so it is as good as none."""
    value = given.get("filter")
    read = None if value is None else parse_filter(value, f"{path}filter")
    return None if read is None or read.is_empty else read


def offset_of(given: dict[str, Any]) -> int:
    """Read how many of the first are left out."""
    offset = given.get("offset")
    return 0 if offset is None else reading.unsigned(offset)


def threshold_of(given: dict[str, Any]) -> float | None:
    """Read which score a hit must be better than; as float32 has it."""
    threshold = given.get("score_threshold")
    if threshold is None:
        return None
    real = reading.number(threshold)
    return real if abs(real) <= _LARGEST_FLOAT32 else math.copysign(math.inf, real)


def search_params_of(value: object, path: str) -> SearchParams:
    """Read how hard to try."""
    if value is None:
        return _DEFAULT_PARAMS
    given = reading.mapping(value, "struct SearchParams")
    params = reading.fields(
        given, {"hnsw_ef": reading.unsigned, "exact": reading.boolean, "indexed_only": reading.boolean}
    )
    faults = reading.section_faults(f"{path}params", params, {"hnsw_ef": (1, None)})
    quantization = reading.fields(
        reading.first_of(given, "quantization", "quantization_config") or {},
        {"ignore": reading.boolean, "rescore": reading.boolean, "oversampling": reading.number},
    )
    faults += reading.section_faults(f"{path}params.quantization", quantization, {"oversampling": (1.0, None)})
    acorn = reading.fields(given.get("acorn") or {}, {"enable": reading.boolean, "max_selectivity": reading.number})
    faults += reading.section_faults(f"{path}params.acorn", acorn, {"max_selectivity": (0.0, 1.0)})
    reading.raise_faults(faults)
    idf = _idf_of(given.get("idf"), path)
    return SearchParams(quantization=QuantizationParams(**quantization), idf=idf, **params)


def _idf_of(value: object, path: str) -> Idf | None:
    """Read among which points indices are counted."""
    if value is None:
        return None
    if value == "global":
        return Idf()
    if isinstance(value, dict) and isinstance(corpus := value.get("corpus"), dict):
        return Idf(parse_filter(corpus, f"{path}params.idf.corpus"))
    raise MalformedBody("data did not match any variant of untagged enum IdfParams")


def payload_selector_of(value: object, default: PayloadSelector) -> PayloadSelector:
    """Read which parts of payloads to show."""
    if value is None:
        return default
    if value is True:
        return ALL_PAYLOAD
    if value is False:
        return NO_PAYLOAD
    if isinstance(value, list):
        return PayloadSelector(True, include=_paths(value))
    if isinstance(value, dict):
        include, exclude = value.get("include"), value.get("exclude")
        if include is not None and exclude is None:
            return PayloadSelector(True, include=_paths(include))
        if exclude is not None and include is None:
            return PayloadSelector(True, exclude=_paths(exclude))
    raise MalformedBody("data did not match any variant of untagged enum WithPayloadInterface")


def _paths(value: object) -> tuple[PayloadPath, ...]:
    return tuple(parse_path(path) for path in reading.texts(value))


def vector_selector_of(given: dict[str, Any]) -> VectorSelector:
    """Read which vectors to show."""
    value = given["with_vector"] if "with_vector" in given else given.get("with_vectors")
    if value is None or value is False:
        return NO_VECTORS
    if value is True:
        return ALL_VECTORS
    if isinstance(value, list):
        return VectorSelector(True, tuple(dict.fromkeys(reading.texts(value))))
    raise MalformedBody("data did not match any variant of untagged enum WithVector")
