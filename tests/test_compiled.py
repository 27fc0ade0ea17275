"""What is compiled works whatever becomes of the files in which it is kept."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging, resource, signal, sys
from qnode.compiled import compiled

logging.basicConfig(format="%(message)s")
if len(sys.argv) > 1:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))

@compiled
def doubled(number):
    return number + number

@compiled
def fourfold(number):
    return doubled(doubled(number))

print(fourfold(3), sum(fourfold._cache_hits.values()))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def run(program: Path, *arguments: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, str(program), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


def kept(program: Path) -> list[Path]:
    return sorted(program.parent.glob("__pycache__/*.nb?"))


def test_the_second_process_finds_what_the_first_has_compiled(program: Path) -> None:
    assert run(program) == ("12 0", "")
    assert run(program) == ("12 1", "")


def test_on_a_full_disk_functions_are_compiled_and_a_warning_says_so_once(program: Path) -> None:
    shown, warned = run(program, "0")
    assert shown == "12 0"
    assert warned.count("compiled at each start") == 1 == len(warned.splitlines())
    assert not kept(program)


@pytest.mark.parametrize("length", [0, 10, 60])
def test_files_that_were_cut_short_do_not_matter(program: Path, length: int) -> None:
    run(program)
    for path in kept(program):
        path.write_bytes(path.read_bytes()[:length])
    shown, warned = run(program)
    assert shown == "12 0"
    assert "compiled at each start" in warned
