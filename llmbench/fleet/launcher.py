"""Runs on one node: the claim of its resources, the job there, and the files that come back."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import ray

from llmbench.campaign.job import Job
from llmbench.campaign.observer import Listener
from llmbench.campaign.process import forward_event
from llmbench.environment.software import SLOWDOWN
from llmbench.errors import MeasurementError
from llmbench.fleet.connect import on
from llmbench.fleet.node_worker import THREADS, NodeWorker
from llmbench.fleet.nodes import Node
from llmbench.fleet.placement import Claim
from llmbench.runs import store
from llmbench.runs.files import atomic_write
from llmbench.runs.redaction import is_secret
from llmbench.runs.run import Failure, PlannedRun

POLL_SECONDS = 0.5
ANSWER_SECONDS = 60.0  # a bound of short calls; Ray finds out first that a node is lost
CHUNK_BYTES = 8 * 2**20
KEPT = (SLOWDOWN, "LLMBENCH_ROOF")
NAME = re.compile(r"(runs|logs)(/\w[\w.-]*){1,3}")
LOST = (ray.exceptions.RayError, ConnectionError)  # without errors of the job itself


class NodeLostError(MeasurementError):
    """A node was lost, or Ray ended the actor on it."""

    kind = "lost-node"


@contextmanager
def lost_nodes_explained(node: Node) -> Iterator[None]:
    """Raise NodeLostError for the errors by which Ray reports that an actor is gone."""
    try:
        yield
    except ray.exceptions.RayTaskError:
        raise  # an error of ours
    except LOST as error:
        reason = str(error).strip().partition("\n")[0]
        raise NodeLostError(f"the node {node.name} was lost: {reason}") from error


@contextmanager
def claimed(
    node: Node, claim: Claim, gpus: int | None, is_stopped: Callable[[], bool]
) -> Iterator[NodeLauncher]:
    """Claim a part of a node within the context; jobs there end once ``is_stopped``.

    Raises NodeLostError if the node is lost.
    """
    options = on(node.id, **claim.as_options(), max_concurrency=THREADS)
    with lost_nodes_explained(node):
        actor: Any = ray.remote(NodeWorker).options(**options).remote(int(claim.cpus), gpus)
    try:
        yield NodeLauncher(node, actor, is_stopped)
    finally:
        ray.kill(actor)  # its worker ends with it


@dataclass(frozen=True, slots=True)
class NodeLauncher:
    """Runs jobs on a node, in worker processes of an actor there."""

    node: Node
    actor: Any
    is_stopped: Callable[[], bool]

    def is_granted(self, is_wanted: Callable[[], bool]) -> bool:
        """Wait until the claim is granted; return False once it is no longer wanted.

        Raises NodeLostError if the node is lost meanwhile.
        """
        answer = self.actor.ready.remote()
        with lost_nodes_explained(self.node):
            while is_wanted():
                if ray.wait([answer], timeout=POLL_SECONDS)[0]:
                    return bool(ray.get(answer))
        return False

    def launch(self, module: str, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Run a job on the node and store what it measured, as `Installation.launch` does here.

        Raises NodeLostError if the node is lost meanwhile.
        """
        del module  # the actor runs one
        with lost_nodes_explained(self.node):
            failure = self._do(job, timeout, listener)
            with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
                self._fetch(Path(folder))
                self._store(Path(folder), job)
        return failure

    def _do(self, job: Job, timeout: float, listener: Listener) -> Failure | None:
        message = job.message()
        done = self.actor.measure.remote(message, timeout, variables_of(message), str(Path.cwd()))
        while not ray.wait([done], timeout=0)[0]:
            if self.is_stopped():
                raise NodeLostError("the fleet was stopped")
            self._forward(listener)
        failure: dict[str, str] | None = ray.get(done)
        self._forward(listener)
        return Failure(**failure) if failure else None

    def _forward(self, listener: Listener) -> None:
        events = self.actor.events.remote(POLL_SECONDS)
        for event in ray.get(events, timeout=ANSWER_SECONDS):
            forward_event(event, listener)

    def _fetch(self, folder: Path) -> None:
        """Copy the files of the last job into a folder."""
        files: dict[str, int] = ray.get(self.actor.files.remote(), timeout=ANSWER_SECONDS)
        for name, size in files.items():
            if not NAME.fullmatch(name):
                raise NodeLostError(f"the node {self.node.name} named a file {name!r}")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for offset in range(0, size, CHUNK_BYTES):
                    part = self.actor.read.remote(name, offset, CHUNK_BYTES)
                    file.write(ray.get(part, timeout=ANSWER_SECONDS))
        ray.get(self.actor.remove.remote(), timeout=ANSWER_SECONDS)

    def _store(self, folder: Path, job: Job) -> None:
        """Store the run in a folder, if there is one, and its logs in the job's results folder."""
        results, planned = Path(job.folder), PlannedRun(job.case, job.repeat)
        for log in (path for path in (folder / "logs").rglob("*") if path.is_file()):
            target = results / log.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(target, log.read_bytes().decode("utf-8", "replace"))
        if (run := store.find_run(folder, planned)) is None:
            return
        schedule = folder / "runs" / planned.name / store.SCHEDULE
        facts = {**run.facts, "node": self.node.as_fact()}
        store.write_run(
            results,
            replace(run, facts=facts),
            pq.read_table(schedule) if schedule.exists() else None,
        )


def variables_of(message: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables that a job names, and llmbench's own."""
    text = json.dumps(message["spec"])
    words = set(re.findall(r"\w+", text)) & set(os.environ)
    named = {word for word in words if is_secret(word) or f"${{{word}}}" in text}
    return {name: os.environ[name] for name in (*named, *KEPT) if name in os.environ}
