"""What all tests share: the real data beside the repository, and the miniatures."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from harness import SHARED_DATA
from hypothesis import settings
from miniature.build import build
from miniature.server import Server, serving
from miniature.sources import MadeRows, MadeVideos, RealRows, RealVideos

# Threads of numpy wait busily, in each of hundreds of processes.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
IS_CI = bool(os.environ.get("CI"))
# In CI the same examples each time: what was found elsewhere stands in the tests as an example.
# No example is timed: whatever else a machine does would count.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("elsewhere", deadline=None)
settings.load_profile("ci" if IS_CI else "elsewhere")
MAY_BE_SKIPPED_IN_CI: dict[str, str] = {
    "tests/integration/test_guide.py::test_the_lines_with_torchvision_work_too": (
        "torchvision's torch is a build for GPUs, of 5.5 GB; the lines beside it are run without it"
    ),
}
"""The tests that may be skipped in CI, each with the reason; any other skip there is a failure."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if IS_CI and is_skip and item.nodeid.partition("[")[0] not in MAY_BE_SKIPPED_IN_CI:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, and not in the list of what may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips and annotations. Their absence skips a test."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is absent")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def _development_mode() -> None:
    """Every run of the command is in development mode: nothing is left to a finaliser unnoticed. Without the allocator
    that goes with it, which takes a quarter of the time."""
    os.environ["PYTHONDEVMODE"] = "1"
    os.environ["PYTHONMALLOC"] = "pymalloc"


Once = Callable[[str, Callable[[Path], object]], Path]
"""Makes a folder of that name, unless another process of this run has."""


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    base = tmp_path_factory.getbasetemp()
    # With several processes, each has a folder of its own in one of the run.
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def make(name: str, build_in: Callable[[Path], object]) -> Path:
        folder, done = shared / f"once-{name}", shared / f"once-{name}.done"
        with open(shared / f"once-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                build_in(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def mini(once: Once) -> Path:
    """The miniature of the official server, of made clips and rows. Not to be changed."""
    return once("mini", lambda folder: build(folder, MadeVideos(), MadeRows()))


@pytest.fixture(scope="session")
def real_mini(once: Once, shared_data: Path) -> Path:
    """The miniature of real clips under real rows. Not to be changed."""
    videos, rows = RealVideos(shared_data / "clips"), RealRows(shared_data / "annotations")
    return once("real_mini", lambda folder: build(folder, videos, rows))


@pytest.fixture(scope="session", params=["made", "real"])
def any_mini(request: pytest.FixtureRequest, mini: Path) -> Path:
    """Each miniature in turn: that of made clips, which is always there, and that of real ones. Not to be changed."""
    found: Path = mini if request.param == "made" else request.getfixturevalue("real_mini")
    return found


@pytest.fixture
def server(mini: Path) -> Iterator[Server]:
    """A server of the made miniature."""
    with serving(mini) as http:
        yield http
