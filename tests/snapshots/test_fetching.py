"""A snapshot that is named is found where it may be, and nowhere else."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from qnode.errors import BadRequest, Forbidden
from qnode.snapshots.fetching import Location, fetch

CONTENT = b"a snapshot" * 1000


def fetched(
    uri: str, root: Path, *, allows_remote: bool = True, base: Path | None = None, key: str | None = None
) -> Path:
    location, target = Location(uri, key, base), root.with_name("target")
    return asyncio.run(fetch(location, root, target, allows_remote=allows_remote))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A snapshots folder with one snapshot, and a file beside the folder."""
    (tmp_path / "root" / "c").mkdir(parents=True)
    (tmp_path / "root" / "c" / "x y.snapshot").write_bytes(CONTENT)
    (tmp_path / "outside.snapshot").write_bytes(CONTENT)
    return tmp_path / "root"


@contextmanager
def served(status: int, headers: dict[str, str]) -> Iterator[tuple[str, list[str | None]]]:
    """Serve CONTENT; give the address, and a list of the keys that were shown."""
    keys: list[str | None] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("api-key"))
            self.send_response(200 if self.path == "/there" else status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", keys
        finally:
            server.shutdown()
            thread.join()


def test_files_inside_the_folder_are_found_by_uri_and_by_plain_name(root: Path) -> None:
    file = root / "c" / "x y.snapshot"
    assert fetched(file.as_uri(), root) == file
    assert fetched(file.as_uri().replace("file://", "file://localhost"), root) == file
    assert fetched("x y.snapshot", root, base=root / "c") == file


@pytest.mark.parametrize(
    "uri", ["{root}/../outside.snapshot", "{root}/c/link.snapshot", "{root}/%2e%2e/outside.snapshot"]
)
def test_nothing_outside_the_folder_is_read_whatever_leads_there(root: Path, uri: str) -> None:
    (root / "c" / "link.snapshot").symlink_to(root.with_name("outside.snapshot"))
    with pytest.raises(Forbidden, match="Snapshot file path must be inside the snapshots directory"):
        fetched("file://" + uri.format(root=root), root)
    with pytest.raises(Forbidden, match="must be inside"):
        fetched("../../outside.snapshot", root, base=root / "c")


def test_folders_devices_and_names_that_cannot_be_do_not_exist(root: Path) -> None:
    for path in (root / "c", Path("/dev/zero"), root / ("n" * 300), root / "nothing"):
        with pytest.raises(BadRequest, match="does not exist"):
            fetched(path.as_uri(), root)
    with pytest.raises(BadRequest, match="does not exist"):
        fetched("file:///%00", root)


@pytest.mark.parametrize("uri", ["file://elsewhere/x", "file:x", "x.snapshot", "", "ftp://h/x", "http://[x/"])
def test_what_names_no_file_and_no_host_is_invalid(root: Path, uri: str) -> None:
    with pytest.raises(BadRequest, match="Invalid snapshot URI, file path must be absolute or on localhost"):
        fetched(uri, root)


def test_nothing_is_fetched_where_that_is_turned_off(root: Path) -> None:
    with pytest.raises(Forbidden, match="Snapshot recovery from remote URLs is disabled in the configuration"):
        fetched("http://127.0.0.1:9/x", root, allows_remote=False)
    assert fetched((root / "c" / "x y.snapshot").as_uri(), root, allows_remote=False).read_bytes() == CONTENT


def test_a_remote_file_is_written_beside_and_a_key_is_shown_to_the_host_that_was_named_alone(root: Path) -> None:
    with served(200, {}) as (address, keys):
        assert fetched(f"{address}/there", root, key="secret").read_bytes() == CONTENT
        assert keys == ["secret"]
    root.with_name("target").unlink()
    with served(200, {}) as (elsewhere, keys), served(302, {"location": f"{elsewhere}/there"}) as (address, _):
        with pytest.raises(BadRequest, match="status 302"):
            fetched(f"{address}/moved", root, key="secret")
        assert keys == []
        assert fetched(f"{address}/moved", root).read_bytes() == CONTENT
    root.with_name("target").unlink()
    with served(404, {}) as (address, _), pytest.raises(BadRequest, match="Failed to download snapshot"):
        fetched(f"{address}/x", root)
