"""Archives as they are made, and as somebody may have made them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash

from qnode.index import Index
from qnode.index.copying import copy_index, files_in
from qnode.models.collection import CollectionConfig
from qnode.models.operation import Upsert, VectorColumn
from qnode.models.point_id import key_of
from qnode.snapshots.archive import first_of, members_of
from qnode.snapshots.manifest import Manifest, ShardPart
from qnode.snapshots.packing import CHECKSUMS, pack, pieces

CONFIG = CollectionConfig.from_request({"vectors": {"size": 4, "distance": "Dot"}})
PARAMS = CONFIG.index_params()
MANIFEST = Manifest("c", CONFIG.to_json(), {}, (0,), (), (ShardPart(0, None, 1, 1),))

Files = dict[str, bytes]


def copy_of(folder: Path, points: int = 50) -> Path:
    """Make a copy of an index with some points."""
    index = Index.open(folder / "index", PARAMS)
    try:
        rng = np.random.default_rng(1)
        column = VectorColumn(np.arange(points, dtype=np.int32), rng.random((points, 4), np.float32))
        payloads = [orjson.dumps({"n": i}) for i in range(points)]
        index.apply([(1, Upsert([key_of(i) for i in range(points)], payloads, {"": column}))])
        copy_index(index, folder / "copy")
    finally:
        index.close()
    return folder / "copy"


def archive_of(folder: Path) -> Path:
    """Make an archive of one shard."""
    pack(folder / "archive", pieces(first_of(MANIFEST), members_of({0: files_in(copy_of(folder))})))
    return folder / "archive"


def files_of(archive: Path) -> Files:
    """Read all files of an archive."""
    with tarfile.open(archive) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def rebuilt(archive: Path, change: Callable[[Files], Any]) -> Path:
    """Write an archive anew with other files, and with checksums that fit."""
    files = files_of(archive)
    change(files)
    if CHECKSUMS in files:
        content = {name: data for name, data in files.items() if name.startswith("shards/")}
        files[CHECKSUMS] = orjson.dumps({name: xxhash.xxh3_64(data).hexdigest() for name, data in content.items()})
    return written(archive, [(tarfile.TarInfo(name), data) for name, data in files.items()])


def written(archive: Path, members: list[tuple[tarfile.TarInfo, bytes]], **options: Any) -> Path:
    """Write an archive of these members."""
    path = archive.with_name(archive.name + ".changed")
    with tarfile.open(path, "w", **options) as opened:
        for info, data in members:
            if info.type == tarfile.REGTYPE:
                info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return path
