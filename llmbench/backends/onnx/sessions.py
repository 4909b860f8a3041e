"""onnxruntime sessions on exactly the requested provider, without fallback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as state

from llmbench.environment.software import threads_spin
from llmbench.errors import InputError, ran_out

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
REFUSALS = (state.NotImplemented, state.InvalidGraph, state.EPFail, state.Fail)
SUFFIX = "ExecutionProvider"
ON_GPU = {"CUDAExecutionProvider", "TensorrtExecutionProvider"}


def chosen_provider(requested: str) -> str:
    """Return onnxruntime's name of a provider (``cpu``, ``cuda``, ``tensorrt``, ...; any case).

    ``auto`` selects CUDA if the installed onnxruntime has it, else the CPU. Raises InputError when
    the installed onnxruntime lacks the provider.
    """
    name = requested.lower()
    offered: dict[str, str] = {short_name(full): full for full in ort.get_available_providers()}
    if requested == "auto":
        return offered.get("cuda", "CPUExecutionProvider")
    if name not in offered:
        extra = "; CUDA needs: pip install 'llmbench[onnx-gpu]'" if name == "cuda" else ""
        raise InputError(
            f"provider: {requested!r} is not in the installed onnxruntime {ort.__version__}, which "
            f"offers {', '.join(sorted(offered))}{extra}"
        )
    return offered[name]


def short_name(provider: str) -> str:
    """Return a provider's name as scenarios use it, e.g. ``cpu`` for ``CPUExecutionProvider``."""
    return provider.removesuffix(SUFFIX).lower()


def device_of(provider: str) -> torch.device:
    """Return the torch device of a provider's inputs and outputs."""
    return torch.device("cuda:0" if provider in ON_GPU else "cpu")


def open_session(path: Path, provider: str, level: str, *, recording: Path | None = None) -> Any:
    """Load a graph and return its session, which uses as many threads as torch.

    ``recording`` enables profiling and is the path prefix of the profile. Raises InputError when
    the provider cannot run the graph or onnxruntime fell back to another one; propagates
    onnxruntime's out-of-memory errors.
    """
    try:
        session = ort.InferenceSession(
            path, _options(level, recording), providers=[(provider, _settings(provider))]
        )
    except REFUSALS as error:
        if ran_out(error):
            raise
        raise _cannot_run(
            provider, error, "use another `model.dtype` or another provider"
        ) from error
    effective = session.get_providers()[0]
    if effective != provider:
        raise InputError(
            f"provider: {provider} was requested, but onnxruntime fell back to {effective}; its "
            "libraries (CUDA, cuDNN) may be missing or incompatible; see `llmbench doctor`"
        )
    return session


def run(session: Any, binding: Any) -> None:
    """Run a graph on bound tensors; raises InputError when a kernel rejects them.

    Propagates onnxruntime's out-of-memory errors.
    """
    try:
        session.run_with_iobinding(binding)
    except RuntimeError as error:
        if ran_out(error):
            raise
        provider = session.get_providers()[0]
        raise _cannot_run(provider, error, "use `eager` or `compiled`") from error


def _cannot_run(provider: str, error: Exception, remedy: str) -> InputError:
    reason = str(error).strip().partition("\n")[0]
    return InputError(
        f"provider: {short_name(provider)} cannot run this model's graph ({reason}); {remedy}"
    )


def _settings(provider: str) -> dict[str, str]:
    """Return the provider's settings; on GPUs it shares torch's current CUDA stream."""
    if provider not in ON_GPU:
        return {}
    return {"user_compute_stream": str(torch.cuda.current_stream().cuda_stream)}


def leave_default_stream(provider: str) -> None:
    """Move torch to a CUDA stream of its own in this thread, if the provider is on a GPU.

    onnxruntime does not accept the default stream: it would create one of its own instead, which
    does not wait for torch's writes to a step's inputs.
    """
    if provider in ON_GPU and torch.cuda.current_stream() == torch.cuda.default_stream():
        torch.cuda.synchronize()
        torch.cuda.set_stream(torch.cuda.Stream())


def _options(level: str, recording: Path | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # otherwise its threads would spin between steps and slow down sampling
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", f"{threads_spin():d}")
    if recording is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(recording)
    return options


def write_trace(session: Any, path: Path) -> None:
    """End a session's profiling and write the profile as a Chrome trace with its start time."""
    began, recorded = session.get_profiling_start_time_ns(), Path(session.end_profiling())
    trace = {"baseTimeNanoseconds": began, "traceEvents": json.loads(recorded.read_text("utf-8"))}
    path.write_text(json.dumps(trace), "utf-8")
    recorded.unlink()
