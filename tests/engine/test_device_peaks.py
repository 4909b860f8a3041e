"""Device peaks are measured once per machine, in a process of their own, and cached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import Mock

import pytest
import torch

from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.engine import device_peaks
from llmbench.environment import child_process
from llmbench.errors import Unavailable

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn measuring on, with a cache of the test's own."""
    monkeypatch.delenv("LLMBENCH_ROOF")
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))


def made(key: dict[str, Any], rate: float = 1e9, other: float = 0.0) -> DevicePeaks:
    return DevicePeaks(
        **key,
        bytes_per_second=rate,
        flops_per_second=1e10,
        other_load_percent=other,
        measured_at="2026-01-01T00:00:00+00:00",
    )


def test_the_peaks_of_this_machine_are_measured_and_cached(tmp_path: Path) -> None:
    peaks = device_peaks.peaks_of(CPU, "float32", threads=1)
    assert peaks.bytes_per_second > 1e8
    assert peaks.flops_per_second > 1e8
    assert (peaks.device, peaks.precision, peaks.threads) == ("cpu", "float32", 1)
    assert peaks.torch == torch.__version__
    kept = list((tmp_path / "roof").glob("cpu-*.json"))
    assert len(kept) == (not peaks.is_doubtful)


def test_cached_peaks_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_peaks, "_measured_in_child", made)
    first = device_peaks.peaks_of(CPU, "float32", threads=2)
    monkeypatch.setattr(device_peaks, "_measured_in_child", lambda key: made(key, rate=5.0))
    assert device_peaks.peaks_of(CPU, "float32", threads=2) == first
    assert device_peaks.peaks_of(CPU, "float32", threads=1).bytes_per_second == 5.0
    assert device_peaks.peaks_of(CPU, "bfloat16", threads=2).bytes_per_second == 5.0


def test_peaks_measured_on_a_busy_processor_are_used_and_not_cached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device_peaks, "_measured_in_child", lambda key: made(key, other=50.0))
    assert device_peaks.peaks_of(CPU, "float32", threads=2).other_load_percent == 50.0
    assert not (tmp_path / "roof").exists()


def test_a_damaged_cache_file_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device_peaks, "_measured_in_child", made)
    device_peaks.peaks_of(CPU, "float32", threads=2)
    (kept,) = (tmp_path / "roof").iterdir()
    kept.write_text("{}")
    assert device_peaks.peaks_of(CPU, "float32", threads=2).bytes_per_second == 1e9
    assert json.loads(kept.read_text())["bytes_per_second"] == 1e9


def test_peaks_are_used_where_the_cache_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "roof").touch()
    monkeypatch.setattr(device_peaks, "_measured_in_child", made)
    assert device_peaks.peaks_of(CPU, "float32", threads=2).bytes_per_second == 1e9


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_ROOF", "off")
    with pytest.raises(Unavailable, match="LLMBENCH_ROOF is off"):
        device_peaks.peaks_of(CPU, "float32", threads=2)


def test_a_process_that_fails_is_reported_with_its_last_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def dying(_module: str, _key: dict[str, Any], stderr: TextIO) -> Iterator[Mock]:
        stderr.write("Traceback ...\nAttributeError: no_such_dtype\n")
        yield Mock(poll=Mock(return_value=True), receive=Mock(side_effect=EOFError))

    monkeypatch.setattr(child_process, "start", dying)
    with pytest.raises(Unavailable, match=r"could not be measured: AttributeError: no_such_dtype$"):
        device_peaks.peaks_of(CPU, "no_such_dtype", threads=2)


@pytest.mark.slow
def test_a_real_process_that_fails_is_reported() -> None:
    with pytest.raises(Unavailable, match=r"could not be measured: .*no_such_dtype"):
        device_peaks.peaks_of(CPU, "no_such_dtype", threads=2)


def test_copied_bytes_are_read_and_written() -> None:
    assert device_peaks.copied_bytes(torch.zeros(10)) == 2 * 10 * 4


def test_products_grow_until_the_next_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def best(product: partial[object], _: torch.device) -> float:
        sizes.append(len(product.args[0]))
        return 0.001 * 8.0 ** len(sizes)

    monkeypatch.setattr(device_peaks, "_best", best)
    flops = device_peaks._flops_per_second(CPU, torch.float32)
    assert sizes == [256, 512]  # 8 and 64 ms; eleven more of 512 ms would take over a second
    assert flops == pytest.approx(2 * 256**3 / 0.008)


def test_the_cache_file_depends_on_the_whole_key() -> None:
    key = device_peaks.cache_key(CPU, "float32", threads=2)
    others = [{**key, name: "other"} for name in key if name != "device"]
    assert len({device_peaks._cache_path(other) for other in [key, *others]}) == len(others) + 1
