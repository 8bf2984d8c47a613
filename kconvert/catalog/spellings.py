"""Spellings: which label is meant by a word, as folders and lists write labels in many ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kconvert.catalog.clip import letters

SPLIT_SPELLINGS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
"""How files spell the names of splits."""


class Spellings:
    """The labels of a release, as people spell them: exactly, by another name, or by letters and digits alone where
    these are those of one label only."""

    def __init__(self, labels: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        known = {label: label for label in labels}
        times = Counter(letters(label) for label in known)
        self._by_letters = {found: label for label in known if (found := letters(label)) and times[found] == 1}
        self._exact = {**known, **(aliases or {})}

    def meant(self, text: str) -> str | None:
        """The label that is meant; `None` if nobody knows."""
        return self._exact.get(text) or self._by_letters.get(letters(text))
