"""Imports that are not wanted."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def without_pandas() -> None:
    """Has this process, which must be ours alone, take pandas for not installed.

    pyarrow imports it as soon as it converts a list, wherever it is installed: half a second, for nothing.
    """
    sys.meta_path.insert(0, _NoPandas())
