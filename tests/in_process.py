"""Campaign workers inside the process of the tests, which is faster than starting processes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec
import pytest

from llmbench.campaign import prepare
from llmbench.campaign import worker as campaign_worker
from llmbench.campaign.job import Job
from llmbench.campaign.observer import Listener
from llmbench.campaign.process import Installation, forward_event
from llmbench.campaign.worker import Events, attempt
from llmbench.environment.software import SLOWDOWN
from llmbench.runs.run import Failure
from llmbench.runs.run_set import RunSet

in_processes = Installation.launch
MODULES = {"llmbench.worker": "llmbench.campaign.worker"}
PROFILE = "llmbench.campaign.profile.worker"


def launch(
    installation: Installation, module: str, job: Job, timeout: float, listener: Listener
) -> Failure | None:
    """Do a job in this process, unless it is for another checkout or interpreter."""
    if installation.paths or installation.python != sys.executable:
        return in_processes(installation, module, job, timeout, listener)
    worker = importlib.import_module(MODULES.get(module, module))
    failures: list[Failure] = []

    def take(event: dict[str, Any]) -> None:
        if failure := forward_event(msgspec.json.decode(msgspec.json.encode(event)), listener):
            failures.append(failure)

    fields = msgspec.json.decode(msgspec.json.encode(job.message()))
    with _slowed(installation.slowdown), _unprofiled(module), _quick():
        try:
            attempt(worker.do, fields, Events(take))
        except Exception as error:  # noqa: BLE001 (a process would end with it)
            last = "".join(traceback.format_exception_only(error)).strip()
            message = f"the worker exited with code 1: {last}"
            return Failure("error", message, traceback.format_exc())
    return failures[0] if failures else None


def plain_page(run_set: RunSet, **_: Any) -> str:
    """Return a page with the name of a run set."""
    return f"<html>{run_set.folder.name}</html>"


@contextmanager
def _unprofiled(module: str) -> Iterator[None]:
    """Restore the compiler setting that a profile worker changes."""
    if module != PROFILE:
        yield
        return
    from torch._inductor import config  # noqa: PLC0415 (takes seconds to import)

    with config.patch({"cpp.enable_kernel_profile": False}):
        yield


@contextmanager
def _quick() -> Iterator[None]:
    """Skip the garbage collection before a load, and calibrate a client with a few requests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaign_worker, "frozen_gc", lambda: nullcontext([]))
        patch.setattr(prepare, "SAMPLE_REQUESTS", 20)
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
