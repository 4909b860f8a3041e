"""``llmbench distill``: make a smaller student of a teacher."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmbench.models.compress.recipe import Distillation

EXAMPLES = """\
examples:
  llmbench distill --teacher builtin:tiny --layers 2 --out students/tiny-2
  llmbench distill --teacher ./gemma --layers 9 --steps 2000 --text corpus.txt --out students/g9
  llmbench distill --resume students/g9            go on after Ctrl-C
  llmbench run scenarios/default.yaml --set model=students/tiny-2

The student is an ordinary model folder; distill.json in it has the losses, in nats a token.
"""
WORK_SUFFIX = ".training"
HELP = {
    "teacher": "hub id, local folder, GGUF file or builtin:tiny",
    "layers": "layers of the student, taken evenly from the teacher's",
    "steps": "batches to train on (500)",
    "batch": "texts in a batch (4)",
    "tokens": "tokens of a text (128)",
    "texts": "texts that the teacher writes to be learnt from (512)",
    "text": "a file to learn from instead",
    "learning_rate": "of Adam (5e-4)",
    "temperature": "that softens both distributions (2)",
    "kl_weight": "of the divergence in the loss; the rest is cross-entropy (0.9)",
    "device": "auto, cpu or cuda",
    "seed": "of the texts and the batches (0)",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "distill",
        help="make a smaller student of a model",
        description="Train some of a teacher's layers to say what the teacher says.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, text in HELP.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, metavar=name.rpartition("_")[2].upper(), help=text)
    parser.add_argument("--out", type=Path, metavar="DIR", help="new folder of the student")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with a folder's training")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress, no summary")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, save and say how far the student is from its teacher."""
    asked, folder, work = _resumed(arguments) if arguments.resume else _begun(arguments)
    try:
        found = _distilled(asked, folder, work, show=not arguments.quiet)
    except KeyboardInterrupt:
        if work.exists():
            print(f"llmbench: go on with: llmbench distill --resume {folder}", file=sys.stderr)
        raise
    if arguments.json:
        print(json.dumps({**found, "folder": str(folder)}))
    elif not arguments.quiet:
        _show(found, folder)
    return 0


def _begun(arguments: argparse.Namespace) -> tuple[Distillation, Path, Path]:
    from llmbench.errors import InputError

    if not arguments.out:
        raise InputError("name a new folder for the student with --out")
    given = {name: value for name in HELP if (value := getattr(arguments, name)) is not None}
    asked = _validated(given)
    folder, work = arguments.out, _work(arguments.out)
    if folder.exists():
        raise InputError(f"--out: {folder}: is there already; name another folder")
    if work.exists():
        raise InputError(
            f"--out: {work}: holds an interrupted training; go on with --resume {folder}, or "
            "remove it"
        )
    return asked, folder, work


def _resumed(arguments: argparse.Namespace) -> tuple[Distillation, Path, Path]:
    from llmbench.errors import InputError
    from llmbench.models.compress.distill import ASKED

    if arguments.out or any(getattr(arguments, name) is not None for name in HELP):
        raise InputError("--resume takes everything from its folder; leave the rest out")
    folder, work = arguments.resume, _work(arguments.resume)
    try:
        given = json.loads((work / ASKED).read_text("utf-8"))
    except (OSError, ValueError):
        raise InputError(f"--resume: {folder}: has no interrupted training beside it") from None
    return _validated(given), folder, work


def _work(folder: Path) -> Path:
    folder = folder.absolute()
    return folder.with_name(folder.name + WORK_SUFFIX)


def _validated(given: dict[str, Any]) -> Distillation:
    from pydantic import ValidationError

    from llmbench.errors import InputError
    from llmbench.models.compress.recipe import Distillation

    try:
        return Distillation.model_validate(given)
    except ValidationError as error:
        wrong = [
            f"--{str(found['loc'][0]).replace('_', '-')}: {found['msg']}"
            for found in error.errors()
        ]
        raise InputError("; ".join(wrong)) from None


def _distilled(asked: Distillation, folder: Path, work: Path, *, show: bool) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from llmbench.models.compress.distill import distill

    with Progress(console=Console(stderr=True), transient=True, disable=not show) as bars:
        task = bars.add_task("starting", total=asked.steps)

        def on_step(step: int, loss: float) -> None:
            bars.update(task, completed=step, description=f"loss {loss:.3f}")

        return distill(
            asked, folder, work, lambda text: bars.update(task, description=text), on_step
        )


def _show(found: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="held-out text")
    for column in ("", "cross-entropy", "weights"):
        table.add_column(column, justify="right" if column else "left")
    sizes = found["weight_bytes"]
    for who, nats in found["held_out_cross_entropy"].items():
        size = sizes["teacher" if who == "teacher" else "student"]
        table.add_row(who.replace("_", ", "), f"{nats:.3f} nats/token", f"{size / 1e6:.1f} MB")
    console = Console()
    console.print(table)
    console.print(f"student  {folder}", soft_wrap=True)
