"""What is granted, from trees of files as kernels with control groups of both versions show them."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from groups import made_groups

from kconvert.machine_limits import (
    DRIVER_BYTES,
    WORKER_BYTES,
    MemoryKills,
    Workers,
    default_workers,
    granted_cores,
    granted_memory,
)

UNLIMITED = "9223372036854771712"
"""What version 1 says where there is no limit."""


@pytest.fixture(autouse=True)
def _machine_of_128_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(128)))


@pytest.mark.parametrize(
    ("version", "group", "limits", "mounted", "cores"),
    [
        (2, "/", {"cpu.max": "400000 100000"}, "/", 4),
        (2, "/", {"cpu.max": "50000 100000"}, "/", 0.5),
        (2, "/", {"cpu.max": "max 100000"}, "/", 128),
        (2, "/", {}, "/", 128),
        (2, "/", {"cpu.max": "nonsense"}, "/", 128),
        (2, "/pod/box", {"pod/box/cpu.max": "max 100000", "pod/cpu.max": "250000 100000"}, "/", 2.5),
        (2, "/pod/box", {"pod/box/cpu.max": "300000 100000", "pod/cpu.max": "800000 100000"}, "/", 3),
        # A group beside this process's own limits nothing.
        (2, "/pod", {"other/cpu.max": "100000 100000"}, "/", 128),
        # Without a namespace of groups, a container sees its own as the top of the mount, and its name from outside.
        (2, "/docker/0af", {"cpu.max": "200000 100000"}, "/docker/0af", 2),
        (2, "/docker/0af/sub", {"sub/cpu.max": "100000 100000"}, "/docker/0af", 1),
        (2, "/../other", {"cpu.max": "200000 100000"}, "/", 2),
        (1, "/", {"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"}, "/", 4),
        (1, "/", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, "/", 128),
        (1, "/", {"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "50000"}, "/", 0.5),
        (
            1,
            "/pod/box",
            {
                "pod/box/cpu.cfs_quota_us": "-1",
                "pod/box/cpu.cfs_period_us": "100000",
                "pod/cpu.cfs_quota_us": "600000",
                "pod/cpu.cfs_period_us": "100000",
            },
            "/",
            6,
        ),
        (1, "/docker/0af", {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}, "/docker/0af", 1.5),
    ],
)
def test_the_least_cpu_quota_of_a_group_and_those_above_it_counts(
    tmp_path: Path, version: int, group: str, limits: Mapping[str, str], mounted: str, cores: float
) -> None:
    found = granted_cores(made_groups(tmp_path, version, group, limits, mounted), {})
    assert found.amount == cores
    assert found.source == ("this machine" if cores == 128 else "the container's CPU quota")


@pytest.mark.parametrize(
    ("version", "group", "limits", "mebibytes"),
    [
        (2, "/", {"memory.max": str(4 << 30)}, 4096),
        (2, "/", {"memory.max": "max"}, None),
        (2, "/pod/box", {"pod/box/memory.max": "max", "pod/memory.max": str(3 << 30)}, 3072),
        (2, "/pod/box", {"pod/box/memory.max": str(2 << 30), "pod/memory.max": str(3 << 30)}, 2048),
        (1, "/", {"memory.limit_in_bytes": UNLIMITED}, None),
        (1, "/", {"memory.limit_in_bytes": str(1 << 30)}, 1024),
        (1, "/pod", {"pod/memory.limit_in_bytes": UNLIMITED, "memory.limit_in_bytes": str(5 << 30)}, 5120),
    ],
)
def test_the_least_memory_limit_of_a_group_and_those_above_it_counts(
    tmp_path: Path, version: int, group: str, limits: Mapping[str, str], mebibytes: int | None
) -> None:
    found = granted_memory(made_groups(tmp_path, version, group, limits), {})
    assert (None if found is None else found.amount) == (None if mebibytes is None else mebibytes << 20)


def test_a_machine_without_groups_grants_what_it_has(tmp_path: Path) -> None:
    assert granted_cores(tmp_path, {}).amount == 128
    assert granted_memory(tmp_path, {}) is None
    assert not MemoryKills(tmp_path).is_another()


@pytest.mark.parametrize(
    ("environment", "cores", "mebibytes"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "12"}, 3, None),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "12", "SLURM_MEM_PER_NODE": "2048"}, 12, 2048),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_CPU": "500"}, 4, 2000),
        # All that the node has.
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_NODE": "0"}, 4, None),
        # What somebody exported is no job.
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_MEM_PER_NODE": "2048"}, 128, None),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "many"}, 128, None),
    ],
)
def test_what_slurm_granted_counts_within_a_job(
    tmp_path: Path, environment: Mapping[str, str], cores: int, mebibytes: int | None
) -> None:
    assert granted_cores(tmp_path, environment).amount == cores
    found = granted_memory(tmp_path, environment)
    assert (None if found is None else found.amount) == (None if mebibytes is None else mebibytes << 20)


@pytest.mark.parametrize(
    ("quota", "memory", "task_bytes", "number", "why"),
    [
        ("max", "max", WORKER_BYTES, 128, "one for each core; this machine grants 128"),
        ("50000", "max", WORKER_BYTES, 1, "one for each core; the container's CPU quota grants 0.5"),
        ("250000", "max", WORKER_BYTES, 3, "one for each core; the container's CPU quota grants 2.5"),
        ("400000", str(64 << 30), WORKER_BYTES, 4, "one for each core; the container's CPU quota grants 4"),
        ("max", str(8 << 30), WORKER_BYTES, 13, "as many as the container's memory limit of 8.59 GB has memory for"),
        ("max", str(8 << 30), 3 * WORKER_BYTES, 4, "as many as the container's memory limit of 8.59 GB has memory for"),
        (
            "max",
            str(DRIVER_BYTES),
            WORKER_BYTES,
            1,
            "as many as the container's memory limit of 1.34 GB has memory for",
        ),
    ],
)
def test_workers_are_as_many_as_fit_both_and_one_at_least(
    tmp_path: Path, quota: str, memory: str, task_bytes: int, number: int, why: str
) -> None:
    root = made_groups(tmp_path, 2, "/", {"cpu.max": f"{quota} 100000", "memory.max": memory})
    assert default_workers(task_bytes, root, {}) == Workers(number, why)


@pytest.mark.parametrize(
    ("version", "name"), [(2, "memory.events"), (1, "memory.oom_control")], ids=["version 2", "version 1"]
)
def test_kills_for_memory_are_those_that_the_kernel_counts(tmp_path: Path, version: int, name: str) -> None:
    before = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0"
    root = made_groups(tmp_path, version, "/box", {f"box/{name}": before})
    kills = MemoryKills(root)
    assert not kills.is_another()
    path = next(root.rglob(name))
    path.write_text(before.replace("oom_kill 1", "oom_kill 2"))
    assert kills.is_another()
    assert not kills.is_another()
