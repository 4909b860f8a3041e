"""Server processes: started, waited for and stopped."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from llmbench.backends.endpoint.server_process import PRESETS, ServerOptions, running_server
from llmbench.errors import InputError, MeasurementError

SERVER = """
import http.server, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("serving", sys.argv[2], "with", os.environ["SETTING"], os.environ["MY_KEY"], flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_KEY", "canary-0123456789")
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return path


def options(script: Path, **more: object) -> ServerOptions:
    given = {
        "launch": f"{{python}} {script} {{port}} {{model}}",
        "health": "/ready",
        "environment": {"SETTING": "on {port}"},
        **more,
    }
    return ServerOptions.model_validate(given)


def test_a_server_runs_within_the_context_and_ends_with_its_children(
    script: Path, tmp_path: Path
) -> None:
    stages: list[str] = []
    with running_server(
        options(script), "my-model", tmp_path / "logs" / "a.log", stages.append
    ) as ready:
        server = psutil.Process(ready.pid)
        (child,) = server.children()
        assert ready.ready_seconds > 0
    assert not server.is_running()
    assert not child.is_running()
    assert stages[0] == "starting the server: 0 s"
    assert stages[-1] == "stopping the server"


def test_its_log_is_saved_without_secrets(script: Path, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    with running_server(options(script), "my-model", log, lambda _: None) as ready:
        port = ready.url.rsplit(":", 1)[1]
    assert log.read_text().startswith(f"serving my-model with on {port} ***")


def test_an_unknown_command_is_an_error_that_names_it() -> None:
    with (
        pytest.raises(InputError, match="the command 'no-such-server' was not found"),
        running_server(ServerOptions(launch="no-such-server"), "m", None, lambda _: None),
    ):
        pass


def test_a_server_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('out of memory')")
    with (
        pytest.raises(MeasurementError, match=r"exited with code 1 .*\nout of memory"),
        running_server(options(script), "m", None, lambda _: None),
    ):
        pass


def test_a_server_that_is_never_ready_is_stopped(script: Path) -> None:
    never_ready = options(script, health="/never", ready_timeout=0.5)
    before = set(psutil.Process().children(recursive=True))
    with (
        pytest.raises(MeasurementError, match=r"not ready within 0\.5 s"),
        running_server(never_ready, "m", None, lambda _: None),
    ):
        pass
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_port_and_a_health_check(preset: str) -> None:
    resolved = ServerOptions.model_validate({"preset": preset, "arguments": "--more 1"}).resolved
    assert "{port}" in resolved.launch + "".join(resolved.environment.values())
    assert resolved.launch.endswith(" --more 1")
    assert resolved.health.startswith("/")


@pytest.mark.parametrize("given", [{}, {"preset": "vllm", "launch": "vllm"}, {"preset": "vlm"}])
def test_a_server_is_a_preset_or_a_command(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ServerOptions.model_validate(given)


def test_python_in_a_command_is_this_python(script: Path) -> None:
    with running_server(options(script), "m", None, lambda _: None) as ready:
        assert psutil.Process(ready.pid).exe() == str(Path(sys.executable).resolve())
