"""A server process: start it, wait until it is ready, and stop it with its children."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO, Annotated, Any, Literal
from urllib.parse import urlsplit

import psutil
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from llmbench import plugins
from llmbench.backends.endpoint.addresses import resolve
from llmbench.backends.endpoint.compile_caches import VARIABLES, compile_caches
from llmbench.backends.endpoint.fetch import fetch
from llmbench.backends.endpoint.limits import LOG_BYTES
from llmbench.environment.child_process import Guarded, guarded
from llmbench.environment.software import user_variables
from llmbench.errors import InputError, MeasurementError
from llmbench.runs.redaction import redact
from llmbench.scenario.secrets import command_without_secrets, expanded, without_secrets
from llmbench.scenario.server_settings import as_command_line
from llmbench.units import Seconds

POLL_SECONDS = 0.05
HEALTH_SECONDS = 2.0
STOP_SECONDS = 20.0
LOG_LINES, LOG_TAIL_LENGTH = 15, 1500


@dataclass(frozen=True, slots=True)
class Preset:
    """A known server: its command, health check path, and deviations from OpenAI's API."""

    launch: str
    health: str
    environment: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    needs_done: bool = True
    replicas: str = ""  # the flag with their number


PRESETS = {
    "vllm": Preset("vllm serve {model} --port {port} --enable-prompt-tokens-details", "/health",
                   replicas="--data-parallel-size"),
    "sglang": Preset("{python} -P -m sglang.launch_server --model-path {model} --port {port}"
                     " --enable-cache-report", "/health", replicas="--data-parallel-size"),
    "llama.cpp": Preset("llama-server -m {model} --port {port}", "/health"),
    "llama-cpp-python": Preset("{python} -P -m llama_cpp.server --model {model} --port {port}",
                               "/v1/models"),
    "transformers": Preset("transformers serve {model} --port {port}", "/health",
                           body={"ignore_eos": None}, needs_done=False),
    "tgi": Preset("text-generation-launcher --model-id {model} --port {port}", "/health"),
    "ollama": Preset("ollama serve", "/api/version", {"OLLAMA_HOST": "127.0.0.1:{port}"}),
}  # fmt: skip
UNKNOWN = Preset("", "")


Command = Annotated[str, Field(min_length=1), AfterValidator(command_without_secrets)]
Arguments = Annotated[
    str,
    BeforeValidator(as_command_line),
    AfterValidator(command_without_secrets),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]}),
]


class ServerOptions(plugins.Options):
    """``{preset: vllm, arguments: --max-model-len 4096}`` or ``{launch: "./serve --port {port}"}``.

    ``{model}`` is the scenario's model, ``{port}`` a free port, ``{python}`` this Python, and
    ``${NAME}`` an environment variable.
    """

    preset: Literal[
        "vllm", "sglang", "llama.cpp", "llama-cpp-python", "transformers", "tgi", "ollama"
    ] | None = Field(default=None, description="known server to start")  # fmt: skip
    launch: Command | None = Field(
        default=None,
        description="command that starts the server, without a shell; ${NAME} is an environment"
        " variable",
    )
    arguments: Arguments = Field(
        default="",
        description="arguments that are appended to the command, as text or as a mapping such as"
        " {max-num-seqs: 64}; true is a flag without a value, false and null leave one out",
    )
    replicas: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="copies of the model in the server, by the flag of the preset (vllm, sglang)",
    )
    health: str | None = Field(
        default=None, pattern="^/", description="URL path that returns HTTP 200 when ready"
    )
    environment: Annotated[dict[str, str], AfterValidator(without_secrets)] = Field(
        default_factory=dict, description="additional environment variables of the server"
    )
    compile_caches: Literal["keep", "empty"] = Field(
        default="keep",
        description="caches of compiled kernels: the server's own ones, which it keeps between"
        " runs, or an empty folder for every run",
    )
    ready_timeout: Seconds = Field(default=600.0, gt=0, description="maximum startup time")

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> ServerOptions:
        if (self.preset is None) == (self.launch is None):
            raise ValueError(f"expected either `launch` or `preset` ({', '.join(PRESETS)})")
        return self

    @model_validator(mode="after")
    def _has_a_flag_for_replicas(self) -> ServerOptions:
        if self.replicas and not PRESETS.get(self.preset or "", UNKNOWN).replicas:
            known = ", ".join(name for name, preset in PRESETS.items() if preset.replicas)
            raise ValueError(
                f"`replicas` needs a preset with a flag for it ({known}); put the flag of this "
                "server into `arguments`"
            )
        return self

    @model_validator(mode="after")
    def _sets_a_cache_once(self) -> ServerOptions:
        if self.compile_caches == "empty" and (names := VARIABLES.keys() & self.environment):
            raise ValueError(
                f"`compile_caches: empty` sets {', '.join(sorted(names))}; remove it from "
                "`environment`, or keep the caches"
            )
        return self

    @property
    def resolved(self) -> Preset:
        """The command and settings of the server: those of the preset, with the options applied."""
        preset = PRESETS[self.preset] if self.preset else Preset(self.launch or "", "/health")
        replicas = f" {preset.replicas} {self.replicas}" if self.replicas else ""
        return Preset(
            f"{preset.launch}{replicas} {self.arguments}",
            self.health or preset.health,
            {**preset.environment, **self.environment},
            preset.body,
            preset.needs_done,
        )


@dataclass(slots=True)
class RunningServer:
    """A ready server: its URL, process id and startup time in seconds."""

    url: str
    pid: int
    ready_seconds: float


@contextmanager
def running_server(
    options: ServerOptions, model: str, log: Path | None, on_stage: Callable[[str], None]
) -> Iterator[RunningServer]:
    """Run a server within the context; its output goes to ``log`` with secrets redacted.

    Raises InputError when the command does not exist, MeasurementError with the end of the log when
    the server does not become ready.
    """
    port, preset = _free_port(), options.resolved
    values = {"model": model, "port": str(port), "python": sys.executable}
    words = expanded(shlex.split(preset.launch), "server.launch")
    command = [_filled(word, values) for word in words]
    variables = expanded(preset.environment, "server.environment")
    environment = {name: _filled(text, values) for name, text in variables.items()}
    url = f"http://127.0.0.1:{port}"
    health = f"{url}{preset.health}"
    with (
        compile_caches(options.compile_caches) as folders,
        tempfile.TemporaryFile() as output,
        _started(command, {**environment, **folders}, output) as server,
    ):
        try:
            ready = _wait(server.process, health, options.ready_timeout, output, on_stage)
            yield RunningServer(url, server.pid, ready)
        finally:
            on_stage("stopping the server")
            _stop(server)
            _save_log(output, log)


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _started(
    command: list[str], environment: dict[str, str], output: IO[bytes]
) -> AbstractContextManager[Guarded]:
    # find servers in llmbench's environment even if it is not activated
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    path = shutil.which(command[0], path=search_path)
    if path is None:
        raise InputError(
            f"endpoint: server: the command {command[0]!r} was not found; install it, "
            "or set its path in `launch`"
        )
    return guarded(
        [path, *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**user_variables(), **environment},
    )


def _wait(
    process: subprocess.Popen[bytes],
    url: str,
    timeout: float,
    output: IO[bytes],
    on_stage: Callable[[str], None],
) -> float:
    """Wait until the server is ready; return the time waited in seconds."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < timeout:
        on_stage(f"starting the server: {waited:.0f} s")
        if _is_ready(url):
            return time.monotonic() - began
        if process.poll() is not None:
            raise MeasurementError(
                f"endpoint: the server exited with code {process.returncode} before it was ready; "
                f"correct the error in its log, which ends with:\n{_tail(output)}"
            )
        time.sleep(POLL_SECONDS)
    raise MeasurementError(
        f"endpoint: {url}: the server was not ready within {timeout:g} s; raise `ready_timeout`, "
        f"or correct the error in its log, which ends with:\n{_tail(output)}"
    )


def _is_ready(url: str) -> bool:
    reply = fetch(url, resolve(urlsplit(url)), headers={}, tls=None, seconds=HEALTH_SECONDS)
    return reply.status is not None and reply.status < HTTPStatus.BAD_REQUEST


def _stop(server: Guarded) -> None:
    """Terminate the server and its descendants; kill those still running after STOP_SECONDS."""
    family = _family(server.pid)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    psutil.wait_procs(family, timeout=STOP_SECONDS)
    server.end()


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _read(output: IO[bytes]) -> str:
    """Return the end of the output, from the beginning of a line, with secrets redacted."""
    left_out = output.seek(0, os.SEEK_END) - LOG_BYTES
    output.seek(max(0, left_out))
    text = output.read().decode(errors="replace")
    if left_out > 0:
        _, _, lines = text.partition("\n")
        text = f"(the first {left_out:,} bytes are left out)\n{lines}"
    return redact(text)


def _tail(output: IO[bytes]) -> str:
    return "\n".join(_read(output).splitlines()[-LOG_LINES:])[-LOG_TAIL_LENGTH:] or "(empty)"


def _save_log(output: IO[bytes], log: Path | None) -> None:
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(_read(output), "utf-8")
