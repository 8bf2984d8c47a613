"""Opening an engine by its name."""

from __future__ import annotations

from kconvert.engines.engine import Engine, EngineName, RayOptions, SlurmOptions, TaskNeeds
from kconvert.storage.store import StorePath


def open_engine(
    name: EngineName,
    max_tasks: int | None = None,
    needs: TaskNeeds | None = None,
    *,
    ray: RayOptions | None = None,
    slurm: SlurmOptions | None = None,
    records: StorePath | None = None,
) -> Engine:
    """The engine of that name, for at most so many tasks at a time; by default as many as there are cores for, and what
    each of them needs.

    `records` is where an engine writes down what it has begun. Raises `UsageError` if the engine cannot be had.
    """
    if name == "ray":
        from kconvert.engines.ray import RayEngine

        return RayEngine(max_tasks, needs or TaskNeeds(), ray or RayOptions())
    if name == "slurm":
        from kconvert.engines.slurm import SlurmEngine

        return SlurmEngine(max_tasks, slurm or SlurmOptions(), records)
    from kconvert.engines.local import LocalEngine

    return LocalEngine(max_tasks, needs)
