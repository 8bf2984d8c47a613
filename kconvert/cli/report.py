"""The report: one self-contained page that a person can judge a converted folder from.

Everything on it comes from the manifest, the tables and, for the contact sheets, the shards; the journal, as long as it
is there, has what is odd of the inputs. It is a function of them: no clock and no network, neither when it is made nor
when it is looked at.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from kconvert.cli.report_encoding import encoding_shown
from kconvert.cli.report_supplements import supplements_shown
from kconvert.columns import combining
from kconvert.dataset.manifest import MANIFEST_NAME, REPORT_NAME, Manifest, SplitCounts, finished_manifest, release_of
from kconvert.dataset.open import open_layout
from kconvert.dataset.table import FinalTable, read_split_table
from kconvert.dataset.videos import Videos
from kconvert.staging.journal import Journal
from kconvert.storage.store import StorePath
from kconvert.video.process import VideoProcess
from kconvert.video.stills import STILL_PIXELS, stills

_NUM_SAMPLED = 12
"""Clips on each contact sheet."""
_MAX_FLAGGED = 20_000
"""Clips that are listed; a row takes some 150 bytes."""
_MAX_DETAIL_CHARS = 200
_MAX_BARS = 20
_MAX_LISTED = 100
"""Of each kind of what is odd."""
_BIN_SECONDS = 0.25
_FLAGGED_COLUMNS = ("key", "label", "status", "reason", "defects", "detail", "source", "original_defects")


def write_report(out: StorePath, path: StorePath | None = None) -> StorePath:
    """Writes the report of a finished folder, by default as `report.html` in it; returns its path.

    Raises: `UsageError` if the folder is not a finished one, `ManifestError` if a table is not what it should be.
    """
    manifest = finished_manifest(out)
    tables = {split: read_split_table(out, split) for split in manifest.splits}
    path = path or out / REPORT_NAME
    path.write_bytes(_page(_content(out, manifest, tables)).encode())
    return path


def _content(out: StorePath, manifest: Manifest, tables: Mapping[str, FinalTable]) -> dict[str, Any]:
    """All that the page shows, for its script."""
    release = release_of(manifest)
    order = open_layout(manifest.format).packed_order
    written = {split: table.written(order) for split, table in tables.items()}
    flagged, num_unlisted = _flagged(tables)
    return {
        "title": release.title,
        "release": manifest.release,
        "format": manifest.format,
        "kconvert": manifest.kconvert_version,
        "splits": {split: dataclasses.asdict(counts) for split, counts in manifest.splits.items()},
        "flow": {split: flow(counts) for split, counts in manifest.splits.items()},
        "listed": list(_listed(out, manifest)),
        "bin_seconds": _BIN_SECONDS,
        "durations": {split: _durations(rows) for split, rows in written.items()},
        "kinds": {
            "resolution": _kinds(written, lambda rows: map(_resolution, rows.column("width"), rows.column("height"))),
            "frames a second": _kinds(written, lambda rows: map(_rate, rows.column("fps"))),
            "video codec": _kinds(written, lambda rows: (name or "unknown" for name in rows.column("video_codec"))),
            "audio codec": _kinds(written, lambda rows: (name or "none" for name in rows.column("audio_codec"))),
        },
        "labels": list(release.labels),
        "classes": {split: _per_class(rows, len(release.labels)) for split, rows in written.items()},
        "shards": [entry for split in manifest.splits for entry in _shards(manifest, split, written[split])],
        "flagged": {"columns": ["split", *_FLAGGED_COLUMNS], "rows": flagged, "num_unlisted": num_unlisted},
        "sheets": _sheets(out, written),
        "encoding": encoding_shown(out, manifest, written),
        "supplements": supplements_shown(out, manifest, written),
        "options": dict(manifest.options),
        "tools": dict(manifest.tools),
        "digests": {
            MANIFEST_NAME: hashlib.sha256(manifest.to_json().encode()).hexdigest(),
            **{table.path: table.sha256 for table in manifest.tables},
            "labels.txt": manifest.labels.sha256,
        },
    }


def flow(counts: SplitCounts) -> list[tuple[str, str, int]]:
    """The account of a split as a flow: from, to, clips. What flows into a stage flows out of it."""
    num_duplicates = counts.num_rejected.get("duplicate", 0)
    num_rejected = sum(counts.num_rejected.values())
    num_hosted = counts.num_written + num_rejected
    links = [
        ("annotated", "hosted", num_hosted - num_duplicates - counts.num_unannotated),
        ("annotated", "missing", counts.num_missing),
        ("annotated", "not asked for", counts.num_unread_annotations),
        ("not annotated", "hosted", counts.num_unannotated),
        ("second copies", "hosted", num_duplicates),
        ("hosted", "replaced", counts.num_replaced),
        ("hosted", "as hosted", num_hosted - counts.num_replaced),
        ("replaced", "written", counts.num_replaced),
        ("as hosted", "written", counts.num_written - counts.num_replaced),
        *(("as hosted", f"rejected: {reason}", number) for reason, number in counts.num_rejected.items()),
        ("written", "without a flag", counts.num_written - counts.num_flagged),
        ("written", "short or few frames", counts.num_flagged),
    ]
    return [link for link in links if link[2]]


def _listed(out: StorePath, manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """What a person should know beside the counts: split, kind, text; what only the journal has, as long as that
    is there."""
    for split in manifest.splits:
        damaged = [entry for entry in manifest.damaged if entry.split == split]
        listings = {"damaged_archives": list(map(str, damaged)), **Journal(out).split(split).listings()}
        for kind, names in listings.items():
            yield from ((split, kind.replace("_", " "), name) for name in names[:_MAX_LISTED])
            if (num_more := len(names) - _MAX_LISTED) > 0:
                yield split, kind.replace("_", " "), f"and {num_more:,} more (`kconvert status --json` lists all)"


def _durations(rows: FinalTable) -> list[tuple[float, int]]:
    """How many clips there are in each bin, by its start in seconds."""
    bins = Counter(int(seconds / _BIN_SECONDS) for seconds in rows.column("duration_seconds") if seconds is not None)
    return [(number * _BIN_SECONDS, bins[number]) for number in sorted(bins)]


def _kinds(written: Mapping[str, FinalTable], kinds_of: Any) -> dict[str, Any]:
    """How many clips of each split are of each kind; the rarest kinds together."""
    counts = {split: Counter(kinds_of(rows)) for split, rows in written.items()}
    total: Counter[str] = Counter()
    for one in counts.values():
        total.update(one)
    names = [name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    shown, others = names[:_MAX_BARS], names[_MAX_BARS:]
    found = {split: [one[name] for name in shown] for split, one in counts.items()}
    if others:
        shown = [*shown, f"{len(others):,} others"]
        found = {split: [*numbers, sum(counts[split][name] for name in others)] for split, numbers in found.items()}
    return {"names": shown, "splits": found}


def _resolution(width: int | None, height: int | None) -> str:
    return f"{width}×{height}" if width and height else "unknown"


def _rate(fps: float | None) -> str:
    return f"{fps:.4g}" if fps else "unknown"


def _per_class(rows: FinalTable, num_labels: int) -> list[int]:
    """Clips of each label, by label id."""
    found = combining.counts(rows.column("label_id"))
    return [found.get(label_id, 0) for label_id in range(num_labels)]


def _shards(manifest: Manifest, split: str, rows: FinalTable) -> Iterator[dict[str, Any]]:
    """How large each shard of a split is, and how well classes are mixed in it."""
    label_ids, start = rows.column("label_id"), 0
    sizes = combining.counts(label_ids).values()
    expected = functools.cache(lambda num_drawn: round(expected_classes(sizes, num_drawn), 2))
    for entry in (entry for entry in manifest.shards if entry.split == split):
        inside = label_ids.slice(start, start + entry.num_samples).values
        start += entry.num_samples
        yield {
            "path": entry.path,
            "split": split,
            "num_samples": entry.num_samples,
            "size_bytes": entry.size_bytes,
            "num_classes": len(set(inside)),
            "expected_classes": expected(entry.num_samples),
            "longest_run": longest_run(inside),
        }


def expected_classes(sizes: Iterable[int], num_drawn: int) -> float:
    """How many classes are among clips that are drawn at random, of classes with so many clips each.

    A class of m of N clips is missing among n with the probability C(N-m, n) / C(N, n), which is the product of
    1 - n / (N - i) for i from 0 to m - 1.
    """
    num_in_class = list(sizes)
    total = sum(num_in_class)
    missing = {0: 1.0}
    for drawn_before in range(max(num_in_class, default=0)):
        left = total - drawn_before
        missing[drawn_before + 1] = missing[drawn_before] * max(0.0, 1 - num_drawn / left)
    return sum(1 - missing[size] for size in num_in_class)


def longest_run(values: Sequence[int]) -> int:
    """The largest number of equal values one after the other."""
    longest = run = 0
    before: int | None = None
    for value in values:
        run = run + 1 if value == before else 1
        longest, before = max(longest, run), value
    return longest


def _flagged(tables: Mapping[str, FinalTable]) -> tuple[list[list[str]], int]:
    """The rows of clips that something was found in, those that were rejected first, and how many are left out."""
    flagged = {split: table.flagged() for split, table in tables.items()}
    found = (
        [split, *(" ".join(value) if isinstance(value, list) else value for value in row)]
        for split, table in flagged.items()
        for row in table.rows(_FLAGGED_COLUMNS)
    )
    first = heapq.nsmallest(_MAX_FLAGGED, found, key=lambda row: (row[3] != "rejected", row[4], row[0], row[1]))
    shown = [[*row[:6], row[6][:_MAX_DETAIL_CHARS], *row[7:]] for row in first]
    return shown, max(0, sum(map(len, flagged.values())) - _MAX_FLAGGED)


def _sheets(out: StorePath, written: Mapping[str, FinalTable]) -> dict[str, Any]:
    """The contact sheets, by title."""
    flagged = {split: rows.flagged() for split, rows in written.items()}
    sheets = {"A random sample": written, "Flagged clips that were written": flagged}
    with VideoProcess() as process:
        return {title: _sheet(out, rows, process) for title, rows in sheets.items()}


def _sheet(out: StorePath, tables: Mapping[str, FinalTable], process: VideoProcess) -> list[dict[str, Any]]:
    """Stills of some clips: always the same ones, drawn by a digest of their keys."""
    digests = (
        (hashlib.sha256(key.encode()).digest(), split, index)
        for split, table in tables.items()
        if table.has_offsets()
        for index, key in enumerate(table.column("key"))
    )
    sheet: list[dict[str, Any]] = []
    for _, split, index in heapq.nsmallest(4 * _NUM_SAMPLED, digests):
        row = tables[split].row(index)
        video = Videos(out).read(row)
        try:
            images = stills(process, video, STILL_PIXELS)
        except ValueError:
            # The next one takes its place: that it does not decode is for `--check.depth decode` to say.
            continue
        shown = ["data:image/jpeg;base64," + base64.b64encode(image).decode() for image in images]
        sheet.append({"key": row["key"], "label": row["label"], "about": _about(row), "images": shown})
        if len(sheet) == _NUM_SAMPLED:
            break
    return sheet


def _about(content: Mapping[str, Any]) -> str:
    """What stands below the stills of a clip."""
    size = [f"{content['duration_seconds'] or 0:.2f} s", _resolution(content["width"], content["height"])]
    return ", ".join([*size, *content["defects"], *(f"was {one}" for one in content["original_defects"])])


def _page(content: Mapping[str, Any]) -> str:
    """The page; content are data for its script, which shows them as text only."""
    folder = resources.files("kconvert.cli") / "page"
    names = ("page.html", "page.css", "page.js", "echarts.min.js")
    pieces = {name: (folder / name).read_text("utf-8") for name in names}
    # No `<` stands in the data, so that nothing in it can end the element it is in.
    data = json.dumps(content, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    page = pieces.pop("page.html")
    for name, text in {**pieces, "data": data}.items():
        page = page.replace(f"<!-- {name} -->", text, 1)
    return page
