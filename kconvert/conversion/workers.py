"""How much works at a time: tasks, the cores that each has, and the memory that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from kconvert.conversion.config import Conversion
from kconvert.dataset.open import open_layout
from kconvert.machine_limits import ENCODER_BYTES, WORKER_BYTES, Workers, default_workers


@dataclass(frozen=True)
class Cores:
    """How many cores tasks may use."""

    total: int | None
    """Of this machine, for all tasks together; `None` where each has its own, on a cluster."""
    each: int = 1
    """Of a task, on a cluster."""

    def of_each(self, num_tasks: int) -> int:
        """Those of each of so many tasks, which run at the same time as far as there are cores."""
        return self.each if self.total is None else max(1, self.total // max(1, min(num_tasks, self.total)))


def cores_of(conversion: Conversion) -> Cores:
    """How many cores tasks may use."""
    if conversion.engine == "slurm":
        return Cores(None, conversion.slurm.cpus_per_task)
    if conversion.engine == "ray":
        return Cores(None, max(1, int(conversion.ray.cpus_per_task)))
    workers = chosen_workers(conversion)
    return Cores(None if workers is None else workers.number)


def task_bytes(conversion: Conversion) -> int:
    """The memory that a task needs."""
    encoder = ENCODER_BYTES if conversion.encoding.is_any else 0
    return WORKER_BYTES + encoder + open_layout(conversion.to).num_shards_in_memory * conversion.shard.max_bytes


def chosen_workers(conversion: Conversion) -> Workers | None:
    """How many tasks run at a time, and why; `None` if only the cluster knows."""
    if conversion.workers is not None:
        return Workers(conversion.workers, "as --workers says")
    return default_workers(task_bytes(conversion)) if conversion.engine == "local" else None


def describe_workers(conversion: Conversion) -> str:
    """The same, as a person says it."""
    return str(chosen_workers(conversion) or f"as many workers as {conversion.engine} has memory for")
