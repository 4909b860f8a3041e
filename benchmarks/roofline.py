"""Check the accounting of MBU: a bare copy through it must reach all of the measured peak.

    python benchmarks/roofline.py              # the CPU, about twenty seconds
    python benchmarks/roofline.py --device cuda --json

The engine serves requests on a runner whose decode steps are the copy that measures peaks, with
model costs to match. Records, steps and MBU are computed as for any run, and compared with two
peaks: the one that any run measures, seconds before, and the bandwidth of these same copies, timed
one by one. The second is right whatever else a shared host does meanwhile.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch

from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.roofline.efficiency import efficiency
from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.engine import device_peaks
from llmbench.engine.engine import Engine
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.runs.run import records_table


class Copying:
    """A runner whose decode step copies an array."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.source, self.target = device_peaks.copy_of(device)
        self.seconds: list[float] = []

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:  # noqa: ARG002 (nothing is done)
        return 1

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        self.seconds.append(device_peaks.seconds_of(self._copy, self.device))
        return [[1]] * len(slots)

    def _copy(self) -> None:
        self.target.copy_(self.source)

    def bytes_per_second(self, arrays: RecordArrays) -> float:
        """Return the bandwidth of the copies inside the steady window, in their own time."""
        begin, end = arrays.window or (0.0, np.inf)
        times = np.array(arrays.good["token_times"][0].as_py()[1:])  # one copy per token
        inside = (times >= begin) & (times < end)
        return device_peaks.copied_bytes(self.source) / float(
            np.mean(np.array(self.seconds)[inside])
        )

    @property
    def costs(self) -> ModelCosts:
        """The costs of a model whose bytes are those of the copy."""
        return ModelCosts(
            matmul_bytes=device_peaks.copied_bytes(self.source),
            other_bytes=0,
            embedding_bytes=0,
            embedding_row_bytes=0,
            matmul_parameters=0,
            head_parameters=0,
            vocabulary=2,
            tied=False,
            state_bytes=0,
            layers=(),
        )


def share_of(runner: Copying, measured: DevicePeaks, seconds: float) -> dict[str, float | None]:
    """Serve one long answer until the window ends; return MBU of both peaks and the steps."""
    steps = max(
        2, int(seconds * measured.bytes_per_second / device_peaks.copied_bytes(runner.source))
    )
    requests = [Request(0, (1,), 2 * steps), Request(1, (1,), 1)]
    dispatch = Dispatch(requests, Scheduled(np.array([0.0, seconds])), Stop(requests=2))
    with frozen_gc(), torch.inference_mode():
        records = records_table(Engine(runner, MonotonicClock(), slots=2).serve(dispatch))
    arrays = RecordArrays(records)
    own = replace(measured, bytes_per_second=runner.bytes_per_second(arrays))
    mbu, made = _mbu(runner, own, arrays)
    before, _ = _mbu(runner, measured, arrays)
    return {"mbu": mbu, "mbu_of_the_roof_before": before, "steps": made}


def _mbu(runner: Copying, measured: DevicePeaks, arrays: RecordArrays) -> tuple[float | None, int]:
    backend_report = {"model_costs": asdict(runner.costs), "device_peaks": asdict(measured)}
    mbu = efficiency(backend_report, arrays.all, arrays.window)["mbu"]
    return mbu.value, mbu.n


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of the products")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the steady window")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    request = device_peaks.cache_key(device, arguments.dtype, torch.get_num_threads())
    rounds = []
    for _ in range(arguments.rounds):
        runner = Copying(device)
        measured = device_peaks.measured(request)
        shares = share_of(runner, measured, arguments.seconds)
        rounds.append({**shares, "roof": asdict(measured)})
    if arguments.json:
        print(json.dumps(rounds, indent=1))
        return
    for result in rounds:
        print(", ".join(f"{name} {value:.3f}" for name, value in result.items() if name != "roof"))


if __name__ == "__main__":
    main()
