"""Where runs are kept: a results folder with one folder a run, each written whole or not at all.

results/<id>/
  runset.json                the scenario as asked, its plan of runs, the schema version
  runs/<case>-r<repeat>/     run.json, and tables in Parquet: records, series, quality, schedule;
                             attached, series that came from outside later
  report.html                made from the above and replaceable
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmbench import __version__
from llmbench.errors import InputError
from llmbench.runs.caveats import Caveat
from llmbench.runs.files import atomic_write, replacing
from llmbench.runs.run import Answer, Failure, Quality, Run
from llmbench.runs.series import Series, heads, read_series, series_table
from llmbench.scenario.cases import Case, normal_spec

FORMAT = "llmbench run set"
SCHEMA_VERSION = 5  # 5: cases apart from the plan, their specs in normal form
FLAT_CASES = 4  # a version that stored the fields of a case with each run, specs as written
SCHEDULE = "schedule.parquet"
ATTACHED = "attached.parquet"
MIN_FREE_BYTES = 64 * 2**20
OLD_REPORT_KEYS = {"model": "model_costs", "roof": "device_peaks"}
OLD_COLUMNS = {"tokenise_seconds": "tokenize_seconds"}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that a run set is to hold."""

    case: Case
    repeat: int

    @property
    def name(self) -> str:
        """Its folder's name."""
        return f"{self.case.slug}-r{self.repeat}"


@dataclass(frozen=True, slots=True)
class RunSet:
    """All runs of one scenario, and the plan they follow.

    ``runs`` come in the order of the plan; those not measured yet are not among them.
    """

    folder: Path
    name: str
    description: str
    began_at: str
    scenario_text: str
    overrides: tuple[str, ...]
    origins: dict[str, str]
    plan: tuple[PlannedRun, ...]
    runs: tuple[Run, ...] = ()

    @property
    def missing(self) -> list[PlannedRun]:
        """The planned runs that are not done: not measured yet, or failed."""
        done = {run.name for run in self.runs if not run.failure}
        return [planned for planned in self.plan if planned.name not in done]

    def by_case(self) -> dict[str, list[Run]]:
        """Group the runs that were measured by case, cases in the order of the scenario."""
        runs: dict[str, list[Run]] = {planned.case.name: [] for planned in self.plan}
        for run in self.runs:
            if not run.failure:
                runs[run.case.name].append(run)
        return runs

    @property
    def failed(self) -> list[Run]:
        """The runs that could not be measured."""
        return [run for run in self.runs if run.failure]


# -- writing ---------------------------------------------------------------------------------------


def create(run_set: RunSet) -> None:
    """Make the folder of a new run set.

    Raises InputError when the folder cannot be made, is a file, or has something in it.
    """
    make_folder(run_set.folder, "runs", ", or go on in it with --resume")
    with _explained(run_set.folder):
        _write_manifest(run_set)


def make_folder(folder: Path, inner: str, otherwise: str = "") -> None:
    """Make a new results folder with one in it.

    Raises InputError when it cannot be made, is a file, or has something in it, and says what to
    do ``otherwise``.
    """
    with _explained(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            what = "is not empty" if folder.is_dir() else "is a file"
            raise InputError(f"{folder}: {what}; give a new folder{otherwise}")
        (folder / inner).mkdir(parents=True, exist_ok=True)
        check_space(folder)


def extend(run_set: RunSet, planned: PlannedRun) -> RunSet:
    """Add a run to the plan of a stored run set; raises InputError when it cannot be written."""
    longer = replace(run_set, plan=(*run_set.plan, planned))
    with _explained(run_set.folder):
        _write_manifest(longer)
    return longer


def _write_manifest(run_set: RunSet) -> None:
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "llmbench": __version__,
        "name": run_set.name,
        "description": run_set.description,
        "began_at": run_set.began_at,
        "scenario_text": run_set.scenario_text,
        "overrides": run_set.overrides,
        "origins": run_set.origins,
        "cases": list(
            {planned.case.name: asdict(planned.case) for planned in run_set.plan}.values()
        ),
        "plan": [{"case": planned.case.name, "repeat": planned.repeat} for planned in run_set.plan],
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    atomic_write(run_set.folder / "runset.json", text)


def write_run(run_set_folder: Path, run: Run, schedule: pa.Table | None = None) -> None:
    """Store a run as a whole, with its schedule: its folder appears complete, or not at all.

    An earlier failed run of the same name gives way. Raises InputError when the disk is full or
    the folder cannot be written.
    """
    final = run_set_folder / "runs" / run.name
    partial = final.with_name(f".{run.name}.partial-{os.getpid()}")
    with _explained(run_set_folder):
        try:
            partial.mkdir(parents=True)
            _write_files(partial, run)
            if schedule is not None:
                pq.write_table(schedule, partial / SCHEDULE, compression="zstd")
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _write_files(folder: Path, run: Run) -> None:
    pq.write_table(run.records, folder / "records.parquet", compression="zstd")
    pq.write_table(series_table(run.series), folder / "series.parquet", compression="zstd")
    pq.write_table(run.quality.tokens, folder / "quality.parquet", compression="zstd")
    told = {
        name: getattr(run, name)
        for name in (
            "repeat", "began_at", "environment", "backend_report", "facts",
        )
    }  # fmt: skip
    told["case"] = asdict(run.case)
    told["schema_version"] = SCHEMA_VERSION
    told["status"] = run.status
    told["failure"] = asdict(run.failure) if run.failure else None
    told["quality"] = {
        "reference": run.quality.reference,
        "answers": [asdict(answer) for answer in run.quality.answers],
        "attention": run.quality.attention,
        "reason": run.quality.reason,
    }
    told["caveats"] = [caveat.as_dict() for caveat in run.caveats]
    told["series"] = heads(run.series)
    (folder / "run.json").write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")


def attach(run_set_folder: Path, run: Run, series: Sequence[Series]) -> None:
    """Keep series from outside with a stored run; they take the place of any attached before.

    Nothing else of the run is touched. Raises InputError when they cannot be written.
    """
    path = run_set_folder / "runs" / run.name / ATTACHED
    try:
        with replacing(path) as partial:
            pq.write_table(series_table(series), partial, compression="zstd")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def sweep_partials(run_set_folder: Path) -> None:
    """Remove what workers that were killed had begun to write."""
    for partial in (run_set_folder / "runs").glob(".*.partial-*"):
        shutil.rmtree(partial)


def check_space(folder: Path) -> None:
    """Raise InputError when the disk of a folder is nearly full."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise InputError(
            f"{folder}: only {free / 2**20:.0f} MiB free on this disk, and results need "
            f"{MIN_FREE_BYTES / 2**20:.0f} MiB; free some space or give another folder with --out"
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into a message that says what to do."""
    try:
        yield
    except OSError as error:
        do = {
            errno.ENOSPC: "free some space and go on with --resume",
            errno.EACCES: "choose a folder that you may write to with --out",
            errno.EROFS: "choose a folder that can be written to with --out",
            errno.ENOTDIR: "a parent of it is a file; choose another folder with --out",
        }.get(error.errno or 0, "choose another folder with --out")
        raise InputError(f"{folder}: cannot be written: {error.strerror}; {do}") from error


# -- reading ---------------------------------------------------------------------------------------


def read(folder: str | Path) -> RunSet:
    """Read a run set back, with every run that is whole.

    Raises InputError when the folder is missing, is not a run set, or is of a newer version.
    """
    run_set = read_plan(folder)
    whole = (planned for planned in run_set.plan if _is_whole(run_set.folder, planned))
    return replace(run_set, runs=tuple(read_run(run_set.folder, planned) for planned in whole))


def read_plan(folder: str | Path) -> RunSet:
    """Read what a run set is to hold, and none of its runs.

    Raises InputError when the folder is missing, is not a run set, or is of a newer version.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    try:
        return RunSet(
            folder=folder,
            name=manifest["name"],
            description=manifest["description"],
            began_at=manifest["began_at"],
            scenario_text=manifest["scenario_text"],
            overrides=tuple(manifest["overrides"]),
            origins=manifest["origins"],
            plan=_plan(manifest),
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'runset.json'}: not as llmbench writes it ({error!r}); run it again"
        ) from None


def _plan(manifest: dict[str, Any]) -> tuple[PlannedRun, ...]:
    if manifest["schema_version"] == FLAT_CASES:
        return tuple(PlannedRun(_flat_case(run), run["repeat"]) for run in manifest["plan"])
    cases = {case["name"]: Case(**case) for case in manifest["cases"]}
    return tuple(PlannedRun(cases[run["case"]], run["repeat"]) for run in manifest["plan"])


def _flat_case(stored: dict[str, Any]) -> Case:
    """Return the case of a planned run or a run of schema version 4."""
    spec = normal_spec(stored["spec"])
    backend = stored.get("backend") or (spec.get("backends") or [{}])[0].get("kind", "")
    return Case(stored["case"], stored["slug"], backend, stored["point"], spec)


def outlines(run_set: RunSet) -> Iterator[dict[str, Any]]:
    """Give what run.json says of every run that is whole: all of it but its tables.

    Raises InputError when one cannot be read.
    """
    for planned in run_set.plan:
        if _is_whole(run_set.folder, planned):
            yield _json(run_set.folder / "runs" / planned.name / "run.json")


def _is_whole(folder: Path, planned: PlannedRun) -> bool:
    return (folder / "runs" / planned.name / "run.json").is_file()


def _manifest(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; `llmbench list results` shows what there is")
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; give the results folder that holds runset.json")
    path = folder / "runset.json"
    if not path.is_file():
        raise InputError(f"{folder}: not a results folder of llmbench (it has no runset.json)")
    manifest = _json(path)
    if manifest.get("format") != FORMAT:
        raise InputError(f"{path}: not written by llmbench (its format is not {FORMAT!r})")
    _check_version(manifest, path)
    return manifest


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON: {error}; remove it or run again"
        ) from None
    return found if isinstance(found, dict) else {}


def _check_version(told: dict[str, Any], path: Path) -> None:
    version = told.get("schema_version")
    if version not in (FLAT_CASES, SCHEMA_VERSION):
        raise InputError(
            f"{path}: has schema version {version}, and this llmbench reads {FLAT_CASES} "
            f"and {SCHEMA_VERSION}; use the llmbench that wrote it, or run the scenario again"
        )


def read_run(run_set_folder: Path, planned: PlannedRun) -> Run:
    """Read one run back; raises InputError when its files cannot be read."""
    folder = run_set_folder / "runs" / planned.name
    told = _json(folder / "run.json")
    _check_version(told, folder / "run.json")
    return Run(
        case=_flat_case(told) if told["schema_version"] == FLAT_CASES else Case(**told["case"]),
        repeat=told["repeat"],
        began_at=told["began_at"],
        records=_records(folder / "records.parquet"),
        series=_all_series(folder, told["series"]),
        environment=told["environment"],
        backend_report=_backend_report(told),
        facts=told["facts"],
        quality=_quality(told["quality"], _table(folder / "quality.parquet")),
        caveats=tuple(Caveat(**caveat) for caveat in told["caveats"]),
        failure=Failure(**told["failure"]) if told["failure"] else None,
    )


def _backend_report(stored: dict[str, Any]) -> dict[str, Any]:
    """Return what the backend reported; version 0.1.0 stored it as `account`, with other keys."""
    if "account" not in stored:
        report: dict[str, Any] = stored["backend_report"]
        return report
    renamed = _renamed(stored["account"])
    return renamed | {"reasons": _renamed(renamed.get("reasons", {}))}


def _renamed(stored: dict[str, Any]) -> dict[str, Any]:
    return {OLD_REPORT_KEYS.get(key, key): value for key, value in stored.items()}


def _records(path: Path) -> pa.Table:
    """Read records; up to version 0.1.0 a column had another spelling."""
    table = _table(path)
    names = [OLD_COLUMNS.get(name, name) for name in table.column_names]
    return table.rename_columns(names)


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path}: cannot be read as Parquet: {error}; remove its folder and go on with "
            "`llmbench run --resume`"
        ) from None


def _quality(told: dict[str, Any], tokens: pa.Table) -> Quality:
    answers = tuple(Answer(**answer) for answer in told.pop("answers"))
    return Quality(tokens=tokens, answers=answers, **told)


def _all_series(folder: Path, told: list[dict[str, str]]) -> tuple[Series, ...]:
    """Read what was watched, and what was attached later, which has the last word on a name."""
    found = read_series(_table(folder / "series.parquet"), told)
    if (folder / ATTACHED).exists():
        found += read_series(_table(folder / ATTACHED))
    return tuple({series.name: series for series in found}.values())
