"""``llmbench doctor``: this machine, what it lacks, and what may disturb measurements."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmbench.cli import options

if TYPE_CHECKING:  # rich is imported only if something is printed
    from rich.console import Console
    from rich.table import Table

HELP = "describe this machine and what it lacks"
DESCRIPTION = "Print hardware, software, what is missing, and what may disturb measurements."
EPILOG = """\
examples:
  llmbench doctor                        a table, and advice
  llmbench doctor --json > machine.json  the same as JSON
  llmbench doctor --json | jq -r .fingerprint
"""

BUSY_PERCENT = 10.0
BUSY_SECONDS = 0.5

# Extras: name, purpose, and alternative packages, any one of which suffices.
EXTRAS = (
    ("onnx", "the onnx backend", ("onnxruntime", "onnxruntime-gpu")),
    ("quant", "quantized models", ("torchao",)),
    ("server", "metrics of servers", ("prometheus-client",)),
    ("answers", "checks of answers against JSON schemas", ("jsonschema",)),
)

TITLES = {"missing": "Missing", "disturbs": "Likely to disturb measurements"}


@dataclass(frozen=True, slots=True)
class Advice:
    """A missing component or a likely disturbance of measurements, with the remedy."""

    about: str
    message: str
    remedy: str
    group: Literal["missing", "disturbs"] = "disturbs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_json(parser, "the description and the advice")


def run(arguments: argparse.Namespace) -> int:
    """Print a description of this machine, and advice."""
    import psutil

    from llmbench import environment

    machine = _with_telemetry(environment.capture(Path.cwd()))
    busy = psutil.cpu_percent(interval=BUSY_SECONDS)
    advice = list(advise(machine, busy))
    machine["fingerprint"] = environment.fingerprint(machine)
    if arguments.json:
        machine |= {"busy_percent": busy, "advice": list(map(asdict, advice))}
        print(json.dumps(machine, indent=1))
    else:
        _print(machine, advice)
    return 0


def _with_telemetry(machine: dict[str, Any]) -> dict[str, Any]:
    """Add the units of available GPU quantities, and why the others are unavailable."""
    from llmbench.collectors.gpu.collector import Gpu

    if not machine["gpus"]:
        return machine
    quantities = Gpu(Gpu.Options()).probe(os.getpid()).quantities()
    reasons = {f"telemetry.{q.name}": q.unavailable for q in quantities if q.unavailable}
    units = {q.name: None if q.unavailable else f"in {q.unit}" for q in quantities}
    return {**machine, "telemetry": units, "reasons": {**machine["reasons"], **reasons}}


# -- advice ----------------------------------------------------------------------------------------


def advise(machine: Mapping[str, Any], busy_percent: float) -> Iterator[Advice]:
    """Yield advice on missing software and on sources of disturbance."""
    yield from _missing(machine)
    yield from _clocks(machine["cpu"])
    yield from _other_load(machine["system"], busy_percent)
    yield from _limits(machine)
    for index, gpu in enumerate(machine["gpus"] or []):
        yield from _gpu(index, gpu)


def _missing(machine: Mapping[str, Any]) -> Iterator[Advice]:
    packages = machine["packages"]
    if not machine["gpus"]:
        reason = machine["reasons"].get("gpus", "NVML lists no GPU")
        yield Advice(
            "gpu",
            f"No GPU is available ({reason}).",
            "Install NVIDIA's driver if this machine has a GPU; without one, `device: auto` uses "
            "the CPU.",
            "missing",
        )
    elif "+cpu" in (packages["torch"] or ""):
        yield Advice(
            "torch",
            f"torch {packages['torch']} is a CPU-only build and does not use the GPU.",
            "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
            "missing",
        )
    for extra, purpose, choices in EXTRAS:
        if not any(packages[name] for name in choices):
            name = "onnx-gpu" if extra == "onnx" and machine["gpus"] else extra
            message = f"{choices[0]} is not installed; it is needed for {purpose}."
            yield Advice(extra, message, f"pip install 'llmbench[{name}]'", "missing")


def _clocks(cpu: Mapping[str, Any]) -> Iterator[Advice]:
    if cpu["governor"] not in (None, "performance"):
        yield Advice(
            "governor",
            f"The CPU governor is {cpu['governor']}, so clock frequencies vary with load.",
            "sudo cpupower frequency-set -g performance",
        )
    if cpu["turbo"]:
        yield Advice(
            "turbo",
            "Turbo is on, so clock frequencies drop as the CPU heats up.",
            "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo "
            "(other vendors: echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost)",
        )


def _other_load(system: Mapping[str, Any], busy_percent: float) -> Iterator[Advice]:
    if busy_percent > BUSY_PERCENT:
        yield Advice(
            "load",
            f"Other programs use {busy_percent:.0f} % of the CPU (load average "
            f"{system['load_average']:.1f}).",
            "Find them with `top`, and stop them before measuring.",
        )
    if system["virtual_machine"]:
        yield Advice(
            "virtual-machine",
            "This is a virtual machine; its host may run other guests on the same cores.",
            "Compare only runs of the same day, and watch for the caveat cpu-stolen.",
        )


def _limits(machine: Mapping[str, Any]) -> Iterator[Advice]:
    limit, cores = machine["container"]["cpu_limit_cores"], machine["cpu"]["usable_cores"]
    if limit and limit < (cores or 0):
        yield Advice(
            "cpu-quota",
            f"A CPU quota allows {limit:g} of the {cores} visible cores.",
            "Raise the quota to use them all; `threads: auto` uses no more than it allows.",
        )
    if machine["memory"]["transparent_hugepages"] == "always":
        yield Advice(
            "huge-pages",
            "Transparent huge pages are set to always; memory compaction may stall processes.",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
        )


def _gpu(index: int, gpu: Mapping[str, Any]) -> Iterator[Advice]:
    if gpu["persistence"] is False:
        yield Advice(
            f"gpu{index}-persistence",
            f"GPU {index} has persistence mode off, so the driver reloads after idle periods.",
            f"sudo nvidia-smi -i {index} -pm 1",
        )
    if gpu["mig"]:
        yield Advice(
            f"gpu{index}-mig",
            f"GPU {index} is partitioned by MIG; instances have no power or energy readings.",
            f"sudo nvidia-smi -i {index} -mig 0",
        )
    if gpu["virtualization"] == "vgpu":
        yield Advice(
            f"gpu{index}-vgpu",
            f"GPU {index} is a vGPU; its power and the load of other tenants are not visible.",
            "Compare only runs on the same vGPU type, or use a whole GPU.",
        )


# -- printing --------------------------------------------------------------------------------------


def _print(machine: dict[str, Any], advice: list[Advice]) -> None:
    from llmbench.report.console import on_stdout

    console = on_stdout(highlight=False)
    console.print(_table(machine))
    for group, title in TITLES.items():
        _print_advice(console, title, [item for item in advice if item.group == group])


def _table(machine: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value, reason in _rows(machine):
        is_title = not name.startswith(" ")
        label = f"[bold]{escape(name)}[/]" if is_title else escape(name)
        table.add_row(label, f"[dim]— {escape(reason)}[/]" if reason else escape(value))
    return table


def _rows(machine: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Yield (name, value, reason if unavailable); names in a group are indented under its title."""
    from llmbench.environment import flat

    last = ""
    for path, value in flat(machine).items():
        part, _, name = path.partition(".")
        if part == "variables" and value is None:  # not set
            continue
        if name and part != last:
            yield part, "", None
        yield f"  {name}" if name else part, _as_text(path, value), machine["reasons"].get(path)
        last = part


def _as_text(path: str, value: Any) -> str:
    from llmbench.units import format_bytes

    if path.endswith("_bytes") and isinstance(value, int):
        return format_bytes(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_advice(console: Console, title: str, advice: list[Advice]) -> None:
    from rich.markup import escape
    from rich.padding import Padding

    console.print(f"\n[bold]{title}[/]" + ("" if advice else ": nothing"))
    for item in advice:
        console.print(f"[yellow]![/] {escape(item.message)}")
        console.print(Padding(escape(item.remedy), (0, 0, 0, 2), expand=False))
