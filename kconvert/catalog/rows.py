"""Rows of text files that people have edited, line by line: no row has the end of a line in it, so that a quote that
nothing closes costs its line, and no other."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator

LINE_END = re.compile("\r\n|\r|\n")
"""Between the lines of a file, whatever system wrote it."""


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text without their ends; the last one is empty if the text ends with the end of a line."""
    start = 0
    for end in LINE_END.finditer(text):
        yield text[start : end.start()]
        start = end.end()
    yield text[start:]


def csv_rows(
    lines: Iterable[str], on_problem: Callable[[str, str, str], None], skipinitialspace: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """The rows of comma separated values that are not blank, each with its line, as `line 7`.

    `on_problem` is called for one that cannot be read, with its line, what stands there, and what is expected.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip(', \t"'):
            continue
        if '"' not in line:
            yield f"line {number}", line.split(",")
            continue
        try:
            yield f"line {number}", next(csv.reader([line], strict=True, skipinitialspace=skipinitialspace))
        except csv.Error as error:
            on_problem(f"line {number}", line, f"comma separated values ({error})")
