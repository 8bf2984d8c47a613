"""Opening a layout by the name that `--to` has for it."""

from __future__ import annotations

from kconvert.dataset.formats.open import open_format
from kconvert.dataset.layout import Layout


def open_layout(name: str) -> Layout:
    """The layout of that name, of `manifest.FORMAT_NAMES`."""
    if name == "archives":
        from kconvert.dataset.archives import LAYOUT

        return LAYOUT
    return open_format(name)
