"""What the commands print on stdout: the same results as text for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kconvert.catalog.release import Release, SplitInfo
from kconvert.cli.pace import spoken
from kconvert.cli.status import Status
from kconvert.conversion.config import Conversion
from kconvert.conversion.disk_space import DiskNeed
from kconvert.conversion.matching import SplitMatch, examples
from kconvert.conversion.plan import SplitPlan
from kconvert.conversion.workers import chosen_workers, describe_workers
from kconvert.dataset.manifest import MANIFEST_NAME, Manifest, SplitCounts, SplitRecord, table_path
from kconvert.staging.journal import ProgressRecord
from kconvert.storage.store import StorePath
from kconvert.text import printable_lines
from kconvert.units import format_bytes, format_rate

if TYPE_CHECKING:
    from kconvert.conversion.run import Forecast, Summary
    from kconvert.conversion.verification import Difference

_MAX_LISTED = 20


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=True)


def _text(lines: Sequence[str]) -> str:
    """Lines for a terminal: names and messages from outside may hold anything."""
    return printable_lines("\n".join(lines))


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _counts_table(counts: Mapping[str, SplitCounts]) -> list[str]:
    header = [
        "split",
        "annotated",
        "written",
        "short",
        "few frames",
        "replaced",
        "rejected",
        "missing",
        "shards",
        "size",
    ]
    rows = [
        [
            split,
            f"{found.num_annotations:,}",
            f"{found.num_written:,}",
            f"{found.num_short:,}",
            f"{found.num_few_frames:,}",
            f"{found.num_replaced:,}",
            f"{sum(found.num_rejected.values()):,}",
            f"{found.num_missing:,}",
            f"{found.num_shards:,}",
            format_bytes(found.num_bytes),
        ]
        for split, found in counts.items()
    ]
    return aligned(header, rows)


def _rejected_lines(counts: Mapping[str, SplitCounts]) -> list[str]:
    return [
        f"{split}: rejected " + ", ".join(f"{number:,} {reason}" for reason, number in found.num_rejected.items())
        for split, found in counts.items()
        if found.num_rejected
    ]


def _counts(records: Mapping[str, SplitRecord]) -> dict[str, SplitCounts]:
    return {split: record.counts for split, record in records.items()}


def versions_text(versions: Mapping[str, str]) -> str:
    return _text([f"{name} {version}" for name, version in versions.items()])


def summary_text(conversion: Conversion, summary: Summary) -> str:
    """The result of a conversion."""
    counts = _counts(summary.records)
    lines = [*_counts_table(counts), *_rejected_lines(counts)] if counts else []
    if summary.failures:
        lines.append(f"{len(summary.failures)} failed; run the same command again to resume:")
        for next_step in dict.fromkeys(failure.next_step for failure in summary.failures):
            lines += [f"  {failure.reason}" for failure in summary.failures if failure.next_step == next_step]
            lines.append(f"  -> {next_step}")
    else:
        lines.append(f"done: {conversion.out_path / MANIFEST_NAME}")
    return _text(lines)


def _summary(conversion: Conversion, summary: Summary) -> dict[str, Any]:
    return {
        "release": conversion.release,
        "out": str(conversion.out_path),
        "is_complete": not summary.failures,
        "splits": {split: dataclasses.asdict(found) for split, found in _counts(summary.records).items()},
        "tables": {split: table_path(split) for split in summary.records},
        "failures": [dataclasses.asdict(failure) for failure in summary.failures],
    }


def summary_json(conversion: Conversion, summary: Summary) -> str:
    return _json(_summary(conversion, summary))


@dataclass(frozen=True)
class Outcome:
    """What one conversion of several came to."""

    conversion: Conversion
    """As it was asked for."""
    code: int
    """The exit code that it would have alone."""
    summary: Summary | None = None
    """`None` if it ended with an error."""
    error: str = ""
    """`""` if it did not end with one."""


def batch_text(outcomes: Sequence[Outcome]) -> str:
    """One line a conversion."""
    rows = []
    for outcome in outcomes:
        written, state = "-", f"error: {outcome.error}"
        if outcome.summary is not None:
            written = f"{sum(record.counts.num_written for record in outcome.summary.records.values()):,}"
            state = f"{len(outcome.summary.failures)} failed" if outcome.summary.failures else "done"
        rows.append([str(outcome.conversion.out_path), outcome.conversion.release, written, state])
    return _text(aligned(["out", "release", "written", "result"], rows))


def batch_json(outcomes: Sequence[Outcome]) -> str:
    return _json([_outcome(outcome) for outcome in outcomes])


def _outcome(outcome: Outcome) -> dict[str, Any]:
    conversion = outcome.conversion
    if outcome.summary is not None:
        return _summary(conversion, outcome.summary)
    out = str(conversion.out_path)
    return {"release": conversion.release, "out": out, "is_complete": False, "error": outcome.error}


_FORECAST_HEADER = [
    "split",
    "archives to read",
    "bytes",
    "annotated",
    "of these in --exclude",
    "shards",
    "official archives / bytes / clips",
]


def forecast_text(conversion: Conversion, forecast: Forecast) -> str:
    """What a conversion would do."""
    if not forecast.plans:
        return f"nothing to do: {conversion.out_path} has every split that was asked for"
    rows = []
    for plan in forecast.plans:
        unknown = sum(plan.sizes[name] is None for name in plan.unread)
        size = format_bytes(plan.num_bytes) + (f" + {unknown} of unknown size" if unknown else "")
        reported = plan.info.reported
        rows.append(
            [
                plan.info.name,
                f"{len(plan.unread):,} of {len(plan.archives):,}",
                size,
                f"{plan.annotations.num_clips:,}",
                f"{plan.num_excluded:,}",
                f"about {num_shards(conversion, plan):,}",
                f"{reported.num_archives:,} / {format_bytes(reported.size_bytes)} / {reported.num_clips:,}",
            ]
        )
    workers = ", ".join(f"{plan.info.name} {num_shards(conversion, plan):,}" for plan in forecast.plans)
    return _text(
        [
            *([title] if (title := forecast.plans[0].origin_title) else []),
            *aligned(_FORECAST_HEADER, rows),
            f"to read: {format_bytes(forecast.num_bytes)} from {conversion.origin}",
            f"disk at most: {_disk_text(forecast)}",
            *(_need_text(need, forecast.num_unmeasured) for need in forecast.needs),
            f"at a time: {describe_workers(conversion)}",
            *_encoding_text(conversion, forecast),
            f"enough shards for so many training workers (ranks x workers): {workers}",
        ]
    )


def _encoding_text(conversion: Conversion, forecast: Forecast) -> list[str]:
    if forecast.encoding_core_seconds is None:
        return []
    hours = forecast.encoding_core_seconds / 3600
    workers = chosen_workers(conversion)
    here = f", {hours / workers.number:,.1f} hours with these" if workers is not None else ""
    return [
        f"encoding: about {hours:,.1f} hours of one core{here}, if all clips were ten seconds of 640x360; by one that "
        "was made and encoded here just now"
    ]


def num_shards(conversion: Conversion, plan: SplitPlan) -> int:
    """About how many shards a split gets, before anybody knows which clips are written."""
    if conversion.shard.num_shards is not None:
        return conversion.shard.num_shards
    by_bytes = -(-sum(plan.sizes.get(name) or 0 for name in plan.inputs.archives) // int(conversion.shard.max_bytes))
    return max(1, by_bytes, -(-plan.annotations.num_clips // conversion.shard.max_samples))


def _disk_text(forecast: Forecast) -> str:
    known = format_bytes(forecast.known_disk_bytes)
    if not forecast.num_unmeasured:
        return known
    return f"not known: {known}, and {forecast.num_unmeasured:,} archives whose size the origin does not state"


def _need_text(need: DiskNeed, num_unmeasured: int) -> str:
    needed = f"{format_bytes(need.needed_bytes)} {'and those archives' if num_unmeasured else 'at most'}"
    fits = "nobody knows whether it fits" if num_unmeasured else "it fits"
    there = f"{need.disk.holds} in {need.disk.folder}: {needed}, {format_bytes(need.there_bytes)} there"
    return f"{there}: {fits if need.fits else f'too little; {need.advice}'}"


def forecast_json(conversion: Conversion, forecast: Forecast) -> str:
    workers = chosen_workers(conversion)
    return _json(
        {
            "workers": None if workers is None else dataclasses.asdict(workers),
            "num_bytes": forecast.num_bytes,
            "encoding_core_seconds": forecast.encoding_core_seconds,
            "max_disk_bytes": None if forecast.num_unmeasured else forecast.known_disk_bytes,
            "disks": [
                {
                    "folder": str(need.disk.folder),
                    "holds": need.disk.holds,
                    "needed_bytes": need.needed_bytes,
                    "there_bytes": need.there_bytes,
                    "fits": None if need.fits and forecast.num_unmeasured else need.fits,
                }
                for need in forecast.needs
            ],
            "splits": {
                plan.info.name: {
                    "num_archives": len(plan.archives),
                    "num_annotations": plan.annotations.num_clips,
                    "num_excluded": plan.num_excluded,
                    "num_bytes": plan.num_bytes,
                    "num_shards": num_shards(conversion, plan),
                    "archives": {name: plan.sizes[name] for name in plan.unread},
                }
                for plan in forecast.plans
            },
        }
    )


def differences_text(out: StorePath, manifest: Manifest | None, found: Sequence[Difference]) -> str:
    """What `verify` found; without a manifest that can be read, that is a difference."""
    if found or manifest is None:
        advice = "remove the shards and tables named, and run the conversion again: it makes them anew"
        if manifest is None:
            advice = f"remove {MANIFEST_NAME}, and run the conversion again: it is then written again"
        return _text([*map(str, found), f"{len(found)} differences in {out}; {advice}"])
    samples = sum(shard.num_samples for shard in manifest.shards)
    rows = sum(table.num_rows for table in manifest.tables)
    return f"all as written: {len(manifest.shards):,} shards, {samples:,} samples, {rows:,} rows in {out}"


def differences_json(found: Sequence[Difference]) -> str:
    return _json([dataclasses.asdict(difference) for difference in found])


def report_json(path: StorePath) -> str:
    return _json({"path": str(path), "size_bytes": path.size_bytes()})


def status_json(status: Status) -> str:
    return _json(dataclasses.asdict(status))


def status_text(status: Status) -> str:
    """How far a folder is."""
    state = "complete" if status.is_complete else "not complete; run the same command again to resume"
    if status.refusal and not status.is_complete:
        state = f"{'not complete' if status.splits else 'nothing was begun'}: {status.refusal}"
    elif not status.splits and not status.is_complete:
        state = "nothing was begun; run the conversion"
    lines = ["a run is working on it" if status.is_running else state]
    lines += _progress_lines(status.progress) if status.progress is not None else []
    rows = [
        [
            split.split,
            f"{split.num_archives_read:,} of {split.num_archives:,}",
            f"{split.num_shards:,}",
            f"{len(split.failures):,}",
            "yes" if split.is_finished else "no",
        ]
        for split in status.splits
    ]
    lines += aligned(["split", "archives read", "shards", "failed", "finished"], rows) if rows else []
    counts = {split.split: split.counts for split in status.splits if split.counts is not None}
    lines += ["", *_counts_table(counts), *_rejected_lines(counts)] if counts else []
    if status.array_tasks:
        lines.append(f"{len(status.array_tasks)} array tasks of Slurm to run again (the same command does it):")
        shown = list(status.array_tasks.items())[:_MAX_LISTED]
        lines += [f"  {number} for {name}" for number, name in shown]
        lines += [f"  and {len(status.array_tasks) - _MAX_LISTED:,} more (--json lists all)"] * (
            len(status.array_tasks) > _MAX_LISTED
        )
    for split in status.splits:
        for archive, reason in split.failures.items():
            lines.append(f"{split.split}: {archive} failed: {reason}")
        for kind, names in split.listings.items():
            if names:
                lines.append(f"{split.split}: {len(names)} {kind.replace('_', ' ')}:")
                lines += [f"  {name}" for name in names[:_MAX_LISTED]]
                lines += [f"  and {len(names) - _MAX_LISTED:,} more (--json lists all)"] * (len(names) > _MAX_LISTED)
    return _text(lines)


def _progress_lines(progress: ProgressRecord) -> list[str]:
    """What a run does now."""
    snapshot = progress.snapshot
    of_bytes = f" of {format_bytes(snapshot.total_bytes)}" if snapshot.total_bytes is not None else ""
    of_clips = f" of {snapshot.total_clips:,}" if snapshot.total_clips is not None else ""
    rest = f", {spoken(snapshot.remaining_seconds)} remaining" if snapshot.remaining_seconds else ""
    flagged = " ".join(f"{defect} {number:,}" for defect, number in snapshot.flagged.items())
    shown = progress.running[:_MAX_LISTED]
    more = f", and {len(progress.running) - len(shown):,} more" if len(progress.running) > len(shown) else ""
    return [
        f"{snapshot.step}, {progress.num_tasks_done:,} done: {format_bytes(snapshot.num_bytes)}{of_bytes}, "
        f"{snapshot.num_clips:,}{of_clips} clips ({format_rate(snapshot.clips_per_second)}){rest}",
        *([f"flagged so far: {flagged}"] if flagged else []),
        *([f"running: {', '.join(shown)}{more}"] if shown else []),
    ]


def releases_text(releases: Sequence[Release], with_labels: bool) -> str:
    """The catalogue."""
    rows = []
    for release in releases:
        for split, info in release.splits.items():
            reported = info.reported
            rows.append(
                [
                    f"{release.name} {split}",
                    _known(len(release.labels)),
                    _known(reported.num_archives),
                    format_bytes(reported.size_bytes) if reported.size_bytes else "-",
                    _known(reported.num_clips),
                    _known(reported.num_annotations),
                    _archives_text(info),
                ]
            )
    header = ["release", "labels", "archives", "size", "clips", "annotated", "an archive holds"]
    lines = [*aligned(header, rows), "sizes and counts as people report them"]
    for release in releases:
        lines += [f"{release.name}: --choose {name}={'|'.join(values)}" for name, values in release.choices.items()]
    if with_labels:
        lines += ["", *(f"{number:3} {label}" for release in releases for number, label in enumerate(release.labels))]
    return _text(lines)


def _known(number: int | None) -> str:
    """A number that people report; `-` where nobody does."""
    return f"{number:,}" if number else "-"


def _archives_text(info: SplitInfo) -> str:
    if not info.archive:
        return "-"
    return "one class each" if info.archives_hold_one_class else "classes mixed"


def releases_json(releases: Sequence[Release]) -> str:
    return _json(
        {
            release.name: {
                "title": release.title,
                "labels": list(release.labels),
                "choices": {name: list(values) for name, values in release.choices.items()},
                "splits": {
                    split: {"archives": info.archive, "reported": dataclasses.asdict(info.reported)}
                    for split, info in release.splits.items()
                },
            }
            for release in releases
        }
    )


def matches_text(matches: Sequence[SplitMatch]) -> str:
    """What of a release an origin has."""
    header = ["split", "in lists", "files", "of these in no list", "in lists, not there", "names of no clip"]
    rows = [
        [one.split, *(f"{number:,}" for number in (one.num_rows, one.num_files, *map(len, _lists_of(one))))]
        for one in matches
    ]
    lines = aligned(header, rows)
    for one in matches:
        lines += [f"{one.split}: {one.title}"] if one.title else [f"{one.split}: no clip of it is there"]
        lines += [f"{one.split}: {problem}" for problem in one.problems[:_MAX_LISTED]]
        for what, names in zip(header[3:], _lists_of(one), strict=True):
            lines += [f"{one.split}: {what}: {examples(names)}"] if names else []
    return _text(lines)


def _lists_of(one: SplitMatch) -> tuple[Sequence[str], ...]:
    return one.unlisted, one.absent, one.unnamed


def matches_json(matches: Sequence[SplitMatch]) -> str:
    return _json({one.split: dataclasses.asdict(one) for one in matches})
