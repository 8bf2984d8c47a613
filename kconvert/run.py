"""A run: one conversion from the claim of its folder to its manifest.

Running again is going on: a finished split is left alone, an unfinished one is taken up where it was. A failed task
fails its split only, and the manifest waits until every split that was asked for is whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kconvert.assembly import Assembly, Failure
from kconvert.config import Conversion, differences, manifest_identity
from kconvert.engine import open_engine
from kconvert.errors import ManifestError, UsageError
from kconvert.events import Observer
from kconvert.files import remove, remove_temporaries
from kconvert.finish import CARD_NAME, LABELS_NAME, finish, is_finished, labels_entry
from kconvert.journal import Journal, is_empty
from kconvert.manifest import MANIFEST_NAME, Manifest, SplitRecord
from kconvert.origin import open_origin
from kconvert.plan import Selection, SplitPlan, max_disk_bytes, measure, plan_split, require_disk
from kconvert.probe import tool_versions
from kconvert.release import SPLITS, Release, load_release
from kconvert.version import VERSION


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


def convert(conversion: Conversion, observer: Observer) -> Summary:
    """Does a conversion, or goes on with it.

    Raises: `UsageError` for everything that is wrong before anything big is fetched; nothing is changed then.
    """
    release, out = load_release(conversion.release), conversion.out_path
    identity = _checked_identity(conversion)
    _require_writable(out)
    journal = Journal(out)
    with journal.lock():
        records, plans = _survey(conversion, identity, observer)
        failures: list[Failure] = []
        if plans:
            require_disk(plans, conversion.shuffle, _room(conversion, plans))
        if conversion.overwrite:
            _clear(out)
        if plans:
            journal.set_identity(identity)
            _forget_untrue_manifest(out, plans)
            _fix_inputs(plans, journal, conversion.selection(release))
            _clear_temporaries(out)
            failures = _assemble(conversion, release, plans, journal, observer)
            records = finished(out, journal)
        if not failures:
            _finish(out, identity, records)
        return Summary(records, failures)


def forecast(conversion: Conversion, observer: Observer) -> Forecast:
    """What `convert` would do; fetches path lists and annotations only and writes nothing.

    Raises: `UsageError` as `convert` does.
    """
    _, plans = _survey(conversion, _checked_identity(conversion), observer)
    return Forecast(plans, sum(plan.num_bytes for plan in plans), max_disk_bytes(plans, conversion.shuffle))


def _checked_identity(conversion: Conversion) -> dict[str, Any]:
    """The identity of a conversion whose options, tools and folder can work. Raises `UsageError` if they cannot."""
    assert conversion.splits
    identity = conversion.identity(tool_versions(conversion.check))
    _require_ours(conversion.out_path)
    return identity


def _survey(
    conversion: Conversion, identity: Mapping[str, Any], observer: Observer
) -> tuple[Mapping[str, SplitRecord], list[SplitPlan]]:
    """The splits that are finished, and the plans of those that are asked for and are not."""
    journal = None if conversion.overwrite else Journal(conversion.out_path)
    records: Mapping[str, SplitRecord] = {}
    if journal is not None:
        _require_same(conversion.out_path, journal, identity)
        records = finished(conversion.out_path, journal)
        _note_spoilt(conversion, journal, observer)
    wanted = [split for split in conversion.splits if split not in records]
    return records, _plan(conversion, wanted, journal, observer) if wanted else []


def read_manifest(out: Path) -> Manifest | None:
    """The manifest of a folder; `None` if there is none. Raises `ManifestError` if it is not one."""
    path = out / MANIFEST_NAME
    return Manifest.from_json(path.read_bytes(), str(path)) if path.is_file() else None


def finished(out: Path, journal: Journal) -> dict[str, SplitRecord]:
    """The splits that are whole: recorded, and with every file in place."""
    records = {split: recorded(out, journal, split) for split in SPLITS}
    return {
        split: record for split, record in records.items() if record is not None and not files_not_in_place(out, record)
    }


def recorded(out: Path, journal: Journal, split: str) -> SplitRecord | None:
    """What the journal, or else the manifest, says of a split that was finished once."""
    record = journal.split(split).record()
    manifest = read_manifest(out) if record is None else None
    return manifest.record(split) if manifest is not None and split in manifest.splits else record


def files_not_in_place(out: Path, record: SplitRecord) -> list[str]:
    """The shards and tables of a finished split that are gone, or have another size by now."""
    sizes = {shard.path: shard.size_bytes for shard in record.shards} | {record.table.path: record.table.size_bytes}
    return [path for path, size in sizes.items() if not (out / path).is_file() or (out / path).stat().st_size != size]


def _forget_untrue_manifest(out: Path, plans: Sequence[SplitPlan]) -> None:
    """Removes a manifest that names a split which is not whole any more, and will be made anew."""
    manifest = read_manifest(out)
    if manifest is not None and any(plan.info.name in manifest.splits for plan in plans):
        remove(out / MANIFEST_NAME)


def _plan(
    conversion: Conversion, wanted: Sequence[str], journal: Journal | None, observer: Observer
) -> list[SplitPlan]:
    """Plans the splits; without a journal, as if nothing were done yet."""
    release = load_release(conversion.release)
    selection = conversion.selection(release)
    origin = open_origin(conversion.origin, release, conversion.fetch)
    plans = []
    for split in wanted:
        split_journal = journal.split(split) if journal is not None else None
        plan = plan_split(release, release.splits[split], origin, selection, split_journal)
        if selection.classes and not plan.annotations.has_labels:
            _refuse_unlabelled(conversion, split)
            observer.note(f"{split}: left out, as its clips have no labels for --classes to choose from")
            continue
        _note_peculiarities(release, plan, selection, observer)
        receipts = split_journal.archive_receipts(plan.inputs.ids()) if split_journal is not None else {}
        unread = {name: ref for name, ref in plan.archives.items() if name not in receipts}
        sizes = measure(unread, conversion.fetch) | {name: receipt.size_bytes for name, receipt in receipts.items()}
        plans.append(replace(plan, sizes=sizes, unread=tuple(unread)))
    return plans


def _note_spoilt(conversion: Conversion, journal: Journal, observer: Observer) -> None:
    """Tells of splits that were finished and lack a file by now."""
    for split in SPLITS:
        record = recorded(conversion.out_path, journal, split)
        if record is not None and (gone := files_not_in_place(conversion.out_path, record)):
            then = (
                "is made anew" if split in conversion.splits else f"leaves the manifest; --split {split} makes it anew"
            )
            observer.note(f"{split}: {gone[0]} is gone or has another size; the split {then}")


def _refuse_unlabelled(conversion: Conversion, split: str) -> None:
    if conversion.split is not None:
        raise UsageError(f"--classes: split {split} of {conversion.release} has no labels; leave it out of --split")


def _note_peculiarities(release: Release, plan: SplitPlan, selection: Selection, observer: Observer) -> None:
    """What a person should know of the origin before hundreds of gigabytes are read from it."""
    name, reported = plan.info.name, plan.info.reported.num_archives
    if selection.classes and plan.info.archives_hold_one_class:
        there = {plan.info.label_of(archive, release.labels) for archive in plan.inputs.archives}
        if absent := [label for label in selection.classes if label not in there]:
            observer.note(f"{name}: the origin has no archive of {', '.join(map(repr, absent))}")
    if plan.inputs.num_listed < reported:
        observer.note(f"{name}: the origin has {plan.inputs.num_listed} of the {reported} archives that people report")
    file, first = plan.inputs.annotations, plan.info.annotations[0]
    if file != first:
        observer.note(f"{name}: the origin does not have {first.path}; the labels are those of {file.path}")
    if plan.info.replacement and not plan.inputs.replacement:
        observer.note(f"{name}: the origin does not have {plan.info.replacement}; going on without replacements")
    if plan.annotations.repeated:
        observer.note(f"{name}: {len(plan.annotations.repeated)} clips are annotated more than once; the first counts")


def _fix_inputs(plans: Sequence[SplitPlan], journal: Journal, selection: Selection) -> None:
    """Fixes in the journal what new splits are made from."""
    for plan in plans:
        if plan.new_annotations is not None:
            chosen = [name for name, label in plan.annotations.labels.items() if label in selection.classes]
            journal.split(plan.info.name).set_inputs(plan.inputs, plan.new_annotations, chosen)


def _assemble(
    conversion: Conversion, release: Release, plans: Sequence[SplitPlan], journal: Journal, observer: Observer
) -> list[Failure]:
    failures: list[Failure] = []
    engine = open_engine(conversion.engine, conversion.num_workers)
    try:
        for plan in plans:
            split_journal = journal.split(plan.info.name)
            made = Assembly(conversion, release, plan, split_journal, engine, observer).run()
            if not isinstance(made, SplitRecord):
                failures += made
    finally:
        engine.close()
    return failures


def _finish(out: Path, identity: Mapping[str, Any], records: Mapping[str, SplitRecord]) -> None:
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
        finish(out, manifest)


def _require_ours(out: Path) -> None:
    """Raises `UsageError` if the folder has something in it that kconvert did not make."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is not a folder")
    if not is_empty(out) and not Journal(out).exists() and not _has_manifest(out):
        raise UsageError(f"--out {out}: is not empty and was not made by kconvert; choose another folder")


def _has_manifest(out: Path) -> bool:
    """Whether there is a manifest of ours: other programs have a file of that name, too."""
    try:
        return read_manifest(out) is not None
    except ManifestError:
        return False


def _require_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written to ({error.strerror})") from error


def _require_same(out: Path, journal: Journal, identity: Mapping[str, Any]) -> None:
    """Raises `UsageError` with the differences if the folder is of another conversion."""
    there = journal.identity() if journal.exists() else None
    if there is None and (manifest := read_manifest(out)) is not None:
        there = manifest_identity(manifest)
    if there is not None and (found := differences(there, identity)):
        raise UsageError(
            f"--out {out}: was made with other options: {'; '.join(found)}; "
            "use the same options, another folder, or --overwrite to start again"
        )


def _clear(out: Path) -> None:
    """Removes what kconvert made: the manifest first, the identity last, so that a half-cleared folder is refused to
    any other conversion. The lock stays."""
    for name in (MANIFEST_NAME, CARD_NAME, LABELS_NAME):
        remove(out / name)
    journal = Journal(out)
    for folder in (*SPLITS, "metadata"):
        for path in (out / folder, journal.folder / folder):
            if path.is_dir():
                shutil.rmtree(path)
    journal.forget_identity()


def _clear_temporaries(out: Path) -> None:
    """Removes what a killed run left half-written."""
    for folder in (out, out / "metadata", Journal(out).folder):
        remove_temporaries(folder)
    for split in SPLITS:
        remove_temporaries(out / split)
        for name in ("", "archives", "shards"):
            remove_temporaries(Journal(out).folder / split / name)


def _room(conversion: Conversion, plans: Sequence[SplitPlan]) -> int:
    """Bytes for staging and output of these splits: what is free, and what earlier runs wrote of them; less what kept
    archives will take on the same disk."""
    out, keep_folder = conversion.out_path, conversion.keep_folder
    kept_bytes = 0
    if keep_folder is not None:
        keep_folder.mkdir(parents=True, exist_ok=True)
        if keep_folder.stat().st_dev == out.stat().st_dev:
            kept_bytes = max(0, sum(plan.num_bytes for plan in plans) - _used_bytes(keep_folder))
    names = [plan.info.name for plan in plans]
    written = sum(_used_bytes(out / name) + _used_bytes(Journal(out).folder / name) for name in names)
    return shutil.disk_usage(out).free + written - kept_bytes


def _used_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
