"""Flags: how many written clips have them, as the account counts them and `verify` counts them again."""

from __future__ import annotations

from collections import Counter

from kconvert.columns.column import Column
from kconvert.columns.combining import counts


def flag_counts(defects: Column) -> dict[str, int]:
    """The counts of flags, by the names that the manifest has; `defects` are those of written clips, with commas
    between them."""
    found = counts(defects)
    flags: Counter[str] = Counter()
    for text, number in found.items():
        flags.update(dict.fromkeys(text.split(","), number))
    return {
        "num_flagged": len(defects) - found.get("", 0),
        "num_short": flags["short"],
        "num_few_frames": flags["few_frames"],
    }
