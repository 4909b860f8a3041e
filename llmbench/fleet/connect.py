"""Connections to Ray clusters whose nodes run this llmbench."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import llmbench
from llmbench import __version__
from llmbench.errors import InputError, MissingExtraError, one_line
from llmbench.fleet.grpc_answer import why_silent
from llmbench.fleet.nodes import Node, describe, name_of, nodes_of

LOCAL, AUTO = "local", "auto"
CLIENT = "ray://"  # Ray's protocol for drivers that are on no node
DEFAULT_PORT, DEFAULT_CLIENT_PORT = 6379, 10001
ANSWER_SECONDS = 10.0
START_SECONDS = 120.0  # for a node's first process, with the package copied to it
LOCAL_STORE_BYTES = 256 * 2**20  # of memory that its processes share, allocated when used
DISTRIBUTION = f"llmbench-{__version__}.dist-info"
EXCLUDED = ["**/__pycache__", "**/*.pyc"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that this process is connected to; ``address`` is the one that was asked for.

    ``head`` is the host and port of what answers for the cluster, None for a local one.
    """

    address: str
    head: tuple[str, int] | None
    _cpu_models: dict[str, str] = field(default_factory=dict)  # by node id
    _left_out: set[str] = field(default_factory=set)

    def nodes(self, remark: Callable[[str], None] | None = None) -> list[Node]:
        """Return the nodes that are alive, by name.

        Raises InputError if a new one cannot run llmbench, or has another version of it. With
        ``remark``, the reason is a remark instead, and the node is left out from then on.
        """
        ray = _ray()
        entries = ray.nodes()
        for entry, answer in _asked(ray, [e for e in entries if self._is_new(e)]):
            try:
                if description := _described(ray, answer):
                    self._cpu_models[entry["NodeID"]] = description["cpu_model"]
            except InputError as error:
                where = f"node {name_of(entry)}"
                if remark is None:
                    raise InputError(f"--ray {self.address}: {where}: {error}") from None
                self._left_out.add(entry["NodeID"])
                remark(f"{where} is left out: {error}, and start Ray on it again")
        return nodes_of((e for e in entries if e["NodeID"] in self._cpu_models), self._cpu_models)

    def _is_new(self, entry: dict[str, Any]) -> bool:
        node_id = entry["NodeID"]
        is_known = node_id in self._cpu_models or node_id in self._left_out
        return entry["Alive"] and not is_known

    def is_lost(self) -> bool:
        """Return whether what answers for the cluster no longer does."""
        return bool(self.head and why_silent(*self.head, ANSWER_SECONDS))


def on(node_id: str, **claim: Any) -> dict[str, Any]:
    """Return Ray's options of an actor or task on a node, which takes no resources but a claim."""
    from ray.util import scheduling_strategies as strategies  # noqa: PLC0415 (an extra)

    strategy = strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
    return {"num_cpus": 0, **claim, "scheduling_strategy": strategy}


@contextmanager
def connected(address: str, *, verbose: bool = False) -> Iterator[Cluster]:
    """Connect this process to a Ray cluster within the context.

    ``address`` is `auto` (the cluster of $RAY_ADDRESS, or the one that this machine is a node of),
    `local` (a cluster of this machine, which ends with the context), HOST:PORT of a cluster that
    this machine is a node of, or ray://HOST:PORT of any cluster. Nodes import the llmbench of this
    process. With ``verbose``, what they print comes to this terminal. Raises InputError if ray is
    not installed, nothing answers, or versions of Ray, Python or llmbench differ.
    """
    ray = _ray()
    target = _target(address)
    if target and (reason := why_silent(*target[1], ANSWER_SECONDS)):
        at = _at(target[1])
        where = address if address.endswith(at) else f"{address}: {at}"
        raise InputError(
            f"--ray {where}: {reason}; check the address and that the cluster runs (`ray status`)"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="llmbench-") as folder, _handlers_kept():
            shipped = (
                {"py_modules": _shipped(Path(folder)), "excludes": EXCLUDED} if target else None
            )
            _start(ray, address, target[0] if target else None, shipped, verbose=verbose)
        cluster = Cluster(address, target[1] if target else None)
        cluster.nodes()  # checks them
        yield cluster
    finally:
        ray.shutdown()


def _ray() -> ModuleType:
    """Import ray, quietly and without its usage reports; raises MissingExtraError without it."""
    if find_spec("ray") is None:
        raise MissingExtraError("--ray", "ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415 (an extra that takes a second to import)

    return ray


def _target(address: str) -> tuple[str, tuple[str, int]] | None:
    """Return Ray's name of an address, and its host and port; None for a local cluster."""
    if address == LOCAL:
        return None
    name = _found() if address == AUTO else address
    is_client = name.startswith(CLIENT)
    host, colon, port = name.removeprefix(CLIENT).rpartition(":")
    if not colon:
        host, port = port, str(DEFAULT_CLIENT_PORT if is_client else DEFAULT_PORT)
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise InputError(
            f"--ray {address}: not an address; use local, auto, HOST:PORT or {CLIENT}HOST:PORT"
        )
    if is_client and find_spec("grpc") is None:
        raise MissingExtraError(f"--ray {address}", "grpc", "ray")
    return f"{CLIENT * is_client}{host}:{port}", (host, int(port))


def _found() -> str:
    """Return the address of $RAY_ADDRESS, or of the cluster that this machine is a node of."""
    if name := os.environ.get("RAY_ADDRESS"):
        return name
    from ray._private import services  # noqa: PLC0415 (an extra)

    try:
        found: str = services.canonicalize_bootstrap_address_or_die("auto")
    except ConnectionError:
        raise InputError(
            "--ray auto: this machine is a node of no Ray cluster; use --ray local, start one with "
            "`ray start --head`, or name one with --ray HOST:PORT or $RAY_ADDRESS"
        ) from None
    return found


def _at(host_and_port: tuple[str, int]) -> str:
    return "{}:{}".format(*host_and_port)


def _shipped(folder: Path) -> list[str]:
    """Return the folders that nodes import llmbench from: the package, and its entry points.

    Those are a distribution of their own, so that parts are found as in an installation.
    """
    installed = importlib.metadata.distribution("llmbench")
    distribution = folder / DISTRIBUTION
    distribution.mkdir()
    text = f"Metadata-Version: 2.1\nName: llmbench\nVersion: {__version__}\n"
    (distribution / "METADATA").write_text(text, "utf-8")
    entry_points = installed.read_text("entry_points.txt") or ""
    (distribution / "entry_points.txt").write_text(entry_points, "utf-8")
    return [str(Path(llmbench.__file__).parent), str(distribution)]


def _start(
    ray: ModuleType,
    address: str,
    name: str | None,
    shipped: dict[str, Any] | None,
    *,
    verbose: bool,
) -> None:
    local = {"include_dashboard": False, "object_store_memory": LOCAL_STORE_BYTES}
    try:
        ray.init(
            address=name or LOCAL,
            runtime_env=shipped,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            **({} if name else local),
        )
    except (RuntimeError, ConnectionError, ValueError, OSError) as error:
        raise InputError(f"--ray {address}: {_explained(error)}") from error
    logger.info("connected to Ray %s at %s", ray.__version__, name or LOCAL)


def _explained(error: Exception) -> str:
    message = one_line(" ".join(str(error).split()), 600)
    if "ersion mismatch" in message:
        return f"{message}; use the cluster's versions of Ray and Python here"
    if "node_ip_address" in message or "this node" in message.lower():
        return f"{message}; run on a node of the cluster, or use {CLIENT}HOST:{DEFAULT_CLIENT_PORT}"
    return message


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)


def _asked(ray: ModuleType, entries: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Any]]:
    """Ask nodes, all at once, to describe themselves; return their entries and pending answers."""
    task = ray.remote(describe)
    options = (on(entry["NodeID"]) for entry in entries)
    answers = [task.options(**each, max_retries=0).remote() for each in options]
    return list(zip(entries, answers, strict=True))


def _described(ray: ModuleType, answer: Any) -> dict[str, str] | None:
    """Return what a node says about itself; None if it was lost meanwhile.

    Raises InputError if it cannot import this llmbench, or has another version.
    """
    errors = ray.exceptions
    try:
        description: dict[str, str] = ray.get(answer, timeout=START_SECONDS)
    except (errors.NodeDiedError, errors.WorkerCrashedError, errors.TaskUnschedulableError):
        return None
    except errors.GetTimeoutError:
        raise InputError(
            f"started no process within {START_SECONDS:g} s; see Ray's logs there"
        ) from None
    except errors.RayError as error:
        traceback = str(getattr(error, "cause", None) or error).strip()
        cause = one_line(traceback.rpartition("\n")[-1], 600)
        raise InputError(
            f"cannot import llmbench: {cause}; install there what it needs: "
            f"pip install llmbench=={__version__}"
        ) from None
    return _checked(description)


def _checked(description: dict[str, str]) -> dict[str, str]:
    """Return what a node says about itself; raises InputError if its versions are others."""
    here = {"llmbench": __version__, "python": platform.python_version()}
    for name, version in here.items():
        if description[name] != version:
            raise InputError(
                f"has {name} {description[name]}, and this process {version}; use one version"
            )
    return description
