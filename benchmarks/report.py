"""Rows of the table, and the table with the machine, the date and the versions that it was measured with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
PACKAGES = ("qnode", "numpy", "numba", "usearch", "numkong", "qdrant-edge-py", "hnswlib", "faiss-cpu", "chromadb")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, the bar (empty: none), the result, and whether it is met (None: no bar)."""

    measure: str
    bar: str
    measured: str
    met: bool | None = None

    def shown(self) -> str:
        verdict = {True: "met", False: "**not met**", None: ""}[self.met]
        return f"| {self.measure} | {self.bar} | {self.measured} | {verdict} |"


def table(rows: Sequence[Row]) -> str:
    """Show rows as markdown, under the machine, the date, the load and the versions."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_machine()}; Python {platform.python_version()}, {_versions()}.",
        "",
        "| measure | bar | measured | |",
        "|---|---|---|---|",
        *(row.shown() for row in rows),
    ]
    return "\n".join(lines)


def write(shown: str) -> None:
    """Put a table into README.md, in the place of the one that is there."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert after, f"{README} has no place for the table"
    README.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}")


def _machine() -> str:
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    cpu = model.group(1) if model else platform.machine()
    gigabytes = f", {int(memory.group(1)) / 2**20:.0f} GiB" if memory else ""
    load = os.getloadavg()[2]
    return f"{os.cpu_count()} × {cpu}{gigabytes}, Linux {platform.release()}, load of the last 15 minutes {load:.1f}"


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} missing")
    return ", ".join(found)
