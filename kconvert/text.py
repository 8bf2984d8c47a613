"""Text from outside, made fit for a terminal, a table or a log.

Names in archives, messages of tools and answers of servers may hold anything: terminal escapes, newlines, characters
that turn the reading direction, bytes that are no text. Nothing of that is obeyed; it is shown escaped.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def printable(text: str, max_chars: int | None = None) -> str:
    """The text on one line, with everything that is not printable as an escape like `\\x1b`; perhaps cut."""
    if max_chars is not None and len(text) > max_chars:
        text = text[: max_chars - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def closest(word: str, known: Iterable[str]) -> list[str]:
    """Up to three that are spelt alike, the most alike first."""
    by_lower = {one.lower(): one for one in known}
    return [by_lower[one] for one in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.75)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at what is spelt alike; `""` if nothing is."""
    found = closest(word, known)
    return f"did you mean {', '.join(map(repr, found))}?" if found else ""
