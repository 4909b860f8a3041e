"""Energy of GPUs that a server's exporter counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmbench.analysis.energy import counter_energies
from llmbench.errors import Unavailable
from llmbench.runs.series import Series

TIMES = np.arange(0.0, 60.0, 1.0)


class FakeRun:
    """The parts of a run that its energy needs."""

    def __init__(self, **uuids: str) -> None:
        self.series = [
            Series.measured(f"{device}_energy_joules", "J", TIMES, 100 * TIMES) for device in uuids
        ]
        self.facts: dict[str, Any] = {
            "energy": {
                device: {"method": "dcgm-counter", "uuid": uuid, "polled_seconds": 1.0}
                for device, uuid in uuids.items()
            }
        }

    def find_series(self, *_: object) -> None:
        return None


def energies(run: FakeRun) -> list[tuple[str, float]]:
    parts = counter_energies(run, (5.0, 55.0))  # type: ignore[arg-type]
    return [(part.name, part.watts) for part in parts]


def test_the_gpus_of_a_server_are_summed() -> None:
    run = FakeRun(servergpu0="GPU-a", servergpu1="GPU-b")
    assert energies(run) == [("servergpu0", 100.0), ("servergpu1", 100.0)]


def test_a_gpu_that_is_read_locally_too_counts_once() -> None:
    run = FakeRun(gpu0="GPU-a", servergpu0="GPU-a", servergpu1="GPU-b")
    assert [name for name, _ in energies(run)] == ["gpu0", "servergpu1"]


def test_a_reset_makes_it_unavailable() -> None:
    run = FakeRun(servergpu0="GPU-a")
    values = np.where(TIMES > 30, 0.0, 100 * TIMES)
    run.series = [Series.measured("servergpu0_energy_joules", "J", TIMES, values)]
    with pytest.raises(Unavailable, match="servergpu0: counter_reset"):
        energies(run)


def test_a_counter_that_rises_too_rarely_is_unavailable() -> None:
    run = FakeRun(servergpu0="GPU-a")
    run.series = [Series.measured("servergpu0_energy_joules", "J", [20.0, 50.0], [10.0, 900.0])]
    with pytest.raises(Unavailable, match="sampling_gap"):
        energies(run)
