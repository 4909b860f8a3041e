"""What to do with this repository: ``nox --list`` shows the sessions.

``nox -s bench`` measures the default scenario and leaves a report; ``nox -s tests`` tests all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

PINNED = ("-c", "constraints.txt")
# Each process of tests runs models that use all cores, and browsers: more of them gain little.
IN_PARALLEL = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadgroup")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure scenarios/default.yaml and write its report; arguments go to `llmbench run`."""
    session.install(*PINNED, "-e", ".")
    session.run("llmbench", "run", *(session.posargs or ["scenarios/default.yaml"]))


@nox.session
def check(session: nox.Session) -> None:
    """Hold scenarios/gate.yaml against the commit before; arguments go to `llmbench check`."""
    session.install(*PINNED, "-e", ".")
    usual = ["scenarios/gate.yaml", "--baseline", "git:HEAD~1"]
    session.run("llmbench", "check", *(session.posargs or usual))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the test suite without its slow tests; arguments go to pytest."""
    session.install(*PINNED, "-e", ".[test]")
    _need_browser(session)
    session.run("pytest", *IN_PARALLEL, *session.posargs)


@nox.session
def tests_slow(session: nox.Session) -> None:
    """Run the slow tests, as the nightly workflow does; arguments go to pytest."""
    session.install(*PINNED, "-e", ".[test]")
    session.run("pytest", "-m", "slow and not integration", *IN_PARALLEL, *session.posargs)


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
    """Check style and formatting with ruff, and that the workflows are valid and safe."""
    session.install(*PINNED, "ruff", "check-jsonschema", "zizmor")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    workflows = sorted(str(path) for path in Path(".github/workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", "--quiet", *workflows)


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    session.install(*PINNED, "-e", ".[test,types]", "nox")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into build/site; a warning is an error, and nothing may be remote."""
    session.install(*PINNED, *nox.project.load_toml()["project"]["optional-dependencies"]["docs"])
    session.run("sphinx-build", "--fresh-env", "--fail-on-warning", "docs", "build/site")
    session.run("python", "tools/check_site.py", "build/site")


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests against servers of other projects; the first time compiles llama.cpp."""
    session.install(*PINNED, "-e", ".[test,integration]")
    session.run("pytest", "-m", "integration", *session.posargs)


@nox.session
def minimums(session: nox.Session) -> None:
    """Run the test suite on the oldest supported versions."""
    session.install("-c", "constraints-minimum.txt", "-e", ".[test]")
    session.run("pytest", *IN_PARALLEL, *session.posargs)
