"""The video process: what a clip does there harms nobody else, and nobody else is asked again."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from video_work import do, keep, measure, slowly, whoami

from kconvert.video.process import ClipFault, VideoProcess

HERE = Path(__file__).parent


@pytest.fixture(params=["memfd", "pipe"])
def process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[VideoProcess]:
    if request.param == "pipe":
        monkeypatch.delattr(os, "memfd_create")
    with VideoProcess() as found:
        yield found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_clips_of_any_size_come_as_they_are(process: VideoProcess) -> None:
    for size in (1, 4, 100_000, 3, 40_000_000, 5, 20_000_000):
        data = os.urandom(size)
        assert process.run(measure, data, 20.0) == (size, data[:4], data[-4:])
    assert len({process.run(whoami, b"x", 20.0) for _ in range(3)}) == 1
    with pytest.raises(ValueError, match="no bytes"):
        process.run(measure, b"", 20.0)


@pytest.mark.parametrize(
    ("what", "defect", "detail", "times"),
    [
        ("crash", "crashed", "ended by SIGSEGV", 2),
        ("hog", "crashed", "needs more than 2 GiB", 2),
        ("hang", "timeout", "took longer than 0.5 s", 1),
        ("hang for good", "timeout", "took longer than 0.5 s", 1),
    ],
)
def test_a_clip_that_ruins_it_has_its_fault_and_what_was_told_of_it(
    what: str, defect: str, detail: str, times: int, process: VideoProcess, log: Path
) -> None:
    before = process.run(do, b"clip", 20.0, "well", log)
    with pytest.raises(ClipFault) as raised:
        process.run(do, b"clip", 0.5 if "hang" in what else 60.0, what, log)
    assert (raised.value.defect, raised.value.interim) == (defect, f"about {what}")
    assert detail in raised.value.detail
    assert process.run(do, b"clip", 20.0, "well again", log) == "well again"
    # In a fresh child it is blamed on the clip, and on no other.
    assert log.read_text().splitlines() == [before, *[what] * times, "well again"]


def test_what_an_earlier_clip_has_ruined_is_not_blamed_on_a_later_one(process: VideoProcess, log: Path) -> None:
    assert process.run(do, b"clip", 20.0, "well", log)
    assert process.run(do, b"clip", 20.0, "crash if others came before", log) == "crash if others came before"


def test_what_is_raised_there_is_raised_here(process: VideoProcess, log: Path) -> None:
    child = process.run(whoami, b"x", 20.0)
    with pytest.raises(ValueError, match="there is none"):
        process.run(do, b"clip", 20.0, "raise", log)
    assert process.run(whoami, b"x", 20.0) == child


def test_a_clip_that_somebody_keeps_does_not_end_the_child(process: VideoProcess) -> None:
    assert len({process.run(keep, b"clip", 20.0) for _ in range(3)}) == 1


def test_too_little_memory_to_share_a_clip_is_not_blamed_on_it() -> None:
    with VideoProcess() as process:
        child = process.run(whoami, b"x", 20.0)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                process.run(measure, bytes(10_000), 20.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert process.run(whoami, b"x", 20.0) == child


def test_the_clip_is_for_reading(log: Path) -> None:
    with VideoProcess() as process, pytest.raises(TypeError, match="does not support item assignment"):
        process.run(do, b"clip", 20.0, "write into the clip", log)


def test_a_clip_is_looked_into_while_its_owner_does_something_else(process: VideoProcess) -> None:
    process.run(whoami, b"x", 20.0)
    start = time.monotonic()
    looking = process.begin(slowly, b"clip", 20.0)
    assert time.monotonic() - start < 0.5
    time.sleep(1)
    assert looking.result() == "done"
    assert time.monotonic() - start < 1.8
    with pytest.raises(RuntimeError, match="asked for twice"):
        looking.result()


def test_a_clip_whose_result_nobody_asked_for_says_nothing_of_the_next(process: VideoProcess, log: Path) -> None:
    process.begin(do, b"clip", 20.0, "hang", log)
    assert process.run(measure, b"another", 20.0) == (7, b"anot", b"ther")
    looking = process.begin(do, b"clip", 20.0, "well", log)
    assert process.run(measure, b"a third", 20.0) == (7, b"a th", b"hird")
    with pytest.raises(RuntimeError, match="after another clip was begun"):
        looking.result()


def test_a_child_that_is_killed_while_nobody_listens_is_replaced(process: VideoProcess, log: Path) -> None:
    child = psutil.Process(process.run(whoami, b"x", 20.0))
    looking = process.begin(measure, b"clip", 20.0)
    child.kill()
    while child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert looking.result() == (4, b"clip", b"clip")


def test_it_prints_nothing(process: VideoProcess, log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process.run(do, b"clip", 20.0, "print", log)
    assert capfd.readouterr() == ("", "")


def test_one_whose_forker_is_killed_is_replaced(process: VideoProcess) -> None:
    child = psutil.Process(process.run(whoami, b"x", 20.0))
    forker = child.parent()
    assert forker is not None
    assert forker.pid != os.getpid()
    forker.kill()
    child.wait(10)
    assert process.run(whoami, b"x", 20.0) != child.pid


def test_closing_leaves_nothing(log: Path) -> None:
    for _ in range(2):
        with VideoProcess() as process:
            child = psutil.Process(process.run(whoami, b"x", 20.0))
            forker = child.parent()
        psutil.wait_procs([child], 10)
        assert not child.is_running()
        assert forker is not None
        assert not forker.is_running()


@pytest.mark.parametrize("has_threads", [False, True])
def test_it_does_not_outlive_its_worker(has_threads: bool, log: Path) -> None:
    """Whatever it hangs in: with a worker that forks it, and with one that has threads."""
    thread = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); " if has_threads else ""
    code = (
        f"import sys, threading, time; {thread}from video_work import hang_in_a_worker; hang_in_a_worker(sys.argv[1])"
    )
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent.parent}"}
    worker = subprocess.Popen([sys.executable, "-c", code, str(log)], env=environment)
    until = time.monotonic() + 30
    while not log.exists() and time.monotonic() < until:
        time.sleep(0.05)
    below = psutil.Process(worker.pid).children(recursive=True)
    assert len(below) == 2
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    _, alive = psutil.wait_procs(below, 10)
    assert not alive


def _from_a_copy(process: VideoProcess, sender: "multiprocessing.connection.Connection") -> None:
    process.abandon()
    sender.send("fine")
    sender.close()


# Of a library that another test of this process may have imported.
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
def test_a_copy_of_its_worker_takes_nothing_from_it() -> None:
    with VideoProcess() as process:
        child = process.run(whoami, b"x", 20.0)
        receiver, sender = multiprocessing.Pipe(duplex=False)
        if threading.active_count() == 1:
            copy = multiprocessing.get_context("fork").Process(target=_from_a_copy, args=(process, sender))
            copy.start()
            assert receiver.recv() == "fine"
            copy.join()
        receiver.close()
        sender.close()
        assert process.run(whoami, b"x", 20.0) == child
