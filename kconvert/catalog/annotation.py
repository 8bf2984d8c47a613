"""Annotations: which clips a split officially has, and their labels, in every form the official files come in.

Rows that cannot be read are collected: a few are left out, and listed; more than that are raised together, as it is the
wrong file, or so that a person mends it once. What the official files really vary in is accepted: quotes or none, with
or without `is_cc` and `label`, `val` or `validate`, CRLF, a byte order mark, blank rows.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from kconvert.catalog.clip import Clip, clip_name
from kconvert.catalog.names import Names
from kconvert.catalog.release import AnnotationFile
from kconvert.catalog.row_list import rows
from kconvert.catalog.rows import LINE_END, csv_rows, lines_of
from kconvert.catalog.rule import Rule
from kconvert.catalog.spellings import SPLIT_SPELLINGS, Spellings
from kconvert.errors import AnnotationError, Problem

if TYPE_CHECKING:
    from kconvert.columns.column import Column

_MAY_GO_ON = re.compile(r",\s*0(?:\.0)?,\s*1$")
"""What is left of a clip of the first ten seconds, the only one whose times still make sense without the last digit."""
_TOTAL = re.compile(r"total [0-9.,]+[KMGT]?")


@dataclass(frozen=True)
class Annotations:
    """The official rows of one split."""

    names: Column
    """Of the clips, without `.mp4`; each once, in the order of the file."""
    texts: Column
    """The label of each, `""` where the row has none."""
    repeated: tuple[str, ...] = ()
    """Clip names annotated more than once; the first row counts."""
    malformed: tuple[Problem, ...] = ()
    """The rows that cannot be read, and count for nothing."""
    carried: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What of the rows goes into the table, by the clip's name and column."""
    superseded: Mapping[str, str] = field(default_factory=dict)
    """Of a union: clips of videos that a newer release has, each with that release."""

    @classmethod
    def of(cls, labels: Mapping[str, str], **further: Any) -> Annotations:
        """Those of a few clips, from name to label."""
        from kconvert.columns.column import Column

        return cls(Column.of(labels), Column.of(labels.values()).encoded(), **further)

    @functools.cached_property
    def labels(self) -> Mapping[str, str]:
        """From name to label; for whoever looks up each name, as Python takes much memory for it."""
        return dict(self.pairs())

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each name with its label."""
        return zip(self.names, self.texts, strict=True)

    @property
    def num_clips(self) -> int:
        """That are annotated."""
        return len(self.names)

    def named_once(self, names: Names) -> Mapping[str, str]:
        """From the ids of videos that are annotated once to the names of their clips."""
        ids = [(names.parts(name).youtube_id, name) for name in self.names]
        times = Counter(youtube_id for youtube_id, _ in ids)
        return {youtube_id: name for youtube_id, name in ids if times[youtube_id] == 1}

    @property
    def has_labels(self) -> bool:
        """Whether any row has a label; the test splits of k600 and k700-2020 have none."""
        return any(self.texts.distinct())


class _Row(NamedTuple):
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


_BATCH_ROWS = 1 << 16
"""Held as Python objects until they become columns."""


class _Collector:
    """Gathers rows and problems of one file."""

    def __init__(self, split: str, known_labels: Mapping[str, int], aliases: Mapping[str, str]) -> None:
        self._split = split
        self.known_labels = known_labels
        self._spellings = Spellings(known_labels, aliases)
        self._batches: list[tuple[Column, Column]] = []
        self._names: list[str] = []
        self._labels: list[str] = []
        self.num_named = 0
        """Rows that name a clip, which may be named again."""
        self.carried: dict[str, dict[str, str]] = {}
        self.malformed: list[Problem] = []
        """Rows that cannot be read."""
        self.unreadable: list[Problem] = []
        """What makes the whole file worth nothing."""

    @property
    def num_rows(self) -> int:
        """Of any kind."""
        return self.num_named + len(self.malformed)

    def problem(self, where: str, got: str, expected: str) -> None:
        """Takes a row that cannot be read."""
        self.malformed.append(_problem(where, got, expected))

    def refuse(self, where: str, got: str, expected: str) -> None:
        """Takes what makes the whole file worth nothing."""
        self.unreadable.append(_problem(where, got, expected))

    def add(self, row: _Row) -> None:
        spelt = SPLIT_SPELLINGS.get(row.split, self._split)
        if spelt != self._split:
            self.problem(row.where, row.split, f"a row of split {self._split}")
            return
        if row.label and row.label not in self.known_labels:
            self.problem(row.where, row.label, "a label of the release")
            return
        try:
            name = clip_name(row.youtube_id, _whole_seconds(row.start), _whole_seconds(row.end))
        except ValueError as error:
            self.problem(row.where, f"{row.youtube_id},{row.start},{row.end}", str(error))
            return
        self._add_name(name, row.label)

    def add_clip(self, clip: Clip, label: str) -> None:
        self._add_name(clip.name, label)

    def meant(self, label: str) -> str:
        """A label as the release has it, of however it is spelt."""
        return self._spellings.meant(label) or label

    def add_named(self, where: str, name: str, label: str, are_known: bool = False) -> None:
        """Takes a clip of any name; where no label is known yet, it has any, and where it has several, they are known
        to be labels."""
        if not name or not _is_text(name + label):
            self.problem(where, name, "the name of a clip, and its label, as UTF-8 text in one line")
        elif label and not are_known and self.known_labels and label not in self.known_labels:
            self.problem(where, label, "a label of the release")
        else:
            self._add_name(name, label)

    def _add_name(self, name: str, label: str) -> None:
        self._names.append(name)
        self._labels.append(label)
        self.num_named += 1
        if len(self._names) == _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        from kconvert.columns.column import Column

        self._batches.append((Column.of(self._names), Column.of(self._labels).encoded()))
        self._names, self._labels = [], []

    def annotations(self) -> Annotations:
        """All rows, of which the first counts of those that name the same clip; to be called once."""
        from kconvert.columns.column import Column
        from kconvert.columns.combining import are_first

        self._flush()
        names, texts = (Column.joined(columns) for columns in zip(*self._batches, strict=True))
        is_first = are_first(names)
        repeated = tuple(names.where(~is_first))
        if repeated:
            names, texts = names.where(is_first), texts.where(is_first)
        return Annotations(names, texts, repeated, tuple(self.malformed), self.carried)


def _is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8, and is a line; bytes that were no UTF-8 stand as surrogates."""
    return "\n" not in text and "\r" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _problem(where: str, got: str, expected: str) -> Problem:
    return Problem(where, got if len(got) <= 200 else got[:199] + "…", expected)


@dataclass(frozen=True)
class AnnotationText:
    """A file as it came."""

    data: bytes
    """Its content."""
    of: AnnotationFile
    """Where it is from, and how it is to be read."""

    @property
    def path(self) -> str:
        """What messages name it by."""
        return self.of.path


def parse_annotations(
    file: AnnotationText,
    split: str,
    known_labels: Mapping[str, int],
    max_malformed: float,
    aliases: Mapping[str, str] | None = None,
) -> Annotations:
    """The annotations of `split` in a file; `max_malformed` is the share of its rows, 0 to 1, that may be malformed,
    `aliases` are other names of labels.

    Raises: `AnnotationError` with every problem of the file if it has more, or cannot be read at all.
    """
    if file.of.form == "none":
        return Annotations.of({})
    collector = _Collector(split, known_labels, aliases or {})
    # A byte that is no UTF-8 costs its row, as nothing that is expected has such characters.
    text = file.data.decode("utf-8-sig", "surrogateescape")
    if file.of.name is not None:
        _parse_described(text, file.of, collector)
    else:
        _PARSERS[file.of.form](text, collector)
        if file.of.form != "json":
            _require_whole(text, collector)
    if not collector.num_named and not collector.malformed and not collector.unreadable:
        collector.refuse("line 1", text[:60], "at least one annotated clip")
    if collector.unreadable:
        raise AnnotationError(file.path, (*collector.malformed, *collector.unreadable), "")
    if not collector.num_named or len(collector.malformed) > max_malformed * collector.num_rows:
        allowed = f"{int(max_malformed * collector.num_rows):,} of {collector.num_rows:,} rows"
        raise AnnotationError(file.path, tuple(collector.malformed), allowed)
    return collector.annotations()


def _require_whole(text: str, collector: _Collector) -> None:
    """Refuses a file that ends inside a row, as far as that can be seen: one without the end of a line, whose last row
    cannot be read, or ends in a time that may have had another digit."""
    line = text[max(text.rfind("\n"), text.rfind("\r")) + 1 :]
    if not line:
        return
    last = f"line {sum(1 for _ in LINE_END.finditer(text)) + 1}"
    is_malformed = bool(collector.malformed) and collector.malformed[-1].where == last
    may_go_on = _MAY_GO_ON.search(line) and "time_end" in next(lines_of(text)).rpartition(",")[2]
    if is_malformed or may_go_on:
        collector.refuse(last, line, "a whole row, and the end of a line: the file was cut")


def _meant(rule: Rule, values: Mapping[str, str], labels: Sequence[str], collector: _Collector) -> str:
    """The label of a row, or several as one text, as the release has them. Raises as `Rule.apply` does."""
    text = rule.apply(values, labels)
    if not rule.separator:
        return collector.meant(text)
    found = [collector.meant(one.strip()) for one in text.split(rule.separator) if one.strip()]
    unknown = [one for one in found if collector.known_labels and one not in collector.known_labels]
    if unknown:
        raise ValueError(f"a label of the release, not {unknown[0]!r}")
    return rule.separator.join(dict.fromkeys(found))


def _parse_described(text: str, file: AnnotationFile, collector: _Collector) -> None:
    """A list whose form a release's file describes."""
    assert file.name is not None
    labels = tuple(collector.known_labels)
    for row in rows(text, file, collector.problem):
        try:
            if any(row.values[column] != value for column, value in file.where.items()):
                continue
            name = file.name.apply(row.values)
            label = "" if file.label is None else _meant(file.label, row.values, labels, collector)
        except KeyError as error:
            collector.problem(row.where, ", ".join(row.values), f"a column {error.args[0]}")
        except ValueError as error:
            collector.problem(row.where, ", ".join(row.values.values()), str(error))
        else:
            collector.add_named(row.where, name, label, are_known=bool(file.label and file.label.separator))
            if file.carry:
                collector.carried.setdefault(name, {column: row.values.get(column, "") for column in file.carry})


def _parse_csv(text: str, collector: _Collector) -> None:
    found = csv_rows(lines_of(text), collector.problem)
    _, header = next(found, ("", []))
    columns = {name.strip(): column for column, name in enumerate(header)}
    missing = {"youtube_id", "time_start", "time_end"} - columns.keys()
    if missing:
        expected = "a header with youtube_id, time_start, time_end and perhaps label, split, is_cc"
        collector.refuse("line 1", ",".join(header), expected)
        return
    for line, row in found:
        if len(row) != len(header):
            collector.problem(line, ",".join(row), f"{len(header)} fields")
            continue
        values = {name: row[column].strip() for name, column in columns.items()}
        collector.add(
            _Row(
                line,
                values["youtube_id"],
                values["time_start"],
                values["time_end"],
                values.get("label", ""),
                values.get("split", ""),
            )
        )


def _parse_listing(text: str, collector: _Collector) -> None:
    """The output of `ls -R`: a line `train/abseiling:`, then the names in that folder, then a blank line. Names may be
    quoted, as `ls` does on a terminal, and the size of a folder (`total 8`, of `ls -s`) may stand before them."""
    label = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if line.endswith(":"):
            folder = _unquoted(line[:-1]).rstrip("/").rsplit("/", 1)[-1]
            label = collector.meant(folder)
        elif line and not line.startswith("._") and not _TOTAL.fullmatch(line):
            _add_listed(f"line {number}", _unquoted(line), label, collector)


def _unquoted(name: str) -> str:
    """A name without the quotes of `ls`, which has double ones where the name has a single one."""
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"" else name


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
        collector.refuse(where, name, f"a clip in a folder named by a label of the release, not {label!r}")


def _parse_json(text: str, collector: _Collector) -> None:
    try:
        entries = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        collector.refuse(f"line {error.lineno}", text[error.pos : error.pos + 40], f"JSON: {error.msg}")
        return
    except (RecursionError, ValueError) as error:
        collector.refuse("line 1", text[:40], f"JSON within reason ({type(error).__name__})")
        return
    if not isinstance(entries, _Object):
        collector.refuse("line 1", text[:40], "a JSON object keyed by YouTube id")
        return
    for youtube_id, entry in entries.pairs:
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


class _Object(dict[str, Any]):
    """An object of JSON that remembers what stands under a key that is there more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


@functools.lru_cache(maxsize=1 << 14)
def _whole_seconds(text: str) -> int:
    """A time in whole seconds, from `17` or `17.0`. Raises `ValueError`."""
    whole, _, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit()) or fraction.strip("0") or len(whole) > 9:
        raise ValueError(f"time {text!r}: expected whole seconds")
    return int(whole)


_PARSERS: Mapping[str, Callable[[str, _Collector], None]] = {
    "csv": _parse_csv,
    "listing": _parse_listing,
    "json": _parse_json,
}
