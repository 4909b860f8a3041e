"""The server with a prompt cache of benchmarks/cache_server.py, in a thread, and runs on it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmbench.campaign import execute, plan
from llmbench.campaign.observer import SilentObserver
from llmbench.runs.run_set import RunSet
from llmbench.scenario import file as scenario_file

REQUESTS = 6
SYNTHETIC = {"kind": "synthetic", "prompt_tokens": 160, "output_tokens": 3}
SCENARIO: dict[str, Any] = {
    "name": "cached",
    "model": "builtin:tiny",
    "workload": SYNTHETIC,
    "load": {"kind": "closed", "concurrency": 2},
    "requests": REQUESTS,
    "collect": [],
}
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "cache_server.py"


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("cache_server", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def cache_server(**changes: Any) -> Iterator[Any]:
    """Yield a server with these options of the script; its address is ``server.url``."""
    module = _module()
    options = {
        "port": 0, "ttft": 0.0, "itl": 0.0, "per_token": 0.0, "template": 8, "block": 16,
        "tokenizer": module.TINY, "silent": False, "text_only": False, "no_reset": False, **changes,
    }  # fmt: skip
    with module.Server(argparse.Namespace(**options)) as server:
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def measured(
    server: Any,
    folder: Path,
    cache: dict[str, Any] | None = None,
    names: str = "a",
    api: str = "chat",
    **scenario: Any,
) -> RunSet:
    """Measure one server under names of one letter each."""
    options = {"kind": "endpoint", "url": server.url, "api": api, "cache": cache or {}}
    backends = [{**options, "name": name} for name in names]
    path = folder / "cached.yaml"
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps({**SCENARIO, "backends": backends, **scenario}), "utf-8")
    source = scenario_file.load(path, [])
    return execute.run_all(plan.begin(source, folder / "out"), SilentObserver())
