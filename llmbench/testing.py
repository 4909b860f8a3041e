"""Helpers for tests of plugins: a context to open a backend with, requests, and a fake server.

A load or a workload is tested against the fake server, on a virtual clock, where every time has an
exact known value; a backend is opened with ``open_context()`` and serves the same dispatch::

    with fake_server(prefill=0.25, per_token=0.125) as server:
        (record,) = serve(server, dispatch(requests(1, tokens=3)))
    assert record.token_times == (0.25, 0.375, 0.5)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from llmbench.backends import LoadShape, OpenContext, Server
from llmbench.backends.fake import Fake
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.schema import EngineOptions, ModelOptions


def open_context(
    model: str | ModelOptions = "random:tiny",
    *,
    prompt_lengths: Sequence[int] = (4,),
    longest_sequence: int = 12,
    slots: int = 2,
    **fields: Any,
) -> OpenContext:
    """Return a context to open a backend with: by default a small model on the CPU and two slots.

    ``model`` is a source or the whole options; ``fields`` are any others of OpenContext.
    """
    given = {
        "model": ModelOptions(source=model, device="cpu") if isinstance(model, str) else model,
        "load_shape": LoadShape(tuple(prompt_lengths), longest_sequence),
        "engine": EngineOptions(slots=slots),
    }
    return OpenContext(**{**given, **fields})


def requests(count: int, *, prompt: Sequence[int] = (1, 2, 3, 4), tokens: int = 8) -> list[Request]:
    """Return requests with ids from 0, the same prompt and ``tokens`` tokens to generate."""
    return [Request(index, tuple(prompt), tokens, text=f"prompt {index}") for index in range(count)]


def dispatch(requests: Sequence[Request], due: Sequence[float] | None = None) -> Dispatch:
    """Return a Dispatch of requests with their due times in seconds; by default, all are 0."""
    times = np.zeros(len(requests)) if due is None else np.asarray(due)
    return Dispatch(requests, Scheduled(times), Stop(requests=len(requests)))


def serve(server: Server, dispatch: Dispatch) -> list[Record]:
    """Serve a dispatch on the server's own clock and return the records, by request id."""
    records = server.serve(dispatch, server.new_clock(), lambda: None)
    return sorted(records, key=lambda record: record.request_id)


def fake_server(
    context: OpenContext | None = None, **options: Any
) -> AbstractContextManager[Server]:
    """Open the ``fake`` backend with options such as ``prefill=0.25`` (seconds) as its server."""
    return Fake(Fake.Options.model_validate(options)).open(context or open_context())
