"""Workers that do their jobs in the process of the tests: most are of the simulated server."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from llmbench.campaign.observer import Listener
from llmbench.campaign.process import Installation, pass_on
from llmbench.campaign.worker import SLOWDOWN, Events, attempt
from llmbench.runs.run import Failure

if TYPE_CHECKING:
    from typing import TextIO

    from _typeshed import DataclassInstance

in_processes = Installation.launch
MODULES = {"llmbench.worker": "llmbench.campaign.worker"}
PROFILE = "llmbench.campaign.profile.worker"


class _Passing:
    """A worker's stdout whose lines go to a listener at once."""

    def __init__(self, listener: Listener) -> None:
        self.failure: Failure | None = None
        self._listener = listener

    def write(self, line: str) -> None:
        self.failure = pass_on(json.loads(line), self._listener) or self.failure

    def flush(self) -> None:
        pass


def launch(
    installation: Installation,
    module: str,
    job: DataclassInstance,
    timeout: float,
    listener: Listener,
) -> Failure | None:
    """Do a job here; a job of another checkout or interpreter in a process, as always."""
    if installation.paths or installation.python != sys.executable:
        return in_processes(installation, module, job, timeout, listener)
    worker = importlib.import_module(MODULES.get(module, module))
    out = _Passing(listener)
    fields = json.loads(json.dumps(asdict(job)))
    with _slowed(installation.slowdown), _unprofiled(module):
        try:
            attempt(worker.do, fields, Events(cast("TextIO", out)))
        except Exception as error:  # noqa: BLE001 (a process would end with it)
            last = "".join(traceback.format_exception_only(error)).strip()
            message = f"the worker ended with exit code 1: {last}"
            return Failure("error", message, traceback.format_exc())
    return out.failure


@contextmanager
def _unprofiled(module: str) -> Iterator[None]:
    """Restore what a worker of the profile changes in torch's compiler."""
    if module != PROFILE:
        yield
        return
    from torch._inductor import config  # noqa: PLC0415 (takes seconds to import)

    with config.patch({"cpp.enable_kernel_profile": False}):
        yield


@contextmanager
def _slowed(slowdown: float | None) -> Iterator[None]:
    before = os.environ.get(SLOWDOWN)
    if slowdown is not None:
        os.environ[SLOWDOWN] = str(slowdown)
    try:
        yield
    finally:
        os.environ.pop(SLOWDOWN, None)
        if before is not None:
            os.environ[SLOWDOWN] = before
