"""Folders of this machine, on file systems that lack what others have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults import Faults

from kconvert.storage.folders import local

HOLD = """
import sys
from pathlib import Path
from kconvert.storage.folders import local
with local(Path(sys.argv[1])).lock() as is_ours:
    print(is_ours, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def without_flock(tmp_path: Path) -> dict[str, str]:
    """The environment of processes for which `flock` is not there, as on Lustre without it."""
    (tmp_path / "library").mkdir()
    faults = Faults(tmp_path / "library")
    return {**os.environ, **faults.environment(tmp_path / "nowhere", no_flock=1)}


def holder(path: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, path], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_where_flock_is_not_there_a_lease_keeps_others_off(tmp_path: Path, without_flock: dict[str, str]) -> None:
    path = tmp_path / ".kconvert" / "lock"
    with holder(path, without_flock) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "True\n"
        with holder(path, without_flock) as second:
            said, _ = second.communicate("")
            assert said == "False\n"
        first.communicate("")
    with holder(path, without_flock) as third:
        said, _ = third.communicate("")
        assert said == "True\n"
    # What the system does not know leaves a file; it is given back with the lock.
    assert not (tmp_path / ".kconvert" / "lock.lease").exists()


def test_where_flock_is_there_no_lease_is_left(tmp_path: Path) -> None:
    with local(tmp_path / ".kconvert" / "lock").lock() as is_ours:
        assert is_ours
        assert [path.name for path in (tmp_path / ".kconvert").iterdir()] == ["lock"]
