"""Imports that are not wanted, but by some."""

from __future__ import annotations

import gc
import os
import sys

_UNWANTED = {"numpy", "pandas"}


class _Unwanted:
    """A finder of modules (see `sys.meta_path`) that refuses some."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name in _UNWANTED:
            raise ModuleNotFoundError(f"{name} is not used here", name=name)


def without_arrays() -> None:
    """Has this process, which must be ours alone, take numpy and pandas for not installed, and keeps it without threads
    of pyarrow's; nothing is changed where pyarrow is imported already.

    pyarrow imports them wherever they are installed: half a second, and threads that wait busily, for nothing. A thread
    of an allocator that is not used keeps a process from being forked (see `engine.local`).
    """
    if "pyarrow" not in sys.modules:
        sys.meta_path.insert(0, _Unwanted())
        os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")


def is_lean() -> bool:
    """Whether this process does without arrays."""
    return any(isinstance(finder, _Unwanted) for finder in sys.meta_path)


def with_arrays() -> None:
    """Takes `without_arrays` back, for a library that needs them; numpy then has no threads, which wait busily, too."""
    if not is_lean():
        return
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Unwanted)]
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Such a library makes so many objects that all that are there would be looked through again and again.
    gc.collect()
    gc.freeze()
