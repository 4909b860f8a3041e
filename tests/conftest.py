"""Settings and fixtures of all tests."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import in_process
import object_storage
import pynvml
import pytest
from hypothesis import settings
from standin import SONAME, Library, MakeStandin, Standin, StandinGpu, compiler

from llmbench.backends import frozen_gc
from llmbench.campaign.process import Installation, Relay
from llmbench.report import RENDERERS
from llmbench.runs.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TESTS = Path(__file__).parent
collect_ignore = ["corpus"]  # scenario files, which the plugin would collect as tests
GROUPS = {
    "onnx": ("backends/onnx/", "backends/torch/test_quantized"),
    "torch": (
        "backends/replicas/test_greedy",
        "backends/test_memory",
        "backends/torch/",
        "campaign/profile/",
        "cli/test_distill",
        "cli/test_profile",
        "engine/",
        "models/",
        "quality/",
        "test_examples",
        "test_models_page",
    ),
    "object-storage": (
        "cli/test_object_storage",
        "runs/test_lease",
        "runs/test_object_store",
        "runs/test_remote",
    ),
    "browser": ("report/sections/test_soak", "report/serve/test_browser", "report/test_browser"),
    "ray": ("fleet/",),
}

CONTAMINATIONS = Run.__dict__["contaminations"]

# A deadline asserts a timing, which fails on a busy machine.
settings.register_profile("llmbench", deadline=None)
settings.load_profile("llmbench")

# A shell that runs tests in the background ignores Ctrl-C, also for the commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Waiting OpenMP threads spin, which makes torch ten times slower where tests share a machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Measuring device peaks takes seconds; the tests of it turn it on.
os.environ.setdefault("LLMBENCH_ROOF", "off")


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from all tests but those marked ``gpu``: the others run on CPUs everywhere."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    gc.disable()  # until the tests are collected, which creates many objects and no garbage


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Freeze all objects: a collection before each load would look through a million of them."""
    with frozen_gc():
        gc.enable()
        return (yield)


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Send tests with torch, with ONNX and with the browser to one xdist worker each."""
    for item in items:
        path = item.path.relative_to(TESTS).as_posix()
        for group, prefixes in GROUPS.items():
            if path.startswith(prefixes):
                item.add_marker(pytest.mark.xdist_group(group))
                break


@pytest.fixture(scope="session", autouse=True)
def _workers_in_this_process() -> Iterator[None]:
    """Do the jobs of worker processes in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Installation, "launch", in_process.launch)
        patch.setattr(Relay, "start", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _without_waiting_for_disks() -> Iterator[None]:
    """Store runs without writing them through to the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _workers_in_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start worker processes for tests that are marked ``processes``."""
    if request.node.get_closest_marker("processes"):
        monkeypatch.setattr(Installation, "launch", in_process.in_processes)


@pytest.fixture(autouse=True)
def _first_attempts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure runs once, however much the other tests disturb them."""
    monkeypatch.setattr(Run, "contaminations", ())


@pytest.fixture
def contaminations(_first_attempts_are_kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure contaminated runs again, as everywhere else."""
    monkeypatch.setattr(Run, "contaminations", CONTAMINATIONS)


@pytest.fixture
def plain_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write reports of run sets without charts and tables, for tests that do not read them."""
    monkeypatch.setitem(RENDERERS, ("RunSet", "html"), "in_process:plain_page")


@pytest.fixture(params=["llama", "gpt2", "gemma3"])
def family(request: pytest.FixtureRequest) -> str:
    """The name of each model family in turn."""
    return str(request.param)


@pytest.fixture
def model(family: str) -> PreTrainedModel:
    """A model of each family in turn."""
    import families  # noqa: PLC0415 (transformers takes seconds to import)

    return families.build(family)


@pytest.fixture
def shared_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that all tests and workers of a session share: a graph is exported only once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-cache"
    monkeypatch.setenv("LLMBENCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object_storage.ObjectStorage]:
    """An S3 server in a process of its own, started when it is first asked for."""
    log = tmp_path_factory.mktemp("object-storage") / "server.log"
    with object_storage.started(log) as started:
        yield started


@pytest.fixture
def bucket(
    storage: object_storage.ObjectStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> object_storage.Bucket:
    """An empty bucket, which this process can use, and an empty cache folder."""
    for name, value in storage.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path / "cache"))
    return storage.bucket()


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The stand-in for NVIDIA's driver library, compiled when it is first asked for."""
    cc = compiler()
    if cc is None:
        pytest.skip("no C compiler builds the stand-in for NVIDIA's driver library")
    return Library(cc, tmp_path_factory.mktemp("standin"))


@pytest.fixture
def standin(
    standin_library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeStandin:
    """Make a stand-in for NVIDIA's driver; the real binding of this process talks to it."""

    def make(
        devices: Sequence[StandinGpu] = (StandinGpu(),), missing: Sequence[str] = (), **others: Any
    ) -> Standin:
        made = Standin(standin_library.without(missing), tmp_path / "nvml.txt", devices, **others)
        monkeypatch.setenv("STANDIN_NVML", str(made.config))
        monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(made.folder / SONAME)))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return made

    return make
