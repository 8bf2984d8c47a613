import os
import subprocess
from pathlib import Path

from kconvert.storage.files import frees_at_once
from kconvert.storage.folders import local
from kconvert.storage.store import TEMPORARY_SUFFIX


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    for number, umask in enumerate((0o077, 0o000)):
        before = os.umask(umask)
        try:
            local(tmp_path / str(number)).write_bytes(b"")
        finally:
            os.umask(before)
        assert (tmp_path / str(number)).stat().st_mode & 0o777 == 0o644


def test_temporaries_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"a.tar{TEMPORARY_SUFFIX}").touch()
    (tmp_path / "notes.tmp").touch()
    local(tmp_path).remove_temporaries()
    assert os.listdir(tmp_path) == ["notes.tmp"]


def test_kinds_of_disks_are_told_as_df_tells_them(tmp_path: Path) -> None:
    for folder in (tmp_path, Path("/dev/shm"), Path("/proc")):
        kind = subprocess.run(["df", "--output=fstype", folder], capture_output=True, text=True, check=True)
        assert frees_at_once(folder) == (kind.stdout.split()[-1] in ("ext4", "tmpfs", "xfs"))
    assert not frees_at_once(Path("/proc"))
