"""Real clusters of several machines, all of them on this one, on loopback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MEMORY = 80_000_000
"""Of a node's object store, which no clip ever gets into."""


@contextmanager
def ray_cluster(num_nodes: int) -> Iterator[Any]:
    """A Ray cluster: a head without CPUs, on which the driver is, and nodes with one CPU each."""
    # What is sent to other processes is imported there by its name.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if Path(path).is_dir())
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What Ray does where a firewall would ask: all of it on loopback.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray's own processes have much that development mode complains of.
    mode = os.environ.pop("PYTHONDEVMODE", None)
    from ray.cluster_utils import Cluster

    settings = {"node_ip_address": "127.0.0.1", "object_store_memory": _MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **settings})
    try:
        for _ in range(num_nodes):
            cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=_MEMORY)
        cluster.wait_for_nodes()
        if mode is not None:
            os.environ["PYTHONDEVMODE"] = mode
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
