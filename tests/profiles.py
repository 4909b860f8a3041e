"""Profiles made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmbench.analysis.trace.categories import CATEGORIES
from llmbench.runs.caveats import Caveat
from llmbench.runs.profile import Breakdown, CaseProfile, KernelUse, PhaseProfile, Profile
from llmbench.runs.run import Failure
from llmbench.scenario.cases import Case

MM = KernelUse("aten::mm", "gemm", calls=12.0, seconds=0.003, share=0.6)
ARGMAX = KernelUse("aten::argmax", "sampling", calls=1.0, seconds=0.0005, share=0.1)


def phase(name: str = "decode", **changes: Any) -> PhaseProfile:
    """A step of 4 ms, of 5 ms under the profiler, of which 1.5 ms are idle."""
    shares = dict.fromkeys(CATEGORIES, 0.0) | {"gemm": 0.6, "sampling": 0.1, "idle": 0.3}
    breakdown = Breakdown(
        step_seconds=(0.004, 0.005, 0.006),
        busy_seconds=0.0035,
        shares=shares,
        kernels=(13, 13, 13),
        launches=(12, 12, 12),
        uses=(MM, ARGMAX),
    )
    usual: dict[str, Any] = {
        "rows": 4,
        "prompt_tokens": (10, 20),
        "cache_tokens": (11, 40),
        "tokens_per_step": 4.0,
        "step_seconds": (0.004, 0.0041, 0.0039),
        "breakdown": breakdown,
        "trace": f"traces/eager-{name}.json.gz",
    }
    return PhaseProfile(name, **{**usual, **changes})


def case(name: str = "eager", **changes: Any) -> CaseProfile:
    usual: dict[str, Any] = {
        "device": "cpu",
        "settings": {"dtype": "float32"},
        "phases": (phase("prefill", rows=1, tokens_per_step=1.0), phase()),
        "environment": {"llmbench": "0"},
        "caveats": (Caveat("profiler-heavy", phase="decode", ratio=2.5),),
    }
    return CaseProfile(Case(name, name, "eager", {}, {}), **{**usual, **changes})


def failed(name: str = "onnx", message: str = "no such thing") -> CaseProfile:
    failure = Failure("error", message, "the end of stderr")
    return CaseProfile(Case(name, name, "onnx", {}, {}), failure=failure)


def profile(folder: Path, *cases: CaseProfile, **changes: Any) -> Profile:
    usual: dict[str, Any] = {
        "name": "why",
        "description": "Why it is slow.",
        "began_at": "2026-01-02T03:04:05+00:00",
        "scenario_text": "name: why",
        "overrides": ("load.rate=8",),
        "planned": ("eager", "onnx"),
    }
    return Profile(folder, cases=cases, **{**usual, **changes})
