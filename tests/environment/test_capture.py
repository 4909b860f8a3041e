"""What machine and software a run was measured on, and what may be compared."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from llmbench import environment
from llmbench.environment import software


def test_it_can_be_stored_as_json(captured: dict[str, Any]) -> None:
    assert json.loads(json.dumps(captured)) == captured


def test_the_machine_is_described(captured: dict[str, Any]) -> None:
    values = environment.flat(captured)
    assert values["system.python"] == platform.python_version()
    assert values["cpu.logical_cores"] > 0
    assert values["memory.total_bytes"] > 0
    assert values["packages.torch"]


def test_every_none_but_a_variable_that_is_not_set_has_its_reason(captured: dict[str, Any]) -> None:
    nones = {name for name, value in environment.flat(captured).items() if value is None}
    unset = {name for name in nones if name.startswith("variables.")}
    assert nones - unset == captured["reasons"].keys()


def test_it_imports_none_of_the_packages(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from llmbench import environment\n"
        f"environment.capture(Path({str(tmp_path)!r}))\n"
        "print([name for name in ('torch', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_secrets_in_the_environment_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary12345")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    values = environment.capture(tmp_path)
    assert "canary" not in json.dumps(values)
    assert values["variables"]["OMP_NUM_THREADS"] == "2"


def test_no_variable_whose_name_suggests_a_secret_is_kept() -> None:
    secret = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "KEY")
    kept = [name.removeprefix("TOKENIZERS") for name in software.VARIABLES]
    assert not [name for name in kept if any(word in name for word in secret)]


def test_a_machine_without_proc_and_sys_has_reasons(tmp_path: Path) -> None:
    values = environment.capture(tmp_path, root=tmp_path / "nowhere")
    assert values["cpu"]["model"] is None
    assert "cpuinfo cannot be read: No such file or directory" in values["reasons"]["cpu.model"]


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)],
)
def test_cores_beyond_the_quota_are_not_usable(
    tmp_path: Path,
    put: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    quota: str,
    cores: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    put("proc/self/cgroup", "0::/\n")
    put("sys/fs/cgroup/cgroup.controllers", "cpu memory")
    put("sys/fs/cgroup/cpu.max", quota)
    assert environment.usable_cores(tmp_path) == cores


def test_without_control_groups_all_cores_are_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5})
    assert environment.usable_cores(tmp_path) == 3


def test_flat_names_include_list_indices_and_no_reasons() -> None:
    nested = {"gpus": [{"name": "H100"}], "cpu": {"smt": None}, "reasons": {"cpu.smt": "why"}}
    assert environment.flat(nested) == {"gpus.0.name": "H100", "cpu.smt": None}


GPU = {"name": "H100", "uuid": "GPU-1", "driver": "570", "power_limit_watts": 700.0}


def changed(values: dict[str, Any], part: str, name: str, value: Any) -> dict[str, Any]:
    other = deepcopy(values)
    other[part][name] = value
    return other


def test_a_fingerprint_is_short_and_always_the_same(captured: dict[str, Any]) -> None:
    assert len(environment.fingerprint(captured)) == 12
    assert environment.fingerprint(captured) == environment.fingerprint(deepcopy(captured))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("system", "load_average", 99.0),
        ("system", "kernel", "1.0"),
        ("packages", "torch", "0.1"),
        ("git", "commit", "abc"),
        ("variables", "OMP_NUM_THREADS", "3"),
    ],
)
def test_software_and_what_changes_by_the_minute_do_not_change_the_fingerprint(
    captured: dict[str, Any], part: str, name: str, value: Any
) -> None:
    other = changed(captured, part, name, value)
    assert environment.fingerprint(other) == environment.fingerprint(captured)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("cpu", "model", "Another"),
        ("cpu", "governor", "powersave"),
        ("cpu", "usable_cores", 1),
        ("container", "cpu_limit_cores", 0.5),
        ("memory", "total_bytes", 2**40),
    ],
)
def test_other_hardware_and_limits_have_another_fingerprint(
    captured: dict[str, Any], part: str, name: str, value: Any
) -> None:
    other = changed(captured, part, name, value)
    assert environment.fingerprint(other) != environment.fingerprint(captured)


def test_a_card_of_the_same_kind_is_comparable_and_one_with_less_power_is_not(
    captured: dict[str, Any],
) -> None:
    def with_gpu(**other: Any) -> str:
        return environment.fingerprint({**captured, "gpus": [{**GPU, **other}]})

    assert with_gpu() == with_gpu(uuid="GPU-2", driver="575")
    assert with_gpu() != with_gpu(power_limit_watts=500.0)
    assert with_gpu() != environment.fingerprint({**captured, "gpus": None})


def test_a_few_pages_more_or_less_of_memory_are_the_same_machine(captured: dict[str, Any]) -> None:
    small = changed(captured, "memory", "total_bytes", 32 * 2**30 - 4096)
    large = changed(captured, "memory", "total_bytes", 32 * 2**30 + 4096)
    assert environment.fingerprint(small) == environment.fingerprint(large)
