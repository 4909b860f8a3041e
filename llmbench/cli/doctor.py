"""``llmbench doctor``: what this machine is, what it lacks, and what would disturb measuring."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmbench.cli import options

if TYPE_CHECKING:  # rich is loaded only where something is printed
    from rich.console import Console
    from rich.table import Table

HELP = "describe this machine and what is missing on it"
DESCRIPTION = "Print hardware and software, what is missing, and what would disturb measurements."
EPILOG = """\
examples:
  llmbench doctor                        a table, and advice
  llmbench doctor --json > machine.json  the same for machines
  llmbench doctor --json | jq -r .fingerprint
"""

BUSY_PERCENT = 10.0
BUSY_SECONDS = 0.5

# Optional parts: the extra, what it is for, and the packages of which one is enough.
EXTRAS = (
    ("onnx", "the onnx backend", ("onnxruntime", "onnxruntime-gpu")),
    ("quant", "quantized models", ("torchao",)),
)

TITLES = {"missing": "Not here", "disturbs": "Would disturb a measurement"}


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that is missing or would disturb: about what, and what to do."""

    group: Literal["missing", "disturbs"]
    about: str
    message: str
    remedy: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_json(parser, "everything")


def run(arguments: argparse.Namespace) -> int:
    """Print the environment and the advice."""
    import psutil

    from llmbench import environment

    found = _with_telemetry(environment.capture(Path.cwd()))
    busy = psutil.cpu_percent(interval=BUSY_SECONDS)
    advice = list(advise(found, busy))
    told = {
        **found,
        "fingerprint": environment.fingerprint(found),
        "busy_percent": busy,
        "advice": [asdict(each) for each in advice],
    }
    if arguments.json:
        print(json.dumps(told, indent=1))
    else:
        _print(told, advice)
    return 0


def _with_telemetry(found: dict[str, Any]) -> dict[str, Any]:
    """Add which quantities of its GPUs a run on this machine would have, and why not the others."""
    from llmbench.collectors.gpu.collector import Gpu

    if not found["gpus"]:
        return found
    quantities = Gpu(Gpu.Options()).probe(os.getpid()).quantities()
    reasons = {f"telemetry.{q.name}": q.unavailable for q in quantities if q.unavailable}
    told = {q.name: None if q.unavailable else f"in {q.unit}" for q in quantities}
    return {**found, "telemetry": told, "reasons": {**found["reasons"], **reasons}}


# -- what to say -----------------------------------------------------------------------------------


def advise(found: Mapping[str, Any], busy_percent: float) -> Iterator[Advice]:
    """Say what an environment lacks and what in it would disturb; nothing where all is well."""
    yield from _missing(found)
    yield from _clocks(found["cpu"])
    yield from _neighbors(found, busy_percent)
    yield from _limits(found)
    for index, gpu in enumerate(found["gpus"] or []):
        yield from _gpu(index, gpu)


def _missing(found: Mapping[str, Any]) -> Iterator[Advice]:
    packages = found["packages"]
    if not found["gpus"]:
        why = found["reasons"].get("gpus", "NVML lists no GPU")
        yield Advice(
            "missing",
            "gpu",
            f"No GPU can be used ({why}).",
            "Install NVIDIA's driver if there is a card (Debian, Ubuntu: sudo apt install "
            "nvidia-driver); without one `device: auto` takes the CPU.",
        )
    elif "+cpu" in (packages["torch"] or ""):
        yield Advice(
            "missing",
            "torch",
            f"torch {packages['torch']} is built for the CPU, so the GPU stays idle.",
            "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
        )
    for extra, purpose, choices in EXTRAS:
        if not any(packages[name] for name in choices):
            name = "onnx-gpu" if extra == "onnx" and found["gpus"] else extra
            yield Advice(
                "missing",
                extra,
                f"{choices[0]} is not installed; it is for {purpose}.",
                f"pip install 'llmbench[{name}]'",
            )


def _clocks(cpu: Mapping[str, Any]) -> Iterator[Advice]:
    if cpu["governor"] not in (None, "performance"):
        yield Advice(
            "disturbs",
            "governor",
            f"The CPU governor is {cpu['governor']}, so clocks follow the load.",
            "sudo cpupower frequency-set -g performance",
        )
    if cpu["turbo"]:
        yield Advice(
            "disturbs",
            "turbo",
            "Turbo is on, so clocks fall as the processor warms up.",
            "For steadier figures: echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo "
            "(not Intel's: echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost)",
        )


def _neighbors(found: Mapping[str, Any], busy_percent: float) -> Iterator[Advice]:
    if busy_percent > BUSY_PERCENT:
        yield Advice(
            "disturbs",
            "load",
            f"Other programs use {busy_percent:.0f} % of the processors just now"
            f" (load average {found['system']['load_average']:.1f}).",
            "Stop them before you measure; `top` lists them.",
        )
    if found["system"]["virtual_machine"]:
        yield Advice(
            "disturbs",
            "virtual-machine",
            "This is a virtual machine; its host may give its processors to others.",
            "Compare runs of the same day, and watch for the caveat cpu-stolen.",
        )


def _limits(found: Mapping[str, Any]) -> Iterator[Advice]:
    limit, cores = found["container"]["cpu_limit_cores"], found["cpu"]["usable_cores"]
    if limit and limit < (cores or 0):
        yield Advice(
            "disturbs",
            "cpu-quota",
            f"A quota allows {limit:g} cores, and {cores} are shown.",
            f"Set `engine: {{threads: {max(1, int(limit))}}}` in scenarios, or raise the quota.",
        )
    if found["memory"]["transparent_hugepages"] == "always":
        yield Advice(
            "disturbs",
            "huge-pages",
            "Transparent huge pages are always on, so the kernel may stop a program to make them.",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
        )


def _gpu(index: int, gpu: Mapping[str, Any]) -> Iterator[Advice]:
    if gpu["persistence"] is False:
        yield Advice(
            "disturbs",
            f"gpu{index}-persistence",
            f"GPU {index} forgets its state when idle, so the next start is slow.",
            f"sudo nvidia-smi -i {index} -pm 1",
        )
    if gpu["mig"]:
        yield Advice(
            "disturbs",
            f"gpu{index}-mig",
            f"GPU {index} is split into MIG instances, so power and energy cannot be told apart.",
            f"sudo nvidia-smi -i {index} -mig 0",
        )
    if gpu["virtualization"] == "vgpu":
        yield Advice(
            "disturbs",
            f"gpu{index}-vgpu",
            f"GPU {index} is a share of a card (vGPU), so its power and its neighbors are hidden.",
            "Compare only runs on the same kind of share, or take a whole card.",
        )


# -- how to say it ---------------------------------------------------------------------------------


def _print(told: Mapping[str, Any], advice: list[Advice]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_table(told))
    for group, title in TITLES.items():
        _print_advice(console, title, [each for each in advice if each.group == group])


def _table(told: Mapping[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, shown, why in _rows(told):
        is_part = not name.startswith(" ")
        label = f"[bold]{escape(name)}[/]" if is_part else escape(name)
        table.add_row(label, f"[dim]— {escape(why)}[/]" if why else escape(shown))
    return table


def _rows(told: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Give (name, value, why there is none); names within a part are indented under its title."""
    from llmbench.environment import flat

    facts = {key: value for key, value in told.items() if key not in ("advice", "busy_percent")}
    last = ""
    for path, value in flat(facts).items():
        part, _, name = path.partition(".")
        if part == "variables" and value is None:  # not set, which needs no row
            continue
        if name and part != last:
            yield part, "", None
        yield f"  {name}" if name else part, _shown(path, value), told["reasons"].get(path)
        last = part


def _shown(path: str, value: Any) -> str:
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
    for each in advice:
        console.print(f"[yellow]![/] {escape(each.message)}")
        console.print(Padding(escape(each.remedy), (0, 0, 0, 2)))
