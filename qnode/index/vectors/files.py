"""Flat little-endian arrays in files: writing, mapping, checksums."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

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
        self._file: BinaryIO = path.open("xb")

    def write(self, values: npt.NDArray[Any]) -> None:
        data = bytes_of(values)
        self._file.write(data)
        self._digest.update(data)
        self.bytes += data.nbytes

    def close(self) -> str:
        """Fsync and close; return the checksum."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
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
