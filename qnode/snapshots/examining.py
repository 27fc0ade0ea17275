"""Having copies examined that a stranger may have made, before anything of them is used (`index.examining`)."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from qnode.errors import BadInput
from qnode.index.examining import fault_of_copy
from qnode.models.vector_params import IndexParams


async def examine(copies: Sequence[Path], params: IndexParams) -> None:
    """Examine copies one after the other, in another process; raise BadInput for the first that must not be used."""
    if not copies:
        return
    readers = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    try:
        for folder in copies:
            fault = await asyncio.wrap_future(readers.submit(fault_of_copy, folder, params))
            if fault is not None:
                raise BadInput(f"the snapshot is damaged: {fault}")
    except BrokenProcessPool:
        raise BadInput("the snapshot is damaged: reading it ended the process") from None
    finally:
        await asyncio.shield(asyncio.to_thread(readers.shutdown, cancel_futures=True))
