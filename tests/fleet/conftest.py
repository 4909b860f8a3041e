"""A real Ray cluster of four nodes on this machine, which ends after the tests of fleets."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray")
NODES: tuple[dict[str, Any], ...] = (
    {"node_name": "ant", "num_cpus": 2, "labels": {"llmbench.io/kind": "small"}},
    {"node_name": "bee", "num_cpus": 2, "labels": {"llmbench.io/kind": "small"}},
    {"node_name": "cat", "num_cpus": 4, "resources": {"accelerator_type:H100": 1, "tape": 2},
     "num_gpus": 2},
)  # fmt: skip


@pytest.fixture(scope="package")
def ray_folder() -> Iterator[Path]:
    """A folder with a short path, since those of Unix sockets are at most 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # a process per CPU, of which tests use few
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def ray_cluster(ray_folder: Path) -> Iterator[Any]:
    """A cluster whose head has no CPUs for runs."""
    assert os.environ["RAY_TMPDIR"] == str(ray_folder)
    from ray.cluster_utils import Cluster  # noqa: PLC0415 (takes seconds to import)

    head = {"node_name": "head", "num_cpus": 0, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # hidden GPUs, which nodes may not have
        new_cluster: Any = Cluster  # whose methods have no types
        cluster = new_cluster(initialize_head=True, head_node_args=head)
        for node in NODES:
            cluster.add_node(**node)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="package")
def cluster_address(ray_cluster: Any) -> str:
    """The address of the cluster."""
    return str(ray_cluster.address)
