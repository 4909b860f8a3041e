"""``llmbench doctor``: what this machine is, what it lacks, and what would disturb measuring."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  llmbench doctor
  llmbench doctor --json > machine.json
"""

EXTRAS = {"onnxruntime": "onnx", "onnxruntime-gpu": "onnx-gpu", "torchao": "quant", "ray": "ray"}
BUSY_LOAD = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="describe this machine and what it lacks",
        description="Print what runs are measured on, what is missing, and what would disturb.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the environment and the advice."""
    from llmbench import environment

    found = environment.capture(Path.cwd())
    advice = list(_advice(found))
    if arguments.json:
        print(json.dumps({**found, "advice": advice}, indent=1))
    else:
        _print(found, advice)
    return 0


def _print(found: dict[str, Any], advice: list[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from llmbench.environment import flat

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in flat(found).items():
        why = found["reasons"].get(name)
        shown = f"[dim]— {escape(why)}[/]" if why else escape(_shown(name, value))
        table.add_row(f"[bold]{name}[/]", shown)
    console = Console(highlight=False)
    console.print(table)
    for line in advice:
        console.print(f"[yellow]![/] {escape(line)}")
    if not advice:
        console.print("[green]nothing found that would disturb a measurement[/]")


def _shown(name: str, value: Any) -> str:
    from llmbench.units import format_bytes

    if name.endswith("_bytes") and isinstance(value, int):
        return format_bytes(value)
    return "—" if value is None else str(value)


def _advice(found: dict[str, Any]) -> Iterator[str]:
    """Say what is missing or would disturb, each with what to do."""
    cpu, load = found["cpu"], found["system"]["load_average"]
    if not found["gpus"]:
        yield (
            f"no GPU: {found['reasons'].get('gpus', 'none is visible')}; install the NVIDIA driver "
            "if there is one, else `device: auto` takes the CPU"
        )
    if cpu["governor"] not in (None, "performance"):
        yield (
            f"the CPU governor is {cpu['governor']!r}, so clocks wander; set it with: "
            "sudo cpupower frequency-set -g performance"
        )
    if load > BUSY_LOAD * (cpu["logical_cores"] or 1):
        yield f"the load average is {load:.1f}; stop what else is running before you measure"
    limit = found["container"]["cpu_limit_cores"]
    if limit and limit < (cpu["usable_cores"] or 0):
        yield (
            f"this container may use {limit:g} cores of {cpu['usable_cores']}; set "
            f"`engine: {{threads: {max(1, int(limit))}}}` in scenarios"
        )
    for package, extra in EXTRAS.items():
        if not found["packages"][package]:
            yield f"{package} is not installed; to use it: pip install 'llmbench[{extra}]'"
