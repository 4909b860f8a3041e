"""Whether the accounting behind MBU is right: a bare copy through it must use all of the roof.

    python benchmarks/roofline.py              # the CPU, about twenty seconds
    python benchmarks/roofline.py --device cuda --json

The engine serves requests on a runner whose decode steps are the copy that roofs are measured by,
and a model's facts that say so. Records, steps and shares are computed as for any run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch

from llmbench.backends.garbage import frozen_garbage
from llmbench.clock import MonotonicClock
from llmbench.dispatch import Dispatch
from llmbench.engine import roof
from llmbench.engine.engine import Engine
from llmbench.loads.schedule import Scheduled
from llmbench.metrics import Observed
from llmbench.request import Request
from llmbench.roofline import ModelFacts, Roof
from llmbench.run import records_table
from llmbench.stopping import Stop
from llmbench.utilisation import figures


class Copying:
    """A runner whose decode step copies an array."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.source, self.target = roof.copy_of(device)

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:  # noqa: ARG002 (nothing is done)
        return 1

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        self.target.copy_(self.source)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return [[1]] * len(slots)

    @property
    def facts(self) -> ModelFacts:
        """A model all of whose bytes are those of the copy."""
        return ModelFacts(
            matmul_bytes=roof.moved(self.source),
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


def share_of(runner: Copying, measured: Roof, seconds: float) -> dict[str, float | None]:
    """Serve one long answer until the window ends, and give MBU and the median step's share."""
    steps = max(2, int(seconds * measured.bytes_per_second / roof.moved(runner.source)))
    requests = [Request(0, (1,), 2 * steps), Request(1, (1,), 1)]
    dispatch = Dispatch(requests, Scheduled(np.array([0.0, seconds])), Stop(requests=2))
    with frozen_garbage(), torch.inference_mode():
        records = records_table(Engine(runner, MonotonicClock(), slots=2).serve(dispatch))
    observed = Observed(records)
    account = {"model": asdict(runner.facts), "roof": asdict(measured)}
    found = figures(account, records, observed.window)
    fastest = roof.moved(runner.source) / observed.itl / measured.bytes_per_second
    return {
        "mbu": found["mbu"][0],
        "mbu_of_the_median_step": float(np.median(fastest)),
        "mbu_of_the_fastest_step": float(np.max(fastest)),
        "steps": found["mbu"][1],
    }


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
    asked = roof.asked_of(device, arguments.dtype, torch.get_num_threads())
    runner = Copying(device)
    rounds = []
    for _ in range(arguments.rounds):
        measured = roof.measured(asked)
        shares = share_of(runner, measured, arguments.seconds)
        rounds.append({**shares, "roof": asdict(measured)})
    if arguments.json:
        print(json.dumps(rounds, indent=1))
        return
    for each in rounds:
        print(", ".join(f"{name} {value:.3f}" for name, value in each.items() if name != "roof"))


if __name__ == "__main__":
    main()
