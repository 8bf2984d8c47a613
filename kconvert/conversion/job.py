"""The door of a conversion: its options are looked at once, and become what the steps behind it are given."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kconvert.catalog.joining import MatchBy, UnlabelledPolicy
from kconvert.catalog.release import Release
from kconvert.conversion.config import (
    Conversion,
    asked_supplements,
    given_annotations,
    require_known_words,
)
from kconvert.conversion.damaged import is_handled
from kconvert.conversion.described import describe_release, description_digests, resolved_release
from kconvert.conversion.disk_space import DiskUse, Growth
from kconvert.conversion.exclusions import Exclusions, read_exclusions
from kconvert.conversion.folder import require_ours
from kconvert.conversion.given_annotations import read_given
from kconvert.conversion.ingest import ClipSelection
from kconvert.conversion.judgement import Policy
from kconvert.conversion.members import Members
from kconvert.conversion.open import open_strategy
from kconvert.conversion.plan import OriginChoice, SplitPlan
from kconvert.conversion.selection import Selection
from kconvert.conversion.shuffle import ShuffleOptions
from kconvert.conversion.split_job import ReadOptions, SplitJob
from kconvert.conversion.strategy import Strategy
from kconvert.conversion.supplements import WantedSupplements, read_one
from kconvert.conversion.workers import chosen_workers, cores_of
from kconvert.dataset.manifest import DamagedEntry, ReleaseDescription, SplitRecord
from kconvert.engines.node_check import Read, Written
from kconvert.errors import UsageError
from kconvert.sources.fetch.stream import is_remote
from kconvert.staging.journal import Journal
from kconvert.storage.folders import local
from kconvert.storage.store import StorePath
from kconvert.version import FORMAT_VERSION
from kconvert.video.encoding.growth import max_expansion
from kconvert.video.encoding.tools import encoding_tools
from kconvert.video.open import tool_versions


@dataclass(frozen=True)
class Job:
    """A conversion that can work, as far as can be said without its origin."""

    release: Release
    """What is converted."""
    splits: Sequence[str]
    """To be made, in their usual order."""
    are_splits_chosen: bool
    """Whether a person named them; else they are all that the release has."""
    selection: Selection
    """Which clips and archives of it are read."""
    journal: Journal
    """What is done so far, and where."""
    origin: OriginChoice
    """Where clips and annotations come from."""
    archive_cache: Path | None
    """`None` if there is none."""
    staging: StorePath | None
    """The folder that was chosen for staging; `None` if none was."""
    read: ReadOptions
    """How archives are read."""
    shuffle: ShuffleOptions
    """How clips are mixed."""
    match: MatchBy
    """What joins a clip and its annotation."""
    exclusions: Exclusions
    """Which clips are rejected as they are in other splits."""
    supplements: WantedSupplements
    """Which further annotations are asked for."""
    members: Members
    """What of these annotations samples have themselves."""
    unlabelled: UnlabelledPolicy | None
    """`None` for what is usual: to drop, but to keep in a split that has no labels at all."""
    strategy: Strategy
    """How clips become shards."""
    packing_bytes: int | None
    """Of the shards that are being written at any moment; `None` where only the cluster knows."""
    identity: Mapping[str, Any]
    """Everything that changes the bytes that are written; a folder has one identity."""
    description: ReleaseDescription | None
    """What the manifest says of the release; `None` if the catalogue has it."""

    @property
    def out(self) -> StorePath:
        """The output folder."""
        return self.journal.out

    def split(self, plan: SplitPlan) -> SplitJob:
        """What the making of a split is given."""
        journal = self.journal.split(plan.info.name)
        covered = self.selection.covered_labels(plan.info, self.release.labels, plan.inputs)
        has_labels = plan.annotations.has_labels or plan.inputs.annotations.form == "none"
        unlabelled = self.unlabelled or ("drop" if has_labels else "keep")
        return SplitJob(
            release=self.release,
            plan=plan,
            out=self.out,
            journal=journal,
            read=self.read,
            policy=Policy(
                dropped=self.read.check.dropped,
                unlabelled=unlabelled,
                match=self.match,
                excluded_by=self.exclusions.of(self.release, plan),
                is_covered=lambda label: covered is None or label in covered,
            ),
            selection=self._clip_selection(plan),
            annotations_of=functools.partial(self.members.of, plan.info.name),
        )

    def _clip_selection(self, plan: SplitPlan) -> ClipSelection | None:
        """Where annotations are not complete, the clips of a class are all those that they do not give another one."""
        if not self.selection.classes and not plan.inputs.holds_others:
            return None
        return ClipSelection(self.journal.split(plan.info.name).selection_path, plan.inputs.are_selected_read)

    def num_excluded(self, plan: SplitPlan) -> int:
        """How many of the annotated clips of a split, of the classes that are read, are excluded."""
        return self.exclusions.num_of(self.release, plan, self.selection.classes)

    def unaccepted(self, records: Iterable[SplitRecord]) -> list[DamagedEntry]:
        """The damaged archives of the splits to be made that something else was made of than is asked for now."""
        entries = [entry for record in records for entry in record.damaged if entry.split in self.splits]
        return [entry for entry in entries if not is_handled(entry.handling, self.read.damaged)]

    def disk_use(self, plans: Sequence[SplitPlan], supplement_bytes: int = 0) -> DiskUse:
        """What of it decides how much its disks have to take for these splits, and for further annotations."""
        encoding, cores = self.read.encoding, self.read.cores
        growth = Growth(max_expansion(encoding), cores.total) if encoding.is_any else Growth()
        return DiskUse(
            self.journal, plans, self.shuffle, self.packing_bytes, self.archive_cache, supplement_bytes, growth
        )

    def shared_folders(self) -> tuple[Written, Read]:
        """What every machine that works must reach: the folders that are written, and those that are only read."""
        written: list[tuple[str, StorePath]] = [("--out", self.journal.folder)]
        if self.staging is not None:
            written.append(("--staging", self.journal.staging))
        if self.archive_cache is not None:
            written.append(("--archives", local(self.archive_cache)))
        read = [] if is_remote(self.origin.location) else [("--origin", Path(self.origin.location))]
        return tuple(written), tuple(read)


def resolve(conversion: Conversion) -> Job:
    """What a conversion works with. Raises `UsageError` if its options, tools or folders cannot work."""
    require_known_words(conversion)
    release, out, cache = resolved_release(conversion), conversion.out_path, conversion.archive_cache
    journal = Journal(out, conversion.staging_path)
    _require_places(conversion, journal)
    strategy = open_strategy(conversion.to, conversion.shuffle, conversion.shard)
    strategy.require(out, cache, conversion.damaged)
    selection, read = conversion.selection(release), _read_options(conversion, strategy)
    exclusions = read_exclusions(conversion, release)
    require_ours(out)
    supplements, origin = _supplements(conversion, release, journal), _origin(conversion)
    members = Members(release, supplements.files)
    digests = {
        "exclude": exclusions.digests,
        "members": members.digests(),
        "annotations": origin.digests,
        "described": description_digests(release, conversion),
    }
    return Job(
        release=release,
        splits=conversion.splits,
        are_splits_chosen=conversion.split is not None,
        selection=selection,
        journal=journal,
        origin=origin,
        archive_cache=cache,
        staging=conversion.staging_path,
        read=read,
        shuffle=conversion.shuffle,
        match=conversion.match,
        exclusions=exclusions,
        supplements=supplements,
        members=members,
        unlabelled=conversion.unlabelled,
        strategy=strategy,
        packing_bytes=_packing_bytes(conversion, strategy),
        identity=_identity(conversion, release, selection, strategy, digests),
        description=describe_release(release, conversion),
    )


def _packing_bytes(conversion: Conversion, strategy: Strategy) -> int | None:
    """Of the shards that are being written at any moment; `None` where only the cluster knows."""
    workers = chosen_workers(conversion)
    if workers is None or conversion.shard.num_shards:
        return None
    return workers.number * conversion.shard.max_bytes * strategy.layout.num_copies


def _origin(conversion: Conversion) -> OriginChoice:
    """Where clips and annotations come from. Raises `UsageError` if annotations that are given cannot be had."""
    given = given_annotations(conversion).items()
    annotations = {split: read_given(f"--annotations.{split}", where, conversion.fetch) for split, where in given}
    return OriginChoice(conversion.origin_location, conversion.links, annotations, conversion.max_malformed)


def _read_options(conversion: Conversion, strategy: Strategy) -> ReadOptions:
    """How archives are read. Raises `UsageError` if a tool for that is missing."""
    if conversion.damaged == "salvage":
        # What is salvaged is decoded, whatever the depth.
        tool_versions(dataclasses.replace(conversion.check, depth="decode"))
    access = strategy.access(conversion.out_path, conversion.archive_cache)
    return ReadOptions(
        conversion.check, conversion.fetch, access, conversion.damaged, conversion.encoding, cores_of(conversion)
    )


def _require_apart(conversion: Conversion) -> None:
    """Raises `UsageError` if what is read, or kept, is in the output folder."""
    out = str(conversion.out_path)
    if conversion.archive_cache is not None and conversion.archive_cache.is_relative_to(out):
        raise UsageError(
            f"--archives {conversion.archives}: is in --out, which only shards and tables belong in; "
            "choose a folder elsewhere"
        )
    origin = conversion.origin_location
    if not is_remote(origin) and Path(origin).is_relative_to(out):
        raise UsageError(f"--origin {conversion.origin}: is in --out, which --overwrite clears; choose another --out")


def _require_places(conversion: Conversion, journal: Journal) -> None:
    """Raises `UsageError` for folders that cannot be what they are to be."""
    _require_parent(conversion, journal)
    _require_apart(conversion)


def _require_parent(conversion: Conversion, journal: Journal) -> None:
    """Raises `UsageError` if `--staging` is to be made in a folder that is not there: a disk that is not mounted."""
    if conversion.staging is not None and (here := journal.staging.local_path) is not None:
        folder = here.parent
        if not folder.exists() and not folder.parent.is_dir():
            raise UsageError(
                f"--staging {conversion.staging}: {folder.parent} is not there; is that disk mounted? Make the folder, "
                "or choose another"
            )


def _supplements(conversion: Conversion, release: Release, journal: Journal) -> WantedSupplements:
    """Which further annotations are asked for; those that samples have are read. Raises `UsageError` if the release
    does not have them, or they cannot be read."""
    asked = asked_supplements(conversion)
    locations = {name: file for name, file in asked.items() if file}
    wanted = WantedSupplements(
        release=release,
        origin=conversion.origin_location,
        fetch=conversion.fetch,
        names=tuple(asked),
        locations=locations,
        is_anew=conversion.overwrite,
    )
    names = wanted.names if conversion.members else ()
    return dataclasses.replace(
        # Of all splits: what is in them belongs to what the folder is.
        wanted,
        files={name: read_one(wanted, name, journal, tuple(release.splits)) for name in names},
    )


def _identity(
    conversion: Conversion,
    release: Release,
    selection: Selection,
    strategy: Strategy,
    digests: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Everything that changes bytes; `digests` are those of what else is read, by the option that asks for it."""
    check = dataclasses.asdict(conversion.check)
    # How long a check may take is no matter of what it finds.
    del check["timeout"]
    options = {
        "to": conversion.to,
        "classes": list(selection.classes),
        "max_archives": selection.max_archives,
        "check": check,
        "unlabelled": conversion.unlabelled,
        "match": conversion.match,
        "exclude": dict(digests["exclude"]),
        "exclude_by": conversion.exclude_by,
        "members": dict(digests["members"]),
        **{name: dict(found) for name in ("annotations", "described") if (found := digests[name])},
        "shard": conversion.shard.identity(),
        "shuffle": dataclasses.asdict(conversion.shuffle),
        **conversion.encoding.identity(),
    }
    tools = {**tool_versions(conversion.check), **encoding_tools(conversion.encoding), **strategy.layout.tools()}
    return {"format_version": FORMAT_VERSION, "release": release.name, "options": options, "tools": tools}
