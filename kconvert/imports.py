"""Imports that are not wanted, but by some."""

from __future__ import annotations

import sys

_UNWANTED = {"numpy", "pandas"}


class _Unwanted:
    """A finder of modules (see `sys.meta_path`) that refuses some."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name in _UNWANTED:
            raise ModuleNotFoundError(f"{name} is not used here", name=name)


def without_arrays() -> None:
    """Has this process, which must be ours alone, take numpy and pandas for not installed; to be called before pyarrow
    is imported.

    pyarrow imports them wherever they are installed: half a second, and threads that wait busily, for nothing.
    """
    sys.meta_path.insert(0, _Unwanted())


def with_arrays() -> None:
    """Takes `without_arrays` back, for a library that needs them."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Unwanted)]
