"""Start a server, wait until it is ready, and stop it with everything that it started."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import psutil
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.errors import InputError, MeasurementError
from llmbench.runs.redaction import redact
from llmbench.units import Seconds

POLL_SECONDS = 0.25
STOP_SECONDS = 20.0
TOLD_LINES = 15


@dataclass(frozen=True, slots=True)
class Preset:
    """How a server is started, where it says that it is ready, and what it is asked and answers."""

    launch: str
    health: str
    environment: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    needs_done: bool = True


PRESETS = {
    "vllm": Preset("vllm serve {model} --port {port}", "/health"),
    "sglang": Preset(
        "{python} -m sglang.launch_server --model-path {model} --port {port}", "/health"
    ),
    "llama.cpp": Preset("llama-server -m {model} --port {port}", "/health"),
    "llama-cpp-python": Preset(
        "{python} -m llama_cpp.server --model {model} --port {port}", "/v1/models"
    ),
    "transformers": Preset(
        "transformers serve {model} --port {port}",
        "/health",
        body={"ignore_eos": None},
        needs_done=False,
    ),
    "tgi": Preset("text-generation-launcher --model-id {model} --port {port}", "/health"),
    "ollama": Preset("ollama serve", "/api/version", {"OLLAMA_HOST": "127.0.0.1:{port}"}),
}  # fmt: skip


class ServerOptions(plugins.Options):
    """``{preset: vllm, arguments: --max-model-len 4096}`` or ``{launch: "./serve --port {port}"}``.

    ``{model}`` is the scenario's model, ``{port}`` a free port, ``{python}`` this Python.
    """

    preset: Literal[
        "vllm", "sglang", "llama.cpp", "llama-cpp-python", "transformers", "tgi", "ollama"
    ] | None = Field(default=None, description="a server whose command is known")  # fmt: skip
    launch: str | None = Field(default=None, min_length=1, description="the command; no shell")
    arguments: str = Field(default="", description="more arguments, after the command's own")
    health: str | None = Field(
        default=None, pattern="^/", description="a path that gives 200 when it is ready"
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="more variables of its environment"
    )
    ready_timeout: Seconds = Field(default=600.0, gt=0, description="until it has to be ready")

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> ServerOptions:
        if (self.preset is None) == (self.launch is None):
            raise ValueError(f"expected `launch`, or a `preset` ({', '.join(PRESETS)})")
        return self

    @property
    def whole(self) -> Preset:
        """The preset, or what stands in its place."""
        preset = PRESETS[self.preset] if self.preset else Preset(self.launch or "", "/health")
        return Preset(
            f"{preset.launch} {self.arguments}",
            self.health or preset.health,
            {**preset.environment, **self.environment},
            preset.body,
            preset.needs_done,
        )


@dataclass(slots=True)
class Launched:
    """A server that is ready: its address, its process and how long it took."""

    url: str
    pid: int
    ready_seconds: float


@contextmanager
def launched(
    options: ServerOptions, model: str, log: Path | None, on_stage: Callable[[str], None]
) -> Iterator[Launched]:
    """Run a server while the context lasts; its log is kept in ``log``, secrets redacted.

    Raises InputError when the command is not there, MeasurementError when the server does not
    become ready, with the end of its log.
    """
    port, whole = _free_port(), options.whole
    places = {"model": model, "port": str(port), "python": sys.executable}
    command = [_filled(word, places) for word in shlex.split(whole.launch)]
    environment = {name: _filled(text, places) for name, text in whole.environment.items()}
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as written:
        process = _start(command, environment, written)
        try:
            ready = _wait(process, f"{url}{whole.health}", options.ready_timeout, written, on_stage)
            yield Launched(url, process.pid, ready)
        finally:
            on_stage("stopping the server")
            _stop(process)
            _keep(written, log)


def _filled(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(
    command: list[str], environment: dict[str, str], written: IO[bytes]
) -> subprocess.Popen[bytes]:
    # a server installed beside llmbench is found even where its environment is not activated
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    path = shutil.which(command[0], path=beside)
    if path is None:
        raise InputError(
            f"endpoint: server: there is no command {command[0]!r}; install it, or give its path "
            "in `launch`"
        )
    return subprocess.Popen(
        [path, *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=written,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )


def _wait(
    process: subprocess.Popen[bytes],
    url: str,
    timeout: float,
    written: IO[bytes],
    on_stage: Callable[[str], None],
) -> float:
    """Wait until the server is ready; give the seconds that it took."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < timeout:
        on_stage(f"starting the server: {waited:.0f} s")
        if _is_ready(url):
            return time.monotonic() - began
        if process.poll() is not None:
            raise MeasurementError(
                f"endpoint: the server ended with exit code {process.returncode} before it was "
                f"ready; the end of its log:\n{_tail(written)}"
            )
        time.sleep(POLL_SECONDS)
    raise MeasurementError(
        f"endpoint: {url}: the server was not ready within {timeout:g} s; raise `ready_timeout`, "
        f"or look at the end of its log:\n{_tail(written)}"
    )


def _is_ready(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=POLL_SECONDS * 8):
            return True
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server and all its descendants to end, and make those that do not."""
    family = _family(process.pid)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for member in left:
        member.kill()
    process.wait()


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _read(written: IO[bytes]) -> str:
    written.seek(0)
    return redact(written.read().decode(errors="replace"))


def _tail(written: IO[bytes]) -> str:
    return "\n".join(_read(written).splitlines()[-TOLD_LINES:]) or "(it wrote nothing)"


def _keep(written: IO[bytes], log: Path | None) -> None:
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(_read(written), "utf-8")
