"""The shuffled order of clips: that of what is drawn for them (see `shuffle`)."""

from __future__ import annotations

from kconvert.columns.column import Column
from kconvert.columns.combining import order
from kconvert.conversion.shuffle import ShuffleOptions, draw


def shuffled(names: Column, options: ShuffleOptions, split: str) -> Column:
    """The indexes of clips of these names, of which no two are the same, in the order in which they are packed."""
    return order(names.rewritten(lambda name: draw(options.seed, split, name), "draw"))
