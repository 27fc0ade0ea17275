"""qnode: a vector store that is one program and speaks Qdrant's REST API."""

__version__ = "0.1.0"

QDRANT_VERSION = "1.19.0"
"""The version of Qdrant's REST API that this program answers as."""
