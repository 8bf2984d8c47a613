"""Lists of clips whose form a release's file describes: rows of values, which say a name and perhaps a label."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kconvert.catalog.release import AnnotationFile
from kconvert.catalog.rows import LINE_END, csv_rows

OnProblem = Callable[[str, str, str], None]
"""Takes the place of a row that cannot be read, what stands there, and what is expected."""
FILE = "file"
"""What the name of the list's file goes by among the columns."""
KEY = "key"
"""What the key of an entry of JSON goes by among the columns, where entries have keys."""


@dataclass(frozen=True)
class Row:
    """A row of a list."""

    where: str
    """Its place, as a message names it."""
    values: Mapping[str, str]
    """By column."""


def joined(files: Mapping[str, bytes]) -> bytes:
    """Several files, by name, as one text."""
    texts = {name: data.decode("utf-8-sig", "surrogateescape") for name, data in sorted(files.items())}
    return json.dumps(texts).encode()


def rows(text: str, file: AnnotationFile, on_problem: OnProblem) -> Iterator[Row]:
    """The rows of a list, or of several that are one text (see `joined`)."""
    if "*" not in file.path:
        yield from _rows_of(text, file, on_problem, file.path.rpartition("/")[2], "")
        return
    for name, content in json.loads(text).items():
        yield from _rows_of(content, file, on_problem, name, f"{name}, ")


def _rows_of(text: str, file: AnnotationFile, on_problem: OnProblem, name: str, at: str) -> Iterator[Row]:
    found = _entries(text, on_problem, at) if file.form == "json" else _lines(text, file, on_problem, at)
    for row in found:
        yield Row(row.where, {FILE: name, **row.values})


def _lines(text: str, file: AnnotationFile, on_problem: OnProblem, at: str) -> Iterator[Row]:
    columns = list(file.columns)
    for where, values in _split(text, file, lambda line, *what: on_problem(f"{at}{line}", *what)):
        if not columns:
            columns = [value.strip() for value in values]
        elif len(values) != len(columns):
            on_problem(f"{at}{where}", file.separator.join(values) or " ".join(values), f"{', '.join(columns)}")
        else:
            yield Row(f"{at}{where}", dict(zip(columns, map(str.strip, values), strict=True)))


def _split(text: str, file: AnnotationFile, on_problem: OnProblem) -> Iterator[tuple[str, list[str]]]:
    lines = LINE_END.split(text)
    if file.form == "csv" and file.separator in ("", ","):
        yield from csv_rows(lines, on_problem)
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if file.form == "csv":
            yield f"line {number}", next(csv.reader([line], delimiter=file.separator))
        elif file.separator:
            yield f"line {number}", line.split(file.separator)
        else:
            yield f"line {number}", line.split(maxsplit=max(0, len(file.columns) - 1))


def _entries(text: str, on_problem: OnProblem, at: str) -> Iterator[Row]:
    """The entries of a list, or of an object, of JSON; what is inside of one goes by names with dots."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        on_problem(f"{at}line {getattr(error, 'lineno', 1)}", text[:40], f"JSON ({type(error).__name__})")
        return
    if not isinstance(content, dict | list):
        on_problem(f"{at}line 1", text[:40], "a list, or an object, of JSON")
        return
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for key, entry in entries:
        values = {KEY: str(key)}
        _flatten(entry, "", values)
        yield Row(f"{at}entry {key}", values)


def _flatten(entry: Any, above: str, values: dict[str, str]) -> None:
    items = entry.items() if isinstance(entry, dict) else enumerate(entry) if isinstance(entry, list) else ()
    for key, value in items:
        if isinstance(value, dict | list):
            _flatten(value, f"{above}{key}.", values)
        else:
            values[f"{above}{key}"] = _plain(value)
    if not isinstance(entry, dict | list):
        values["value"] = _plain(entry)


def _plain(value: object) -> str:
    """A value of JSON as a text; nothing of null."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
