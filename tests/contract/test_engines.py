"""What holds for every engine."""

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import ray_cluster
from engine_work import Job, do, refuse

from kconvert.engines.engine import Engine, Failed, Finished, RayOptions, SlurmOptions
from kconvert.engines.local import LocalEngine
from kconvert.engines.open import EngineChoice, open_engine
from kconvert.engines.slurm import SlurmEngine
from kconvert.errors import ArchiveError, DiskError, UnexpectedError, UsageError, WorkerDiedError
from kconvert.events import Advance
from kconvert.storage.folders import local

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of three machines beside the driver's."""
    with ray_cluster(3) as found:
        yield found


ENGINES = ["local-1", "local-3", "ray", "slurm"]


@pytest.fixture(scope="module")
def ray_engine(cluster: Any) -> Iterator[Engine]:
    """One for all tests: every other would start workers of its own."""
    with closing(open_engine(EngineChoice("ray", ray=RayOptions(cluster.address)))) as engine:
        yield engine


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """Each engine; slurm by submitit's executor for this machine, whose processes need to find the work."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if Path(path).is_dir()))
    if request.param == "ray":
        yield request.getfixturevalue("ray_engine")
        return
    name, _, num = request.param.partition("-")
    slurm = SlurmOptions(executor="local")
    records = tmp_path_factory.mktemp("records") / "records"
    engine = open_engine(EngineChoice(name, int(num) if num else None, slurm=slurm), records=local(records))
    yield engine
    engine.close()
    assert not records.exists() or list(records.iterdir()) == [] or name == "slurm"


def ignore(event: Advance) -> None:
    pass


def test_every_task_has_one_outcome(engine: Engine, tmp_path: Path) -> None:
    told: list[Advance] = []
    num = 50 if not isinstance(engine, SlurmEngine) else 4
    jobs = [Job(number, folder=tmp_path) for number in range(num)]
    outcomes = list(engine.run(do, iter(jobs), told.append))
    assert all(isinstance(outcome, Finished) for outcome in outcomes)
    found = {outcome.task.number: outcome.result for outcome in outcomes if isinstance(outcome, Finished)}
    assert found == {number: (number**2, 0) for number in range(num)}
    assert sum(event.num_clips for event in told) == num


def test_no_task_is_no_outcome_and_an_engine_can_run_again(engine: Engine, tmp_path: Path) -> None:
    assert list(engine.run(do, [], ignore)) == []
    assert len(list(engine.run(do, [Job(1, folder=tmp_path)], ignore))) == 1
    assert len(list(engine.run(do, [Job(2, folder=tmp_path)], ignore))) == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [("raises", ArchiveError), ("surprises", UnexpectedError), ("disk", DiskError), ("dies", WorkerDiedError)],
)
def test_a_task_that_fails_fails_alone(engine: Engine, tmp_path: Path, kind: str, error: type[Exception]) -> None:
    jobs = [Job(number, kind if number == 3 else "good", tmp_path) for number in range(4)]
    outcomes = {outcome.task.number: outcome for outcome in engine.run(do, jobs, ignore)}
    assert len(outcomes) == 4
    failed = outcomes[3]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, error)
    assert "job 3" in str(failed.error)
    assert sum(isinstance(outcome, Finished) for outcome in outcomes.values()) == 3


@pytest.mark.parametrize("kind", ["dies once", "hangs once", "exits once"])
def test_a_worker_that_dies_or_hangs_costs_one_more_attempt(engine: Engine, tmp_path: Path, kind: str) -> None:
    jobs = [Job(number, kind if number % 4 == 3 else "good", tmp_path) for number in range(4)]
    outcomes = [outcome for outcome in engine.run(do, jobs, ignore) if isinstance(outcome, Finished)]
    assert {outcome.task.number: outcome.result[1] for outcome in outcomes} == {
        number: int(number % 4 == 3) for number in range(4)
    }
    assert [len((tmp_path / str(number)).read_text()) for number in range(4)] == [1, 1, 1, 2]


def test_tasks_are_made_as_they_can_be_run(engine: Engine, tmp_path: Path) -> None:
    made: list[int] = []
    num = 20 if not isinstance(engine, SlurmEngine) else 5

    def jobs() -> Iterator[Job]:
        for number in range(num):
            made.append(number)
            yield Job(number, folder=tmp_path)

    outcomes = engine.run(do, jobs(), ignore)
    next(outcomes)
    assert len(made) <= num / 2 + 1
    assert len(list(outcomes)) == num - 1


def test_nothing_is_done_where_the_prelude_refuses(engine: Engine, tmp_path: Path) -> None:
    try:
        engine.prepare(refuse)
    except UsageError as error:
        assert "this machine is not fit" in str(error)
        return
    outcomes = list(engine.run(do, [Job(1, folder=tmp_path)], ignore))
    if isinstance(engine, LocalEngine):
        assert isinstance(outcomes[0], Finished)
    else:
        assert isinstance(outcomes[0], Failed)
        assert "this machine is not fit" in str(outcomes[0].error)
        assert not list(tmp_path.iterdir())


def _run_and_count(sender: "multiprocessing.connection.Connection", folder: Path) -> None:
    def leftovers() -> tuple[int, int]:
        gc.collect()
        me = psutil.Process()
        return sum(
            child.name() != "python" or "worker" in " ".join(child.cmdline()) for child in me.children()
        ), me.num_fds()

    def run(num_workers: int, kind: str) -> tuple[int, int]:
        engine = open_engine(EngineChoice("local", num_workers))
        jobs = [Job(number, kind if number == 0 else "good", folder) for number in range(4)]
        assert len(list(engine.run(do, jobs, ignore))) == 4
        engine.close()
        return leftovers()

    forked = [run(2, "good") for _ in range(2)]
    # Who dies alone is replaced by Python's server, which stays, and has descriptors of its own.
    run(1, "dies")
    counts = [forked, [run(2, "dies") for _ in range(2)]]
    zombies = [child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    sender.send((counts, zombies))
    sender.close()


def test_closing_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    """In a process of its own: in this one, connections of other tests end when they have been idle for a while."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_and_count, args=(sender, tmp_path))
    process.start()
    sender.close()
    with receiver:
        counts, zombies = receiver.recv()
    process.join()
    process.close()
    assert [before == after for before, after in counts] == [True, True], counts
    assert not zombies


def test_what_a_worker_prints_by_itself_is_not_shown(tmp_path: Path) -> None:
    """In a process of its own, whose streams are looked at."""
    code = (
        "from pathlib import Path; from engine_work import Job, do; from kconvert.engines.open import EngineChoice, open_engine;"
        f"engine = open_engine(EngineChoice('local', 1)); jobs = [Job(0, 'prints', Path({str(tmp_path)!r}))];"
        "outcomes = list(engine.run(do, jobs, lambda event: None)); engine.close(); print(outcomes[0].result)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parent)
    assert done.stdout == b"(0, 0)\n"
    assert done.stderr == b""


def test_a_worker_can_isolate_clips_where_the_driver_had_started_a_server() -> None:
    """As in a batch, after a conversion that replaced a worker."""
    code = (
        "from multiprocessing import forkserver; from engine_work import Job, isolate;"
        "from kconvert.engines.open import EngineChoice, open_engine; forkserver.ensure_running(); engine = open_engine(EngineChoice('local', 1));"
        "print(*engine.run(isolate, [Job(0)], lambda event: None)); engine.close()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=60, check=True)
    assert "Finished" in done.stdout, done
    assert "unreadable" in done.stdout


@pytest.mark.parametrize("is_ours", [True, False])
def test_what_our_workers_do_without_is_there_for_others(is_ours: bool, tmp_path: Path) -> None:
    """Somebody's own process, with threads and a server of processes that others fork from as well, keeps its arrays."""
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing, threading
from contextlib import suppress
from kconvert.engines.imports import without_arrays
if __name__ == "__main__" and {is_ours}:
    without_arrays()
from kconvert.conversion.run import PRELOAD
from kconvert.engines.engine import TaskNeeds
from kconvert.engines.open import EngineChoice, open_engine

def tell():
    with suppress(ModuleNotFoundError):
        import numpy, pyarrow
        print(pyarrow.array([1, 2]).to_numpy().sum(), flush=True)

if __name__ == "__main__":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    engine = open_engine(EngineChoice("local", 1), TaskNeeds(preload=PRELOAD))
    other = multiprocessing.get_context("forkserver").Process(target=tell)
    other.start()
    other.join()
    engine.close()
""")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ("" if is_ours else "3\n"), done


def test_workers_that_cannot_be_started_are_told_of() -> None:
    code = "from kconvert.engines.open import EngineChoice, open_engine; open_engine(EngineChoice('local', 40))"
    command = ["sh", "-c", 'ulimit -n 64; exec "$0" -c "$1"', sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "UsageError: --workers 40: only" in done.stderr, done
    assert "(Too many open files)" in done.stderr
