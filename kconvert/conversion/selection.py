"""Selection: which clips and archives of a release a conversion reads."""

from __future__ import annotations

from dataclasses import dataclass

from kconvert.catalog.release import SplitInfo
from kconvert.staging.journal import Inputs


@dataclass(frozen=True)
class Selection:
    """Which clips and archives a conversion reads."""

    classes: tuple[str, ...] = ()
    """Only these labels; all if empty."""
    max_archives: int | None = None
    """Only so many archives of each split."""

    def covered_labels(self, info: SplitInfo, labels: tuple[str, ...], inputs: Inputs) -> frozenset[str] | None:
        """The labels whose clips are in the archives that are read, wherever they are; `None` if that is all clips."""
        classes = frozenset(self.classes) if self.classes else None
        if info.archives_hold_one_class:
            read = frozenset(label for name in inputs.archives if (label := info.label_of(name, labels)) is not None)
            return read if classes is None else read & classes
        return classes if len(inputs.archives) == inputs.num_listed else frozenset()
