"""Conversions that several tests look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Once
from faults import Operation
from harness import RELEASES, kconvert
from interrupting import Job, tiny_job
from miniature.server import serving


@pytest.fixture(scope="session")
def all_converted(any_mini: Path, once: Once) -> Path:
    """All three releases, converted over HTTP by the installed command. Not to be changed."""

    def convert(folder: Path) -> None:
        with serving(any_mini) as http:
            for release in RELEASES:
                ran = kconvert(release, "--to", "webdataset", "--out", folder / release, "--origin", http.url)
                assert ran.code == 0, ran.err

    return once(f"converted-of-{any_mini.name}", convert)


@pytest.fixture(scope="session")
def converted(mini: Path, once: Once) -> Path:
    """k400, converted from made clips with shards of few samples. Not to be changed."""

    def convert(folder: Path) -> None:
        ran = kconvert("k400", "--out", folder / "k400", "--origin", mini, "--shard.max_samples", 5)
        assert ran.code == 0, ran.err

    return once("converted", convert) / "k400"


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy that a test may change."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A small conversion that a test may kill, or have the disk refuse to."""
    return tiny_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def operations(job: Job) -> list[Operation]:
    """What that conversion does to files."""
    return job.run_undisturbed()


ENOUGH_OF_REAL = {("k400", "val"), ("k400", "test"), ("k600", "train"), ("k700-2020", "train")}
"""Splits that tests of each split look at with real clips, which take long to look into; with made ones, at all."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def is_too_much(item: pytest.Item) -> bool:
        values = item.callspec.params if hasattr(item, "callspec") else {}
        split = values.get("release_split")
        return values.get("any_mini") == "real" and split is not None and split not in ENOUGH_OF_REAL

    unwanted = [item for item in items if is_too_much(item)]
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if item not in unwanted]
