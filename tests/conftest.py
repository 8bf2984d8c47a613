"""What all tests share: the real data beside the repository, and the miniatures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import SHARED_DATA
from miniature.build import build
from miniature.server import Server, serving
from miniature.sources import MadeRows, MadeVideos, RealRows, RealVideos


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
