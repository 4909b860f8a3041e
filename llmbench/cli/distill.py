"""``llmbench distill``: train a smaller student of a teacher model."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench.cli import interrupts, options, output
from llmbench.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from llmbench.cli.progress import TrainingLines
    from llmbench.models.compress.recipe import Distillation

HELP = "distill a model into a smaller one"
DESCRIPTION = "Train a student made of some of a teacher's layers on the teacher's predictions."
EPILOG = """\
examples:
  llmbench distill --teacher builtin:tiny --layers 2 --out students/tiny-2
  llmbench distill --teacher ./gemma --layers 9 --steps 2000 --text corpus.txt --out students/g9
  llmbench distill --resume students/g9            resume after Ctrl-C
  llmbench run default --set model=students/tiny-2

The student is an ordinary model folder; its distill.json has the losses in nats per token.
"""
WORK_SUFFIX = ".training"
OPTIONS = {
    "teacher": "teacher model: hub id, local folder, GGUF file or builtin:tiny",
    "layers": "number of teacher layers to keep, evenly spaced",
    "steps": "training steps, one batch each (default: 500)",
    "batch": "sequences per batch (default: 4)",
    "tokens": "tokens per sequence (default: 128)",
    "texts": "number of training sequences that the teacher generates (default: 512)",
    "text": "text file to train on instead of generated sequences",
    "learning_rate": "learning rate of Adam (default: 5e-4)",
    "temperature": "softmax temperature of both models in the KL divergence (default: 2)",
    "kl_weight": "weight of KL divergence in the loss; the rest is cross-entropy (default: 0.9)",
    "device": "device to train on: auto, cpu or cuda (default: auto)",
    "seed": "seed of generated sequences and of batches (default: 0)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    for name, text in OPTIONS.items():
        parser.add_argument(_flag(name), metavar=name.rpartition("_")[2].upper(), help=text)
    options.add_path(parser, "--out", "DIR", "new folder for the student")
    options.add_path(parser, "--resume", "DIR", "resume the interrupted training of this student")
    options.add_json(parser, "losses and sizes")
    options.add_quiet(parser, "hide progress and summary")


def run(arguments: argparse.Namespace) -> int:
    """Train and save the student; print its loss and the teacher's on held-out text."""
    settings, folder, work = _resumed(arguments) if arguments.resume else _new(arguments)
    with (
        output.locked(work),
        interrupts.explained(lambda: _how_to_resume(folder, work)),
        _observer(settings.steps, folder, quiet=arguments.quiet) as observer,
    ):
        from llmbench.models.compress.distill import distill

        result = distill(settings, folder, work, observer.stage, observer.step)
    if arguments.json:
        print(json.dumps({**result, "folder": str(folder)}))
    elif not arguments.quiet:
        _show(result, folder)
    return 0


def _how_to_resume(folder: Path, work: Path) -> str:
    if not _is_begun(work):
        return "nothing is saved yet"
    return f"resume with: llmbench distill --resume {shlex.quote(str(folder))}"


def _is_begun(work: Path) -> bool:
    from llmbench.runs import lock

    return work.exists() and [path.name for path in work.iterdir()] != [lock.FILE]


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _new(arguments: argparse.Namespace) -> tuple[Distillation, Path, Path]:
    if not arguments.out:
        raise InputError("--out is missing; specify a new folder for the student")
    options = {name: value for name in OPTIONS if (value := getattr(arguments, name)) is not None}
    settings = _validated(options)
    folder, work = arguments.out, _work(arguments.out)
    if folder.exists():
        raise InputError(f"--out: {folder}: already exists; choose another folder")
    if _is_begun(work):
        remedy = f"resume it with --resume {folder}, or remove it"
        raise InputError(f"--out: {work}: holds an interrupted training run; {remedy}")
    return settings, folder, work


def _resumed(arguments: argparse.Namespace) -> tuple[Distillation, Path, Path]:
    from llmbench.models.compress.distill import ASKED
    from llmbench.runs.files import read_json

    if arguments.out or any(getattr(arguments, name) is not None for name in OPTIONS):
        raise InputError("--resume reads all settings from its folder; remove the other arguments")
    folder, work = arguments.resume, _work(arguments.resume)
    if not work.is_dir():
        remedy = "choose the --out of the interrupted command"
        raise InputError(f"--resume: {folder}: has no interrupted training run; {remedy}")
    settings = read_json(work / ASKED, remedy=f"remove {work} and train again")
    return _validated(settings), folder, work


def _work(folder: Path) -> Path:
    folder = folder.absolute()
    return folder.with_name(folder.name + WORK_SUFFIX)


def _validated(options: dict[str, Any]) -> Distillation:
    from pydantic import ValidationError

    from llmbench.models.compress.recipe import Distillation

    try:
        return Distillation.model_validate(options)
    except ValidationError as error:
        messages = [f"{_flag(str(detail['loc'][0]))}: {detail['msg']}" for detail in error.errors()]
        raise InputError("; ".join(messages)) from None


@contextmanager
def _observer(steps: int, folder: Path, *, quiet: bool) -> Iterator[_Bar | TrainingLines]:
    """Show progress on stderr: a bar on a terminal, plain lines elsewhere, or nothing."""
    from rich.console import Console
    from rich.progress import Progress

    from llmbench.cli.progress import TrainingLines

    if sys.stderr.isatty() or quiet:
        with Progress(console=Console(stderr=True), transient=True, disable=quiet) as bars:
            yield _Bar(bars, steps)
    else:
        with TrainingLines(sys.stderr, str(folder), steps) as lines:
            yield lines


class _Bar:
    """Shows the stage, the steps and the last loss of a training on one line of a terminal."""

    def __init__(self, bars: Progress, steps: int) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=steps)

    def stage(self, text: str) -> None:
        """Show the current stage."""
        self._bars.update(self._task, description=text)

    def step(self, number: int, loss: float) -> None:
        """Show the last step and its loss."""
        self._bars.update(self._task, completed=number, description=f"loss {loss:.3f}")


def _show(result: dict[str, Any], folder: Path) -> None:
    from rich.table import Table

    from llmbench.report.console import on_stdout

    table = Table(title="held-out text")
    for column in ("", "cross-entropy", "weights"):
        table.add_column(column, justify="right" if column else "left")
    sizes = result["weight_bytes"]
    for who, nats in result["held_out_cross_entropy"].items():
        size = sizes["teacher" if who == "teacher" else "student"]
        table.add_row(who.replace("_", ", "), f"{nats:.3f} nats/token", f"{size / 1e6:.1f} MB")
    console = on_stdout()
    console.print(table)
    console.print(f"student  {folder}", soft_wrap=True)
