"""The disk space that a conversion takes: at most, by now, and what is there.

A clip is staged, and then in a shard. Where the disk takes staged clips back one by one, as they are packed, only those
of the shards that are being written are there twice; elsewhere all of a window are.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kconvert.conversion.folder import written_layout
from kconvert.conversion.plan import SplitPlan
from kconvert.conversion.shuffle import ShuffleOptions, windows
from kconvert.errors import UsageError
from kconvert.staging.journal import Journal
from kconvert.storage.files import frees_at_once, make_folder
from kconvert.units import format_bytes

_EXPANSION = 1.05
"""How much larger a part is at most than its gzipped archive: videos do not compress."""
_LEFT_OVER = 0.05
"""The most that stays of a part whose clips are packed: blocks that two clips share."""
_SLACK_BYTES = 1 << 20
"""Beside the videos: tar headers, metadata, rows, the last record of a shard, for an archive."""
_BLOCK_BYTES = 512
"""Of `st_blocks`, whatever the disk has."""


@dataclass(frozen=True)
class Disk:
    """A disk that a conversion fills."""

    folder: Path
    """Where; it may be made yet."""
    holds: Literal["staging and output", "output", "staging"]
    """What of the conversion it is filled with."""
    frees_at_once: bool
    """Whether it takes staged clips back one by one."""

    @property
    def option(self) -> str:
        """What a person chooses it by."""
        return "--staging" if self.holds == "staging" else "--out"


@dataclass(frozen=True)
class Growth:
    """How clips grow where they are encoded."""

    factor: float = 1.0
    """The most that they grow, all together."""
    num_readers: int | None = 0
    """Archives whose finished clips are kept, until all of theirs are, at the same time; `None` where only the cluster
    knows, for all."""


@dataclass(frozen=True)
class DiskUse:
    """What of a conversion decides how much its disks have to take."""

    journal: Journal
    """It knows the folders."""
    plans: Sequence[SplitPlan]
    """Of the splits that are to be made, one after the other."""
    shuffle: ShuffleOptions
    """Its window says how many archives are staged at once."""
    packing_bytes: int | None
    """Of the shards that are being written at any moment; `None` where nobody knows, as how many are, or how large."""
    archive_cache: Path | None
    """`None` if there is none."""
    supplement_bytes: int = 0
    """Of further annotations and all that is made of them, at most."""
    growth: Growth = field(default_factory=Growth)
    """How clips grow where they are encoded."""

    @property
    def num_unmeasured(self) -> int:
        """Archives whose size the origin does not state: what these take comes on top."""
        return sum(plan.num_unmeasured for plan in self.plans)


def known_disk_bytes(use: DiskUse) -> int:
    """The most that staging and output take together at any moment, wherever they are, but for what archives take
    that are not measured."""
    return _needed_bytes(use, Disk(Path(), "staging and output", _frees_at_once(use.journal.staging.local_path)))


@dataclass(frozen=True)
class DiskNeed:
    """What a conversion needs of a disk, and what is there."""

    disk: Disk
    """Which."""
    needed_bytes: int
    """At most, at any moment, without what archives take that are not measured."""
    there_bytes: int
    """What is free, and what earlier runs wrote of these splits, less what the archive cache will take there."""
    advice: str
    """What a person does where it does not fit."""

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.there_bytes


def disk_needs(use: DiskUse) -> list[DiskNeed]:
    """What each disk has to take, with the `--shuffle.window` that would fit, if there is one and it is needed."""
    needs = []
    for disk in _disks(use.journal):
        cached_bytes = 0
        if use.archive_cache is not None and _device(use.archive_cache) == _device(disk.folder):
            cached_bytes = max(0, sum(plan.num_bytes for plan in use.plans) - _used_bytes(use.archive_cache))
        free = shutil.disk_usage(_standing(disk.folder)).free
        there = free + _present_bytes(use.journal, use.plans, disk) - cached_bytes
        need = _needed_bytes(use, disk)
        needs.append(DiskNeed(disk, need, there, _advice(use, disk, there) if need > there else ""))
    return needs


def require_space(use: DiskUse) -> None:
    """Raises `UsageError` if a disk has too little space."""
    if use.archive_cache is not None:
        make_folder(use.archive_cache)
    for need in disk_needs(use):
        if not need.fits:
            raise UsageError(
                f"{need.disk.option}: too little disk for {need.disk.holds}: {format_bytes(need.needed_bytes)} needed "
                f"at most, {format_bytes(need.there_bytes)} there; {need.advice}"
            )


def describe_space(use: DiskUse) -> str:
    """What a person who makes space should know."""
    names = ", ".join(plan.info.name for plan in use.plans)
    return "; ".join(
        f"{disk.holds} of {names} take up to {format_bytes(_needed_bytes(use, disk))}, of which "
        f"{format_bytes(_present_bytes(use.journal, use.plans, disk))} are there; "
        f"{format_bytes(shutil.disk_usage(disk.folder).free)} are free"
        for disk in _disks(use.journal)
    )


def _needed_bytes(use: DiskUse, disk: Disk) -> int:
    """The most that a disk is filled with at any moment, splits being made one after the other."""
    written = most = 0 if disk.holds == "staging" else use.supplement_bytes
    for plan in use.plans:
        staged = _staged_bytes(plan, use)
        if disk.holds == "staging":
            most = max(most, sum(staged) + _finished_bytes(plan, use))
            continue
        written += sum(_unpacked(plan.sizes.get(name), use) for name in plan.inputs.archives)
        beside = sum(staged) if disk.holds == "staging and output" else 0
        if disk.frees_at_once and use.packing_bytes is not None:
            window, replacement = staged
            twice = use.packing_bytes + round(window * _LEFT_OVER)
            beside = min(beside, twice + replacement)
        kept = _finished_bytes(plan, use) if disk.holds == "staging and output" else 0
        most = max(most, written + max(beside, kept))
    return most


def _staged_bytes(plan: SplitPlan, use: DiskUse) -> tuple[int, int]:
    """The most that parts take: those of the largest window, and that of the replacement archive."""
    own = [name for name in plan.inputs.archives if name in plan.staged]
    groups = windows(own, use.shuffle, plan.info.name)
    largest = max(sum(_unpacked(plan.sizes.get(name), use) for name in group) for group in groups)
    replacement = plan.inputs.replacement
    return largest, _unpacked(plan.sizes.get(replacement), use) if replacement in plan.staged else 0


def _finished_bytes(plan: SplitPlan, use: DiskUse) -> int:
    """The most that the finished clips of archives take that are still being read."""
    sizes = sorted((_unpacked(plan.sizes.get(name), use) for name in plan.staged), reverse=True)
    return sum(sizes[: use.growth.num_readers])


def _unpacked(size: int | None, use: DiskUse) -> int:
    return round((size or 0) * _EXPANSION * use.growth.factor) + _SLACK_BYTES


def _advice(use: DiskUse, disk: Disk, have: int) -> str:
    if disk.holds == "output" or not any(plan.staged for plan in use.plans):
        return "choose a larger disk"
    # By bisection, as a larger window never takes much less.
    low, high = 0, max(len(plan.inputs.archives) for plan in use.plans)
    while low < high:
        middle = (low + high + 1) // 2
        smaller = dataclasses.replace(use, shuffle=ShuffleOptions(middle, use.shuffle.seed))
        if _needed_bytes(smaller, disk) <= have:
            low = middle
        else:
            high = middle - 1
    return f"--shuffle.window {low} would fit" if low else "not even --shuffle.window 1 would fit: choose a larger disk"


def _disks(journal: Journal) -> list[Disk]:
    """The disks that a conversion fills; none for what is in an object store."""
    out, staging = journal.out.local_path, journal.staging.local_path
    frees_at_once = _frees_at_once(staging)
    if out is not None and staging is not None and (staging.is_relative_to(out) or _device(out) == _device(staging)):
        return [Disk(out, "staging and output", frees_at_once)]
    found = [] if out is None else [Disk(out, "output", False)]
    return found if staging is None else [*found, Disk(staging, "staging", frees_at_once)]


def _frees_at_once(staging: Path | None) -> bool:
    return staging is not None and frees_at_once(_standing(staging))


def _device(folder: Path) -> int:
    """The disk that a folder is on."""
    return _standing(folder).stat().st_dev


def _standing(folder: Path) -> Path:
    """A folder, or the one above it that is there already."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _present_bytes(journal: Journal, plans: Sequence[SplitPlan], disk: Disk) -> int:
    """What a disk has by now of what it is to hold of these splits."""
    names = [plan.info.name for plan in plans]
    folders = {folder.local_path for folder in (journal.folder, journal.staging)} - {None}
    staging = [folder / name for name in names for folder in folders if folder is not None]
    used = sum(map(_used_bytes, staging)) if disk.holds != "output" else 0
    if disk.holds != "staging":
        patterns = [pattern for name in names for pattern in written_layout(journal).output_patterns(name)]
        used += sum(_size(path) for pattern in patterns for path in disk.folder.glob(pattern))
    return used


def _used_bytes(folder: Path) -> int:
    """What the files below a folder take."""
    return sum(map(_size, folder.rglob("*")))


def _size(path: Path) -> int:
    # A worker may be at it, and rename what it wrote.
    with suppress(FileNotFoundError):
        return path.stat().st_blocks * _BLOCK_BYTES if path.is_file() else 0
    return 0
