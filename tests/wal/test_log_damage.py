"""Files that do not hold what was written to them: what is cut off, and what is named."""

import os
import shutil
from pathlib import Path

import pytest

from qnode.errors import Corruption
from qnode.wal.frames import HEAD_BYTES, HEADER_BYTES
from qnode.wal.log import Log, Record

PAYLOAD = b"twenty bytes of data"
FRAME_BYTES = HEAD_BYTES + len(PAYLOAD)


def record(op_num: int) -> Record:
    return Record(1, op_num, PAYLOAD)


def make_log(directory: Path, groups: list[int], *, synced: int | None = None, file_bytes: int = 1 << 20) -> Path:
    """Write groups of records, each synced but those behind the first `synced`; leave them as a killed process would."""
    living = directory.with_name("living")
    log = Log.open(living, file_bytes=file_bytes)
    for position, size in enumerate(groups):
        log.append([record(op_num) for op_num in range(log.next_op, log.next_op + size)])
        if synced is None or position < synced:
            log.sync()
    shutil.copytree(living, directory)
    log.close()
    return max(directory.iterdir())


def ops(directory: Path, **how: bool) -> list[int]:
    log = Log.open(directory, **how)
    found = list(log.read(log.first_op))
    assert found == [record(r.op_num) for r in found]
    log.close()
    return [r.op_num for r in found]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def start_of(op_num: int) -> int:
    """Give where a record begins when each record was synced by itself."""
    return HEADER_BYTES + (op_num - 1) * (FRAME_BYTES + HEAD_BYTES)


def test_records_of_a_killed_process_are_all_there(tmp_path: Path) -> None:
    make_log(tmp_path / "wal", [3, 3, 1], synced=1)
    assert ops(tmp_path / "wal") == [1, 2, 3, 4, 5, 6, 7]


def test_log_cut_at_any_byte_of_the_last_record_loses_that_record_only(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1, 1])
    whole = path.read_bytes()
    assert len(whole) == start_of(4)
    for size in range(start_of(3), len(whole)):
        path.write_bytes(whole[:size])
        kept = [1, 2, 3] if size >= start_of(3) + FRAME_BYTES else [1, 2]
        assert ops(tmp_path / "wal", read_only=True) == kept
        assert path.read_bytes() == whole[:size]
        assert ops(tmp_path / "wal") == kept
        assert ops(tmp_path / "wal") == kept


def test_log_cut_at_any_byte_of_the_last_unsynced_group_keeps_all_before_the_cut(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [2, 3], synced=1)
    whole = path.read_bytes()
    group = len(whole) - 3 * FRAME_BYTES
    for size in range(group, len(whole)):
        path.write_bytes(whole[:size])
        assert ops(tmp_path / "wal") == [1, 2, 3, 4, 5][: 2 + (size - group) // FRAME_BYTES]


def test_records_go_on_behind_a_tail_that_was_cut_off(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1], synced=1)
    os.truncate(path, path.stat().st_size - 1)
    log = Log.open(tmp_path / "wal")
    log.append([record(2), record(3)])
    log.close()
    assert ops(tmp_path / "wal") == [1, 2, 3]


@pytest.mark.parametrize("hole", [4, 5])
def test_hole_in_an_unsynced_group_is_a_torn_tail(tmp_path: Path, hole: int) -> None:
    path = make_log(tmp_path / "wal", [2, 3], synced=1)
    data = bytearray(path.read_bytes())
    start = len(data) - (6 - hole) * FRAME_BYTES
    data[start : start + FRAME_BYTES] = bytes(FRAME_BYTES)
    path.write_bytes(data)
    assert ops(tmp_path / "wal") == list(range(1, hole))


def test_zeros_behind_the_last_record_are_cut_off(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1])
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert ops(tmp_path / "wal") == [1, 2]


def test_flipped_byte_in_the_last_synced_record_is_damage(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1, 1])
    whole = path.read_bytes()
    for offset in range(start_of(3), start_of(3) + FRAME_BYTES):
        path.write_bytes(whole)
        flip(path, offset)
        for read_only in (True, False):
            with pytest.raises(Corruption, match=f"{path} is damaged: at byte {start_of(3)}, .*record 3 is due"):
                Log.open(tmp_path / "wal", read_only=read_only)


def test_flipped_byte_in_the_last_mark_costs_no_record(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1])
    whole = path.read_bytes()
    for offset in range(len(whole) - HEAD_BYTES, len(whole)):
        path.write_bytes(whole)
        flip(path, offset)
        assert ops(tmp_path / "wal") == [1, 2]


def test_flipped_byte_in_an_earlier_record_or_header_is_damage(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1, 1])
    whole = path.read_bytes()
    for offset in range(start_of(3)):
        path.write_bytes(whole)
        flip(path, offset)
        with pytest.raises(Corruption) as raised:
            Log.open(tmp_path / "wal")
        assert raised.value.path == path
        assert path.read_bytes() != whole


def test_synced_records_that_turned_to_zeros_are_damage(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1, 1])
    data = bytearray(path.read_bytes())
    data[start_of(2) : start_of(3) + FRAME_BYTES] = bytes(start_of(3) + FRAME_BYTES - start_of(2))
    path.write_bytes(data)
    with pytest.raises(Corruption, match=f"at byte {start_of(2)}"):
        Log.open(tmp_path / "wal")


def test_way_out_of_damage_keeps_the_records_before_it(tmp_path: Path) -> None:
    path = make_log(tmp_path / "wal", [1, 1, 1])
    flip(path, start_of(2) + HEAD_BYTES)
    with pytest.raises(Corruption, match=f"cut the file off at byte {start_of(2)} and remove the later .log files"):
        Log.open(tmp_path / "wal")
    os.truncate(path, start_of(2))
    assert ops(tmp_path / "wal") == [1]


class TestOlderFiles:
    """Everything but the last file is complete and durable; there is no torn tail in it."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        make_log(tmp_path / "wal", [1] * 14, file_bytes=300)
        files = sorted((tmp_path / "wal").iterdir())
        assert len(files) == 4
        return files

    def test_any_flipped_byte_is_damage_when_it_is_read(self, files: list[Path]) -> None:
        whole = files[1].read_bytes()
        for offset in range(len(whole) - 2 * HEAD_BYTES):  # behind are the marks of the last sync and of the end
            files[1].write_bytes(whole)
            flip(files[1], offset)
            with pytest.raises(Corruption) as raised:
                list(Log.open(files[1].parent, read_only=True).read(1))
            assert raised.value.path == files[1]

    def test_flipped_byte_in_the_end_mark_is_damage(self, files: list[Path]) -> None:
        flip(files[1], files[1].stat().st_size - 1)
        with pytest.raises(Corruption, match="where its end should be marked"):
            Log.open(files[1].parent)

    def test_any_cut_is_damage(self, files: list[Path]) -> None:
        whole = files[1].read_bytes()
        for size in range(len(whole) - HEAD_BYTES):  # at that size it still ends with a mark, behind its last record
            files[1].write_bytes(whole[:size])
            with pytest.raises(Corruption) as raised:
                Log.open(files[1].parent)
            assert raised.value.path == files[1]

    def test_records_behind_the_damage_can_be_read(self, files: list[Path]) -> None:
        flip(files[0], HEADER_BYTES)
        log = Log.open(files[0].parent, read_only=True)
        first = int(files[1].stem)
        assert [r.op_num for r in log.read(first)] == list(range(first, 15))

    def test_missing_file_is_named_with_its_records(self, files: list[Path]) -> None:
        files[1].unlink()
        first, end = int(files[1].stem), int(files[2].stem)
        with pytest.raises(Corruption, match=rf"records {first} to {end - 1} are missing: .* or {files[1]} removed"):
            Log.open(files[0].parent)

    def test_missing_first_file_is_a_log_that_begins_later(self, files: list[Path]) -> None:
        files[0].unlink()
        assert ops(files[0].parent) == list(range(int(files[1].stem), 15))

    def test_renamed_file_is_damage(self, files: list[Path]) -> None:
        files[3].rename(files[3].with_name(f"{99:020}.log"))
        with pytest.raises(Corruption, match="its name does not"):
            Log.open(files[0].parent)

    def test_way_out_of_damage_keeps_the_records_before_it(self, files: list[Path]) -> None:
        flip(files[1], HEADER_BYTES + 1)
        with pytest.raises(Corruption) as raised:
            list(Log.open(files[0].parent, read_only=True).read(1))
        assert f"cut the file off at byte {HEADER_BYTES}" in raised.value.way_out
        os.truncate(files[1], HEADER_BYTES)
        for later in files[2:]:
            later.unlink()
        assert ops(files[0].parent) == list(range(1, int(files[1].stem)))


def test_frames_of_another_log_do_not_pass(tmp_path: Path) -> None:
    path = make_log(tmp_path / "a" / "wal", [1, 1, 1])
    other = make_log(tmp_path / "b" / "wal", [1, 1, 1])
    data = path.read_bytes()
    path.write_bytes(data[: start_of(2)] + other.read_bytes()[start_of(2) : start_of(3)] + data[start_of(3) :])
    with pytest.raises(Corruption, match=f"at byte {start_of(2)}, the checksum"):
        Log.open(tmp_path / "a" / "wal")
