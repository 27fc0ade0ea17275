"""The floors and the sole importers, as ARCHITECTURE.md draws them."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "qnode"

FLOORS = {
    "errors": 0, "models": 0, "config": 0, "metrics": 0, "disk": 0, "removal": 0, "memory": 0, "deadline": 0, "machine": 0, "quotas": 0, "compiled": 0,
    "wal": 1, "index": 1, "raft": 1, "channel": 1,
    "shards": 2,
    "cluster": 3, "snapshots": 3,
    "api": 4,
    "node": 5, "check": 5, "dev_cluster": 5,
    "__main__": 6,
}  # fmt: skip

SOLE_IMPORTERS = {
    "lmdb": ("index", "raft"),
    "usearch": ("index/vectors/graph_builder",),
    "numba": ("compiled", "index/vectors"),
    "llvmlite": ("index/vectors",),
    "numkong": ("index/vectors",),
    "pysyncobj": ("raft",),
    "fastapi": ("api",),
    "starlette": ("api",),
    "jwt": ("api",),
    "uvicorn": ("node", "api"),
    "prometheus_client": ("metrics", "api"),
    "Stemmer": ("models/tokens",),
    "regex": ("models/tokens",),
    "mmh3": ("models/bm25",),
    "msgpack": ("models", "raft", "shards/replication/messages"),
}

LONGEST_FILE_LINES = 400


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> list[str]:
    """Every module that a file imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names.append(node.module or "")
            if node.module == "qnode":
                names += [f"qnode.{alias.name}" for alias in node.names]
    return names


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "qnode" and len(parts) > 1 and parts[1] in FLOORS else None


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    assert room in FLOORS, f"{room} has no floor: give it one here and in ARCHITECTURE.md"
    for module in imported(path):
        other = room_of(module)
        if other is None or other == room:
            continue
        lower, higher = FLOORS[other], FLOORS[room]
        assert lower < higher or higher == 0, (
            f"{path.relative_to(PACKAGE)} (floor {higher}) imports {module} (floor {lower}): imports go down only, "
            f"and rooms of one floor are strangers above the ground"
        )


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    for path in modules():
        if any(name.split(".")[0] == library for name in imported(path)):
            place = path.relative_to(PACKAGE).with_suffix("").as_posix()
            allowed = SOLE_IMPORTERS[library]
            assert any(place == home or place.startswith(home + "/") for home in allowed), (
                f"{place} imports {library}, which belongs to {' and '.join(allowed)} alone"
            )


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in modules()
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE_LINES
    }
    assert not long, f"split these by what they do: {long}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(PACKAGE)} has no docstring"
