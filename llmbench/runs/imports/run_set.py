"""Imported runs, kept as a run set that reports and comparisons read like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmbench.errors import InputError
from llmbench.runs import imports, store
from llmbench.runs.caveats import Caveat
from llmbench.runs.imports.measured import Measured
from llmbench.runs.record import records_table
from llmbench.runs.run import Quality, Run
from llmbench.runs.store import PlannedRun, RunSet
from llmbench.scenario.cases import Case, case_name, slug_of

NO_SCENARIO = "# measured by other tools and imported; there is no scenario\n"
NO_QUALITY = Quality.unavailable("imported runs have no outputs to hold against a reference")


def keep(files: Sequence[Path], folder: Path, name: str | None = None) -> RunSet:
    """Read result files of other tools and store them in a new folder, a case a load.

    A case is named by ``name``, where there is one file, or by its tool and file. Raises InputError
    when a file cannot be read, two cases have one name, or the folder cannot be used.
    """
    if name and len(files) > 1:
        raise InputError("--name names the case of one file; leave it out to name each by its own")
    runs = [
        _run(path, name or f"{measured.kind} {_label(path, files)}", measured)
        for path in files
        for measured in imports.read(path)
    ]
    _check_names(runs)
    run_set = _run_set(runs, folder, name)
    store.create(run_set)
    for run in runs:
        store.write_run(folder, run)
    return store.read(folder)


def _label(path: Path, files: Sequence[Path]) -> str:
    """Name a file by its stem, with its folder where others have the same."""
    is_alone = sum(other.stem == path.stem for other in files) == 1
    return path.stem if is_alone else f"{path.resolve().parent.name}/{path.stem}"


def _run(path: Path, name: str, measured: Measured) -> Run:
    case = case_name(name, measured.point)
    spec = _spec(path, case, measured)
    return Run(
        case=Case(case, slug_of(case), measured.kind, measured.point, spec),
        repeat=1,
        began_at=measured.began_at,
        records=records_table(list(measured.records)),
        account=_account(measured),
        quality=NO_QUALITY,
        caveats=(Caveat("imported", tool=measured.tool, since=measured.since), *measured.caveats),
    )


def _spec(path: Path, case: str, measured: Measured) -> dict[str, Any]:
    """Say in a scenario's keys what is known of the load; ``imported`` is no key of scenarios."""
    return {
        "name": case,
        "model": {"source": measured.model},
        "load": measured.load or None,
        "requests": sum(record.phase == "measured" for record in measured.records),
        "imported": {"tool": measured.tool, "file": str(path)},
    }


def _account(measured: Measured) -> dict[str, Any]:
    return {
        "client": {"tool": measured.tool},
        "effective": {
            "measured by": measured.tool,
            "latencies count from": measured.since,
            "model": measured.model,
            "load": measured.load,
        },
    }


def _check_names(runs: Sequence[Run]) -> None:
    for slug, count in Counter(run.case.slug for run in runs).items():
        if count > 1:
            alike = [run for run in runs if run.case.slug == slug]
            files = ", ".join(dict.fromkeys(run.case.spec["imported"]["file"] for run in alike))
            raise InputError(
                f"{files}: would give {count} cases named {alike[0].case.name!r}; rename a file, "
                "or import each into a folder of its own with --name"
            )


def _run_set(runs: Sequence[Run], folder: Path, name: str | None) -> RunSet:
    tools = ", ".join(dict.fromkeys(run.case.spec["imported"]["tool"] for run in runs))
    return RunSet(
        folder=folder,
        name=name or folder.resolve().name,
        description=f"Measured by {tools} and imported.",
        began_at=min(run.began_at for run in runs),
        scenario_text=NO_SCENARIO,
        overrides=(),
        origins={},
        plan=tuple(PlannedRun(run.case, run.repeat) for run in runs),
    )
