"""Damaged copies of stored files, and what must hold when they are read.

``read_damaged_set(seed, folder)``, ``read_damaged_baseline(seed, folder)`` and
``read_damaged_history(seed, folder)`` damage a copy as the seed tells and read it. They return the
message if it is refused, and raise AssertionError or the error itself if anything else goes wrong.
What is undamaged is read once.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.analysis import baseline_file, history
from llmbench.analysis.compare.comparison import compare
from llmbench.cli import main
from llmbench.errors import InputError
from llmbench.report import pages
from llmbench.report.comparison import page as comparison_page
from llmbench.report.serve.site import Site
from llmbench.runs import catalog, store
from llmbench.runs.run_set import RunSet

GOLDEN = Path(__file__).parent / "data" / "golden"
SETS = ("fake", "eager", "sessions", "endpoint")
MOST_CHARACTERS = 2000

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 5e-324, 1e-300, 1e15, 1e19, 1e300, float("nan"),
    float("inf"), float("-inf"), 2**31, 2**63, 10**30, "", "x", "../../x", "/etc/passwd", "..", ".",
    "a/b", "a\x00b", "\ud800", "\x1b[31mred", "\u2028", "x" * 5000, "1e400", "nan", "4/s", "500 ms",
    [], {}, [[]], [None], [1, "a"], {"": None}, {"kind": None}, {"kind": "closed"}, ["a"] * 3,
    "2026-13-01", "measured", "unavailable:", "<script>", "{x}", "{}", "{0.__class__}",
)  # fmt: skip


# -- damage ----------------------------------------------------------------------------------------


def damage(rng: random.Random, path: Path) -> None:
    """Damage a file in one to three ways."""
    for _ in range(rng.randint(1, 3)):
        if not path.is_file():
            return
        kind = damage_json if path.suffix in (".json", ".jsonl") else damage_table
        (damage_bytes if rng.random() < 0.2 else kind)(rng, path)


def damage_bytes(rng: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes() or b"x")
    at = rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            del data[at:]
        case 1:
            data[at] ^= 1 << rng.randrange(8)
        case 2:
            data[at:at] = rng.randbytes(rng.randint(1, 20))
        case 3:
            data.clear()
        case 4:
            path.unlink()
            path.mkdir()
            return
        case 5:
            data = bytearray(rng.choice((b"[]", b"{}", b"null", b"PAR1", b"[" * 5000, b"\xff\xfe")))
    path.write_bytes(data)


def damage_json(rng: random.Random, path: Path) -> None:
    """Change, remove, repeat or rename one value of a JSON file, or of a line of it."""
    try:
        lines = path.read_text("utf-8").split("\n") if path.suffix == ".jsonl" else None
        text = rng.choice([line for line in lines if line]) if lines else path.read_text("utf-8")
        content = json.loads(text)
    except (ValueError, IndexError, RecursionError):
        return
    if not isinstance(content, dict | list):
        return
    change(rng, content)
    written = json.dumps(content)
    if lines:
        written = "\n".join(written if line == text else line for line in lines)
    path.write_text(written, "utf-8")


def change(rng: random.Random, content: Any) -> None:
    node, key = rng.choice(list(places(content)) or [([None], 0)])
    match rng.randrange(6):
        case 0 | 1 | 2:
            node[key] = rng.choice(ODD)
        case 3:
            del node[key]
        case 4 if isinstance(node, list):
            node.append(node[key])
        case 5 if isinstance(node, dict):
            node[f"{key}{rng.choice(['', 's', '.x', '../'])}"] = node.pop(key)
        case _ if isinstance(node[key], int | float):
            node[key] = -node[key] * rng.choice((1, 1e3, 1e12))


def places(node: Any) -> Any:
    """Yield every container in plain data with each of its keys."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


def damage_table(rng: random.Random, path: Path) -> None:
    """Change a column of a table: remove, retype, cut or blank it, or change one of its values."""
    try:
        table = pq.read_table(path)
    except (OSError, ValueError, pa.ArrowException):
        return
    if not table.num_columns:
        return
    index = rng.randrange(table.num_columns)
    name, column = table.column_names[index], table.column(index)
    match rng.randrange(7):
        case 0:
            table = table.remove_column(index)
        case 1:
            table = table.set_column(index, name, pa.nulls(table.num_rows, column.type))
        case 2:
            table = table.set_column(index, name, pa.array(["x"] * table.num_rows))
        case 3:
            table = table.slice(0, rng.randint(0, table.num_rows))
        case 4:
            table = table.append_column(name, column)
        case 5:
            heads = rng.choice(("[]", "{", "[1]", "null"))
            table = table.replace_schema_metadata({"series": heads})
        case _:
            table = table.set_column(index, name, changed(rng, column))
    pq.write_table(table, path)


def changed(rng: random.Random, column: pa.ChunkedArray) -> pa.Array:
    """Return a column with one odd value, if its type has any."""
    values = column.to_pylist()
    if values:
        at = rng.randrange(len(values))
        odd: Any = rng.choice((None, float("nan"), float("inf"), 1e300, -1.0, 0.0, 5e-324, 2**40))
        if isinstance(values[at], list) and values[at]:
            values[at][rng.randrange(len(values[at]))] = odd
        else:
            values[at] = rng.choice(ODD) if isinstance(values[at], str) else odd
    try:
        return pa.array(values, column.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.nulls(len(values), column.type)


# -- what is damaged -------------------------------------------------------------------------------


@cache
def golden(name: str) -> RunSet:
    return store.read(GOLDEN / name)


@cache
def baseline_of(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "baseline.json"
        baseline_file.write(golden(name), path)
        return path.read_bytes()


@cache
def history_of(*names: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        history.add(path, [golden(name) for name in names])
        return path.read_bytes()


# -- reading ---------------------------------------------------------------------------------------


def refused(read: Callable[[], object]) -> str:
    """Return the message with which input is refused, which is short and one line; else nothing."""
    message = ""
    try:
        with np.errstate(all="ignore"):
            read()
    except InputError as error:
        message = str(error)
    assert len(message) <= MOST_CHARACTERS, len(message)
    assert message.isprintable(), repr(message)
    return message


def read_damaged_set(seed: int, folder: Path) -> str:
    """Damage a copy of a run set, then list, show, compare and serve it."""
    rng = random.Random(seed)  # noqa: S311 (no secret)
    name = rng.choice(SETS)
    damaged = folder / "results" / name
    shutil.copytree(GOLDEN / name, damaged)
    if rng.random() < 0.5:
        damage(rng, damaged / store.MANIFEST)
    else:
        damage(rng, rng.choice(sorted(path for path in damaged.glob("runs/*/*"))))
    entry = catalog.entry(damaged)
    assert len(entry.problem) <= MOST_CHARACTERS
    return refused(lambda: use(damaged, golden(name), rng))


def use(damaged: Path, original: RunSet, rng: random.Random) -> None:
    run_set = store.read(damaged)
    failures = [failed.failure for failed in run_set.failed]
    assert all(failure and len(failure.message) <= MOST_CHARACTERS for failure in failures)
    match rng.randrange(4):
        case 0:
            pages.report(run_set)
        case 1:
            sides = [compare(original, run_set), compare(run_set, run_set)]
            comparison_page.render(sides)
        case 2:
            assert Site(damaged.parent).answer("/").status == 200
        case 3:
            run("report", str(damaged), "--json", "--out", str(damaged.parent / "unused.html"))


def run(*arguments: str) -> None:
    """Run a command that may refuse its input; its messages are short and plain."""
    stderr = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
        code = main(arguments)
    assert code in (0, 1, 2)
    assert len(stderr.getvalue()) <= MOST_CHARACTERS
    assert stderr.getvalue().replace("\n", "").isprintable()


def read_damaged_baseline(seed: int, folder: Path) -> str:
    """Damage a baseline file, then compare it with the run set that it is of."""
    rng = random.Random(seed)  # noqa: S311 (no secret)
    name = rng.choice(SETS)
    path = folder / "baseline.json"
    path.write_bytes(baseline_of(name))
    damage(rng, path)
    return refused(
        lambda: comparison_page.render([compare(baseline_file.read(path), golden(name))])
    )


def read_damaged_history(seed: int, folder: Path) -> str:
    """Damage a history store, then look for changes in it, and add to it."""
    rng = random.Random(seed)  # noqa: S311 (no secret)
    names = rng.sample(SETS, 2)
    path = folder / "history.jsonl"
    path.write_bytes(history_of(*names))
    damage(rng, path)

    def use() -> None:
        history.histories(history.read(path))
        history.add(path, [golden(name) for name in names])

    return refused(use)
