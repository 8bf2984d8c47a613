"""Systems that lack what Linux has: names are taken out of Python's modules, before kconvert is imported, that macOS does
not have there (Python's own documentation, "Availability"), and /proc is hidden."""

import subprocess
import sys
from pathlib import Path

import pytest
from harness import COMMAND, Ran, kconvert, tree

MISSING = {
    "errno": ("EREMOTEIO",),
    "os": (
        "memfd_create", "sched_getaffinity", "posix_fallocate", "posix_fadvise", "pidfd_open", "SEEK_HOLE", "SEEK_DATA",
        "copy_file_range", "eventfd", "splice",
    ),
    "resource": ("prlimit",),
    "select": ("epoll",),
}  # fmt: skip
SITE = f"""
import errno, fcntl, importlib, os, sys

for module, names in {MISSING!r}.items():
    for name in names:
        if hasattr(importlib.import_module(module), name):
            delattr(importlib.import_module(module), name)
"""
FULL_SYNC = """
ordinary = fcntl.fcntl
fcntl.F_FULLFSYNC = 51

def recording(handle, command, *more):
    if command != fcntl.F_FULLFSYNC:
        return ordinary(handle, command, *more)
    with open(os.environ["SYNC_LOG"], "a") as log:
        log.write(os.readlink(f"/proc/self/fd/{handle}") + "\\n")
    if os.environ.get("SYNC_ERRNO"):
        raise OSError(int(os.environ["SYNC_ERRNO"]), "refused")
    return 0

fcntl.fcntl = recording
"""


def environment(folder: Path, script: str) -> dict[str, str]:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(script)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def usual(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("usual") / "out"
    assert kconvert("k400", "--split", "val", "--out", out, "--origin", mini).code == 0
    return tree(out)


def convert(out: Path, mini: Path, env: dict[str, str], *words: str, within: list[str] | None = None) -> Ran:
    return kconvert("k400", "--split", "val", "--out", out, "--origin", mini, *words, env=env, within=within or [])


def test_where_linuxs_names_are_missing_the_bytes_are_the_same(
    mini: Path, tmp_path: Path, usual: dict[str, bytes]
) -> None:
    env = environment(tmp_path / "site", SITE)
    shown = subprocess.run(
        [sys.executable, "-c", "import os; print(hasattr(os, 'memfd_create'))"],
        env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == "False\n"
    ran = convert(tmp_path / "out", mini, env)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == usual
    assert kconvert("verify", tmp_path / "out", env=env).code == 0
    assert kconvert("report", tmp_path / "out", env=env).code == 0


def test_where_there_is_no_proc_either_the_bytes_are_the_same(
    mini: Path, tmp_path: Path, usual: dict[str, bytes]
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("`unshare -rm` is not permitted here, so that /proc cannot be hidden")
    env = environment(tmp_path / "site", SITE)
    hidden = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    ran = convert(tmp_path / "out", mini, env, within=hidden)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == usual


@pytest.mark.parametrize("refusal", ["", "25", "95"])
def test_where_flushing_has_a_way_of_its_own_that_is_used(
    mini: Path, tmp_path: Path, usual: dict[str, bytes], refusal: str
) -> None:
    """macOS's F_FULLFSYNC; some of its file systems do not know it (ENOTTY, ENOTSUP)."""
    log = tmp_path / "log"
    env = environment(tmp_path / "site", SITE + FULL_SYNC) | {"SYNC_LOG": str(log), "SYNC_ERRNO": refusal}
    ran = convert(tmp_path / "out", mini, env)
    assert ran.code == 0, ran.err
    assert tree(tmp_path / "out") == usual
    flushed = log.read_text()
    assert "/out/manifest.json" in flushed
    assert f"{tmp_path}/out/val\n" in flushed


def test_the_command_and_the_package_are_imported_without_them(tmp_path: Path) -> None:
    env = environment(tmp_path / "site", SITE)
    assert kconvert("--version", env=env).code == 0
    words = [sys.executable, "-W", "error", "-c", "import kconvert, kconvert.cli.commands"]
    subprocess.run(words, env={**env, "PATH": str(COMMAND.parent)}, check=True)
