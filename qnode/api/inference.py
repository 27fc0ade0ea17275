"""Vectors that are given as what they are made of: `{"text" | "image" | "object": …, "model": …, "options": …}`.

One model is built in, `qdrant/bm25`, which makes sparse vectors of texts. Left out: a service that knows other models.
"""

from __future__ import annotations

from collections.abc import Mapping

from qnode.errors import NoInference, ValidationFailed
from qnode.models import reading
from qnode.models.bm25 import MODEL, Bm25, parse_bm25
from qnode.models.query import SparseVector

_NOT_CONFIGURED = (
    "InferenceService is not initialized. Please check if it was properly configured and initialized during startup."
)


def is_source(value: object) -> bool:
    """Tell what a vector is to be made of from vectors, and from maps of named ones."""
    return isinstance(value, Mapping) and isinstance(value.get("model"), str)


def stored_vector(source: object, path: str) -> SparseVector:
    """Make the vector of a text that is stored; raise NoInference for another model than the built-in one."""
    model, text = _read(source, path)
    return SparseVector(*model.document(text))


def asked_vector(source: object, path: str) -> SparseVector:
    """Make the vector of a text that is asked for; raise NoInference for another model than the built-in one."""
    model, text = _read(source, path)
    return SparseVector(*model.query(text))


def _read(source: object, path: str) -> tuple[Bm25, str]:
    given = reading.mapping(source)
    if not given["model"]:
        raise ValidationFailed([(f"{path}.model", "value 0 invalid, must be at least 1 characters")])
    if given["model"].lower() != MODEL:
        raise NoInference(_NOT_CONFIGURED)
    if given.get("text") is None:
        if given.get("image") is not None or given.get("object") is not None:
            raise NoInference(f"Only text input is supported for {MODEL}.")
        raise reading.missing("text")
    return parse_bm25(given.get("options")), reading.text(given["text"])
