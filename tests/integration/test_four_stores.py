"""The main job into object stores of four kinds, each by a server of its own, and what keeps two runs apart there."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import COMMAND, kconvert, only_ours, tree
from miniature.server import Handler, serving
from stores import SERVERS, Place

VAL = ["--shard.max_samples", "5", "--split", "val"]


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "store").mkdir()
    with SERVERS[request.param](tmp_path / "store") as found:
        yield found


@pytest.fixture(scope="module")
def expected(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a conversion of one split comes to, in a folder."""
    out = tmp_path_factory.mktemp("expected") / "k400"
    assert kconvert("k400", "--out", out, "--origin", mini, *VAL).code == 0
    return tree(out)


def test_the_main_job(place: Place, mini: Path, expected: dict[str, bytes]) -> None:
    words = ["k400", "--out", place.url, "--origin", str(mini), *VAL]
    ran = kconvert(*words, env=place.environment)
    assert ran.code == 0, ran.err
    assert place.tree() == expected
    again = kconvert(*words, env=place.environment)
    assert again.code == 0, again.err
    verified = kconvert("verify", place.url, env=place.environment)
    assert verified.code == 0, verified.out + verified.err
    status = kconvert("status", place.url, env=place.environment)
    assert (status.code, status.out.split()[0]) == (0, "complete"), status.out
    other = kconvert(*words, "--shuffle.seed", "3", env=place.environment)
    assert other.code == 2
    assert "shuffle.seed was 0, is now 3" in other.err
    # With other options, over what is there.
    ran = kconvert(*words, "--shuffle.seed", "3", "--overwrite", env=place.environment)
    assert ran.code == 0, ran.err
    assert set(place.tree()) == set(expected)
    assert place.tree() != expected
    verified = kconvert("verify", place.url, env=place.environment)
    assert verified.code == 0, verified.out + verified.err


class Unhurried(Handler):
    """Takes a while for each archive, so that a run is still at it when something is done to it."""

    def send_data(self, name: str, data: bytes) -> None:
        if name.endswith("gz"):
            time.sleep(6)
        super().send_data(name, data)


def start(place: Place, origin: str) -> subprocess.Popen[str]:
    command = [str(COMMAND), "k400", "--out", place.url, "--origin", origin, *VAL]
    environment = {**os.environ, **place.environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_three_runs_at_once_one_works_and_two_are_refused(
    place: Place, mini: Path, expected: dict[str, bytes]
) -> None:
    with serving(mini, Unhurried) as http:
        runs = [start(place, http.url) for _ in range(3)]
        said = [run.communicate(timeout=120) for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2, 2], said
    refused = [err for run, (_, err) in zip(runs, said, strict=True) if run.returncode == 2]
    assert ["another kconvert is working on this folder" in err for err in refused] == [True, True], refused
    assert place.tree() == expected


def test_a_run_whose_lock_is_taken_away_ends_before_it_writes_more(
    place: Place, mini: Path, expected: dict[str, bytes]
) -> None:
    key = ".kconvert/lock"
    with serving(mini, Unhurried) as http:
        running = start(place, http.url)
        until = time.monotonic() + 30
        while key not in place.names() and time.monotonic() < until:
            time.sleep(0.1)
        # It is held once it was read back.
        time.sleep(3.5)
        place.put(key, b"elsewhere 4711 0123 0\n")
        out, err = running.communicate(timeout=60)
    assert running.returncode == 3, out + err
    assert "the lock on this folder is lost, as another run has taken it over" in err
    only_ours(err)
    # What is somebody else's by now is left alone.
    assert place.get(key) == b"elsewhere 4711 0123 0\n"
    assert place.tree() == {}
    place.delete(key)
    ran = kconvert("k400", "--out", place.url, "--origin", mini, *VAL, env=place.environment)
    assert ran.code == 0, ran.err
    assert place.tree() == expected
