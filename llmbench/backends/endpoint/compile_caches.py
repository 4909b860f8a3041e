"""Where a launched server keeps its compiled kernels: in its own caches, or in an empty folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

# variables with the cache folders of engines and compilers, and their folder's name; all of vLLM,
# torch.compile, Triton, CUDA's JIT, C++ extensions of torch, FlashInfer and DeepGEMM. Not
# XDG_CACHE_HOME, which would empty the cache of downloaded models too.
VARIABLES = {
    "VLLM_CACHE_ROOT": "vllm",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "TORCH_EXTENSIONS_DIR": "extensions",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "DG_JIT_CACHE_DIR": "deep-gemm",
}


@contextmanager
def compile_caches(state: Literal["keep", "empty"]) -> Iterator[dict[str, str]]:
    """Yield the environment variables of a server whose compile caches are kept or empty.

    An empty folder is removed when the context ends, with what the server wrote into it.
    """
    if state == "keep":
        yield {}
        return
    prefix = "llmbench-compile-caches-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as root:
        folders = {name: Path(root) / folder for name, folder in VARIABLES.items()}
        for folder in folders.values():
            folder.mkdir()
        yield {name: str(folder) for name, folder in folders.items()}
