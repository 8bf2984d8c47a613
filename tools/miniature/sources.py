"""Where the miniature's clips and annotation rows come from: made up here, or real."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from miniature.made import KINDS, make_clip
from miniature.oracle import probe_defects


@dataclass(frozen=True)
class Row:
    """An annotation row."""

    youtube_id: str
    start: int
    end: int
    label: str

    @property
    def name(self) -> str:
        return f"{self.youtube_id}_{self.start:06d}_{self.end:06d}"


@dataclass(frozen=True)
class Video:
    """A clip's bytes and what is right to say of them at the default depth."""

    data: bytes
    defects: tuple[str, ...]


class Videos(Protocol):
    def video(self, kind: str, name: str) -> Video:
        """A video for the clip of that name; `kind` is of `made.KINDS` or `any`."""


class Rows(Protocol):
    def rows(self, release: str, split: str, label: str | None) -> Sequence[Row]:
        """Annotated clips, of one label or of any."""


class MadeVideos:
    """Clips of every kind, small ones."""

    def __init__(self) -> None:
        self._kinds = itertools.cycle(KINDS)

    def video(self, kind: str, name: str) -> Video:
        kind = next(self._kinds) if kind == "any" else kind
        return Video(make_clip(kind, name), KINDS[kind][0])


class RealVideos(MadeVideos):
    """The files of a folder, in turn; a kind that is asked for by name is made."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._files = itertools.cycle(sorted(path for path in folder.iterdir() if path.is_file()))
        self._defects: dict[Path, tuple[str, ...]] = {}

    def video(self, kind: str, name: str) -> Video:
        if kind != "any":
            return super().video(kind, name)
        path = next(self._files)
        if path not in self._defects:
            self._defects[path] = probe_defects(path)
        return Video(path.read_bytes(), self._defects[path])


class MadeRows:
    """Rows with ids that begin as real ones do: also with `-`, `--`, `_` and `__`."""

    NUM_ROWS = 30
    MIXED_LABELS = ("abseiling", "massaging person's head", "hurling (sport)", "zumba")
    """Of the releases whose archives mix classes."""

    def rows(self, release: str, split: str, label: str | None) -> Sequence[Row]:
        return [self._row(release, split, label, number) for number in range(self.NUM_ROWS)]

    def _row(self, release: str, split: str, label: str | None, number: int) -> Row:
        start = ("", "-", "__", "--", "_")[number % 5]
        if label is None and release == "k400":
            label = self.MIXED_LABELS[number % len(self.MIXED_LABELS)]
        # k400 and k600 share clips of val, as the real ones do (A12).
        family = "shared" if split == "val" and number % 5 == 1 and release != "k700-2020" else release
        digest = hashlib.sha256(f"{family} {split} {label} {number}".encode()).hexdigest()
        youtube_id = (start + digest)[:11]
        if number % 10 == 9:
            # One video, two clips (A8).
            before = self._row(release, split, label, number - 1)
            return Row(before.youtube_id, before.start + 30, before.end + 30, label or "")
        return Row(youtube_id, number * 7, number * 7 + (8 if number == 5 else 10), label or "")


class RealRows:
    """Rows of the official files; those of a train split are taken from the end of another file where there is none."""

    def __init__(self, folder: Path) -> None:
        self._rows: dict[tuple[str, str], list[Row]] = {}
        for release in ("k400", "k600", "k700-2020"):
            self._rows[release, "val"] = _read_csv(folder / f"{release}_val.csv")
            self._rows[release, "test"] = _read_csv(folder / f"{release}_test_unlabelled.csv")
        entries = json.loads((folder / "deepmind_json_subset.json").read_text("utf-8"))
        self._rows["k400", "train"] = [
            Row(youtube_id, round(start), round(end), entry["annotations"]["label"])
            for youtube_id, entry in entries.items()
            for start, end in [entry["annotations"]["segment"]]
        ]
        for release in ("k600", "k700-2020"):
            rows = self._rows[release, "val"]
            self._rows[release, "train"] = rows[1::2]
            self._rows[release, "val"] = rows[0::2]

    def rows(self, release: str, split: str, label: str | None) -> Sequence[Row]:
        rows = self._rows[release, split]
        return rows if label is None else [row for row in rows if row.label == label]


def _read_csv(path: Path) -> list[Row]:
    with open(path, newline="", encoding="utf-8") as file:
        return [
            Row(entry["youtube_id"], int(entry["time_start"]), int(entry["time_end"]), entry.get("label", ""))
            for entry in csv.DictReader(file)
        ]
