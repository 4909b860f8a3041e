"""What a backend costs besides time is said with figures, as far as it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import small_sets

from llmbench.report.costs import sentences
from llmbench.report.results import Results
from llmbench.runs.run import NOT_ASKED, QUALITY_SCHEMA, PlannedRun, Quality
from llmbench.scenario.cases import Case

MIB = 2**20


def scored(nll: float) -> Quality:
    """The quality of a backend with this loss per token; the reference has 1."""
    tokens = pa.table(
        {"nll": [nll] * 4, "reference_nll": [1.0] * 4, "kl_divergence": [0.1] * 4,
         "agrees": [True, True, True, False], "logit_squared_error": [0.0] * 4},
        QUALITY_SCHEMA,
    )  # fmt: skip
    return Quality("eager", tokens)


def said(folder: Path, weights: Mapping[str, int], losses: Mapping[str, float] = {}) -> list[str]:
    plan = [
        PlannedRun(Case(name, name, "fake", {}, {"backends": [{"name": name}]}), 1)
        for name in weights
    ]
    runs = []
    for p in plan:
        name = p.case.name
        report = {"memory": {"weights": weights[name] * MIB}}
        quality = scored(losses[name]) if name in losses else NOT_ASKED
        runs.append(small_sets.run_of(p, backend_report=report, quality=quality))
    return sentences(Results(replace(small_sets.begun(folder / "set", plan), runs=tuple(runs))))


def test_memory_is_said_of_each_backend(tmp_path: Path) -> None:
    assert said(tmp_path, {"eager": 12, "int8": 5}) == [
        "Memory: weights eager 12.0 MiB and int8 5.00 MiB."
    ]


def test_equal_figures_are_said_once(tmp_path: Path) -> None:
    assert said(tmp_path, {"eager": 12, "compiled": 12}) == ["Memory: weights 12.0 MiB each."]
    assert said(tmp_path / "one", {"eager": 12}) == ["Memory: weights 12.0 MiB."]


def test_of_many_backends_the_ends_are_said(tmp_path: Path) -> None:
    weights = {f"server-{n}": n for n in range(1, 7)}
    assert said(tmp_path, weights) == [
        "Memory: weights 1.00 MiB (server-1) to 6.00 MiB (server-6)."
    ]


def test_quality_is_compared_with_the_reference(tmp_path: Path) -> None:
    assert said(tmp_path, {"eager": 12, "int8": 12}, {"eager": 1.0, "int8": 1.1})[0] == (
        "Quality of int8 compared with eager: perplexity ratio 1.105; top-1 agreement 75.0 %."
    )


def test_what_was_not_measured_is_not_said(tmp_path: Path) -> None:
    assert not any("Energy" in sentence for sentence in said(tmp_path, {"eager": 12}))
