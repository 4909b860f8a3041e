"""The memory of the client stays small, whatever servers send."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "flooding.py"
REQUESTS = 96
MOST_MIB = 200


@pytest.mark.slow
def test_floods_on_many_connections_take_little_memory() -> None:
    command = [sys.executable, str(SCRIPT)]
    with subprocess.Popen([*command, "serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        load = [*command, "load", port, str(REQUESTS)]
        done = subprocess.run(load, stdout=subprocess.PIPE, text=True, check=True)
        server.kill()
    result = json.loads(done.stdout)
    assert result["answers"] == REQUESTS
    assert all(not outcome.endswith(": None") for outcome in result["kinds"])
    assert result["growth_mib"] < MOST_MIB, result
