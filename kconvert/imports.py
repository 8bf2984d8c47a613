"""Imports: what is not wanted, but by some, and how to get what is missing."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

from kconvert.version import DISTRIBUTION

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


def with_arrays() -> None:
    """Takes `without_arrays` back, for a library that needs them."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Unwanted)]


def how_to_install(library: str, extra: str) -> str:
    """The command that installs a library that is missing, as this installation gets it."""
    folder = _installed_from()
    return f"pip install '{folder}[{extra}]'" if folder is not None else f"pip install {library}"


def _installed_from() -> Path | None:
    """The folder that kconvert was installed from, if it is still there (PEP 610)."""
    with suppress(PackageNotFoundError, ValueError, KeyError, TypeError):
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "")
        folder = Path(unquote(urlparse(origin["url"]).path))
        if "dir_info" in origin and (folder / "pyproject.toml").is_file():
            return folder
    return None
