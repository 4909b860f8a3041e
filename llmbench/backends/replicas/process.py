"""A replica: ``python -m llmbench.backends.replicas.process`` opens a backend and serves it.

It is pinned to its cores before anything is imported that counts them. Exit codes: 0 no load
follows, 1 it failed.
"""

from __future__ import annotations

import os
from dataclasses import replace

from llmbench.backends.base import BACKENDS, Server
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.backends.replicas.messages import Failed, Job, News
from llmbench.backends.replicas.remote_dispatch import Inbox, RemoteDispatch
from llmbench.environment import child_process
from llmbench.environment.child_process import Channel
from llmbench.errors import InputError, LlmbenchError, MeasurementError
from llmbench.scenario.schema import ModelOptions

NO_PEAKS = "LLMBENCH_ROOF"


def main() -> int:
    """Open the backend of a job, serve the loads that follow, and return the exit code."""
    parent = child_process.parent()
    job = parent.receive(Job)
    os.sched_setaffinity(0, job.place.cores)
    try:
        _open_and_serve(parent, job)
    except LlmbenchError as error:
        kind = error.kind if isinstance(error, MeasurementError) else "bad-input"
        parent.send(News(failed=Failed(kind, str(error))))
        return 1
    return 0


def _open_and_serve(parent: Channel, job: Job) -> None:
    if not job.place.is_alone:
        os.environ.setdefault(NO_PEAKS, "off")  # several at once would measure each other
    backend_class = BACKENDS.find(job.kind)
    backend = backend_class(backend_class.Options.model_validate(job.options))
    model = _model(job) if backend.profilable else ModelOptions(**job.model)
    context = replace(job.context(model), on_stage=lambda text: parent.send(News(stage=text)))
    # collect garbage before a load's clock starts, as the worker does
    with backend.open(context) as server, frozen_gc():
        parent.send(News(is_ready=True))
        _serve(server, parent)


def _model(job: Job) -> ModelOptions:
    """Return the options of the model, with the GPU of this replica.

    Raises InputError if `replicas.devices` has a GPU that is not there.
    """
    model, place = ModelOptions(**job.model), job.place
    if place.gpu is None and (place.is_alone or model.device not in ("auto", "cuda")):
        return model
    import torch  # noqa: PLC0415 (the fake backend needs none)

    gpus = torch.cuda.device_count()
    if place.gpu and int(place.gpu.removeprefix("cuda:")) >= gpus:
        raise InputError(
            f"replicas.devices: found {place.gpu}, but torch {torch.__version__} sees {gpus} "
            "GPU(s); list those that it sees, or see `llmbench doctor`"
        )
    device = place.gpu or (f"cuda:{place.index % gpus}" if gpus else model.device)
    return model.model_copy(update={"device": device})


def _serve(server: Server, parent: Channel) -> None:
    inbox = Inbox(parent)
    inbox.start()
    for clock in inbox.loads():
        dispatch = RemoteDispatch(inbox)
        records = server.serve(dispatch, clock, dispatch.flush)
        dispatch.flush()
        parent.send(News(records=dispatch.unreported(records), report=server.report()))


if __name__ == "__main__":
    raise SystemExit(main())
