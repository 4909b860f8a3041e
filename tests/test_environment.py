"""What machine and software a run was measured on."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench import environment
from llmbench.environment import hardware, limits, nvml, software
from llmbench.environment.reading import Missing, Reader

CPUINFO = """\
processor\t: 0
model name\t: Simulated CPU @ 2.80GHz
physical id\t: {first}
flags\t\t: fpu sse2 {flags}

processor\t: 1
model name\t: Simulated CPU @ 2.80GHz
physical id\t: {second}
flags\t\t: fpu sse2 {flags}
"""


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], None]:
    """Write a file of a machine whose root is ``tmp_path``."""

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return environment.capture(tmp_path_factory.mktemp("not-a-repository"))


def asked(questions: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    reader = Reader()
    return reader.read_all("it", questions), reader.reasons


# -- all of it -------------------------------------------------------------------------------------


def test_it_can_be_stored_as_json(captured: dict[str, Any]) -> None:
    assert json.loads(json.dumps(captured)) == captured


def test_the_machine_is_described(captured: dict[str, Any]) -> None:
    found = environment.flat(captured)
    assert found["system.python"] == platform.python_version()
    assert found["cpu.logical_cores"] > 0
    assert found["memory.total_bytes"] > 0
    assert found["packages.torch"]


def test_every_none_but_a_variable_that_is_not_set_has_its_reason(
    captured: dict[str, Any],
) -> None:
    nones = {name for name, value in environment.flat(captured).items() if value is None}
    unset = {name for name in nones if name.startswith("variables.")}
    assert nones - unset == captured["reasons"].keys()


def test_it_imports_nothing_that_it_asks_about(tmp_path: Path) -> None:
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
    found = environment.capture(tmp_path)
    assert "canary" not in json.dumps(found)
    assert found["variables"]["OMP_NUM_THREADS"] == "2"


def test_no_variable_whose_name_speaks_of_secrets_is_kept() -> None:
    secret = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "KEY")
    kept = [name.removeprefix("TOKENIZERS") for name in software.VARIABLES]
    assert not [name for name in kept if any(word in name for word in secret)]


def test_a_machine_that_shows_nothing_is_described_with_reasons(tmp_path: Path) -> None:
    found = environment.capture(tmp_path, root=tmp_path / "nowhere")
    assert found["cpu"]["model"] is None
    assert "cpuinfo cannot be read: No such file or directory" in found["reasons"]["cpu.model"]


def test_flat_names_lead_through_lists_and_leave_reasons_out() -> None:
    nested = {"gpus": [{"name": "H100"}], "cpu": {"smt": None}, "reasons": {"cpu.smt": "why"}}
    assert environment.flat(nested) == {"gpus.0.name": "H100", "cpu.smt": None}


# -- comparable ------------------------------------------------------------------------------------

GPU = {"name": "H100", "uuid": "GPU-1", "driver": "570", "power_limit_watts": 700.0}


def changed(found: dict[str, Any], part: str, name: str, value: Any) -> dict[str, Any]:
    other = deepcopy(found)
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
def test_software_and_what_changes_by_the_minute_leave_the_fingerprint_alone(
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


# -- hardware --------------------------------------------------------------------------------------


def test_the_processor_is_read_from_the_kernel(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("proc/cpuinfo", CPUINFO.format(first=0, second=1, flags="hypervisor"))
    put("sys/devices/system/node/online", "0-1\n")
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    put("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n")
    put("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n")
    put("sys/devices/system/cpu/smt/active", "1\n")
    found, reasons = asked(hardware.cpu_questions(tmp_path))
    assert reasons == {}
    assert found["model"] == "Simulated CPU @ 2.80GHz"
    assert (found["sockets"], found["numa_nodes"]) == (2, 2)
    assert found["governor"] == "performance, powersave"
    assert (found["turbo"], found["smt"]) == (False, True)
    assert hardware.is_virtual(tmp_path)


def test_turbo_has_another_switch_where_the_processor_is_not_intels(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("sys/devices/system/cpu/cpufreq/boost", "1\n")
    found, _ = asked(hardware.cpu_questions(tmp_path))
    assert found["turbo"] is True


def test_a_virtual_machine_that_hides_clocks_says_so(tmp_path: Path) -> None:
    found, reasons = asked(hardware.cpu_questions(tmp_path))
    assert (found["governor"], found["turbo"]) == (None, None)
    assert "a virtual machine hides it" in reasons["it.governor"]


def test_a_processor_of_another_architecture_has_reasons_instead(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n")
    found, reasons = asked(hardware.cpu_questions(tmp_path))
    assert (found["model"], found["sockets"]) == (None, None)
    assert reasons["it.model"] == "/proc/cpuinfo names no model"
    with pytest.raises(Missing, match="lists no flags"):
        hardware.is_virtual(tmp_path)


def test_the_choice_of_huge_pages_is_the_one_in_brackets(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    found, _ = asked(hardware.memory_questions(tmp_path))
    assert found["transparent_hugepages"] == "madvise"


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_kernel_list_is_counted_whatever_its_ranges(cpus: set[int]) -> None:
    singles = ",".join(str(cpu) for cpu in sorted(cpus))
    assert hardware.cpu_range(singles) == len(cpus)
    assert hardware.cpu_range(ranges(sorted(cpus))) == len(cpus)


def ranges(numbers: list[int]) -> str:
    """Write numbers as the kernel does: 0-3,8."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


@pytest.mark.parametrize(
    ("mark", "membership", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("other", "0::/kubepods.slice/pod1", "kubepods"),
        ("other", "0::/lxc/one", "lxc"),
    ],
)
def test_a_container_is_known_by_its_marks(
    tmp_path: Path, put: Callable[[str, str], None], mark: str, membership: str, kind: str
) -> None:
    put(mark, "")
    assert hardware.container_kind(tmp_path, membership) == kind


def test_a_machine_without_marks_is_no_container(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no sign of a container"):
        hardware.container_kind(tmp_path, "0::/user.slice")


# -- limits ----------------------------------------------------------------------------------------


def cpu_limit(root: Path, membership: str = "0::/\n") -> float:
    return limits.cpu_limit(limits.groups("cpu", root, membership))


def memory_limit(root: Path, membership: str = "0::/\n") -> int:
    return limits.memory_limit(limits.groups("memory", root, membership))


@pytest.mark.parametrize(("text", "cores"), [("200000 100000", 2.0), ("50000 100000", 0.5)])
def test_the_quota_of_a_container_is_read(
    tmp_path: Path, put: Callable[[str, str], None], text: str, cores: float
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("cpu.max", text)
    assert cpu_limit(tmp_path) == cores


def test_the_tightest_quota_of_all_groups_around_a_process_holds(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("slice/cpu.max", "150000 100000")
    put("slice/job/cpu.max", "400000 100000")
    put("slice/job/inner/cpu.max", "max 100000")
    assert cpu_limit(tmp_path, "0::/slice/job/inner\n") == 1.5


def test_a_group_that_lies_outside_the_container_is_that_of_its_root(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("cpu.max", "300000 100000")
    assert cpu_limit(tmp_path, "0::/docker/0123abcd\n") == 3.0
    assert cpu_limit(tmp_path, "0::/../../elsewhere\n") == 3.0


def test_the_quota_of_an_older_container_is_read(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("cpu/job/cpu.cfs_quota_us", "150000\n")
    put("cpu/job/cpu.cfs_period_us", "100000\n")
    assert cpu_limit(tmp_path, "4:cpu,cpuacct:/job\n0::/\n") == 1.5


@pytest.mark.parametrize(
    ("name", "text"), [("cpu.max", "max 100000"), ("cpu/cpu.cfs_quota_us", "-1")]
)
def test_no_quota_is_a_reason(
    tmp_path: Path, put: Callable[[str, str], None], name: str, text: str
) -> None:
    put(name, text)
    put("cpu/cpu.cfs_period_us", "100000")
    if name == "cpu.max":
        put("cgroup.controllers", "cpu")
    with pytest.raises(Missing, match="no limit is set"):
        cpu_limit(tmp_path)


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no limit is set"):
        cpu_limit(tmp_path)
    with pytest.raises(Missing, match="no limit is set"):
        memory_limit(tmp_path)


@pytest.mark.parametrize(("text", "size"), [("4294967296", 2**32), ("1024", 1024)])
def test_the_memory_limit_of_a_container_is_read(
    tmp_path: Path, put: Callable[[str, str], None], text: str, size: int
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("memory.max", text)
    assert memory_limit(tmp_path) == size


def test_an_older_kernels_huge_memory_limit_is_none(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("memory/memory.limit_in_bytes", "9223372036854771712\n")
    put("memory/job/memory.limit_in_bytes", "1048576\n")
    assert memory_limit(tmp_path, "4:memory:/job\n") == 2**20
    with pytest.raises(Missing, match="no limit is set"):
        memory_limit(tmp_path, "4:memory:/\n")


@given(
    st.dictionaries(
        st.sampled_from(["cpu", "cpuacct", "memory", "pids"]),
        st.from_regex(r"(/[a-z0-9:.-]{1,8}){1,3}", fullmatch=True),
    )
)
def test_memberships_are_read_whatever_the_groups_names(groups: dict[str, str]) -> None:
    text = "\n".join(f"{i}:{name}:{group}" for i, (name, group) in enumerate(groups.items()))
    assert limits.memberships(text) == groups


# -- software --------------------------------------------------------------------------------------


def test_a_library_that_is_not_installed_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(software, "version", version)
    found, reasons = asked(software.package_questions())
    assert found["ray"] is None
    assert reasons["it.ray"] == "not installed"


def test_torchs_threads_are_known_only_where_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 6))
    assert asked(software.thread_questions())[0] == {"torch": 6}
    monkeypatch.delitem(sys.modules, "torch")
    assert asked(software.thread_questions())[1] == {
        "it.torch": "torch is not loaded in this process"
    }


def test_outside_a_repository_there_is_no_commit(captured: dict[str, Any]) -> None:
    assert captured["git"] == {"commit": None, "branch": None, "dirty": None}
    assert "is not in a git repository" in captured["reasons"]["git.commit"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "-C", tmp_path, "init", "-q", "-b", "trunk"], check=True)
    return tmp_path


def commit(repository: Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    words = ["commit", "-q", "--allow-empty", "-m", "first"]
    subprocess.run(["git", "-C", repository, *who, *words], check=True)


def test_the_commit_of_the_folder_is_kept_and_whether_it_was_changed(repository: Path) -> None:
    commit(repository)
    found, reasons = asked(software.git_questions(repository))
    assert reasons == {}
    assert len(found["commit"]) == 40
    assert (found["branch"], found["dirty"]) == ("trunk", False)
    (repository / "new").write_text("")
    assert asked(software.git_questions(repository))[0]["dirty"] is True


def test_a_repository_without_a_commit_says_so(repository: Path) -> None:
    assert asked(software.git_questions(repository))[1] == {
        "it.commit": "the repository has no commit yet"
    }


def test_a_detached_head_is_on_no_branch(repository: Path) -> None:
    commit(repository)
    subprocess.run(["git", "-C", repository, "checkout", "-q", "--detach"], check=True)
    assert asked(software.git_questions(repository))[1] == {"it.branch": "no branch is checked out"}


def test_a_machine_without_git_says_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    assert set(asked(software.git_questions(repository))[1].values()) == {"git is not installed"}


# -- GPUs ------------------------------------------------------------------------------------------


class NvmlError(Exception):
    pass


class OneCard:
    """The part of NVML that describes cards, with known answers."""

    NVMLError = NvmlError

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "card",
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * 2**30),
            "nvmlSystemGetDriverVersion": "570.86",
            "nvmlSystemGetCudaDriverVersion_v2": 12080,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetPersistenceMode": 1,
            "nvmlDeviceGetMigMode": [0, 1],
        }
        return lambda *_: answers[name] if name in answers else self._refuse()

    def _refuse(self) -> None:
        raise NvmlError("Not Supported")


def test_a_card_is_described_and_what_it_does_not_tell_has_nvmls_words() -> None:
    reader = Reader()
    assert nvml.describe_gpus(OneCard(), reader) == [
        {
            "name": "NVIDIA H100 80GB HBM3",
            "uuid": "GPU-1",
            "memory_bytes": 80 * 2**30,
            "driver": "570.86",
            "cuda_driver": "12.8",
            "power_limit_watts": 700.0,
            "persistence": True,
            "ecc": None,
            "mig": False,
        }
    ]
    assert reader.reasons == {"gpus.0.ecc": "NVML: Not Supported"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("NVMLError_LibraryNotFound", "no NVIDIA driver: NVML Shared Library Not Found"),
        ("NVMLError_DriverNotLoaded", "the NVIDIA driver does not answer: Driver Not Loaded"),
    ],
)
def test_without_a_driver_there_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, error: str, reason: str
) -> None:
    import pynvml  # noqa: PLC0415 (only these two tests need it)

    def failing() -> None:
        raise getattr(pynvml, error)

    monkeypatch.setattr(pynvml, "nvmlInit", failing)
    with pytest.raises(Missing) as caught:
        nvml.open_nvml()
    assert str(caught.value) == reason
