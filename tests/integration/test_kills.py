"""A run that is killed anywhere goes on to the same bytes. `tools/faults` does this at every place and more often."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from faults import Operation
from harness import COMMAND, kconvert, tree
from interrupting import Job, boundaries, joined_job, one_of_each_kind
from miniature.server import Handler, serving

from kconvert.staging.journal import Journal
from kconvert.storage.folders import local


def test_all_that_is_written_goes_through_a_flush_and_a_rename(job: Job, operations: list[Operation]) -> None:
    """The order of things: written, flushed, renamed, folder flushed; the receipt after its file, the manifest last."""
    out = job.folder / "reference"
    written = {operation.path for operation in operations if operation.what == "write"}
    assert all(path.endswith(".kconvert-tmp") for path in written)
    places: dict[tuple[str, str], int] = {}
    for operation in operations:
        places.setdefault((operation.what, operation.path), operation.number)
    renamed = [operation for operation in operations if operation.what == "rename"]
    for rename in renamed:
        temporary = next(path for path in written | opened(operations) if path.startswith(f"{rename.path}."))
        assert places["fsync", temporary] < rename.number
        after = operations[rename.number]
        assert (after.what, after.path) == ("fsync", str(Path(rename.path).parent))
    order = [Path(operation.path).relative_to(out).as_posix() for operation in renamed]
    assert order[-1] == "manifest.json"
    for split in ("train", "val"):
        archives = [f".kconvert/{split}/archives/00000{number}" for number in (0, 1)]
        for archive in archives:
            assert order.index(f"{archive}.json") > max(order.index(f"{archive}.{e}") for e in ("part", "rows"))
        shard = order.index(f"{split}/k400-{split}-000000.tar")
        assert shard < order.index(f".kconvert/{split}/shards/000000.json") < order.index(f"metadata/{split}.parquet")
        assert order.index(f"metadata/{split}.parquet") < order.index(f".kconvert/{split}/record.json")
    removed = {operation.path: operation.number for operation in operations if operation.what == "unlink"}
    part = str(out / ".kconvert/train/archives/000000.part")
    receipt = next(o.number for o in renamed if o.path.endswith("train/shards/000000.json"))
    assert receipt < removed[part]


def opened(operations: list[Operation]) -> set[str]:
    return {operation.path for operation in operations if operation.what == "open"}


def test_a_kill_at_a_commit_goes_on_to_the_same_bytes(job: Job, operations: list[Operation]) -> None:
    """Before some kinds of renames, just after some, and in the middle of some kinds of writes."""
    kinds = one_of_each_kind(operations)
    renames = [operation for operation in kinds if operation.what == "rename"]
    places = [*renames[::4], *(operations[rename.number] for rename in renames[1::7])]
    halves = [operation for operation, act in boundaries(kinds) if act == "half"]
    assert len(renames) == 23
    problems = [problem for place in places for problem in job.kill_at(place, "kill")]
    problems += [problem for place in halves[::10] for problem in job.kill_at(place, "half")]
    assert not problems, "\n".join(problems)
    assert job.num_looks > 1000


def test_a_kill_while_annotations_are_joined_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Before they are kept, in the middle of their tables, before the dataset card and before the manifest."""
    job = joined_job(tmp_path)
    operations = job.run_undisturbed()
    renames = [one for one in operations if one.what == "rename" and ("supplements" in one.path or "ava" in one.path)]
    assert len(renames) > 8
    last = [one for one in operations if one.what == "rename" and one.path.endswith(("README.md", "manifest.json"))]
    problems = [problem for place in [*renames[::2], *last] for problem in job.kill_at(place, "kill")]
    halves = [one for one in operations if one.what == "write" and "ava_keyframes" in one.path]
    problems += job.kill_at(halves[0], "half")
    problems += job.refuse_at(renames[-1], "ENOSPC")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_at_any_moment_goes_on_to_the_same_bytes(
    job: Job, operations: list[Operation], number: signal.Signals
) -> None:
    assert operations
    draw = random.Random(number)
    out = job.folder / number.name
    for _ in range(4):
        assert job.interrupt_at(out, draw.uniform(0.3, job.seconds), number) == []
    assert kconvert(*job.words, "--out", out).code == 0
    assert job.problems_of(out) == []


class Silent(Handler):
    """Sends half of an archive and then nothing, for longer than anybody waits."""

    def send_data(self, name: str, data: bytes) -> None:
        if name.endswith("gz"):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            time.sleep(30)
        else:
            super().send_data(name, data)


def descendants(process_id: int) -> list[psutil.Process]:
    return psutil.Process(process_id).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_driver_whatever_they_are_at(
    mini: Path, converted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The signal goes to the driver alone; a worker that waits for a silent server would otherwise work on."""
    out = tmp_path / "out"
    with serving(mini, Silent) as http:
        command = ["k400", "--out", str(out), "--shard.max_samples", "5", "--origin"]
        driver = subprocess.Popen([str(COMMAND), *command, http.url], stderr=subprocess.PIPE, text=True)
        while not list(out.glob(".kconvert/train/archives/*.part.*")):
            time.sleep(0.05)
        workers = descendants(driver.pid)
        assert len(workers) >= 2
        driver.send_signal(number)
        driver.communicate(timeout=10)
        gone, alive = psutil.wait_procs(workers, timeout=3)
        assert not alive
        assert len(gone) == len(workers)
    ran = kconvert(*command, mini)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)
    assert not [path for path in out.rglob("*") if "kconvert-tmp" in path.name]


def test_a_second_interruption_does_not_disturb_the_first(mini: Path, tmp_path: Path) -> None:
    with serving(mini, Silent) as http:
        driver = subprocess.Popen(
            [str(COMMAND), "k400", "--out", str(tmp_path / "out"), "--origin", http.url],
            stderr=subprocess.PIPE,
            text=True,
        )
        while not list(tmp_path.glob("out/.kconvert/train/archives/*.part.*")):
            time.sleep(0.05)
        for _ in range(20):
            driver.send_signal(signal.SIGINT)
            time.sleep(0.005)
        _, err = driver.communicate(timeout=10)
    assert driver.returncode == 130
    assert err.splitlines()[-1] == "kconvert: interrupted; run the same command again to resume"
    assert "Traceback" not in err


def test_two_runs_that_start_at_once_never_both_work(mini: Path, converted: Path, tmp_path: Path) -> None:
    command = [str(COMMAND), "k400", "--out", str(tmp_path / "out"), "--origin", str(mini), "--shard.max_samples", "5"]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    codes = sorted(run.returncode for run in runs)
    assert codes[0] == 0
    # Whoever comes when the other has finished has nothing to do.
    assert set(codes) <= {0, 2}
    assert all(
        "another kconvert is working on this folder" in err
        for run, err in zip(runs, errors, strict=True)
        if run.returncode
    )
    assert tree(tmp_path / "out") == tree(converted)


def test_a_lock_that_a_killed_run_left_is_taken_over(
    mini: Path, converted: Path, copy_of: Callable[[Path], Path]
) -> None:
    out = copy_of(converted)
    (out / ".kconvert/lock").write_text("4711 some host\n")
    shutil.rmtree(out / ".kconvert/train")
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "train")
    assert not Journal(local(out)).is_locked()
    ran = kconvert("k400", "--out", out, "--origin", mini, "--shard.max_samples", 5)
    assert ran.code == 0, ran.err
    assert tree(out) == tree(converted)


def test_a_clock_that_jumps_changes_nothing(job: Job, operations: list[Operation]) -> None:
    assert operations
    out = job.folder / "clock"
    ran = kconvert(*job.words, "--out", out, env=job.faults.environment(out, "clock", clock=1))
    assert ran.code == 0, ran.err
    assert job.problems_of(out) == []
    environment = {**os.environ, **job.faults.environment(out, "look", clock=1)}
    look = ["python3", "-c", "import time; print(max(abs(time.time() - time.time()) for _ in range(9)) > 86000)"]
    assert subprocess.run(look, env=environment, capture_output=True, text=True, check=True).stdout == "True\n"
