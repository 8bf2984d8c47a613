"""Opening an engine by its name."""

from __future__ import annotations

from dataclasses import dataclass, field

from kconvert.engines.engine import Engine, EngineName, RayOptions, SlurmOptions, TaskNeeds
from kconvert.storage.store import StorePath


@dataclass(frozen=True)
class EngineChoice:
    """Which engine is wanted, and how it is to work."""

    name: EngineName = "local"
    """Where tasks run."""
    max_tasks: int | None = None
    """How many tasks run at a time, 1 or more; `None` for as many as there are cores and memory for."""
    ray: RayOptions = field(default_factory=RayOptions)
    """Used with the name `ray`."""
    slurm: SlurmOptions = field(default_factory=SlurmOptions)
    """Used with the name `slurm`."""


def open_engine(
    choice: EngineChoice | None = None, needs: TaskNeeds | None = None, records: StorePath | None = None
) -> Engine:
    """The engine that is chosen, by default the local one, for tasks with these needs.

    `records` is where an engine writes down what it has begun. Raises `UsageError` if the engine cannot be had.
    """
    choice, needs = choice or EngineChoice(), needs or TaskNeeds()
    if choice.name == "ray":
        from kconvert.engines.ray import RayEngine

        return RayEngine(choice.max_tasks, needs, choice.ray)
    if choice.name == "slurm":
        from kconvert.engines.slurm import SlurmEngine

        return SlurmEngine(choice.max_tasks, choice.slurm, records)
    from kconvert.engines.local import LocalEngine

    return LocalEngine(choice.max_tasks, needs)
