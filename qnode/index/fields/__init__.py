"""Payload indexes and filtering: which points pass a filter, from durable postings and from the stored payloads."""

from qnode.index.fields.audit import posting_faults
from qnode.index.fields.filtering import Filtering
from qnode.index.fields.indexes import FIELDS_FLAGS, POSTINGS_FLAGS, FieldIndexes, Staged
from qnode.index.fields.points import FieldPoints, PayloadChange, Selection

__all__ = [
    "FIELDS_FLAGS",
    "POSTINGS_FLAGS",
    "FieldIndexes",
    "FieldPoints",
    "Filtering",
    "PayloadChange",
    "Selection",
    "Staged",
    "posting_faults",
]
