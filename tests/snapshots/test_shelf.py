"""Names of snapshots: whoever makes several at a time, in one process or in several over one folder, gets one for each."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from qnode.snapshots.shelf import Shelf

COUNT = 8


def test_snapshots_that_are_finished_at_the_same_time_get_a_name_each(tmp_path: Path) -> None:
    together = Barrier(COUNT)

    def finish(number: int) -> tuple[str, str, bytes]:
        shelf = Shelf(tmp_path, "full-snapshot", peer=0)
        part = shelf.new_part()
        part.write_bytes(b"%d" % number)
        together.wait()
        made = shelf.finish(part, f"{number:064x}")
        assert made.checksum is not None
        return made.name, made.checksum, shelf.find(made.name).read_bytes()

    with ThreadPoolExecutor(COUNT) as threads:
        made = list(threads.map(finish, range(COUNT)))
    assert len({name for name, _, _ in made}) == COUNT
    assert [int(checksum, 16) for _, checksum, _ in made] == list(range(COUNT))
    assert [held for _, _, held in made] == [b"%d" % number for number in range(COUNT)]
    shown = Shelf(tmp_path, "full-snapshot", peer=0).listed()
    assert {(one.name, one.checksum) for one in shown} == {(name, checksum) for name, checksum, _ in made}
