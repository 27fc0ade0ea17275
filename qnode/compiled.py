"""Functions compiled by numba, and kept on disk so that the next start does not compile them again.

What is kept is a help, never a condition: where it cannot be written (no folder, a full disk) or read (a damaged file), functions
are compiled at each start, and that is said once.

numba finds a kept function by the file of the outermost one: after a change of what that calls, remove `__pycache__`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger(__name__)
_has_warned = threading.Event()


class _Kept(FunctionCache):
    """numba's cache of a function, whose faults do not reach the caller of the function."""

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a damaged file raises whatever unpickling does
            _warn(error)


def compiled(function: F, **options: Any) -> F:
    """Compile for calls without the GIL."""
    kernel: Any = njit(nogil=True, error_model="numpy", **options)(function)
    try:
        kernel._cache = _Kept(function)  # type: ignore[no-untyped-call]
    except RuntimeError as error:  # there is no folder
        _warn(error)
    return cast("F", kernel)


def _warn(error: Exception) -> None:
    if not _has_warned.is_set():
        _has_warned.set()
        _log.warning("numba's cache cannot be used, so kernels are compiled at each start (%s)", error)
