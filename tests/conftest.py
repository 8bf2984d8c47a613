"""What all tests share: the real data beside the repository, the miniatures, and the installed command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from miniature.build import build
from miniature.server import Server, serving
from miniature.sources import MadeRows, MadeVideos, RealRows, RealVideos

from kconvert.fetch import FetchOptions

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
COMMAND = Path(sys.executable).parent / "kconvert"

QUICK = FetchOptions(
    connect_seconds=5, read_seconds=2, max_retries=4, min_backoff_seconds=0.01, max_backoff_seconds=0.05
)
"""Patience for tests."""


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


def kconvert(*words: str | Path, env: Mapping[str, str] | None = None, timeout: float = 300) -> Ran:
    """Runs the installed command."""
    done = subprocess.run(
        [str(COMMAND), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **(env or {})},
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, without the journal."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".kconvert" not in path.relative_to(folder).parts
    }


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips and annotations. Their absence skips a test, but not in CI."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED_DATA} is absent, and this is CI")
        pytest.skip(f"{SHARED_DATA} is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature of the official server, of made clips and rows. Not to be changed."""
    folder = tmp_path_factory.mktemp("mini")
    build(folder, MadeVideos(), MadeRows())
    return folder


@pytest.fixture(scope="session")
def real_mini(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """The miniature of real clips under real rows. Not to be changed."""
    folder = tmp_path_factory.mktemp("real_mini")
    build(folder, RealVideos(shared_data / "clips"), RealRows(shared_data / "annotations"))
    return folder


@pytest.fixture
def server(mini: Path) -> Iterator[Server]:
    """A server of the made miniature."""
    with serving(mini) as http:
        yield http
