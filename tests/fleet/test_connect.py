"""Clusters are found, checked and refused with one clear message."""

from __future__ import annotations

import platform
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmbench import __version__
from llmbench.errors import InputError
from llmbench.fleet import connect
from llmbench.fleet.connect import connected
from llmbench.fleet.grpc_answer import why_silent


def refusal(address: str) -> str:
    with pytest.raises(InputError) as error, connected(address):
        pass
    return str(error.value)


def test_the_nodes_of_a_cluster_have_names_kinds_and_resources(cluster_address: str) -> None:
    with connected(cluster_address) as cluster:
        nodes = {node.name: node for node in cluster.nodes()}
        assert not cluster.is_lost()
    assert [nodes[name].kind for name in ("ant", "bee", "cat")] == ["small", "small", "H100"]
    assert nodes["cat"].accelerator == "H100"
    assert nodes["cat"].resources["tape"] == 2
    assert nodes["head"].cpus == 0


WITHOUT_PYDANTIC = """\
import sys
if any("default_worker" in word for word in sys.orig_argv):  # Ray's agents need it
    sys.modules["pydantic"] = None
"""


@pytest.fixture
def bare_node(ray_cluster: Any, tmp_path: Path) -> Iterator[Path]:
    """A node named owl, without the packages that llmbench needs."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PYDANTIC, "utf-8")
    node = ray_cluster.add_node(node_name="owl", env_vars={"PYTHONPATH": str(tmp_path)})
    yield tmp_path
    ray_cluster.remove_node(node)


def test_a_node_that_joins_without_llmbench_is_left_out_with_one_remark(
    cluster_address: str, request: pytest.FixtureRequest
) -> None:
    remarks: list[str] = []
    with connected(cluster_address) as cluster:
        before = cluster.nodes()
        request.getfixturevalue("bare_node")
        assert [cluster.nodes(remarks.append) for _ in range(2)] == [before, before]
    assert remarks == [(
        "node owl is left out: cannot import llmbench: ModuleNotFoundError: import of pydantic "
        "halted; None in sys.modules; install there what it needs: "
        f"pip install llmbench=={__version__}, and start Ray on it again"
    )]  # fmt: skip


@pytest.mark.slow
def test_a_node_without_llmbench_is_refused_at_the_start(
    cluster_address: str, bare_node: Path
) -> None:
    assert bare_node.is_dir()
    message = refusal(cluster_address)
    assert message.startswith(f"--ray {cluster_address}: node owl: cannot import llmbench: ")


@pytest.mark.slow
def test_auto_is_the_cluster_of_the_environment(
    cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster_address)
    with connected("auto") as cluster:
        assert len(cluster.nodes()) == 4


def test_another_version_of_ray_is_refused(
    cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.__version__", "2.50.0")
    message = refusal(cluster_address)
    assert "Version mismatch" in message
    assert "Ray: 2.50.0" in message
    assert message.endswith("use the cluster's versions of Ray and Python here")


def test_another_version_of_llmbench_on_a_node_is_refused() -> None:
    answer = {"llmbench": "0.1.0", "python": platform.python_version(), "cpu_model": ""}
    with pytest.raises(InputError) as error:
        connect._checked(answer)
    assert str(error.value) == (
        f"has llmbench 0.1.0, and this process {__version__}; use one version"
    )


def test_ray_that_is_not_installed_is_refused_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "find_spec", lambda _: None)
    assert refusal("auto") == "--ray needs ray; install it with: pip install 'llmbench[ray]'"


@pytest.mark.parametrize("address", ["", "head:x", ":6379", "head:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    assert "not an address; use local, auto, HOST:PORT or ray://HOST:PORT" in refusal(address)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_server_that_does_not_answer_is_waited_for_a_bounded_time(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "ANSWER_SECONDS", 0.1)
    message = refusal(f"127.0.0.1:{silent_port}")
    assert f"127.0.0.1:{silent_port}: no answer within 0.1 s; check the address" in message


def test_a_closed_port_is_refused_at_once() -> None:
    assert why_silent("127.0.0.1", 1, 5.0) == "Connection refused"


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


def test_a_server_that_is_not_ray_is_told_apart() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Quiet)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    reason = why_silent("127.0.0.1", server.server_port, 5.0)
    thread.join()
    server.server_close()
    assert reason == "what answers there is not Ray"


def test_the_package_and_its_entry_points_are_shipped(tmp_path: Path) -> None:
    package, distribution = map(Path, connect._shipped(tmp_path))
    assert (package / "worker.py").is_file()
    assert "[llmbench.backends]" in (distribution / "entry_points.txt").read_text("utf-8")
    assert f"Version: {__version__}" in (distribution / "METADATA").read_text("utf-8")
