"""Payload indexes and filtering: which points pass a filter, from durable postings and from the stored payloads."""

from qnode.index.fields.filtering import Filtering
from qnode.index.fields.indexes import FIELDS_FLAGS, POSTINGS_FLAGS, FieldIndexes, Staged
from qnode.index.fields.population import PayloadChange, Population, Selection

__all__ = [
    "FIELDS_FLAGS",
    "POSTINGS_FLAGS",
    "FieldIndexes",
    "Filtering",
    "PayloadChange",
    "Population",
    "Selection",
    "Staged",
]
