"""The server with a prompt cache of benchmarks/cache_server.py, in a thread."""

from __future__ import annotations

import argparse
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
