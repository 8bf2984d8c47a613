"""A run: one conversion from the claim of its folder to its manifest.

Running again is going on: a finished split is left alone, an unfinished one is taken up where it was. A failed task
fails its split only, and the manifest waits until every split that was asked for is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kconvert.catalog.release import Release, load_release
from kconvert.conversion.assembly import Assembly, Failure
from kconvert.conversion.config import Conversion
from kconvert.conversion.disk_space import DiskNeed, disk_needs, max_disk_bytes, require_room
from kconvert.conversion.finish import finish, is_finished, labels_entry
from kconvert.conversion.folder import (
    clear,
    clear_temporaries,
    files_not_in_place,
    finished,
    forget_records,
    holds_nothing,
    keep_records,
    recorded,
    require_ours,
    require_same,
    require_untouched,
    require_writable,
)
from kconvert.conversion.plan import Selection, SplitPlan, measure, plan_split
from kconvert.dataset.formats.open import open_format
from kconvert.dataset.manifest import Manifest, SplitRecord, read_manifest
from kconvert.engines.engine import Engine
from kconvert.engines.node_check import Read, Written, within_reach
from kconvert.errors import BusyError, UsageError, disk_error
from kconvert.events import Observer
from kconvert.sources.fetch.stream import is_remote
from kconvert.sources.origin import open_origin
from kconvert.staging.heartbeat import Heartbeat
from kconvert.staging.journal import Journal
from kconvert.storage.folders import local
from kconvert.storage.store import StorePath
from kconvert.units import format_bytes
from kconvert.version import VERSION
from kconvert.video.open import tool_versions

_SMALL_SHARD_BYTES = 10_000
"""Smaller than any clip of a few seconds."""
Note = Callable[[str], None]
"""Takes something a person should know."""


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    records: Mapping[str, SplitRecord]
    """The finished splits of the folder."""
    failures: Sequence[Failure]
    """Of this run; empty if everything that was asked for is done."""


@dataclass(frozen=True)
class Forecast:
    """What a run would do."""

    plans: Sequence[SplitPlan]
    """Of the splits that are not finished."""
    num_bytes: int
    """To be fetched."""
    max_disk_bytes: int
    """The most that staging and output take at any moment."""
    needs: Sequence[DiskNeed]
    """What each disk has to take of that; none for object stores."""


def convert(conversion: Conversion, observer: Observer) -> Summary:
    """Does a conversion, or goes on with it.

    Raises: `UsageError` for everything that is wrong before anything big is fetched; nothing is changed then.
    `DiskError` if the disk refuses what belongs to the whole, not to one archive or shard.
    """
    try:
        return _convert(conversion, observer)
    except BusyError:
        raise
    except UsageError as error:
        _remember_refusal(conversion, error)
        raise
    except OSError as error:
        raise disk_error(error) from error


def _remember_refusal(conversion: Conversion, error: UsageError) -> None:
    """Has `kconvert status` tell of it, where the folder is empty or an unfinished one of ours."""
    with suppress(UsageError, OSError):
        journal = conversion.journal()
        out = journal.out
        is_unused = out.is_dir() and holds_nothing(out)
        is_ours = journal.is_begun() and read_manifest(out) is None
        if (is_unused or is_ours) and not journal.is_locked():
            journal.set_refusal(str(error))


def _convert(conversion: Conversion, observer: Observer) -> Summary:
    release, out = load_release(conversion.release), conversion.out_path
    identity = _checked_identity(conversion)
    require_writable(out)
    journal = conversion.journal()
    if conversion.staging is not None:
        require_writable(journal.staging, "--staging")
    with closing(conversion.open_engine()) as engine, journal.lock():
        notes: list[str] = []
        records, plans = _survey(conversion, identity, notes.append)
        if conversion.shard.max_bytes < _SMALL_SHARD_BYTES:
            notes.append(
                f"--shard.max_bytes {conversion.shard.max_bytes}: less than a clip has, so that each gets a shard of "
                "its own"
            )
        _note_all(observer, [_announcement(conversion, plans), *notes] if plans else notes)
        failures: list[Failure] = []
        if plans:
            require_room(conversion, journal, plans)
        journal.forget_refusal()
        if conversion.overwrite:
            clear(journal)
        _note_all(observer, clear_temporaries(journal))
        if plans:
            journal.set_identity(identity)
            forget_records(out, [plan.info.name for plan in plans])
            _fix_inputs(plans, journal, conversion.selection(release))
            with Heartbeat(journal, observer) as heart, within_reach(engine, *_shared_folders(conversion, journal)):
                heart.run_begins({plan.info.name: plan.work for plan in plans})
                failures = _assemble(conversion, release, plans, journal, engine, heart)
            if not failures:
                # Of workers that died.
                clear_temporaries(journal)
            records = finished(out, journal)
        if not failures:
            _finish(out, identity, records)
            if conversion.staging is not None:
                journal.staging.remove_empty()
        journal.forget_refusal()
        return Summary(records, failures)


def _note_all(observer: Observer, notes: Iterable[str]) -> None:
    for note in notes:
        observer.note(note)


def forecast(conversion: Conversion, observer: Observer) -> Forecast:
    """What `convert` would do; fetches path lists and annotations only and writes nothing.

    Raises: `UsageError` as `convert` does.
    """
    _, plans = _survey(conversion, _checked_identity(conversion), observer.note)
    needs = disk_needs(conversion, conversion.journal(), plans)
    return Forecast(plans, sum(plan.num_bytes for plan in plans), max_disk_bytes(conversion, plans), needs)


def _checked_identity(conversion: Conversion) -> dict[str, Any]:
    """The identity of a conversion whose options, tools and folder can work. Raises `UsageError` if they cannot."""
    conversion.require_known_words()
    _require_parent(conversion)
    if conversion.keep_folder is not None and conversion.keep_folder.is_relative_to(str(conversion.out_path)):
        raise UsageError(
            f"--archives {conversion.archives}: is in --out, which only shards and tables belong in; "
            "choose a folder elsewhere"
        )
    origin = conversion.origin_location
    if not is_remote(origin) and Path(origin).is_relative_to(str(conversion.out_path)):
        raise UsageError(f"--origin {conversion.origin}: is in --out, which --overwrite clears; choose another --out")
    layout = open_format(conversion.to)
    if layout.keeps_archives and conversion.keep_folder is not None:
        raise UsageError(f"--archives {conversion.archives}: --to archives keeps them in --out; leave it out")
    layout.require(conversion.out_path, conversion.shard.max_bytes)
    identity = conversion.identity({**tool_versions(conversion.check), **layout.tools()})
    require_ours(conversion.out_path)
    return identity


def _require_parent(conversion: Conversion) -> None:
    """Raises `UsageError` if `--staging` is to be made in a folder that is not there: a disk that is not mounted."""
    staging = conversion.journal().staging
    if conversion.staging is not None and (here := staging.local_path) is not None:
        folder = here.parent
        if not folder.exists() and not folder.parent.is_dir():
            raise UsageError(
                f"--staging {conversion.staging}: {folder.parent} is not there; is that disk mounted? Make the folder, "
                "or choose another"
            )


def _survey(
    conversion: Conversion, identity: Mapping[str, Any], note: Note
) -> tuple[Mapping[str, SplitRecord], list[SplitPlan]]:
    """The splits that are finished, and the plans of those that are asked for and are not."""
    journal = None if conversion.overwrite else conversion.journal()
    records: Mapping[str, SplitRecord] = {}
    if journal is not None:
        require_same(conversion.out_path, journal, identity)
        require_untouched(conversion.out_path, journal)
        records = finished(conversion.out_path, journal)
        _note_spoilt(conversion, journal, note)
    wanted = [split for split in conversion.splits if split not in records]
    return records, _plan(conversion, wanted, journal, note) if wanted else []


def _announcement(conversion: Conversion, plans: Sequence[SplitPlan]) -> str:
    """What a run is about to do, and what a person may want to be otherwise."""
    num_bytes, disk_bytes = sum(plan.num_bytes for plan in plans), max_disk_bytes(conversion, plans)
    unknown = sum(plan.sizes[name] is None for plan in plans for name in plan.unread)
    more = f" and {unknown} archives of unknown size" if unknown else ""
    return (
        f"{conversion.release} to {conversion.out_path}: fetches {format_bytes(num_bytes)}{more}, takes up to "
        f"{format_bytes(disk_bytes)} of disk{more}, with {conversion.describe_workers()}; --out, --split, "
        "--shuffle.window and --workers choose otherwise"
    )


def _plan(conversion: Conversion, wanted: Sequence[str], journal: Journal | None, note: Note) -> list[SplitPlan]:
    """Plans the splits; without a journal, as if nothing were done yet."""
    release = load_release(conversion.release)
    selection = conversion.selection(release)
    origin = open_origin(conversion.origin_location, release, conversion.fetch)
    plans = []
    for split in wanted:
        split_journal = journal.split(split) if journal is not None else None
        plan = plan_split(release, release.splits[split], origin, selection, split_journal)
        if selection.classes and not plan.annotations.has_labels:
            _refuse_unlabelled(conversion, split)
            note(f"{split}: left out, as its clips have no labels for --classes to choose from")
            continue
        _note_peculiarities(release, plan, selection, note)
        receipts = split_journal.archive_receipts(plan.inputs.ids()) if split_journal is not None else {}
        unread = {name: ref for name, ref in plan.archives.items() if name not in receipts}
        sizes = measure(unread, conversion.fetch) | {name: receipt.size_bytes for name, receipt in receipts.items()}
        is_staged = not open_format(conversion.to).keeps_archives
        plans.append(replace(plan, sizes=sizes, unread=tuple(unread), is_staged=is_staged))
    return plans


def _note_spoilt(conversion: Conversion, journal: Journal, note: Note) -> None:
    """Tells of splits that were finished and lack a file by now."""
    for split, record in recorded(conversion.out_path, journal).items():
        if gone := files_not_in_place(conversion.out_path, record, open_format(conversion.to)):
            then = (
                "is made anew" if split in conversion.splits else f"leaves the manifest; --split {split} makes it anew"
            )
            note(f"{split}: {gone[0]} is gone or has another size; the split {then}")


def _refuse_unlabelled(conversion: Conversion, split: str) -> None:
    if conversion.split is not None:
        raise UsageError(f"--classes: split {split} of {conversion.release} has no labels; leave it out of --split")


def _note_peculiarities(release: Release, plan: SplitPlan, selection: Selection, note: Note) -> None:
    """What a person should know of the origin before hundreds of gigabytes are read from it."""
    name, reported = plan.info.name, plan.info.reported.num_archives
    if selection.classes and plan.info.archives_hold_one_class:
        there = {plan.info.label_of(archive, release.labels) for archive in plan.inputs.archives}
        if absent := [label for label in selection.classes if label not in there]:
            note(f"{name}: the origin has no archive of {', '.join(map(repr, absent))}")
    if plan.inputs.num_listed < reported:
        note(f"{name}: the origin has {plan.inputs.num_listed} of the {reported} archives that people report")
    file, first = plan.inputs.annotations, plan.info.annotations[0]
    if file != first:
        note(f"{name}: the origin does not have {first.path}; the labels are those of {file.path}")
    if plan.info.replacement and not plan.inputs.replacement:
        note(f"{name}: the origin does not have {plan.info.replacement}; going on without replacements")
    if plan.annotations.repeated:
        note(f"{name}: {len(plan.annotations.repeated)} clips are annotated more than once; the first counts")


def _fix_inputs(plans: Sequence[SplitPlan], journal: Journal, selection: Selection) -> None:
    """Fixes in the journal what new splits are made from."""
    for plan in plans:
        if plan.new_annotations is not None:
            chosen = [name for name, label in plan.annotations.labels.items() if label in selection.classes]
            journal.split(plan.info.name).set_inputs(plan.inputs, plan.new_annotations, chosen)


def _assemble(
    conversion: Conversion,
    release: Release,
    plans: Sequence[SplitPlan],
    journal: Journal,
    engine: Engine,
    observer: Observer,
) -> list[Failure]:
    failures: list[Failure] = []
    for plan in plans:
        split_journal = journal.split(plan.info.name)
        made = Assembly(conversion, release, plan, split_journal, engine, observer).run()
        if not isinstance(made, SplitRecord):
            failures += made
        if any(failure.stops_run for failure in failures):
            break
    return failures


def _finish(out: StorePath, identity: Mapping[str, Any], records: Mapping[str, SplitRecord]) -> None:
    """Writes labels, card and manifest, if they are not there already."""
    manifest = Manifest(
        release=identity["release"],
        options=identity["options"],
        splits={split: record.counts for split, record in records.items()},
        shards=tuple(shard for record in records.values() for shard in record.shards),
        tables=tuple(record.table for record in records.values()),
        labels=labels_entry(load_release(identity["release"])),
        tools=identity["tools"],
        kconvert_version=VERSION,
    )
    if not is_finished(out, manifest):
        keep_records(Journal(out), records)
        finish(out, manifest)


def _shared_folders(conversion: Conversion, journal: Journal) -> tuple[Written, Read]:
    """What every machine that works must reach: the folders that are written, and those that are only read."""
    written: list[tuple[str, StorePath]] = [("--out", journal.folder)]
    if conversion.staging is not None:
        written.append(("--staging", journal.staging))
    if conversion.keep_folder is not None:
        written.append(("--archives", local(conversion.keep_folder)))
    origin = conversion.origin_location
    read = [] if is_remote(origin) else [("--origin", Path(origin))]
    return tuple(written), tuple(read)
