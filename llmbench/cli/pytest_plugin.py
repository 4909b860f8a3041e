"""Scenarios as tests: ``pytest scenarios/``, and the fixture ``llmbench_run`` for tests in Python.

If pytest-benchmark is installed, it receives each metric through a virtual timer that advances by
the measured values, one round per process.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """Add the pytest option ``--llmbench-out`` for the results folder."""
    text = "results folder (default: a temporary one)"
    parser.getgroup("llmbench").addoption("--llmbench-out", type=Path, metavar="DIR", help=text)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect a scenario's YAML file as a module of tests."""
    if file_path.suffix != ".yaml" or not _is_scenario(file_path):
        return None
    return _Scenario.from_parent(parent, path=file_path)


def _is_scenario(path: Path) -> bool:
    lines = path.read_text("utf-8", errors="replace").splitlines()
    return all(any(line.startswith(key) for line in lines) for key in KEYS)


class _Scenario(pytest.Module):
    """A scenario as a module with one test per case and metric."""

    def _getobj(self) -> ModuleType:
        from llmbench.errors import ScenarioError
        from llmbench.scenario import file as scenario_file

        try:
            source = scenario_file.load(self.path)
        except ScenarioError as error:
            raise self.CollectError(str(error)) from None
        has_benchmark = self.config.pluginmanager.hasplugin("benchmark")
        name = source.scenario.name
        test = _benchmark_test(self.path, name) if has_benchmark else _plain_test(self.path)
        of_cases = pytest.mark.parametrize("case", [case.name for case in source.cases])
        module = ModuleType(self.path.stem)
        vars(module)["test"] = pytest.mark.parametrize("metric", METRICS)(of_cases(test))
        return module


def _plain_test(path: Path) -> Callable[..., None]:
    def test(case: str, metric: str, llmbench_run: Run) -> None:
        _values(llmbench_run(path), case, metric)

    return test


def _benchmark_test(path: Path, group: str) -> Any:
    from llmbench.loads.clock import VirtualClock

    clock = VirtualClock()

    @pytest.mark.benchmark(timer=clock.now, group=group, disable_gc=True)
    def test(case: str, metric: str, llmbench_run: Run, benchmark: Any) -> None:
        run_set = llmbench_run(path)
        values = _values(run_set, case, metric)
        seconds = iter(values)
        benchmark.extra_info["llmbench"] = _summary(run_set, case)
        benchmark.pedantic(lambda: clock.advance(next(seconds)), rounds=len(values), iterations=1)

    return test


def _values(run_set: RunSet, case: str, metric: str) -> list[float]:
    """Return a metric's value per process.

    Fail the test if a run of the case failed; skip it if the metric is unavailable.
    """
    failed = [run for run in run_set.stored.failed if run.case.name == case]
    if failed and failed[0].failure:
        pytest.fail(f"{failed[0].name}: {failed[0].failure.message}", pytrace=False)
    runs = run_set.runs
    rows = runs[(runs["case"] == case) & (runs["metric"] == metric)]
    values: list[float] = rows["value"].dropna().tolist()
    if not values:
        pytest.skip(f"{metric}: {rows['reason'].iloc[0]}")
    return values


def _summary(run_set: RunSet, case: str) -> dict[str, Any]:
    """Return a case's available metrics, with value and confidence interval, as JSON data."""
    summary = run_set.summary
    rows = summary[(summary["case"] == case) & summary["value"].notna()]
    columns = rows[["value", "low", "high"]].astype(object)
    values = columns.where(columns.notna(), None).to_dict("records")
    return dict(zip(rows["metric"], values, strict=True))


@pytest.fixture(scope="session")
def llmbench_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Measure a scenario and return its data: ``llmbench_run("scenario.yaml", "load.rate=8")``.

    Each combination of scenario and overrides is measured once per session. Raises LlmbenchError
    for bad input. A failed run has reasons instead of values in ``runs``.
    """
    run_sets: dict[tuple[str, ...], RunSet] = {}
    out: Path = request.config.getoption("--llmbench-out") or tmp_path_factory.mktemp("llmbench")

    def run(path: str | Path, *overrides: str) -> RunSet:
        key = (str(path), *overrides)
        if key not in run_sets:
            folder = out / f"{Path(path).stem}-{len(run_sets) + 1}"
            run_sets[key] = _measured(Path(path), overrides, folder)
        return run_sets[key]

    return run


def _measured(path: Path, overrides: tuple[str, ...], folder: Path) -> RunSet:
    from llmbench.campaign import execute, plan
    from llmbench.campaign.observer import SilentObserver
    from llmbench.report.frames import RunSet
    from llmbench.scenario import file as scenario_file

    source = scenario_file.load(path, overrides)
    return RunSet(execute.run_all(plan.begin(source, folder), SilentObserver()))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add each GPU's name and memory size to the machine information."""
    from llmbench.environment import capture

    gpus = capture(Path.cwd()).get("gpus") or []
    machine_info["gpus"] = [{key: gpu.get(key) for key in ("name", "memory_bytes")} for gpu in gpus]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_compare_machine_info(
    machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Raise UsageError if the saved benchmark was measured on different hardware."""
    saved = compared_benchmark.get("machine_info", {})
    if "gpus" not in saved:
        return
    hardware = [
        (info["gpus"], info.get("cpu", {}).get("brand_raw")) for info in (machine_info, saved)
    ]
    if hardware[0] != hardware[1]:
        raise pytest.UsageError(
            "llmbench: the saved benchmark was measured on different hardware "
            f"({hardware[1]}; this machine: {hardware[0]}); compare with one measured here"
        )
