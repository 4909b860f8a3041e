"""The devices that a system under test used, for figures per GPU or per machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any, Literal

from llmbench.runs.run import Run

# flags of vLLM and SGLang whose product is the number of GPUs
PARALLEL = (
    ("--tensor-parallel-size", "-tp", "--tp-size", "--tp"),
    ("--pipeline-parallel-size", "-pp", "--pp-size"),
    ("--data-parallel-size", "-dp", "--dp-size"),
)
PARALLEL_PRESETS = ("vllm", "sglang")


@dataclass(frozen=True, slots=True)
class Devices:
    """A number of GPUs; one machine without a GPU; servers whose GPUs are not known."""

    kind: Literal["GPU", "machine", "server"]
    count: int


SERVER = Devices("server", 1)


def devices_of(runs: Iterable[Run]) -> Devices:
    """Return the devices of a case.

    A local backend uses the machine, or a GPU per replica and rank. An endpoint uses the GPUs in
    its `devices`, else those that the arguments of a launched vLLM or SGLang ask for, or the
    machine if it has none. Otherwise they are unknown, as of imported runs: figures are then per
    server.
    """
    each = {_devices(run) for run in runs}
    return each.pop() if len(each) == 1 else SERVER


def _devices(run: Run) -> Devices:
    backend = (run.case.spec.get("backends") or [{}])[0]
    if "imported" in run.case.spec:
        return SERVER
    if run.case.backend != "endpoint":
        return _of_local(run)
    if devices := backend.get("devices"):
        return Devices("GPU", devices)
    if isinstance(urls := backend.get("url"), list):
        return Devices("server", len(urls))
    return _of_server(backend.get("server"), has_gpus=bool(run.environment.get("gpus")))


def _of_local(run: Run) -> Devices:
    gpus = gpu_indices(run)
    return Devices("GPU", len(gpus)) if gpus else Devices("machine", 1)


def gpu_indices(run: Run) -> list[int]:
    """Return which visible GPUs the replicas of a local backend report, or those of its ranks.

    Empty if it reports none, or a CPU as well.
    """
    reported = run.backend_report.get("effective", {}).get("device")
    devices = {str(one) for one in (reported if isinstance(reported, list) else [reported])}
    matches = [re.fullmatch(r"cuda(?::(\d+))?", device) for device in devices]
    ranks = (run.case.spec.get("parallel") or {}).get("tensor", 1)
    return sorted(
        first + rank
        for match in (matches if all(matches) else [])
        if match
        for first in [int(match[1] or 0)]
        for rank in range(ranks)
    )


def _of_server(server: dict[str, Any] | None, *, has_gpus: bool) -> Devices:
    if server and not has_gpus:
        return Devices("machine", 1)
    if server is None or server.get("preset") not in PARALLEL_PRESETS:
        return SERVER
    words = shlex.split(server.get("arguments", ""))
    counts = [_value(words, flags) for flags in PARALLEL]
    return Devices("GPU", reduce(mul, counts) * server.get("replicas", 1))


def _value(words: list[str], flags: tuple[str, ...]) -> int:
    """Return the whole number that follows one of several spellings of a flag, else 1."""
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        following = value or "".join(words[index + 1 : index + 2])
        if name.replace("_", "-") in flags and re.fullmatch(r"[1-9]\d*", following):
            return int(following)
    return 1
