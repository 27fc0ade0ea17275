import mmap
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from qnode import memory

PAGES = 256


def resident_kilobytes(path: Path) -> int:
    found = re.search(re.escape(str(path)) + r"\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")
def test_the_pages_of_a_file_that_is_only_read_are_let_go_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    content = bytes(range(256)) * 16 * PAGES
    path.write_bytes(content)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == content
        assert resident_kilobytes(path) == 4 * PAGES
        memory.return_pages_of(path)
        assert resident_kilobytes(path) == 0
        assert mapped[:] == content


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")
def test_the_pages_of_a_file_that_is_written_through_its_mapping_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4096 * PAGES))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:] = b"x" * len(mapped)
        memory.return_pages_of(path)
        assert resident_kilobytes(path) == 4 * PAGES


@pytest.mark.skipif(memory.heap() is None, reason="the allocator is not glibc's")
def test_what_is_allocated_shows_in_the_heap() -> None:
    before = memory.heap()
    array = np.zeros(64 << 20, np.uint8)
    after = memory.heap()
    assert before is not None
    assert after is not None
    assert after.allocated_bytes >= before.allocated_bytes + array.nbytes // 2
    assert after.active_bytes >= after.allocated_bytes
