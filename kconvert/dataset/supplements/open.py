"""Which supplement a name means."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kconvert.catalog.release import SUPPLEMENT_NAMES

if TYPE_CHECKING:
    from kconvert.dataset.supplements.supplement import Supplement


def open_supplement(name: str) -> Supplement:
    """The supplement that `--with` calls so. Raises `KeyError` if there is none."""
    if name not in SUPPLEMENT_NAMES:
        raise KeyError(name)
    found: Supplement = importlib.import_module(f"kconvert.dataset.supplements.{name}").SUPPLEMENT
    return found


def supplement_files(name: str, kept: Iterable[str]) -> set[str]:
    """The files that a folder may have of a supplement, by path; `kept` are the names of those that it is made from."""
    return {*open_supplement(name).paths, *(file for file in kept if file.endswith(".pbtxt"))}
