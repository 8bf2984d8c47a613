"""Opening a format by its name."""

from __future__ import annotations

import importlib

from kconvert.dataset.formats.format import Format


def open_format(name: str) -> Format:
    """The format of that name: the module of that name has it as `FORMAT`."""
    found: Format = importlib.import_module(f"kconvert.dataset.formats.{name}").FORMAT
    return found
