"""Damaged archives: which ones are damaged for good, and what becomes of them, as `--damaged` says.

Damaged for good is an archive that two readings find damaged at the same place, the second one fetched anew, after one
member at least: what breaks on the way to us breaks elsewhere the next time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kconvert.dataset.manifest import DamageHandling
from kconvert.errors import ArchiveError
from kconvert.sources.members import Members
from kconvert.staging.journal import ArchiveReceipt, Damage

DamagedPolicy = Literal["fail", "salvage", "skip"]
_HANDLINGS: Mapping[DamagedPolicy, DamageHandling] = {"salvage": "salvaged", "skip": "skipped"}


@dataclass(frozen=True)
class DamagedAt:
    """Where a reading found an archive damaged; two are equal if the same bytes were damaged in the same way."""

    problem: str
    """What is wrong there."""
    num_members: int
    """That were read before."""
    crc32: int
    """Of the bytes that were read, as they were fetched."""
    num_bytes: int
    """How many these were."""
    size_bytes: int | None
    """Of the archive; `None` where its server did not say."""
    etag: str
    """The version that was read."""

    @property
    def is_certain(self) -> bool:
        """Whether it can be damage for good: of what states no size, nobody knows where it ends."""
        return self.num_members > 0 and self.size_bytes is not None

    @classmethod
    def of(cls, error: ArchiveError, members: Members) -> DamagedAt:
        """Where an archive is damaged, as its reader found."""
        read, remote = members.read_so_far, members.remote
        return cls(error.problem, read.num_members, read.crc32, read.num_bytes, remote.size_bytes, remote.etag)


class DamagedError(ArchiveError):
    """A reading found an archive damaged."""

    def __init__(self, archive: str, problem: str, place: DamagedAt, before: DamagedAt | None) -> None:
        """`before` is where the reading before it did; `None` if this was the first."""
        super().__init__(archive, problem)
        self.args = (archive, problem, place, before)
        self.place = place
        if before is not None:
            self.next_step = "run the same command again: it broke elsewhere each time, so that the way to it is bad"
        elif place.is_certain:
            self.next_step = (
                "run the same command again: it is fetched anew; if it stays so, the origin's copy is damaged: "
                "--damaged salvage keeps the clips before the damage, --damaged skip leaves the archive out"
            )


def is_accepted(receipt: ArchiveReceipt, policy: DamagedPolicy) -> bool:
    """Whether what was made of an archive is what this policy makes of it."""
    return receipt.damage is None or is_handled(receipt.damage.handling, policy)


def is_handled(handling: DamageHandling, policy: DamagedPolicy) -> bool:
    """Whether what was made of a damaged archive is what this policy makes of it."""
    return handling == _HANDLINGS.get(policy)


def damage(policy: DamagedPolicy, place: DamagedAt) -> Damage:
    """What a receipt says of an archive that is damaged for good; the policy is not to fail."""
    return Damage(_HANDLINGS[policy], place.problem)
