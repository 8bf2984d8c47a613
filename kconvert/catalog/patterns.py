"""Regular expressions that people write."""

from __future__ import annotations

import re


def checked_pattern(text: str, what: str) -> re.Pattern[str]:
    """A pattern. Raises `ValueError`, beginning with what it is, for what is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{what}: {error}; expected a regular expression of Python") from error


def require_group(text: str, what: str) -> None:
    """Raises `ValueError`, beginning with what it is, for a pattern that is none, or has no group; `""` is none."""
    if checked_pattern(text, what).groups == 0 and text:
        raise ValueError(f"pattern {text!r}: expected a group in it, as (.+)")
