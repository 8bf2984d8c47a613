"""Control groups of our own: of this machine where it lets us make them, or a tree of files that looks like one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

MOUNTS = {"cpu": Path("/sys/fs/cgroup/cpu"), "memory": Path("/sys/fs/cgroup/memory")}
"""Where version 1 is by custom."""
TOP = Path("/sys/fs/cgroup")
"""Where version 2 is."""
_LIMITS = {
    "cpu": {"cpu": "cpu.cfs_quota_us", "unified": "cpu.max"},
    "memory": {"memory": "memory.limit_in_bytes", "unified": "memory.max"},
}


@contextmanager
def real_group(controller: str, limit: str) -> Iterator[list[str]]:
    """A group of this machine with a limit; the words that run a command in it. Skips the test where none can be
    made."""
    group = _make(controller, limit)
    if group is None:
        pytest.skip(f"no control group for {controller} can be made here")
    try:
        yield ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                # What was killed in it is not gone yet.
                time.sleep(0.05)


def _make(controller: str, limit: str) -> Path | None:
    for mount, kind in ((MOUNTS[controller], controller), (TOP, "unified")):
        group = mount / f"kconvert-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / _LIMITS[controller][kind]).write_text(limit)
        except OSError:
            group.rmdir()
            continue
        return group
    return None


def made_groups(root: Path, version: int, group: str, limits: Mapping[str, str], mounted: str = "/") -> Path:
    """A tree that says what a machine with control groups of that version says to a process in `group`.

    `limits` are the contents of files below the group at the top of the mount, which is `mounted`.
    """
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:       131072000 kB\n")
    base = root / "sys/fs/cgroup"
    if version == 2:
        lines = [f"0::{group}"]
        mounts = [f"31 23 0:28 {mounted} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"]
        folders = {"": base}
    else:
        lines = [f"5:cpu,cpuacct:{group}", f"4:memory:{group}", "0::/"]
        mounts = [
            f"32 31 0:29 {mounted} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct",
            f"33 31 0:30 {mounted} /sys/fs/cgroup/memory rw,nosuid master:15 - cgroup cgroup rw,memory",
        ]
        folders = {"cpu": base / "cpu,cpuacct", "memory": base / "memory"}
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))
    (root / "proc/self/mountinfo").write_text(
        "".join(f"{line}\n" for line in ["22 1 8:1 / / rw - ext4 /dev/sda rw", *mounts])
    )
    for name, content in limits.items():
        folder = folders[""] if version == 2 else folders[Path(name).name.partition(".")[0]]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root
