import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from kconvert.storage.files import frees_at_once, remove_temporaries, sha256_of, write_bytes, write_whole
from kconvert.storage.objects import TEMPORARY_SUFFIX


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with write_whole(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(memoryview(b"whole"))
    assert path.read_bytes() == b"halfwhole"
    assert (file.size_bytes, file.sha256) == (9, hashlib.sha256(b"halfwhole").hexdigest())
    assert sha256_of(path) == file.sha256


def test_an_exception_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_bytes(path, b"before")
    with pytest.raises(KeyError), write_whole(path) as file:
        file.write(b"after")
        raise KeyError
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    for number, umask in enumerate((0o077, 0o000)):
        before = os.umask(umask)
        try:
            write_bytes(tmp_path / str(number), b"")
        finally:
            os.umask(before)
        assert (tmp_path / str(number)).stat().st_mode & 0o777 == 0o644


def test_temporaries_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"a.tar{TEMPORARY_SUFFIX}").touch()
    (tmp_path / "notes.tmp").touch()
    remove_temporaries(tmp_path)
    assert os.listdir(tmp_path) == ["notes.tmp"]


def test_kinds_of_disks_are_told_as_df_tells_them(tmp_path: Path) -> None:
    for folder in (tmp_path, Path("/dev/shm"), Path("/proc")):
        kind = subprocess.run(["df", "--output=fstype", folder], capture_output=True, text=True, check=True)
        assert frees_at_once(folder) == (kind.stdout.split()[-1] in ("ext4", "tmpfs", "xfs"))
    assert not frees_at_once(Path("/proc"))
