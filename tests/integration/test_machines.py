"""The machines that people have: containers with quotas, users without a home, few open files, one core."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from groups import real_group
from harness import ROOT, kconvert, tree

SHARDS = ("--shard.max_samples", "5")


def plan(within: list[str], mini: Path, *words: str) -> dict[str, Any]:
    ran = kconvert("plan", "k400", "--out", "out", "--origin", mini, "--json", "--quiet", *words, within=within)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)["workers"]
    return found


def test_a_container_with_half_a_core_has_one_worker(mini: Path, tmp_path: Path) -> None:
    with real_group("cpu", "50000") as within:
        found = plan(within, mini)
        assert found == {"number": 1, "why": "one for each core; the container's CPU quota grants 0.5"}
        # What the user says counts.
        assert plan(within, mini, "--workers", "3") == {"number": 3, "why": "as --workers says"}
        ran = kconvert("k400", "--split", "val", "--out", tmp_path / "out", "--origin", mini, within=within)
        assert ran.code == 0, ran.err
        assert "1 worker (one for each core; the container's CPU quota grants 0.5)" in ran.err.splitlines()[0]


def test_a_container_with_little_memory_has_few_workers(mini: Path) -> None:
    with real_group("memory", str(1 << 30)) as within:
        found = plan(within, mini)
    assert found == {"number": 1, "why": "as many as the container's memory limit of 1.07 GB has memory for"}


def convert_in(within: list[str], mini: Path, out: Path, **variables: str) -> dict[str, bytes]:
    """What a conversion writes that is run as the last words of others."""
    ran = kconvert("k400", "--out", out, "--origin", mini, *SHARDS, within=within, env=variables)
    assert ran.code == 0, ran.err
    return tree(out)


def test_one_core_is_enough(mini: Path, converted: Path, tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    assert convert_in(["taskset", "--cpu-list", core], mini, tmp_path / "out") == tree(converted)


def test_64_open_files_are_enough(mini: Path, converted: Path, tmp_path: Path) -> None:
    within = ["sh", "-c", 'ulimit -n 64 && exec "$@"', "sh"]
    assert convert_in(within, mini, tmp_path / "out") == tree(converted)


def test_a_temporary_folder_is_not_needed(mini: Path, converted: Path, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert convert_in([], mini, tmp_path / "out", TMPDIR=absent) == tree(converted)
    assert not Path(absent).exists()


def test_an_ordinary_user_without_a_home_needs_no_more_than_to_read_the_installation(
    mini: Path, converted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    if os.geteuid() != 0:
        assert convert_in([], mini, out, HOME="/nonexistent") == tree(converted)
        return
    # A system of its own, in which all that is needed is there to be read, and `out` to be written to.
    (tmp_path / "system").mkdir()
    read = [Path(name) for name in ("/usr", "/lib", "/lib64", "/bin", "/etc") if Path(name).exists()]
    within = ["unshare", "-m", "sh", "-euc", NOBODY, str(tmp_path / "system"), str(out)]
    within += [*map(str, [*read, sys.base_prefix, ROOT, mini]), "--"]
    assert convert_in(within, mini, out, HOME="/nonexistent") == tree(converted)


NOBODY = """
system=$0 out=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$system"
mkdir -p "$system/proc" "$system/dev"
mount --rbind /proc "$system/proc"
mount --rbind /dev "$system/dev"
while [ "$1" != -- ]; do
    mkdir -p "$system$1"
    mount --bind "$1" "$system$1"
    mount -o remount,bind,ro "$system$1"
    shift
done
shift
mkdir -p "$system$out"
mount --bind "$out" "$system$out"
mount -o remount,ro "$system"
exec chroot --userspec=65534:65534 "$system" "$@"
"""
"""Runs its last words as nobody, where only some folders are, of which only one can be written to."""
