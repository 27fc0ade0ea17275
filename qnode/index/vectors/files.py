"""Flat little-endian arrays in files: writing, mapping, checksums, and the description of a folder of them."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from qnode.disk import NewFile
from qnode.errors import Corruption

CHUNK_BYTES = 1 << 22

WAY_OUT_SEGMENT = "Restore the collection from a snapshot, or delete it and upload it again"


def map_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Map the start of a file read-only; raise Corruption if it is missing or too short."""
    wanted = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < wanted:
                raise Corruption(path, f"it has {size} bytes of {wanted}", WAY_OUT_SEGMENT)
            if wanted == 0:
                return np.empty(shape, dtype)
            mapped = mmap.mmap(file.fileno(), wanted, prot=mmap.PROT_READ)
    except FileNotFoundError as error:
        raise Corruption(path, "it is missing", WAY_OUT_SEGMENT) from error
    return np.frombuffer(mapped, dtype).reshape(shape)


def checksum_of(path: Path) -> str:
    """Return the XXH3 of a whole file, in hexadecimal."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def bytes_of(values: npt.NDArray[Any]) -> memoryview:
    """Return an array's bytes, without a copy if it is contiguous."""
    flat: Any = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return memoryview(flat)


class ArrayWriter:
    """Writes one array in pieces, keeping its checksum; `close` makes it durable."""

    def __init__(self, path: Path) -> None:
        self.path, self.bytes = path, 0
        self._digest = xxhash.xxh3_64()
        self._file = NewFile(path)

    def write(self, values: npt.NDArray[Any]) -> None:
        data = bytes_of(values)
        self._file.write(data)
        self._digest.update(data)
        self.bytes += data.nbytes

    def close(self) -> str:
        """Fsync and close; return the checksum."""
        self._file.finish()
        return self._digest.hexdigest()


def let_go(mapped: npt.NDArray[Any]) -> None:
    """Let go of the memory that a mapped array takes: its pages are read again when they are needed."""
    owner: Any = mapped
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file must be."""

    bytes: int
    xxh3: str


def write_description(path: Path, fields: dict[str, Any]) -> None:
    """Write one line of JSON and its checksum; durable."""
    body = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    writer = ArrayWriter(path)
    writer.write(np.frombuffer(body + b"\n" + xxhash.xxh3_64(body).hexdigest().encode() + b"\n", np.uint8))
    writer.close()


def read_description(path: Path, version: int) -> dict[str, Any]:
    """Read and check what `write_description` wrote, by this version or an older one; raise Corruption.

    Of `files` each is a FileFacts.
    """
    try:
        body, checksum, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise Corruption(path, "it is missing", WAY_OUT_SEGMENT) from error
    except ValueError as error:
        raise Corruption(path, "it is not two lines", WAY_OUT_SEGMENT) from error
    if rest or xxhash.xxh3_64(body).hexdigest().encode() != checksum:
        raise Corruption(path, "its checksum is wrong", WAY_OUT_SEGMENT)
    fields: dict[str, Any] = orjson.loads(body)
    if fields["version"] > version:
        raise Corruption(path, "a later version of qnode wrote it", "Start that version")
    fields["files"] = {name: FileFacts(**facts) for name, facts in fields["files"].items()}
    return fields


def check(path: Path, facts: FileFacts, *, contents: bool) -> None:
    """Compare a file's size, and if asked its checksum; raise Corruption."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise Corruption(path, "it is missing", WAY_OUT_SEGMENT) from error
    if size != facts.bytes:
        raise Corruption(path, f"it has {size} bytes instead of {facts.bytes}", WAY_OUT_SEGMENT)
    if contents and checksum_of(path) != facts.xxh3:
        raise Corruption(path, "its checksum is wrong", WAY_OUT_SEGMENT)
