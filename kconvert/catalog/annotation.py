"""Annotations: which clips a split officially has, and their labels, in every form the official files come in.

Malformed rows are collected and raised together, so that a person mends a file once. What the official files really
vary in is accepted: quotes or none, with or without `is_cc` and `label`, `val` or `validate`, CRLF, a byte order mark.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kconvert.catalog.clip import Clip
from kconvert.catalog.release import AnnotationForm
from kconvert.errors import AnnotationError, Problem

_SPLIT_SPELLINGS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Annotations:
    """The official rows of one split."""

    labels: Mapping[str, str]
    """From clip name (without `.mp4`) to label, `""` where the row has none; in the order of the file."""
    repeated: tuple[str, ...] = ()
    """Clip names annotated more than once; the first row counts."""

    @property
    def has_labels(self) -> bool:
        """Whether any row has a label; the test splits of k600 and k700-2020 have none."""
        return any(self.labels.values())


@dataclass(frozen=True)
class _Row:
    where: str
    """The line, or the entry, as a message names it."""
    youtube_id: str
    """As it stands there."""
    start: str
    """Seconds, as they stand there."""
    end: str
    """Seconds, as they stand there."""
    label: str
    """`""` if there is none."""
    split: str
    """As spelt in the file; `""` where it says nothing."""


class _Collector:
    """Gathers rows and problems of one file."""

    def __init__(self, split: str, known_labels: Mapping[str, int]) -> None:
        self._split = split
        self.known_labels = known_labels
        self.labels: dict[str, str] = {}
        self.repeated: list[str] = []
        self.problems: list[Problem] = []

    def problem(self, where: str, got: str, expected: str) -> None:
        self.problems.append(Problem(where, got if len(got) <= 200 else got[:199] + "…", expected))

    def add(self, row: _Row) -> None:
        spelt = _SPLIT_SPELLINGS.get(row.split, self._split)
        if spelt != self._split:
            self.problem(row.where, row.split, f"a row of split {self._split}")
            return
        if row.label and row.label not in self.known_labels:
            self.problem(row.where, row.label, "a label of the release")
            return
        try:
            clip = Clip(row.youtube_id, _whole_seconds(row.start), _whole_seconds(row.end))
        except ValueError as error:
            self.problem(row.where, f"{row.youtube_id},{row.start},{row.end}", str(error))
            return
        self.add_clip(clip, row.label)

    def add_clip(self, clip: Clip, label: str) -> None:
        if clip.name in self.labels:
            self.repeated.append(clip.name)
        else:
            self.labels[clip.name] = label


def parse_annotations(
    data: bytes, form: AnnotationForm, path: str, split: str, known_labels: Mapping[str, int]
) -> Annotations:
    """The annotations of `split` in a file of the given form.

    Raises: `AnnotationError` with every problem of the file; `path` names it there.
    """
    collector = _Collector(split, known_labels)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        collector.problem(f"line {line}", repr(data[error.start : error.start + 20]), "UTF-8 text")
    else:
        _PARSERS[form](text, collector)
    if not collector.problems and not collector.labels:
        collector.problem("line 1", data[:60].decode("utf-8", "replace"), "at least one annotated clip")
    if collector.problems:
        raise AnnotationError(path, tuple(collector.problems))
    return Annotations(collector.labels, tuple(collector.repeated))


def _parse_csv(text: str, collector: _Collector) -> None:
    reader = csv.reader(io.StringIO(text, newline=""))
    rows = _numbered(reader, collector)
    _, header = next(rows, (1, []))
    columns = {name.strip(): column for column, name in enumerate(header)}
    missing = {"youtube_id", "time_start", "time_end"} - columns.keys()
    if missing:
        expected = "a header with youtube_id, time_start, time_end and perhaps label, split, is_cc"
        collector.problem("line 1", ",".join(header), expected)
        return
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            collector.problem(f"line {line}", ",".join(row), f"{len(header)} fields")
            continue
        values = {name: row[column].strip() for name, column in columns.items()}
        collector.add(
            _Row(
                f"line {line}",
                values["youtube_id"],
                values["time_start"],
                values["time_end"],
                values.get("label", ""),
                values.get("split", ""),
            )
        )


def _numbered(reader: Iterator[list[str]], collector: _Collector) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line they end on; a csv error ends them and is a problem."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            collector.problem(f"line {reader.line_num}", str(error), "comma separated values")  # type: ignore[attr-defined]
            return
        yield reader.line_num, row  # type: ignore[attr-defined]


def _parse_listing(text: str, collector: _Collector) -> None:
    """The output of `ls -R`: a line `train/abseiling:`, then the names in that folder, then a blank line."""
    label = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.endswith(":"):
            label = line[:-1].rstrip("/").rsplit("/", 1)[-1]
        elif line and not line.startswith("._"):
            _add_listed(f"line {number}", line, label, collector)


def _add_listed(where: str, name: str, label: str, collector: _Collector) -> None:
    """A name in the folder `label`; names in a folder that is no label's may be anything but clips."""
    is_label = label in collector.known_labels
    if not is_label and not name.endswith(".mp4"):
        return
    try:
        clip = Clip.from_name(name)
    except ValueError as error:
        collector.problem(where, name, str(error))
        return
    if is_label:
        collector.add_clip(clip, label)
    else:
        collector.problem(where, name, f"a clip in a folder named by a label of the release, not {label!r}")


def _parse_json(text: str, collector: _Collector) -> None:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        collector.problem(f"line {error.lineno}", text[error.pos : error.pos + 40], f"JSON: {error.msg}")
        return
    except (RecursionError, ValueError) as error:
        collector.problem("line 1", text[:40], f"JSON within reason ({type(error).__name__})")
        return
    if not isinstance(entries, dict):
        collector.problem("line 1", text[:40], "a JSON object keyed by YouTube id")
        return
    for youtube_id, entry in entries.items():
        where = f"entry {youtube_id!r}"
        try:
            annotations = entry["annotations"]
            start, end = annotations["segment"]
            label = annotations.get("label", "")
            subset = entry.get("subset", "")
            if not isinstance(label, str) or not isinstance(subset, str):
                raise TypeError("label and subset")
        except (KeyError, TypeError, ValueError, AttributeError):
            collector.problem(where, json.dumps(entry), '{"annotations": {"label": …, "segment": [start, end]}, …}')
            continue
        collector.add(_Row(where, youtube_id, str(start), str(end), label, subset))


def _whole_seconds(text: str) -> int:
    """A time in whole seconds, from `17` or `17.0`. Raises `ValueError`."""
    whole, _, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit()) or fraction.strip("0") or len(whole) > 9:
        raise ValueError(f"time {text!r}: expected whole seconds")
    return int(whole)


_PARSERS: Mapping[AnnotationForm, Callable[[str, _Collector], None]] = {
    "csv": _parse_csv,
    "listing": _parse_listing,
    "json": _parse_json,
}
