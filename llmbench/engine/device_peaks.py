"""What a device can do at the most, measured: a copy for its memory, a product for its arithmetic.

The copy is that of STREAM (McCalpin, 1995): bytes read and bytes written both count, of arrays much
larger than any cache. The product is of square matrices, 2 n³ FLOPs. The best of several counts.
It is measured in a process of its own, so that nothing of it stays in the process of a run (memory,
libraries that are warm already), and kept for the next: by hardware, precision, threads and torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.collectors import proc
from llmbench.environment import child_process, hardware
from llmbench.errors import Unavailable
from llmbench.runs.files import atomic_write, cache_folder

COPY_BYTES = {"cpu": 2**29, "cuda": 2**30}
MEMORY_SHARE = 8  # the two arrays take no more than a quarter of what is free
SIZES = (256, 512, 1024, 2048, 4096, 8192)
REPETITIONS, LEAST_SECONDS = 10, 0.1
BUDGET_SECONDS = 1.0
LIMIT_SECONDS = 120.0
SWITCH = "LLMBENCH_ROOF"


def peaks_of(device: torch.device, dtype: str, threads: int) -> DevicePeaks:
    """Give the roof of a device for products of a dtype: the kept one, or one measured now.

    What was measured on a busy CPU is not kept. Raises Unavailable where it cannot be measured or
    LLMBENCH_ROOF is ``off``.
    """
    if os.environ.get(SWITCH) == "off":
        raise Unavailable(f"{SWITCH} is off")
    asked = asked_of(device, dtype, threads)
    place = _place(asked)
    kept = _kept(place)
    if kept is not None:
        return kept
    roof = _measured_apart(asked)
    if not roof.is_doubtful:
        _keep(roof, place)
    return roof


def _keep(roof: DevicePeaks, place: Path) -> None:
    with suppress(OSError):  # a folder that keeps nothing costs the next run a few seconds
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, json.dumps(asdict(roof), indent=1))


def _kept(place: Path) -> DevicePeaks | None:
    """Read what an earlier run measured; what cannot be read is to be measured again."""
    try:
        return DevicePeaks(**json.loads(place.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def asked_of(device: torch.device, dtype: str, threads: int) -> dict[str, Any]:
    """Name what a roof depends on; threads matter on the CPU alone."""
    on_cpu = device.type == "cpu"
    return {
        "hardware": _cpu() if on_cpu else torch.cuda.get_device_name(device),
        "device": str(device),
        "precision": _precision(device, dtype),
        "threads": threads if on_cpu else None,
        "torch": str(torch.__version__),
    }


def _cpu() -> str:
    model: str = hardware.cpu_questions(Path("/"))["model"]()
    return model


def _precision(device: torch.device, dtype: str) -> str:
    with_tf32 = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    return "tf32" if dtype == "float32" and with_tf32 else dtype


def _place(asked: dict[str, Any]) -> Path:
    told = json.dumps({**asked, "host": platform.node()}, sort_keys=True)
    digest = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
    return cache_folder("roof") / f"{asked['device'].partition(':')[0]}-{digest}.json"


def _measured_apart(asked: dict[str, Any]) -> DevicePeaks:
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr,
        child_process.start("llmbench.engine.device_peaks", asked, stderr=stderr) as child,
    ):
        if not child.poll(LIMIT_SECONDS):
            raise Unavailable(f"the roof was not measured within {LIMIT_SECONDS:g} s")
        try:
            return child.receive(DevicePeaks)
        except EOFError:
            child.wait()
            stderr.seek(0)
            last = (stderr.read().strip() or "it wrote nothing").splitlines()[-1]
            raise Unavailable(f"the roof could not be measured: {last}") from None


def main() -> None:
    """Measure what the parent asks for and send it."""
    parent = child_process.parent()
    asked = parent.receive(dict[str, Any])
    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    if asked["precision"] == "tf32":
        torch.set_float32_matmul_precision("high")
    parent.send(measured(asked))


@torch.inference_mode()
def measured(asked: dict[str, Any]) -> DevicePeaks:
    """Measure a roof in this process; takes a second or two."""
    device = torch.device(asked["device"])
    name = "float32" if asked["precision"] == "tf32" else asked["precision"]
    before = _others_seconds()
    bytes_per_second = _bytes_per_second(device)
    flops_per_second = _flops_per_second(device, getattr(torch, name))
    others, elapsed = (after - then for after, then in zip(_others_seconds(), before, strict=True))
    return DevicePeaks(
        **asked,
        bytes_per_second=bytes_per_second,
        flops_per_second=flops_per_second,
        other_load_percent=max(0.0, 100 * others / elapsed / (psutil.cpu_count() or 1)),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _others_seconds() -> tuple[float, float]:
    """Give the processor time that was spent outside this process so far, and the time now."""
    return proc.busy_seconds(psutil.cpu_times()) - time.process_time(), time.monotonic()


def _bytes_per_second(device: torch.device) -> float:
    source, target = copy_of(device)
    return moved(source) / _best(lambda: target.copy_(source), device)


def copy_of(device: torch.device) -> tuple[Tensor, Tensor]:
    """Make an array and room for its copy, each far larger than caches where memory allows it."""
    wanted = min(COPY_BYTES[device.type], _free_bytes(device) // MEMORY_SHARE)
    source = torch.ones(wanted // 4, dtype=torch.float32, device=device)
    return source, torch.zeros_like(source)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def moved(source: Tensor) -> int:
    """Give the bytes that copying an array moves: each is read and written."""
    return 2 * source.numel() * source.element_size()


def _flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply ever larger matrices, as long as the next size fits the budget."""
    best = 0.0
    for size in SIZES:
        one = torch.randn(size, size, device=device).to(dtype)
        made = torch.empty_like(one)
        seconds = _best(_product(one, made), device)
        best = max(best, 2 * size**3 / seconds)
        if 8 * seconds * (REPETITIONS + 1) > BUDGET_SECONDS:
            break
    return best


def _product(one: Tensor, made: Tensor) -> Callable[[], object]:
    return lambda: torch.mm(one, one, out=made)


def _best(step: Callable[[], object], device: torch.device) -> float:
    """Give the seconds of the fastest call, of ten at the least and a tenth of a second of them."""
    step()  # the first one sets libraries and memory up
    times: list[float] = []
    until = time.perf_counter() + LEAST_SECONDS
    while len(times) < REPETITIONS or time.perf_counter() < until:
        times.append(seconds_of(step, device))
    return min(times)


def seconds_of(step: Callable[[], object], device: torch.device) -> float:
    """Time one call: on a GPU by its own events, on the CPU by the clock."""
    if device.type != "cuda":
        began = time.perf_counter()
        step()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.device(device):
        begin.record()
        step()
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


if __name__ == "__main__":
    main()
