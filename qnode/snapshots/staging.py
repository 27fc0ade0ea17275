"""Room for what is being made or taken apart: folders beside the collections, on the same file system, gone with the process."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from qnode.disk import make_directory, remove_tree
from qnode.errors import QnodeError


class Staging:
    """A folder that is emptied when it is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        make_directory(folder)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Path]:
        """Give an empty folder; it is removed at the end, with all that is left in it."""
        place = self._folder / secrets.token_hex(8)
        await asyncio.to_thread(make_directory, place)
        try:
            yield place
        finally:
            await asyncio.shield(asyncio.to_thread(_remove, place))


def _remove(place: Path) -> None:
    with suppress(QnodeError):
        remove_tree(place)
