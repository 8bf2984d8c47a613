"""What a machine grants this process: cores and memory, as affinity, control groups and Slurm limit them.

A container's quota is no affinity: `os.cpu_count` and `sched_getaffinity` show all cores of the machine, of which the
kernel then lets a group use a share. /proc/self/cgroup says which group of each hierarchy this process is in,
/proc/self/mountinfo where the hierarchies are; the limit of each group from there up to the mount counts, as it does
for the kernel (cgroups(7); cgroup-v1/memory.rst, scheduler/sched-bwc.rst and cgroup-v2.rst of its documentation).
Whatever cannot be read limits nothing.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kconvert.units import format_bytes

DRIVER_BYTES = 1280 << 20
"""What the driver needs of a container's memory: 2 kB for each clip of the largest release."""
WORKER_BYTES = 512 << 20
"""What a worker needs of it: two clips of the largest size. The usual worker takes a fifth of that."""

ENCODER_BYTES = 512 << 20
"""What the encoding of a clip needs beside it; the usual clip takes a third of that."""


@dataclass(frozen=True)
class Grant:
    """So much of something, and who says so."""

    amount: float
    """Cores, or bytes."""
    source: str
    """As a person says it, e.g. `the container's CPU quota`."""


@dataclass(frozen=True)
class Workers:
    """How many workers are started where nobody says."""

    number: int
    """1 or more."""
    why: str
    """As a person says it."""

    def __str__(self) -> str:
        return f"{self.number} worker{'s' * (self.number > 1)} ({self.why})"


def default_workers(
    task_bytes: int = WORKER_BYTES, root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> Workers:
    """A worker for each core that is granted, as long as each has `task_bytes` of the memory that is granted."""
    cores, memory = granted_cores(root, environment), granted_memory(root, environment)
    by_core = max(1, math.ceil(cores.amount))
    if memory is not None:
        by_memory = max(1, int(memory.amount - DRIVER_BYTES) // task_bytes)
        if by_memory < by_core:
            return Workers(by_memory, f"as many as {memory.source} of {format_bytes(memory.amount)} has memory for")
    amount = f"{cores.amount:.2f}".rstrip("0").rstrip(".")
    return Workers(by_core, f"one for each core; {cores.source} grants {amount}")


def granted_cores(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Grant:
    """The cores that this process may use: the least of what the machine, its groups and Slurm grant."""
    grants = [Grant(_machine_cores(), "this machine")]
    grants += [Grant(amount, "the container's CPU quota") for amount in _cpu_quotas(root)]
    if "SLURM_JOB_ID" in environment:
        grants += _slurm_cores(environment)
    return min(grants, key=lambda grant: grant.amount)


def granted_memory(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Grant | None:
    """The bytes of memory that this process's groups, or Slurm, grant; `None` if only the machine limits them."""
    grants = [Grant(amount, "the container's memory limit") for amount in _memory_limits(root)]
    if "SLURM_JOB_ID" in environment:
        grants += _slurm_memory(environment)
    return min(grants, key=lambda grant: grant.amount, default=None)


class MemoryKills:
    """Says whether a process that was just killed was killed by the kernel, for memory."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._num_known = num_killed_for_memory(root)

    def is_another(self) -> bool:
        """Whether there was such a kill, of anybody in this process's group, that nobody has asked about yet."""
        if num_killed_for_memory(self._root) <= self._num_known:
            return False
        # One at a time: several may have been killed at once.
        self._num_known += 1
        return True

    def limit(self) -> str:
        """What limits the memory, as a person says it; `""` if nobody knows."""
        memory = granted_memory(self._root)
        return "" if memory is None else f"{memory.source} is {format_bytes(memory.amount)}"


def num_killed_for_memory(root: Path = Path("/")) -> int:
    """How many processes of this process's group, and of those below it, the kernel has killed for memory so far; 0
    where it does not say."""
    # `memory.events` of version 2 counts for the groups below as well; version 1 counts for a group alone.
    names = {"": "memory.events", "memory": "memory.oom_control"}
    files = [group / names[controller] for controller, group in _own_groups(root) if controller in names]
    counts = [re.search(r"^oom_kill (\d+)$", _text(file), re.MULTILINE) for file in files]
    return sum(int(count[1]) for count in counts if count is not None)


def _machine_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_quotas(root: Path) -> Iterator[float]:
    """In cores."""
    for controller, group in _groups(root):
        if controller == "":
            quota, _, period = _text(group / "cpu.max").partition(" ")
        elif controller == "cpu":
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        else:
            continue
        # No quota is `max` in version 2, and -1 in version 1.
        with suppress(ValueError):
            if int(quota) > 0 and int(period) > 0:
                yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    """In bytes."""
    machine = re.search(r"^MemTotal: +(\d+) kB$", _text(root / "proc/meminfo"), re.M)
    names = {"": "memory.max", "memory": "memory.limit_in_bytes"}
    for controller, group in _groups(root):
        # No limit is `max` in version 2, and more than any machine has in version 1.
        with suppress(ValueError, KeyError):
            limit = int(_text(group / names[controller]))
            if machine is None or limit < int(machine[1]) * 1024:
                yield limit


def _slurm_cores(environment: Mapping[str, str]) -> Iterator[Grant]:
    """See "output environment variables" of sbatch(1)."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        with suppress(KeyError, ValueError):
            if (cores := int(environment[name])) > 0:
                yield Grant(cores, f"Slurm ({name})")


def _slurm_memory(environment: Mapping[str, str]) -> Iterator[Grant]:
    """Slurm counts in MiB; 0 is all that the node has."""
    with suppress(KeyError, ValueError):
        if (mebibytes := int(environment["SLURM_MEM_PER_NODE"])) > 0:
            yield Grant(mebibytes << 20, "Slurm's limit (SLURM_MEM_PER_NODE)")
    with suppress(KeyError, ValueError):
        mebibytes = int(environment["SLURM_MEM_PER_CPU"]) * int(environment["SLURM_CPUS_ON_NODE"])
        if mebibytes > 0:
            yield Grant(mebibytes << 20, "Slurm's limit (SLURM_MEM_PER_CPU)")


def _groups(root: Path) -> Iterator[tuple[str, Path]]:
    """The folders of this process's groups and of all above them, each with its controller; `""` in version 2."""
    mounts = {controller: mount for controller, _, mount in _mounts(root)}
    for controller, group in _own_groups(root):
        folders = [group, *group.parents]
        yield from ((controller, folder) for folder in folders if folder.is_relative_to(mounts[controller]))


def _own_groups(root: Path) -> Iterator[tuple[str, Path]]:
    """The folder of this process's group in each hierarchy that is mounted."""
    mounts = {controller: (top, mount) for controller, top, mount in _mounts(root)}
    for line in _text(root / "proc/self/cgroup").splitlines():
        # Number, controllers with commas between them, group.
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        for controller in controllers.split(","):
            if controller in mounts:
                top, mount = mounts[controller]
                # Where a container has no namespace of groups, it sees its own group as the top of the mount.
                inner = PurePosixPath(group)
                is_inside = inner.is_relative_to(top) and ".." not in inner.parts
                below = inner.relative_to(top) if is_inside else PurePosixPath()
                yield controller, mount / below


def _mounts(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Of each hierarchy: a controller, the group at the top of the mount, the mount. See proc_pid_mountinfo(5)."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        fields, kinds = mount.split(), kind.split()
        if len(fields) < 5 or len(kinds) < 3 or not kinds[0].startswith("cgroup"):
            continue
        # A space is written as \040.
        folder = root / re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4]).lstrip("/")
        for controller in [""] if kinds[0] == "cgroup2" else kinds[2].split(","):
            yield controller, fields[3], folder


def _text(path: Path) -> str:
    """The content of a file; `""` if it cannot be read."""
    try:
        return path.read_text("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
