"""Scenarios as tests: ``pytest scenarios/``, and the fixture ``llmbench_run`` for tests in Python.

Where pytest-benchmark is installed, each metric is fed to it through its public API: a virtual
timer that advances by what was measured, one round a process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llmbench.report.frames import RunSet

KEYS = ("workload:", "load:", "backends:")
METRICS = ("ttft_p50", "tpot_p50", "e2e_p50")

Run = Callable[..., "RunSet"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where results are kept."""
    group = parser.getgroup("llmbench")
    group.addoption(
        "--llmbench-out", type=Path, metavar="DIR", help="keep results here, not in a passing place"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Take YAML files that are scenarios for modules of tests."""
    if file_path.suffix != ".yaml" or not _is_scenario(file_path):
        return None
    return _Scenario.from_parent(parent, path=file_path)


def _is_scenario(path: Path) -> bool:
    lines = path.read_text("utf-8", errors="replace").splitlines()
    return all(any(line.startswith(key) for line in lines) for key in KEYS)


@dataclass(slots=True)
class _Clock:
    """A timer that advances by what was measured."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class _Scenario(pytest.Module):
    """A scenario as a module with a test for each case and metric."""

    def _getobj(self) -> ModuleType:
        from llmbench.errors import ScenarioError
        from llmbench.scenario import file as scenario_file

        try:
            source = scenario_file.load(self.path)
        except ScenarioError as error:
            raise self.CollectError(str(error)) from None
        fed = self.config.pluginmanager.hasplugin("benchmark")
        test = _fed_test(self.path, source.scenario.name) if fed else _plain_test(self.path)
        of_cases = pytest.mark.parametrize("case", [case.name for case in source.cases])
        module = ModuleType(self.path.stem)
        vars(module)["test"] = pytest.mark.parametrize("metric", METRICS)(of_cases(test))
        return module


def _plain_test(path: Path) -> Callable[..., None]:
    def test(case: str, metric: str, llmbench_run: Run) -> None:
        _values(llmbench_run(path), case, metric)

    return test


def _fed_test(path: Path, group: str) -> Any:
    clock = _Clock()

    @pytest.mark.benchmark(timer=clock, group=group, disable_gc=True)
    def test(case: str, metric: str, llmbench_run: Run, benchmark: Any) -> None:
        found = llmbench_run(path)
        values = _values(found, case, metric)
        left = iter(values)
        benchmark.extra_info["llmbench"] = _told(found, case)
        benchmark.pedantic(lambda: clock.advance(next(left)), rounds=len(values), iterations=1)

    return test


def _values(found: RunSet, case: str, metric: str) -> list[float]:
    """Give a metric's value of each process; fails where a run of the case failed."""
    failed = [run for run in found.stored.failed if run.case.name == case]
    if failed and failed[0].failure:
        pytest.fail(f"{failed[0].name}: {failed[0].failure.message}", pytrace=False)
    runs = found.runs
    rows = runs[(runs["case"] == case) & (runs["metric"] == metric)]
    values: list[float] = rows["value"].dropna().tolist()
    if not values:
        pytest.skip(f"{metric}: {rows['reason'].iloc[0]}")
    return values


def _told(found: RunSet, case: str) -> dict[str, Any]:
    """Give every metric of a case with its interval, as plain data."""
    summary = found.summary
    rows = summary[(summary["case"] == case) & summary["value"].notna()]
    columns = rows[["value", "low", "high"]].astype(object)
    known = columns.where(columns.notna(), None).to_dict("records")
    return dict(zip(rows["metric"], known, strict=True))


@pytest.fixture(scope="session")
def llmbench_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Measure a scenario: ``llmbench_run("scenario.yaml", "load.rate=8")``; gives its frames.

    The same scenario with the same overrides is measured once a session. Raises LlmbenchError for
    bad input; a run that fails is a row of ``runs``.
    """
    kept: dict[tuple[str, ...], RunSet] = {}
    out: Path = request.config.getoption("--llmbench-out") or tmp_path_factory.mktemp("llmbench")

    def run(path: str | Path, *overrides: str) -> RunSet:
        key = (str(path), *overrides)
        if key not in kept:
            kept[key] = _measured(Path(path), overrides, out / f"{Path(path).stem}-{len(kept) + 1}")
        return kept[key]

    return run


def _measured(path: Path, overrides: tuple[str, ...], folder: Path) -> RunSet:
    from llmbench.campaign import execute, plan
    from llmbench.campaign.observer import Silence
    from llmbench.report.frames import RunSet
    from llmbench.scenario import file as scenario_file

    source = scenario_file.load(path, overrides)
    return RunSet(execute.run_all(plan.begin(source, folder), Silence()))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add the GPUs by what stays the same from night to night."""
    from llmbench.environment import capture

    gpus = capture(Path.cwd()).get("gpus") or []
    machine_info["gpus"] = [{key: gpu.get(key) for key in ("name", "memory_bytes")} for gpu in gpus]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_compare_machine_info(
    machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Refuse to compare with what was measured on other hardware."""
    saved = compared_benchmark.get("machine_info", {})
    if "gpus" not in saved:
        return
    hardware = [
        (info["gpus"], info.get("cpu", {}).get("brand_raw")) for info in (machine_info, saved)
    ]
    if hardware[0] != hardware[1]:
        raise pytest.UsageError(
            f"llmbench: the saved benchmark is of other hardware ({hardware[1]}) than this "
            f"({hardware[0]}); compare with one of this machine"
        )
