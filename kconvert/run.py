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
from kconvert.errors import UsageError
from kconvert.events import Observer
from kconvert.files import remove, remove_temporaries
from kconvert.finish import CARD_NAME, LABELS_NAME, finish, labels_entry
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

    Raises: `UsageError` for everything that is wrong before anything big is fetched.
    """
    release, splits = load_release(conversion.release), conversion.splits
    identity = conversion.identity(tool_versions(conversion.check))
    out = Path(conversion.out).absolute()
    _require_ours(out)
    _require_writable(out)
    journal = Journal(out)
    with journal.lock():
        if conversion.overwrite:
            _clear(out)
        _require_same(out, journal, identity)
        records = finished(out, journal)
        wanted = [split for split in splits if split not in records]
        failures: list[Failure] = []
        if wanted:
            plans = _plan(conversion, release, wanted, journal, observer)
            require_disk(plans, conversion.shuffle, shutil.disk_usage(out).free, _used_bytes(out))
            journal.set_identity(identity)
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
    release = load_release(conversion.release)
    identity = conversion.identity(tool_versions(conversion.check))
    out = Path(conversion.out).absolute()
    _require_ours(out)
    journal = None if conversion.overwrite else Journal(out)
    records: Mapping[str, SplitRecord] = {}
    if journal is not None:
        _require_same(out, journal, identity)
        records = finished(out, journal)
    wanted = [split for split in conversion.splits if split not in records]
    plans = _plan(conversion, release, wanted, journal, observer) if wanted else []
    return Forecast(plans, sum(plan.num_bytes for plan in plans), max_disk_bytes(plans, conversion.shuffle))


def read_manifest(out: Path) -> Manifest | None:
    """The manifest of a folder; `None` if there is none. Raises `ManifestError` if it is not one."""
    path = out / MANIFEST_NAME
    return Manifest.from_json(path.read_text("utf-8"), str(path)) if path.is_file() else None


def finished(out: Path, journal: Journal) -> dict[str, SplitRecord]:
    """The splits that are whole: in the manifest or in the journal, and with every file in place."""
    manifest = read_manifest(out)
    records: dict[str, SplitRecord] = {}
    for split in SPLITS:
        record = journal.split(split).record()
        if record is None and manifest is not None and split in manifest.splits:
            record = manifest.record(split)
        if record is not None and _is_in_place(out, record):
            records[split] = record
    return records


def _is_in_place(out: Path, record: SplitRecord) -> bool:
    sizes = {shard.path: shard.size_bytes for shard in record.shards} | {record.table.path: record.table.size_bytes}
    return all((out / path).is_file() and (out / path).stat().st_size == size for path, size in sizes.items())


def _plan(
    conversion: Conversion,
    release: Release,
    wanted: Sequence[str],
    journal: Journal | None,
    observer: Observer,
) -> list[SplitPlan]:
    """Plans the splits; without a journal, as if nothing were done yet."""
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
        _note_peculiarities(plan, observer)
        ids = plan.inputs.ids()
        unread = {
            name: ref
            for name, ref in plan.archives.items()
            if split_journal is None or split_journal.archive_receipt(ids[name]) is None
        }
        plans.append(replace(plan, sizes=measure(unread, conversion.fetch)))
    return plans


def _refuse_unlabelled(conversion: Conversion, split: str) -> None:
    if conversion.split is not None:
        raise UsageError(f"--classes: split {split} of {conversion.release} has no labels; leave it out of --split")


def _note_peculiarities(plan: SplitPlan, observer: Observer) -> None:
    """What a person should know of the origin before hundreds of gigabytes are read from it."""
    name, reported = plan.info.name, plan.info.reported.num_archives
    if plan.inputs.num_listed < reported:
        observer.note(f"{name}: the origin has {plan.inputs.num_listed} of the {reported} archives that people report")
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
    path = out / MANIFEST_NAME
    if not path.is_file() or path.read_text("utf-8") != manifest.to_json():
        finish(out, manifest)


def _require_ours(out: Path) -> None:
    """Raises `UsageError` if the folder has something in it that kconvert did not make."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is not a folder")
    if not is_empty(out) and not Journal(out).exists() and not (out / MANIFEST_NAME).is_file():
        raise UsageError(f"--out {out}: is not empty and was not made by kconvert; choose another folder")


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
    """Removes what kconvert made, the manifest first; the lock stays."""
    for name in (MANIFEST_NAME, CARD_NAME, LABELS_NAME):
        remove(out / name)
    journal = Journal(out)
    remove(journal.folder / "identity.json")
    for folder in (*SPLITS, "metadata"):
        for path in (out / folder, journal.folder / folder):
            if path.is_dir():
                shutil.rmtree(path)


def _clear_temporaries(out: Path) -> None:
    """Removes what a killed run left half-written."""
    for folder in (out, out / "metadata", Journal(out).folder):
        remove_temporaries(folder)
    for split in SPLITS:
        remove_temporaries(out / split)
        for name in ("", "archives", "shards"):
            remove_temporaries(Journal(out).folder / split / name)


def _used_bytes(out: Path) -> int:
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
