"""Memory peaks are reported by phase, and running out of memory is a result."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from analysis.roofline.test_efficiency import PEAKS

from llmbench import testing
from llmbench.backends import BackendReport, memory
from llmbench.backends.local import LocalServer
from llmbench.backends.memory import MemoryPlan, Peaks, Resident, Untracked, as_out_of_memory
from llmbench.backends.torch.eager import Eager
from llmbench.backends.torch.speculative import Speculative
from llmbench.errors import InputError, OutOfMemoryError, Unavailable
from llmbench.testing import open_context


@dataclass(slots=True)
class Counting:
    """A gauge whose peak grows by the call, and that counts how often it was reset."""

    prefix: str = ""
    resets: int = 0
    peaks: list[int] = field(default_factory=lambda: [10, 20, 30])

    def reset(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        return self.peaks.pop(0)


def test_each_phase_begins_with_a_reset_peak() -> None:
    gauge = Counting()
    peaks = Peaks(gauge, Untracked("nobody looks", prefix="rss_"))
    for phase in ("load", "prefill"):
        with peaks.of(phase):
            pass
    assert gauge.resets == 2
    assert (peaks.memory["load_peak"], peaks.memory["prefill_peak"]) == (10, 20)
    assert peaks.since_reset()["allocator_peak"] == 30


def test_an_untracked_peak_is_none_with_its_reason() -> None:
    peaks = Peaks(Untracked("no statistics"), Untracked("nobody looks", prefix="rss_"))
    with peaks.of("decode"):
        pass
    assert peaks.memory == {"decode_peak": None, "rss_decode_peak": None}
    assert peaks.reader.reasons == {
        "decode_peak": "no statistics",
        "rss_decode_peak": "nobody looks",
    }


def test_the_resident_peak_of_a_phase_includes_what_it_touched() -> None:
    resident = Resident()
    resident.reset()
    before = resident.peak()
    touched = np.ones(2**26, dtype=np.uint8)
    after = resident.peak()
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * touched.nbytes


def test_a_peak_that_cannot_be_reset_is_not_that_of_a_phase(tmp_path: Path) -> None:
    resident = Resident((memory.SELF, tmp_path / "nowhere"))
    resident.reset()
    with pytest.raises(Unavailable, match="does not let this process reset"):
        resident.peak()


def test_the_peaks_of_several_processes_are_added_up() -> None:
    alone, twice = Resident(), Resident((memory.SELF, memory.SELF))
    alone.reset()
    assert twice.peak() == 2 * (alone.peak() or 0)


# -- running out -----------------------------------------------------------------------------------


def test_a_failed_allocation_of_torch_reports_what_was_needed() -> None:
    plan = MemoryPlan(slots=64, stage="warming up", weight_bytes=2**20, kv_bytes=2**50)
    with (
        pytest.raises(
            OutOfMemoryError,
            match=r"while warming up; needs 1\.00 MiB of weights and 1,024 TiB of KV cache for"
            r" 64 slots \(.*DefaultCPUAllocator.*\); reduce `engine\.slots`",
        ),
        as_out_of_memory(plan),
    ):
        torch.empty(2**50, dtype=torch.uint8)


def test_unknown_sizes_are_not_in_the_message() -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"while loading the model \(MemoryError\); reduce"),
        as_out_of_memory(MemoryPlan(slots=8)),
    ):
        raise MemoryError


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "no file")])
def test_other_errors_are_passed_on_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, as_out_of_memory(MemoryPlan(slots=8)):
        raise error
    assert caught.value is error


def test_input_errors_are_passed_on_unchanged() -> None:
    with pytest.raises(InputError, match="out of memory"), as_out_of_memory(MemoryPlan(slots=8)):
        raise InputError("a name such as out of memory")


def test_a_cache_larger_than_the_free_memory_is_refused_before_the_kernel_kills() -> None:
    free = psutil.virtual_memory().available
    with pytest.raises(OutOfMemoryError, match=r"\(.* are available\)"):
        MemoryPlan(slots=8, kv_bytes=2 * free).check_host()
    MemoryPlan(slots=8, kv_bytes=1).check_host()
    MemoryPlan(slots=8).check_host()


# -- a backend as a whole --------------------------------------------------------------------------


def test_a_backend_reports_its_peaks_and_the_costs_of_its_steps() -> None:
    with Eager(Eager.Options()).open(open_context(slots=2)) as server:
        report = serve(server)
    assert report.model_costs is not None
    assert report.memory["kv_cache"] == 2 * 64 * report.model_costs.kv_token_bytes
    assert report.memory["decode_peak"] is None
    assert report.reasons["decode_peak"] == "torch keeps no allocator statistics on cpu"
    assert report.memory["rss_decode_peak"]
    assert report.memory["rss_load_peak"]
    assert (report.device_peaks, report.reasons["device_peaks"]) == (None, "LLMBENCH_ROOF is off")


def test_peaks_that_were_measured_under_load_are_a_caveat() -> None:
    doubtful = replace(PEAKS, other_load_percent=50.0)
    with Eager(Eager.Options()).open(open_context(slots=1)) as server:
        server.roofline = replace(server.roofline, device_peaks=doubtful)
        assert serve(server).caveats[0].kind == "roof-under-load"
        server.roofline = replace(server.roofline, device_peaks=PEAKS)
        assert "roof-under-load" not in {caveat.kind for caveat in server.report().caveats}


def serve(server: LocalServer) -> BackendReport:
    testing.serve(server, testing.dispatch(testing.requests(1)))
    return server.report()


def test_a_backend_whose_cache_has_no_room_says_how_large_it_would_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with (
        pytest.raises(OutOfMemoryError, match=r"KV cache for 65,536 slots"),
        Eager(Eager.Options()).open(open_context(slots=65_536)),
    ):
        pass


def test_memory_that_runs_out_during_the_load_is_reported_as_such() -> None:
    with (
        pytest.raises(OutOfMemoryError, match="while serving the load"),
        Eager(Eager.Options()).open(open_context(slots=2)),
    ):
        raise MemoryError


def test_steps_with_a_draft_are_not_counted() -> None:
    drafted = Speculative(Speculative.Options(draft="random:tiny", tokens=2))
    with drafted.open(open_context(slots=1)) as server:
        roofline = server.roofline
    assert roofline.model_costs is None
    assert "draft" in roofline.reasons["model_costs"]


def test_costs_that_predict_another_cache_size_are_dropped() -> None:
    with Eager(Eager.Options()).open(open_context(slots=1)) as server:
        roofline = server.roofline
    assert roofline.model_costs is not None
    other = roofline.checked(cache_bytes=1, positions=64)
    assert other.model_costs is None
    assert "cache size differs" in other.reasons["model_costs"]
