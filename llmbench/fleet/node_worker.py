"""The actor that measures runs on its node, each in a worker process with a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from llmbench.campaign.job import Job
from llmbench.campaign.process import THIS, WORKER
from llmbench.fleet import run_folders
from llmbench.loads.progress import Progress

THREADS = 3  # for a run, the events of it, and another call
FOLDERS = ("runs", "logs")
GPUS, OPENMP = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"


def adopt(variables: Mapping[str, str], folder: str) -> None:
    """Take over what cases need of the fleet's process: environment variables, working directory.

    The working directory changes to ``folder`` if the node has one of that name.
    """
    os.environ.update(variables)
    if Path(folder).is_dir():
        os.chdir(folder)


class NodeWorker:
    """Measures runs on a node; dies with the fleet's process, and its worker with it.

    ``cpus`` is the number of CPUs that it claims, ``gpus`` the number of claimed GPUs that runs
    see (None: all of them).
    """

    def __init__(self, cpus: int, gpus: int | None) -> None:
        run_folders.remove_orphans()
        self._folder, self._lock = Path(), -1
        self._events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        if gpus is not None:
            claimed = os.environ.get(GPUS, "").split(",")
            os.environ[GPUS] = ",".join(claimed[:gpus])
        if os.environ.get(OPENMP) == str(cpus):  # set by Ray, not by the user
            del os.environ[OPENMP]

    def ready(self) -> bool:
        """Return once the claim is granted and the node has started this actor."""
        return True

    def measure(
        self, message: dict[str, Any], timeout: float, variables: Mapping[str, str], folder: str
    ) -> dict[str, Any] | None:
        """Do a job for at most ``timeout`` seconds; return its failure, as a dictionary, or None.

        ``variables`` and ``folder`` are those of `adopt`.
        """
        adopt(variables, folder)
        self._folder, self._lock = run_folders.created()
        job = Job.read({**message, "folder": str(self._folder)})
        failure = THIS.launch(WORKER, job, timeout, self)
        return asdict(failure) if failure else None

    def stage(self, text: str) -> None:
        """Keep the event for the next call of ``events``."""
        self._events.put({"stage": text})

    def progress(self, progress: Progress) -> None:
        """Keep the event for the next call of ``events``."""
        self._events.put(progress.to_event())

    def events(self, seconds: float) -> list[dict[str, Any]]:
        """Return the events of the worker since the last call; wait up to ``seconds`` for one."""
        try:
            events = [self._events.get(timeout=seconds)]
        except Empty:
            return []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def files(self) -> dict[str, int]:
        """Return the sizes of the files that the last job left, by path in its results folder."""
        paths = [path for name in FOLDERS for path in (self._folder / name).rglob("*")]
        files = (path for path in paths if path.is_file())
        return {str(path.relative_to(self._folder)): path.stat().st_size for path in files}

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return a part of one of these files."""
        with (self._folder / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def remove(self) -> None:
        """Remove the files of the last job."""
        shutil.rmtree(self._folder)
        os.close(self._lock)
