"""A run: one conversion from the claim of its folder to its manifest.

Running again resumes: a finished split is left alone, an unfinished one is taken up where it was. A failed task fails
its split only, and the manifest waits until every split that was asked for is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from kconvert.conversion.config import Conversion
from kconvert.conversion.disk_space import (
    DiskNeed,
    DiskUse,
    describe_space,
    disk_needs,
    known_disk_bytes,
    require_space,
)
from kconvert.conversion.finish import finish, is_finished, labels_entry
from kconvert.conversion.folder import (
    FolderState,
    clear,
    clear_temporaries,
    holds_nothing,
    keep_records,
    require_writable,
    supplement_paths,
)
from kconvert.conversion.job import Job, resolve
from kconvert.conversion.plan import Source, SplitPlan, measure
from kconvert.conversion.record import done_event
from kconvert.conversion.selection import Selection
from kconvert.conversion.supplements import SupplementJob, Supplements, make_supplements, read_supplements
from kconvert.conversion.tasks import FailedTasksError, Failure, Tasks
from kconvert.conversion.workers import describe_workers, task_bytes
from kconvert.dataset.manifest import DamagedEntry, Manifest, SplitRecord, SupplementEntry, read_manifest
from kconvert.engines.engine import Engine, TaskNeeds
from kconvert.engines.node_check import checked_nodes
from kconvert.engines.open import EngineChoice, open_engine
from kconvert.errors import BusyError, OriginError, UsageError, disk_error
from kconvert.events import Observer
from kconvert.sources.origins.open import open_origin
from kconvert.staging.journal import Journal
from kconvert.staging.snapshots import SnapshotWriter
from kconvert.storage.store import StorePath
from kconvert.units import format_bytes
from kconvert.version import VERSION
from kconvert.video.encoding.options import Encoding
from kconvert.video.process import VideoProcess, prepare

PRELOAD = ("kconvert.conversion.worker",)
"""What workers import before they are forked."""
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
    """To be fetched, as far as known."""
    known_disk_bytes: int
    """The most that staging and output take at any moment, without what archives take that are not measured."""
    num_unmeasured: int
    """Archives whose size the origin does not state."""
    needs: Sequence[DiskNeed]
    """What each disk has to take of that; none for object stores."""
    encoding_core_seconds: float | None
    """About how long one core would encode all clips; `None` where nothing is encoded."""


def convert(conversion: Conversion, observer: Observer, engine: Engine | None = None) -> Summary:
    """Does a conversion, or resumes it, on the engine that it names or on another one, which is closed then.

    Raises: `UsageError` for everything that is wrong before anything big is fetched; nothing is changed then.
    `DiskError` if the disk refuses what belongs to the whole, not to one archive or shard. `LostLockError` if another
    run has the folder by now.
    """
    try:
        return _convert(conversion, observer, engine)
    except BusyError:
        raise
    except UsageError as error:
        _remember_refusal(conversion, error)
        raise
    except OSError as error:
        raise disk_error(error) from error


def forecast(conversion: Conversion, observer: Observer) -> Forecast:
    """What `convert` would do; fetches path lists and annotations only and writes nothing.

    Raises: `UsageError` as `convert` does.
    """
    job = resolve(conversion)
    state = _state(conversion, job)
    plans = _survey(job, state, observer.note)
    _require_enough_clips(conversion, plans)
    read = read_supplements(job.supplements, state, [plan.info.name for plan in plans])
    use = job.disk_use(plans, read.disk_bytes)
    return Forecast(
        plans=plans,
        num_bytes=sum(plan.num_bytes for plan in plans),
        known_disk_bytes=known_disk_bytes(use),
        num_unmeasured=use.num_unmeasured,
        needs=disk_needs(use),
        encoding_core_seconds=_encoding_core_seconds(job.read.encoding, plans),
    )


def _encoding_core_seconds(encoding: Encoding, plans: Sequence[SplitPlan]) -> float | None:
    if encoding.video is None:
        return None
    from kconvert.video.encoding.estimate import seconds_a_clip

    with VideoProcess() as process:
        return seconds_a_clip(process, encoding) * sum(plan.annotations.num_clips for plan in plans)


def _remember_refusal(conversion: Conversion, error: UsageError) -> None:
    """Has `kconvert status` say it, where the folder is empty or an unfinished one of ours."""
    with suppress(UsageError, OSError):
        journal = Journal(conversion.out_path)
        is_unused = journal.out.is_dir() and holds_nothing(journal.out)
        is_ours = journal.is_begun() and read_manifest(journal.out) is None
        if (is_unused or is_ours) and not journal.is_locked():
            journal.set_refusal(str(error))


def _convert(conversion: Conversion, observer: Observer, engine: Engine | None) -> Summary:
    job = resolve(conversion)
    require_writable(job.out)
    if job.staging is not None:
        require_writable(job.journal.staging, "--staging")
    # An engine may end what another run has begun, so that the lock comes first.
    with job.journal.lock(), closing(engine or _open_engine(conversion, job)) as opened:
        state = _state(conversion, job)
        notes: list[str] = []
        plans = _survey(job, state, notes.append)
        read = read_supplements(job.supplements, state, [plan.info.name for plan in plans])
        use = job.disk_use(plans, read.disk_bytes)
        _require_enough_clips(conversion, plans)
        _note_all(observer, [*_announcement(conversion, job, use), *notes, *_oddities(conversion, job, plans)])
        if plans or read.files:
            require_space(use)
        if plans and state.identity is None:
            job.strategy.layout.require_importable()
        job.journal.forget_refusal()
        if conversion.overwrite:
            clear(job.journal, job.release.splits)
        supplements = read.keep(job.journal)
        del read, use
        _note_all(observer, clear_temporaries(job.journal, job.release.splits))
        if plans:
            job.journal.set_identity(job.identity)
            if state.manifest is not None and (theirs := state.manifest.sound_instruction_set):
                job.journal.claim.set(theirs)
            plans = _fixed(plans, job.journal, job.selection)
        made, failures = _make_all(job, state, plans, opened, observer) if plans else ({}, [])
        planned = {plan.info.name for plan in plans}
        done = {**{split: record for split, record in state.finished.items() if split not in planned}, **made}
        records = {split: done[split] for split in job.release.splits if split in done}
        if not failures:
            failures = _complete(job, supplements, records, opened, observer)
        job.journal.forget_refusal()
        return Summary(records, failures)


def _require_enough_clips(conversion: Conversion, plans: Sequence[SplitPlan]) -> None:
    """Raises `UsageError` if it is known before any archive is read that a split has too few clips."""
    for plan in plans:
        if plan.inputs.annotations.is_complete:
            conversion.shard.require_enough(plan.info.name, plan.annotations.num_clips)


def _oddities(conversion: Conversion, job: Job, plans: Sequence[SplitPlan]) -> list[str]:
    """What a person may not have meant."""
    found = _odd_path(job.out) if plans else []
    if conversion.shard.max_bytes < _SMALL_SHARD_BYTES:
        found.append(
            f"--shard.max_bytes {conversion.shard.max_bytes}: less than a clip has, so that each gets a shard of its "
            "own"
        )
    return found


def _odd_path(out: StorePath) -> list[str]:
    """What a person should know of the name of a folder before it is filled."""
    found = [char for char in "[]{}*?" if char in str(out)]
    if not found:
        return []
    return [
        f"--out {out}: has {found[0]!r} in it, which `load_dataset`, `glob` and brace patterns take for a pattern, so "
        "that they do not find it; choose another name if any of them is to read it"
    ]


def _open_engine(conversion: Conversion, job: Job) -> Engine:
    """What does the work. Raises `UsageError` if that cannot be had."""
    needs = TaskNeeds(task_bytes(conversion), PRELOAD, prepare)
    records = job.journal.folder / "slurm"
    choice = EngineChoice(conversion.engine, conversion.workers, conversion.ray, conversion.slurm)
    return open_engine(choice, needs, records)


def _note_all(observer: Observer, notes: Iterable[str]) -> None:
    for note in notes:
        observer.note(note)


def _state(conversion: Conversion, job: Job) -> FolderState:
    """What the folder holds that counts. Raises `UsageError` if it is another conversion's, or was changed."""
    if conversion.overwrite:
        return FolderState(job.journal)
    state = FolderState.read(job.journal)
    state.require_same(job.identity)
    state.require_untouched()
    return state


def _survey(job: Job, state: FolderState, note: Note) -> list[SplitPlan]:
    """The plans of the splits that are asked for and are not finished."""
    for split, gone in state.absent.items():
        if gone:
            then = "is made anew" if split in job.splits else f"leaves the manifest; --split {split} makes it anew"
            note(f"{split}: {gone[0]} is gone or has another size; the split {then}")
    unaccepted = job.unaccepted(state.records.values())
    for entry in unaccepted:
        note(
            f"{entry.split}: {entry.archive} was {entry.handling}; with --damaged {job.read.damaged} it is fetched "
            "again, and so is each archive with clips of the shards that change by that"
        )
    anew = {entry.split for entry in unaccepted}
    wanted = [split for split in job.splits if split not in state.finished or split in anew]
    return _plan(job, state, wanted, note) if wanted else []


def _announcement(conversion: Conversion, job: Job, use: DiskUse) -> list[str]:
    """What a run is about to do, and what a person may want to be otherwise; nothing if there is nothing to do."""
    plans = use.plans
    if not plans:
        return []
    num_bytes, disk_bytes = sum(plan.num_bytes for plan in plans), known_disk_bytes(use)
    unknown = sum(plan.sizes[name] is None for plan in plans for name in plan.unread)
    more = f" and {unknown} archives of unknown size" if unknown else ""
    title = plans[0].origin_title
    return [
        f"{f'{title}; ' if title else ''}{job.release.name} to {job.out}: "
        f"{'reads' if title else 'fetches'} {format_bytes(num_bytes)}{more}, takes up to "
        f"{format_bytes(disk_bytes)} of disk{more}, with {describe_workers(conversion)}; --out, --split, "
        "--shuffle.window and --workers choose otherwise"
    ]


def _plan(job: Job, state: FolderState, wanted: Sequence[str], note: Note) -> list[SplitPlan]:
    """Plans the splits; where nothing in the folder counts, as if nothing were done yet."""
    origin = open_origin(job.origin.location, job.release, job.read.fetch, job.origin.links)
    if title := next(filter(None, map(origin.title, wanted)), ""):
        job.strategy.require_archives(job.archive_cache, title)
    source = Source(job.release, origin, job.selection, job.origin)
    plans = []
    for split in wanted:
        journal = state.journal.split(split) if state.identity is not None else None
        plan = source.plan(split, journal)
        if plan is None:
            _refuse_absent(job, split)
            note(f"{split}: left out, as the origin has none of it")
            continue
        if job.selection.classes and not plan.annotations.has_labels:
            _refuse_unlabelled(job, split)
            note(f"{split}: left out, as its clips have no labels for --classes to choose from")
            continue
        _note_peculiarities(job, plan, note)
        receipts = job.split(plan).receipts(plan.inputs.ids()) if journal is not None else {}
        unread = {name: ref for name, ref in plan.archives.items() if name not in receipts}
        sizes = measure(unread, job.read.fetch) | {name: receipt.size_bytes for name, receipt in receipts.items()}
        num_excluded, staged = job.num_excluded(plan), job.strategy.staged(plan.inputs)
        plans.append(replace(plan, sizes=sizes, unread=tuple(unread), num_excluded=num_excluded, staged=staged))
    return plans


def _refuse_absent(job: Job, split: str) -> None:
    if job.are_splits_chosen:
        raise OriginError(f"--origin {job.origin.location}: has nothing of {split}; leave it out of --split")


def _refuse_unlabelled(job: Job, split: str) -> None:
    if job.are_splits_chosen:
        raise UsageError(f"--classes: split {split} of {job.release.name} has no labels; leave it out of --split")


def _note_peculiarities(job: Job, plan: SplitPlan, note: Note) -> None:
    """What a person should know of the origin before hundreds of gigabytes are read from it."""
    release, selection = job.release, job.selection
    name, reported = plan.info.name, plan.info.reported.num_archives
    if selection.classes and plan.info.archives_hold_one_class:
        there = {plan.info.label_of(archive, release.labels) for archive in plan.inputs.archives}
        if absent := [label for label in selection.classes if label not in there]:
            note(f"{name}: the origin has no archive of {', '.join(map(repr, absent))}")
    if job.exclusions.names_split(f"{release.name}:{name}"):
        note(f"{name}: is among what --exclude names, and is not excluded from itself")
    if plan.inputs.num_listed < reported:
        note(f"{name}: the origin has {plan.inputs.num_listed} of the {reported} archives that people report")
    for text in plan.notes:
        note(f"{name}: {text}")
    _note_odd_annotations(plan, note)


def _note_odd_annotations(plan: SplitPlan, note: Note) -> None:
    name = plan.info.name
    file = plan.inputs.annotations
    first = next(iter(plan.info.annotations), file)
    if file != first and file in plan.info.annotations:
        note(f"{name}: the origin does not have {first.path}; the labels are those of {file.path}")
    if plan.info.replacement and not plan.inputs.replacement:
        note(f"{name}: the origin does not have {plan.info.replacement}; continuing without replacements")
    if plan.annotations.repeated:
        note(f"{name}: {len(plan.annotations.repeated)} clips are annotated more than once; the first counts")
    num_unjoined = sum(bundle.num_unjoined for bundle in plan.archives.values())
    if num_unjoined and file.form != "none":
        note(
            f"{name}: {num_unjoined:,} files have names without times, of ids that are not annotated, or more than "
            "once; they are unlabelled. Files with the official names would not be"
        )
    if malformed := plan.annotations.malformed:
        note(
            f"{name}: {len(malformed):,} rows of {file.path} cannot be read, and count for nothing; "
            f"the first: {malformed[0]}"
        )


def _fixed(plans: Sequence[SplitPlan], journal: Journal, selection: Selection) -> list[SplitPlan]:
    """Fixes in the journal what new splits are made from; their plans without what is kept there."""
    for plan in plans:
        if plan.new is not None:
            listed = _listed_names(plan, selection)
            journal.split(plan.info.name).set_inputs(plan.inputs, plan.new.annotations, listed, plan.new.listing)
    return [replace(plan, new=None) for plan in plans]


def _listed_names(plan: SplitPlan, selection: Selection) -> Iterable[str]:
    """The clips that `--classes`, or the annotations, select, or those that they leave out (see
    `Inputs.are_selected_read`)."""
    annotations = plan.annotations
    classes = set(selection.classes or annotations.texts.distinct())
    are_in_classes = annotations.texts.each(classes.__contains__, "flag")
    return annotations.names.where(are_in_classes.equals(plan.inputs.are_selected_read))


def _make_all(
    job: Job, state: FolderState, plans: Sequence[SplitPlan], engine: Engine, observer: Observer
) -> tuple[Mapping[str, SplitRecord], Sequence[Failure]]:
    """Makes splits, one after the other; those that are made, and what failed."""
    made: dict[str, SplitRecord] = {}
    failures: list[Failure] = []
    doubtful = _doubtful_archives(job, state)
    state.forget_records([plan.info.name for plan in plans if plan.info.name not in doubtful])
    with SnapshotWriter(job.journal, observer) as watched, checked_nodes(engine, *job.shared_folders()):
        watched.run_begins({plan.info.name: plan.work for plan in plans})
        for plan in plans:
            name, use = plan.info.name, job.disk_use([plan])
            tasks = Tasks(engine, watched, name, lambda use=use: describe_space(use))  # type: ignore[misc]
            try:
                made[name] = _make(job, state, plan, doubtful.get(name, ()), tasks)
                watched.split_ends(done_event(name, made[name]))
            except FailedTasksError as error:
                failures += error.failures
            if any(failure.stops_run for failure in failures):
                break
    if not failures:
        # Of workers that died.
        clear_temporaries(job.journal, job.release.splits)
    return made, failures


def _make(job: Job, state: FolderState, plan: SplitPlan, doubtful: Sequence[str], tasks: Tasks) -> SplitRecord:
    """Makes a split; one that counts as long as the doubtful archives are damaged is forgotten only once they are not.

    Raises: `FailedTasksError` if tasks failed.
    """
    split = job.split(plan)
    if doubtful:
        try:
            job.strategy.read(doubtful, split, tasks)
        except FailedTasksError:
            # The split stays as it is, so that what was read is not packed.
            split.remove_parts()
            raise
        state.forget_records([split.name])
    return job.strategy.make(split, tasks)


def _forget_failures(journal: Journal, entries: Sequence[DamagedEntry]) -> None:
    """Of damaged archives that failed as something else was to be made of them than was, and is asked for now."""
    for entry in entries:
        split = journal.split(entry.split)
        if (archive_id := split.ids().get(entry.archive)) is not None:
            split.forget_failure(archive_id)


def _doubtful_archives(job: Job, state: FolderState) -> Mapping[str, Sequence[str]]:
    """Those of finished splits that something else was made of than is asked for now, by split."""
    unaccepted = job.unaccepted(state.finished.values())
    return {entry.split: [one.archive for one in unaccepted if one.split == entry.split] for entry in unaccepted}


def _complete(
    job: Job, supplements: Supplements, records: Mapping[str, SplitRecord], engine: Engine, observer: Observer
) -> Sequence[Failure]:
    """Makes of splits that are in place a whole: with further annotations, labels, dataset card and manifest; what
    failed."""
    entries = list(supplements.unchanged.values())
    if supplements.lacking:
        with SnapshotWriter(job.journal, observer) as watched, checked_nodes(engine, *job.shared_folders()):
            try:
                entries = make_supplements(supplements, _supplement_job(job, records, engine, watched))
            except FailedTasksError as error:
                return error.failures
    _finish(job, records, entries)
    _forget_failures(job.journal, [entry for record in records.values() for entry in record.damaged])
    return []


def _supplement_job(job: Job, records: Mapping[str, SplitRecord], engine: Engine, observer: Observer) -> SupplementJob:
    def tasks(split: str) -> Tasks:
        return Tasks(engine, observer, split, lambda: describe_space(job.disk_use([])))

    return SupplementJob(job.release, job.strategy.layout, job.journal, list(records), tasks)


def _sound_instruction_set(job: Job) -> str:
    """That by which sound of the folder was made, now or before, which comes out otherwise by others; `""` if none
    was."""
    before = read_manifest(job.out) if job.read.encoding.is_any else None
    return job.journal.claim.holder() or ("" if before is None else before.sound_instruction_set)


def _finish(job: Job, records: Mapping[str, SplitRecord], supplements: Sequence[SupplementEntry]) -> None:
    """Writes labels, dataset card and manifest, if they are not there already."""
    manifest = Manifest(
        release=job.release.name,
        options=job.identity["options"],
        splits={split: record.counts for split, record in records.items()},
        shards=tuple(shard for record in records.values() for shard in record.shards),
        tables=tuple(record.table for record in records.values()),
        damaged=tuple(entry for record in records.values() for entry in record.damaged),
        supplements=tuple(supplements),
        description=job.description,
        num_unused=max((record.num_unused for record in records.values()), default=0),
        extracted={split: record.extracted for split, record in records.items() if record.extracted},
        labels=labels_entry(job.release),
        tools=job.identity["tools"],
        sound_instruction_set=_sound_instruction_set(job),
        kconvert_version=VERSION,
    )
    if not is_finished(job.out, manifest):
        keep_records(job.journal, records)
        known = {file.path for entry in supplements for file in entry.files}
        for path in supplement_paths(job.journal) - known:
            # Of a split that is no more.
            (job.out / path).remove()
        finish(job.out, manifest)
    if job.staging is not None:
        job.journal.staging.remove_empty()
