"""Slurm's queue, through submitit: job arrays are submitted, asked about and cancelled.

Whether an array task has ended is said by its result, and where there is none by `squeue`: many clusters have no
accounting that could be asked. What was submitted is written down, so that the next run can cancel what a killed driver
left in the queue, and a person can see what is to be run again.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kconvert.engines.engine import SlurmOptions, missing_library
from kconvert.errors import UsageError
from kconvert.storage.files import make_folder
from kconvert.storage.store import StorePath

ARRAY_TASKS_NAME = "array_tasks.json"


class SlurmQueue:
    """The jobs of one run; with the executor `local`, processes of this machine in their place."""

    def __init__(self, options: SlurmOptions, max_tasks: int, records: StorePath | None) -> None:
        """`records` is where submitted tasks are written down; `None` for nowhere. Raises `UsageError` if jobs cannot
        be submitted from here."""
        try:
            import submitit
        except ImportError as error:
            raise missing_library("slurm", "submitit") from error
        self._submitit: Any = submitit
        self._options = options
        self._records = records
        self._folder = self._working_folder()
        self._name = f"kconvert-{uuid.uuid4().hex[:12]}"
        self._executor = self._open_executor(max_tasks)
        self._undone: dict[str, str] = {}
        """Array tasks that were submitted and have not succeeded: from Slurm's name of each to the task's."""
        self._cancel_former()

    @property
    def is_local(self) -> bool:
        """Whether jobs are processes of this machine."""
        return self._options.executor == "local"

    def _working_folder(self) -> Path:
        if self._options.folder is not None:
            return Path(self._options.folder).expanduser().absolute() / f"kconvert-{uuid.uuid4().hex[:12]}"
        here = None if self._records is None else (self._records / "jobs").local_path
        if here is None:
            raise UsageError(
                "--engine slurm: expected --slurm.folder, a folder on a shared file system, as --out is an object store"
            )
        return here

    def _open_executor(self, max_tasks: int) -> Any:
        make_folder(self._folder)
        if self.is_local:
            executor = self._submitit.LocalExecutor(folder=self._folder)
            executor.update_parameters(timeout_min=self._options.minutes)
            return executor
        try:
            executor = self._submitit.SlurmExecutor(folder=self._folder)
        except RuntimeError as error:
            raise UsageError(f"--engine slurm: {error}; run this where `sbatch` is, as on a login node") from error
        further: dict[str, Any] = {"requeue": True, **(self._options.parameters or {})}
        executor.update_parameters(
            job_name=self._name,
            time=self._options.minutes,
            cpus_per_task=self._options.cpus_per_task,
            mem=f"{self._options.memory_gb:g}GB",
            array_parallelism=max_tasks,
            stderr_to_stdout=True,
            additional_parameters=further,
            **({"partition": self._options.partition} if self._options.partition else {}),
        )
        return executor

    def submit(self, work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], names: Sequence[str]) -> list[Any]:
        """Submits an array with a task for each of the arguments, of these names; returns submitit's jobs.

        Raises: `UsageError` if `sbatch` refuses it.
        """
        try:
            jobs: list[Any] = self._executor.map_array(work, *zip(*arguments, strict=True))
        except self._submitit.core.utils.FailedJobError as error:
            raise UsageError(
                f"--engine slurm: sbatch refused the job: {_line(error)}; see the options below --slurm"
            ) from error
        self._undone |= {job.job_id: name for name, job in zip(names, jobs, strict=True)}
        self._write_down()
        return jobs

    def states(self) -> dict[str, str] | None:
        """The state of each array task that Slurm still knows; `None` if it does not answer."""
        ask = ["squeue", "--noheader", "--array", "--states=all", f"--name={self._name}", "--format=%i %T"]
        try:
            said = self._submitit.core.utils.CommandFunction(ask, verbose=False)()
        except (self._submitit.core.utils.FailedJobError, OSError):
            return None
        pairs = (line.split() for line in said.splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def succeeded(self, name: str) -> None:
        """Takes in that the task of that name has succeeded, in whichever attempt."""
        self._undone = {job: one for job, one in self._undone.items() if one != name}

    def close(self) -> None:
        """Leaves what a person needs to see what did not succeed; nothing if everything did."""
        if self._undone:
            self._write_down()
            return
        if self._records is not None:
            (self._records / ARRAY_TASKS_NAME).remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_down(self) -> None:
        if self._records is not None:
            self._records.make_folder()
            (self._records / ARRAY_TASKS_NAME).write_bytes(json.dumps(self._undone, indent=1).encode())

    def _cancel_former(self) -> None:
        """Cancels what a killed driver left in the queue."""
        former = read_array_tasks(self._records) if self._records is not None and not self.is_local else {}
        arrays = sorted({job.partition("_")[0] for job in former})
        if arrays:
            # Those that have ended are known no more.
            with suppress(self._submitit.core.utils.FailedJobError):
                self._submitit.core.utils.CommandFunction(["scancel", "--quiet", *arrays], verbose=False)()


def read_array_tasks(records: StorePath) -> dict[str, str]:
    """The array tasks that were submitted and did not succeed, as far as the driver lived to see it: from Slurm's name
    of each to the task's."""
    try:
        found = json.loads((records / ARRAY_TASKS_NAME).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(job): str(name) for job, name in found.items()} if isinstance(found, dict) else {}


def _line(error: BaseException) -> str:
    """The last line of what submitit says: it quotes whole logs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    return (lines[-1] if lines else type(error).__name__)[:300]
