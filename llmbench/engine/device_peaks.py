"""Measured peaks of a device: memory bandwidth of a copy, and FLOP/s of a matrix product.

The copy is that of STREAM (McCalpin, 1995): the arrays are much larger than any cache, and bytes
read and written both count. The product is of two n × n matrices, 2 n³ FLOPs. The fastest
repetition counts.
The measurement runs in a separate process, so that it does not affect the memory and libraries of a
run. Its result is cached by hardware, precision, threads and torch version.
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
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.collectors import proc
from llmbench.environment import child_process, hardware
from llmbench.errors import InputError, Unavailable
from llmbench.runs.files import cache_folder, write_text

COPY_BYTES = {"cpu": 2**29, "cuda": 2**30}
MEMORY_SHARE = 8  # the two arrays take at most a quarter of the free memory
SIZES = (256, 512, 1024, 2048, 4096, 8192)
REPETITIONS, LEAST_SECONDS = 10, 0.1
BUDGET_SECONDS = 1.0
LIMIT_SECONDS = 120.0
SWITCH = "LLMBENCH_ROOF"


def peaks_of(device: torch.device, dtype: str, threads: int) -> DevicePeaks:
    """Return a device's peak bandwidth and peak FLOP/s for a dtype, cached or measured now.

    Peaks measured on a busy CPU are not cached. Raise Unavailable if the measurement fails or
    LLMBENCH_ROOF is ``off``.
    """
    if os.environ.get(SWITCH) == "off":
        raise Unavailable(f"{SWITCH} is off")
    key = cache_key(device, dtype, threads)
    path = _cache_path(key)
    with suppress(OSError, ValueError, TypeError):  # the file is missing or damaged
        return DevicePeaks(**json.loads(path.read_text("utf-8")))
    peaks = _measured_in_child(key)
    if not peaks.is_doubtful:
        with suppress(InputError):  # without a cache the next run takes a few seconds longer
            write_text(path, json.dumps(asdict(peaks), indent=1))
    return peaks


def cache_key(device: torch.device, dtype: str, threads: int) -> dict[str, Any]:
    """Return the key under which peaks are cached; it includes the thread count only on a CPU."""
    on_cpu, cpu_model = device.type == "cpu", hardware.cpu_readers(Path("/"))["model"]
    return {
        "hardware": cpu_model() if on_cpu else torch.cuda.get_device_name(device),
        "device": str(device),
        "precision": _precision(device, dtype),
        "threads": threads if on_cpu else None,
        "torch": str(torch.__version__),
    }


def _precision(device: torch.device, dtype: str) -> str:
    with_tf32 = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    return "tf32" if dtype == "float32" and with_tf32 else dtype


def _cache_path(key: dict[str, Any]) -> Path:
    text = json.dumps({**key, "host": platform.node()}, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return cache_folder("roof") / f"{key['device'].partition(':')[0]}-{digest}.json"


def _measured_in_child(key: dict[str, Any]) -> DevicePeaks:
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr,
        child_process.start("llmbench.engine.device_peaks", key, stderr=stderr) as child,
    ):
        if not child.poll(LIMIT_SECONDS):
            raise Unavailable(f"measuring the device's peaks took over {LIMIT_SECONDS:g} s")
        try:
            return child.receive(DevicePeaks)
        except EOFError:
            child.wait()
            stderr.seek(0)
            last = (stderr.read().strip() or "no output").splitlines()[-1]
            raise Unavailable(f"the device's peaks could not be measured: {last}") from None


def main() -> None:
    """Receive a cache key from the parent process, measure that device's peaks and send them."""
    parent = child_process.parent()
    key = parent.receive(dict[str, Any])
    if key["threads"]:
        torch.set_num_threads(key["threads"])
    if key["precision"] == "tf32":
        torch.set_float32_matmul_precision("high")
    parent.send(measured(key))


@torch.inference_mode()
def measured(key: dict[str, Any]) -> DevicePeaks:
    """Measure the peaks of the device in ``key``, in this process; takes a second or two."""
    device = torch.device(key["device"])
    name = "float32" if key["precision"] == "tf32" else key["precision"]
    before = _others_seconds()
    bytes_per_second = _bytes_per_second(device)
    flops_per_second = _flops_per_second(device, getattr(torch, name))
    others, elapsed = (after - then for after, then in zip(_others_seconds(), before, strict=True))
    return DevicePeaks(
        **key,
        bytes_per_second=bytes_per_second,
        flops_per_second=flops_per_second,
        other_load_percent=max(0.0, 100 * others / elapsed / (psutil.cpu_count() or 1)),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _others_seconds() -> tuple[float, float]:
    """Return all other processes' CPU time so far and the current time, both in seconds."""
    return proc.busy_seconds(psutil.cpu_times()) - time.process_time(), time.monotonic()


def _bytes_per_second(device: torch.device) -> float:
    source, target = copy_of(device)
    return copied_bytes(source) / _best(lambda: target.copy_(source), device)


def copy_of(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the source and target tensors of a copy, much larger than caches if memory allows."""
    wanted = min(COPY_BYTES[device.type], _free_bytes(device) // MEMORY_SHARE)
    source = torch.ones(wanted // 4, dtype=torch.float32, device=device)
    return source, torch.zeros_like(source)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def copied_bytes(source: Tensor) -> int:
    """Return the bytes that copying ``source`` moves: each byte is read and written."""
    return 2 * source.numel() * source.element_size()


def _flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Return the maximum FLOP/s of matrix products of growing size, within the time budget."""
    best = 0.0
    for size in SIZES:
        matrix = torch.randn(size, size, device=device).to(dtype)
        product = torch.empty_like(matrix)
        seconds = _best(partial(torch.mm, matrix, matrix, out=product), device)
        best = max(best, 2 * size**3 / seconds)
        if 8 * seconds * (REPETITIONS + 1) > BUDGET_SECONDS:
            break
    return best


def _best(step: Callable[[], object], device: torch.device) -> float:
    """Return the minimum seconds per call, out of at least 10 calls over at least 0.1 s."""
    step()  # the first call sets up libraries and memory
    times: list[float] = []
    until = time.perf_counter() + LEAST_SECONDS
    while len(times) < REPETITIONS or time.perf_counter() < until:
        times.append(seconds_of(step, device))
    return min(times)


def seconds_of(step: Callable[[], object], device: torch.device) -> float:
    """Return the duration of a call in seconds, from CUDA events or, on a CPU, the host clock."""
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
