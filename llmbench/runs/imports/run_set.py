"""Store imported runs as a run set for reports and comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmbench.errors import InputError
from llmbench.runs import imports, store
from llmbench.runs.caveats import Caveat
from llmbench.runs.imports.measured import Measured
from llmbench.runs.run import PlannedRun, Quality, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case, case_name, slug_of

NO_SCENARIO = "# imported from other tools; there is no scenario\n"
NO_QUALITY = Quality.unavailable("imported runs have no outputs to compare with a reference")


def import_results(files: Sequence[Path], folder: Path, name: str | None = None) -> RunSet:
    """Read result files of other tools and store them in a new folder, one case per load.

    A case is named ``name`` (for a single file) or after its tool and file. Raises InputError when
    a file cannot be read, two cases have the same name, or the folder cannot be used.
    """
    if name and len(files) > 1:
        raise InputError("--name is for a single file; omit it to name cases after their files")
    runs = [
        _run(path, name or f"{measured.kind} {_label(path, files)}", measured)
        for path in files
        for measured in imports.read_results(path)
    ]
    _check_names(runs)
    run_set = _run_set(runs, folder, name)
    store.create(run_set, otherwise="")
    for run in runs:
        store.write_run(folder, run)
    return store.read(folder)


def _label(path: Path, files: Sequence[Path]) -> str:
    """Return the stem of a file name, with its folder if the stem is not unique."""
    is_alone = sum(other.stem == path.stem for other in files) == 1
    return path.stem if is_alone else f"{path.resolve().parent.name}/{path.stem}"


def _run(path: Path, name: str, measured: Measured) -> Run:
    case = case_name(name, measured.point)
    return Run(
        case=Case(case, slug_of(case), measured.kind, measured.point, _spec(path, case, measured)),
        repeat=1,
        began_at=measured.began_at,
        records=records_table(list(measured.records)),
        summary=measured.summary.values if measured.summary else None,
        environment=measured.environment,
        backend_report=_backend_report(measured),
        quality=NO_QUALITY,
        caveats=(*_origin(measured), *measured.caveats),
    )


def _origin(measured: Measured) -> Iterator[Caveat]:
    """Yield the caveats of every import: the tool, and whether there are requests."""
    yield Caveat("imported", tool=measured.tool, since=measured.since)
    if measured.summary:
        yield Caveat("imported-summary", tool=measured.tool, instead=measured.summary.remedy)


def _spec(path: Path, case: str, measured: Measured) -> dict[str, Any]:
    """Return the known scenario keys and ``imported`` (tool and file), which is not a key."""
    return {
        "name": case,
        "model": {"source": measured.model},
        "load": measured.load or None,
        "requests": _requests(measured),
        **measured.parts,
        "imported": {"tool": measured.tool, "file": str(path)},
    }


def _requests(measured: Measured) -> int | None:
    if measured.summary:
        return measured.summary.requests
    return sum(record.phase == "measured" for record in measured.records)


def _backend_report(measured: Measured) -> dict[str, Any]:
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
            same = [run for run in runs if run.case.slug == slug]
            files = ", ".join(dict.fromkeys(run.case.spec["imported"]["file"] for run in same))
            raise InputError(
                f"{files}: {count} cases would have the name {same[0].case.name!r}; rename a file, "
                "or import them into separate folders with --name"
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
