"""Which supplement a name means."""

from __future__ import annotations

import fnmatch
import importlib

from kconvert.catalog.release import SUPPLEMENT_NAMES
from kconvert.dataset.supplements.supplement import Supplement
from kconvert.storage.store import StorePath


def open_supplement(name: str) -> Supplement:
    """The supplement that `--with` calls so. Raises `KeyError` if there is none."""
    if name not in SUPPLEMENT_NAMES:
        raise KeyError(name)
    found: Supplement = importlib.import_module(f"kconvert.dataset.supplements.{name}").SUPPLEMENT
    return found


def supplement_files(out: StorePath) -> list[str]:
    """The files of a folder that are called as those of supplements are, by path."""
    patterns = [pattern for name in SUPPLEMENT_NAMES for pattern in open_supplement(name).patterns]
    names = [*out.children(), *(f"metadata/{name}" for name in (out / "metadata").children())]
    return sorted(name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
