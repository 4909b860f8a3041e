"""The store: a results folder with one folder per run, each written atomically.

results/<id>/
  runset.json                the scenario, its cases and plan of runs, the schema version
  runs/<case>-r<repeat>/     run.json, and tables in Parquet: records, series, quality, schedule;
                             attached, series of other tools
  discarded/<run>-<n>/       an attempt at a run that was measured again, in the same files
  report.html                generated from the above
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from fnmatch import fnmatch
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from llmbench import __version__
from llmbench.errors import InputError, shown
from llmbench.runs import remote
from llmbench.runs.caveats import Caveat
from llmbench.runs.checking import checked
from llmbench.runs.files import PARTIAL, read_json, replacing, sync, temporary, write_json
from llmbench.runs.lock import FILE as LOCK
from llmbench.runs.lock import locked
from llmbench.runs.old_schemas import OLDEST, upgraded_manifest, upgraded_run
from llmbench.runs.redaction import redact, redact_all, redacted
from llmbench.runs.run import Failure, PlannedRun, Quality, Run
from llmbench.runs.run_set import RunSet
from llmbench.runs.search import Search
from llmbench.runs.series import Series, heads, heads_of, read_series, series_table
from llmbench.runs.shapes import Head, Manifest, Outline, StoredQuality, StoredRun
from llmbench.runs.stored_tables import read_quality, read_readings, read_records

FORMAT = "llmbench run set"
SCHEMA_VERSION = 6  # 5: cases separate from the plan, specs in normal form; 6: cases stored once
MANIFEST = "runset.json"
REMEDY = "remove the file or run the scenario again"
DAMAGED = "damaged"  # the failure of a run whose files cannot be read
RUN_REMEDY = "measure it again with `llmbench run --resume`"
SCHEDULE = "schedule.parquet"
ATTACHED = "attached.parquet"
MIN_FREE_BYTES = 64 * 2**20
LABELS = ("name", "description", "began_at", "scenario_text", "overrides", "origins")
TEXTS = ("description", "scenario_text", "overrides", "origins")  # that a user wrote
# columns that a server or a user may write
FROM_OUTSIDE = ("error_kind", "error_message", "response_id", "model", "url")


# -- writing ---------------------------------------------------------------------------------------


def create(run_set: RunSet, otherwise: str = ", or continue with --resume") -> None:
    """Create the folder of a new run set.

    Raises InputError when the folder cannot be created, is a file, or is not empty; the message
    ends with ``otherwise``.
    """
    with new_folder(run_set.folder, "runs", otherwise):
        _write_manifest(run_set)


@contextmanager
def new_folder(folder: Path, inner: str, otherwise: str = "") -> Iterator[None]:
    """Create a results folder and its subfolder; the context writes the first file.

    The folder is locked meanwhile. Raises InputError when it cannot be created, is a file, or is
    not empty; the message ends with ``otherwise``.
    """
    with _explained(folder):
        _check_unused(folder, inner, otherwise)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _check_unused(folder, inner, otherwise)
            (folder / inner).mkdir(exist_ok=True)
            check_space(folder)
            yield
            remote.push(folder)


def _check_unused(folder: Path, inner: str, otherwise: str) -> None:
    """Raise InputError if a folder is a file, or has more in it than a killed process may leave."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose a new folder{otherwise}")
    paths = folder.iterdir() if folder.exists() else ()
    if any(not _is_leftover(path, inner) for path in paths):
        raise InputError(f"{folder}: is not empty; choose a new folder{otherwise}")


def _is_leftover(path: Path, inner: str) -> bool:
    """Return whether a path is what a process leaves that is killed before its first file."""
    if path.name == inner:
        return path.is_dir() and not any(path.iterdir())
    return path.name == LOCK or fnmatch(path.name, PARTIAL)


def extend(run_set: RunSet, planned: PlannedRun) -> RunSet:
    """Add a run to the plan of a stored run set; raises InputError when it cannot be written."""
    return _changed(run_set, plan=(*run_set.plan, planned))


def with_search(run_set: RunSet, search: Search) -> RunSet:
    """Store the search of a run set; raises InputError when it cannot be written."""
    return _changed(run_set, search=search)


def _changed(run_set: RunSet, **changes: Any) -> RunSet:
    changed = replace(run_set, **changes)
    with _explained(run_set.folder):
        _write_manifest(changed)
    return changed


def _write_manifest(run_set: RunSet) -> None:
    manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "llmbench": __version__,
        **{name: getattr(run_set, name) for name in LABELS},
        **redacted({name: getattr(run_set, name) for name in TEXTS}),
        "cases": [asdict(case) for case in run_set.cases.values()],
        "plan": [{"case": planned.case.name, "repeat": planned.repeat} for planned in run_set.plan],
        **({} if run_set.search is None else {"search": asdict(run_set.search)}),
    }
    write_json(run_set.folder / MANIFEST, manifest)


def write_run(run_set_folder: Path, run: Run, schedule: pa.Table | None = None) -> None:
    """Store a run with its schedule, atomically.

    A failed run of the same name is replaced, by a rename. Raises InputError when the disk is full
    or the folder cannot be written.
    """
    final = _folder(run_set_folder, run)
    partial = temporary(final)
    replaced = temporary(final, "-replaced")
    with _explained(run_set_folder):
        try:
            partial.mkdir(parents=True)
            _write_files(partial, run)
            if schedule is not None:
                pq.write_table(schedule, partial / SCHEDULE, compression="zstd")
            for path in (*partial.iterdir(), partial):
                sync(path)
            if final.exists():
                final.rename(replaced)
            partial.rename(final)
            sync(final.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)


def _write_files(folder: Path, run: Run) -> None:
    pq.write_table(_without_secrets(run.records), folder / "records.parquet", compression="zstd")
    series = [replace(one, source=redact(one.source)) for one in run.series]
    pq.write_table(series_table(series), folder / "series.parquet", compression="zstd")
    pq.write_table(run.quality.tokens, folder / "quality.parquet", compression="zstd")
    measured = {
        "environment": run.environment,
        "backend_report": run.backend_report,
        "facts": run.facts,
        "quality": _quality(run.quality),
        "caveats": [caveat.as_dict() for caveat in run.caveats],
        "series": heads(series),
        "failure": run.failure and asdict(run.failure),
    }
    content = {
        "schema_version": SCHEMA_VERSION,
        "status": run.status,
        "case": run.case.name,
        "repeat": run.repeat,
        "began_at": run.began_at,
        **redacted(measured),
        **({} if run.summary is None else {"summary": run.summary}),
    }
    write_json(folder / "run.json", content)


def _quality(quality: Quality) -> dict[str, Any]:
    return {name: getattr(quality, name) for name in StoredQuality.__struct_fields__}


def _without_secrets(records: pa.Table) -> pa.Table:
    for name in FROM_OUTSIDE:
        column = records[name].combine_chunks().dictionary_encode()
        texts = pa.array(redact_all(column.dictionary.to_pylist()), pa.string())
        cleaned = pa.DictionaryArray.from_arrays(column.indices, texts).cast(pa.string())
        index = records.schema.get_field_index(name)
        records = records.set_column(index, records.schema.field(index), cleaned)
    return records


def discard(run_set_folder: Path, run: Run) -> Path:
    """Move a stored run to the discarded attempts, so that it can be measured again.

    Returns its new folder; raises InputError when it cannot be moved.
    """
    discarded = run_set_folder / "discarded"
    moved = discarded / f"{run.name}-{1 + len(_discarded(run_set_folder, run))}"
    with _explained(run_set_folder):
        discarded.mkdir(exist_ok=True)
        _folder(run_set_folder, run).rename(moved)
    return moved


def restore(run_set_folder: Path, run: Run, moved: Path) -> None:
    """Move a discarded attempt back to the runs, and the failed attempt after it to its place."""
    failed = temporary(moved)
    with _explained(run_set_folder):
        _folder(run_set_folder, run).rename(failed)
        moved.rename(_folder(run_set_folder, run))
        failed.rename(moved)


def with_facts(run_set_folder: Path, run: Run, **facts: Any) -> Run:
    """Add facts to a stored run and return the run with them; raises InputError if it cannot."""
    path = _folder(run_set_folder, run) / "run.json"
    content = read_json(path, REMEDY)
    with _explained(run_set_folder):
        write_json(path, {**content, "facts": {**content["facts"], **redacted(facts)}})
    return replace(run, facts={**run.facts, **facts})


def _folder(run_set_folder: Path, planned: PlannedRun) -> Path:
    return run_set_folder / "runs" / planned.name


def attach(run_set_folder: Path, run: Run, series: Sequence[Series]) -> None:
    """Attach series of another tool to a run, replacing previously attached ones.

    The rest of the run is unchanged. Raises InputError when they cannot be written.
    """
    path = _folder(run_set_folder, run) / ATTACHED
    try:
        with replacing(path) as partial:
            pq.write_table(series_table(series), partial, compression="zstd")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; check free space and permissions"
        ) from error


def resume(folder: Path) -> RunSet:
    """Remove what killed processes left in a run set, and read it."""
    parents = (folder, folder / "runs", folder / "discarded", *folder.glob("runs/*"))
    with _explained(folder):
        for leftover in (path for parent in parents for path in parent.glob(PARTIAL)):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
    return read(folder)


def check_space(folder: Path) -> None:
    """Raise InputError when the folder's disk has less than MIN_FREE_BYTES free."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise InputError(
            f"{folder}: only {free / 2**20:.0f} MiB free on this disk, and results need "
            f"{MIN_FREE_BYTES / 2**20:.0f} MiB; free some space or choose another folder with --out"
        )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Convert file-system errors to InputErrors with a remedy."""
    try:
        yield
    except OSError as error:
        do = {
            errno.ENOSPC: "free some space and continue with --resume",
            errno.EACCES: "choose a writable folder with --out",
            errno.EROFS: "choose a writable folder with --out",
            errno.ENOTDIR: "a parent folder is a file; choose another folder with --out",
        }.get(error.errno or 0, "choose another folder with --out")
        raise InputError(f"{folder}: cannot be written: {error.strerror}; {do}") from error


# -- reading ---------------------------------------------------------------------------------------


def read(folder: str | Path) -> RunSet:
    """Read a run set with all stored runs.

    A run whose files cannot be read is a failed run, which is measured again on resume.
    Raises InputError when the folder is missing, is not a run set, or has an unknown version.
    """
    run_set = read_plan(folder)
    stored = (find_run(run_set.folder, planned) for planned in run_set.plan)
    return replace(run_set, runs=tuple(run for run in stored if run))


def read_plan(folder: str | Path) -> RunSet:
    """Read a run set with its plan, but without its runs.

    The folder may be the URL of one in a store. Raises InputError when it is missing, is not a run
    set, or has an unknown version.
    """
    folder = remote.opened(folder)
    path = folder / MANIFEST
    manifest = upgraded_manifest(_manifest(folder), path, REMEDY)
    stored = checked(manifest, Manifest, path, REMEDY)
    cases = {case.name: case.case() for case in stored.cases}
    plan = tuple(PlannedRun(cases[planned.case], planned.repeat) for planned in stored.plan)
    labels = {name: getattr(stored, name) for name in LABELS}
    return RunSet(folder, **labels, plan=plan, ordered=tuple(cases), search=stored.search)


def outlines(run_set: RunSet) -> Iterator[Outline | InputError]:
    """Yield status and environment of every stored run, or why they cannot be read."""
    for planned in run_set.plan:
        if _is_whole(run_set.folder, planned):
            path = _folder(run_set.folder, planned) / "run.json"
            try:
                yield checked(_content(path), Outline, path, RUN_REMEDY)
            except InputError as error:
                yield error


def _is_whole(folder: Path, planned: PlannedRun) -> bool:
    return (_folder(folder, planned) / "run.json").is_file()


def _manifest(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise InputError(
            f"{folder}: no such folder; `llmbench list results` lists the run sets below results/"
        )
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; expected the results folder with {MANIFEST}")
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder}: not a results folder of llmbench (it has no {MANIFEST}); check the path"
        )
    stored = read_json(path, REMEDY)
    if stored.get("format") != FORMAT:
        raise InputError(f"{path}: not written by llmbench (its format is not {FORMAT!r})")
    _check_version(stored, path)
    return stored


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a `run.json` of a known version."""
    stored = read_json(path, RUN_REMEDY)
    _check_version(stored, path)
    return stored


class _OtherVersionError(InputError):
    """A file is of a schema version that this llmbench does not read."""


def _check_version(stored: dict[str, Any], path: Path) -> None:
    version: Any = stored.get("schema_version")
    is_version = isinstance(version, int) and version >= 0
    if is_version and OLDEST <= version <= SCHEMA_VERSION:
        return
    kind = _OtherVersionError if is_version else InputError
    raise kind(
        f"{path}: has schema version {shown(version)}, and this llmbench reads {OLDEST} to "
        f"{SCHEMA_VERSION}; use the llmbench that wrote it, or run the scenario again"
    )


def read_run(run_set_folder: Path, planned: PlannedRun) -> Run:
    """Read a stored run; raises InputError when its files cannot be read."""
    return _read(_folder(run_set_folder, planned), planned)


def find_run(run_set_folder: Path, planned: PlannedRun) -> Run | None:
    """Return a stored run, a failed one if its files cannot be read, or None if there is none."""
    if not _is_whole(run_set_folder, planned):
        return None
    return _read_or_failed(_folder(run_set_folder, planned), planned)


def read_discarded(run_set_folder: Path, planned: PlannedRun) -> list[Run]:
    """Read the discarded attempts at a run, oldest first."""
    folders = _discarded(run_set_folder, planned)
    return [_read_or_failed(folder, planned) for folder in folders]


def _discarded(run_set_folder: Path, planned: PlannedRun) -> list[Path]:
    """Return the folders of the discarded attempts at a run, oldest first."""
    folders = (run_set_folder / "discarded" / f"{planned.name}-{n}" for n in count(1))
    return list(takewhile(Path.is_dir, folders))


def _read_or_failed(folder: Path, planned: PlannedRun) -> Run:
    try:
        return _read(folder, planned)
    except _OtherVersionError:  # it can be read by that version, and must not be replaced
        raise
    except InputError as error:
        return Run(planned.case, planned.repeat, "", failure=Failure(DAMAGED, str(error)))


def _read(folder: Path, planned: PlannedRun) -> Run:
    path = folder / "run.json"
    content = upgraded_run(_content(path), path, RUN_REMEDY)
    stored = checked(content, StoredRun, path, RUN_REMEDY)
    if (stored.case, stored.repeat) != (planned.case.name, planned.repeat):
        raise InputError(f"{path}: is of another run than {planned.name}; {RUN_REMEDY}")
    tokens = read_quality(folder / "quality.parquet")
    return Run(
        case=planned.case,
        repeat=planned.repeat,
        began_at=stored.began_at,
        records=read_records(folder / "records.parquet"),
        series=_all_series(folder, [msgspec.structs.asdict(head) for head in stored.series]),
        environment=stored.environment,
        backend_report=stored.backend_report,
        facts=stored.facts,
        quality=Quality(**msgspec.structs.asdict(stored.quality), tokens=tokens),
        caveats=tuple(Caveat(**caveat) for caveat in stored.caveats),
        failure=stored.failure,
        summary=stored.summary,
    )


def _all_series(folder: Path, stored_heads: list[dict[str, str]]) -> tuple[Series, ...]:
    """Return all series of a run; an attached series replaces one of the same name."""
    series = read_series(read_readings(folder / "series.parquet"), stored_heads)
    if (folder / ATTACHED).exists():
        table = read_readings(folder / ATTACHED)
        series += read_series(table, _heads_of(table, folder / ATTACHED))
    return tuple({one.name: one for one in series}.values())


def _heads_of(table: pa.Table, path: Path) -> list[dict[str, str]]:
    """Return the heads of attached series; raises InputError if the file does not have them."""
    try:
        stored = heads_of(table)
    except (ValueError, RecursionError):
        stored = None
    remedy = "attach the meter again with `llmbench meter`"
    return [msgspec.structs.asdict(head) for head in checked(stored, list[Head], path, remedy)]
